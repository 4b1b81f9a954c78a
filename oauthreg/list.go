package oauthreg

import (
	"context"
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"time"
)

// ErrBadCursor: the cursor of a [ListQuery] was not made by this registry, or
// was altered.
var ErrBadCursor = errors.New("oauthreg: bad cursor")

// ClientPage is a page of [Registry.List].
type ClientPage struct {
	Clients []Client
	// Total is how many clients there are on all pages; -1 unless counted.
	Total int
	// Next is the cursor of the page behind this one; empty on the last.
	Next string
}

// List returns a page of clients, newest first. A page is chosen by Limit with
// either Offset or Cursor. A cursor is bound to nothing but its place in the
// order: the filters may differ from page to page. The error is
// [InvalidQueryError] when q is outside its limits, and [ErrBadCursor].
func (r *Registry) List(ctx context.Context, q ListQuery) (ClientPage, error) {
	if err := r.completeQuery(&q); err != nil {
		return ClientPage{}, err
	}
	// One more than asked for tells whether there is another page.
	limit := q.Limit
	q.Limit = min(limit+1, maxPage)
	clients, total, err := r.store.ListClients(ctx, q)
	if err != nil {
		return ClientPage{}, err
	}
	if !q.Count {
		total = -1
	}
	page := ClientPage{Clients: clients, Total: total}
	more := len(clients) > limit
	if more {
		page.Clients = clients[:limit:limit]
	} else if len(clients) == maxPage {
		last := clients[maxPage-1]
		q.Limit, q.Offset, q.Count = 1, 0, false
		q.AfterCreatedAt, q.AfterID = last.CreatedAt, last.ID
		rest, _, err := r.store.ListClients(ctx, q)
		if err != nil {
			return ClientPage{}, err
		}
		more = len(rest) > 0
	}
	if more {
		page.Next = r.cursor(page.Clients[len(page.Clients)-1])
	}
	return page, nil
}

// maxPage is the most clients of one page, and of one call of a store.
const maxPage = 1000

func (r *Registry) completeQuery(q *ListQuery) error {
	switch {
	case q.Limit == 0:
		q.Limit = 100
	case q.Limit < 0 || q.Limit > maxPage:
		return &InvalidQueryError{"limit", "must be from 1 to 1000"}
	}
	if q.Offset < 0 {
		return &InvalidQueryError{"offset", "must not be negative"}
	}
	if q.Cursor != "" {
		if !q.AfterCreatedAt.IsZero() || q.AfterID != "" {
			return &InvalidQueryError{"cursor", "must not come together with after"}
		}
		at, id, err := r.readCursor(q.Cursor)
		if err != nil {
			return err
		}
		q.Cursor, q.AfterCreatedAt, q.AfterID = "", at, id
	}
	if q.Offset > 0 && q.AfterID != "" {
		return &InvalidQueryError{"offset", "must not come together with a cursor"}
	}
	if q.AfterCreatedAt.IsZero() != (q.AfterID == "") {
		return &InvalidQueryError{"after", "must have both a time and an id"}
	}
	if q.Type != "" && q.Type != Public && q.Type != Confidential {
		return &InvalidQueryError{"type", "must be public or confidential"}
	}
	return checkFilters(
		filter{"org_id", q.OrgID}, filter{"project_id", q.ProjectID}, filter{"client_id", q.ClientID},
		filter{"name", q.Name}, filter{"name_contains", q.NameContains}, filter{"grant_type", q.GrantType},
		filter{"after", q.AfterID},
	)
}

// A cursor is the creation time, the client's ID, and a MAC over both, in
// base64url. The time is 8 bytes of seconds and 4 of nanoseconds.
const (
	cursorTime = 12
	cursorMAC  = 16
)

func (r *Registry) cursor(c Client) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(c.CreatedAt.Unix()))
	b = binary.BigEndian.AppendUint32(b, uint32(c.CreatedAt.Nanosecond()))
	b = append(b, c.ID...)
	b = append(b, r.cursorSum(b)...)
	return base64.RawURLEncoding.EncodeToString(b)
}

func (r *Registry) readCursor(cursor string) (at time.Time, id string, err error) {
	if len(cursor) > 512 {
		return at, "", ErrBadCursor
	}
	// The decoder skips line breaks.
	b, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(b) <= cursorTime+cursorMAC || base64.RawURLEncoding.EncodeToString(b) != cursor {
		return at, "", ErrBadCursor
	}
	body, sum := b[:len(b)-cursorMAC], b[len(b)-cursorMAC:]
	if !hmac.Equal(sum, r.cursorSum(body)) {
		return at, "", ErrBadCursor
	}
	at = time.Unix(int64(binary.BigEndian.Uint64(body)), int64(binary.BigEndian.Uint32(body[8:]))).UTC()
	return at, string(body[cursorTime:]), nil
}

func (r *Registry) cursorSum(body []byte) []byte {
	return keyedDigest(r.cursorKey, string(body))[:cursorMAC]
}

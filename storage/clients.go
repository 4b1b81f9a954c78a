package storage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// A client is stored whole, as the JSON of its record, of which what tells of
// persons is sealed; the columns beside it are what queries select and order by. Two numbers are the store's own:
// revision counts its changes, whatever the registry does with Client.Version;
// incarnation is drawn at random when the row is inserted, so that a deleted
// client's tokens do not come alive when its id is registered again.

// InsertClient adds a client; see [oauthreg.Store].
func (s *Store) InsertClient(ctx context.Context, rec oauthreg.Record, audit oauthreg.AuditRecord) error {
	const doing = "insert client"
	row, err := s.clientRow(rec)
	if err != nil {
		return explain(doing, err)
	}
	if rec.Client.ID == "" || rec.Client.ClientID == "" {
		return explain(doing, errors.New("the client has no id"))
	}
	var random [8]byte
	if _, err := rand.Read(random[:]); err != nil {
		return explain(doing, err)
	}
	incarnation := int64(binary.BigEndian.Uint64(random[:]) >> 1)
	insertAudit, err := s.auditInsert(audit)
	if err != nil {
		return explain(doing, err)
	}
	defer s.counts.added.Add(1) // whatever the outcome
	return s.write(ctx, doing, func(ctx context.Context, c conn) error {
		old, err := s.mayBeInBlock(ctx, c, rec.Client.ID)
		if err != nil {
			return err
		}
		if old {
			if err := countClientChange(ctx, c); err != nil {
				return err
			}
		}
		_, err = c.exec(ctx, "INSERT INTO oauthreg_clients (id, client_id, incarnation, revision, "+clientColumns+") VALUES (?, ?, ?, 1, "+marks(len(row))+")",
			append([]any{rec.Client.ID, rec.Client.ClientID, incarnation}, row...)...)
		if err == nil && old {
			err = openNameBlock(ctx, c, rec.Client.ID)
		}
		if err != nil {
			return err
		}
		return insertAudit(ctx, c)
	})
}

// clientColumns are the columns that an update may change, in the order of clientRow.
const clientColumns = "org_id, project_id, name, name_folded, type, grant_types, verified, self_registered, suspended_at, " +
	"created_at, updated_at, version, data, secrets, registration_token"

// clientRow is the stored form of a record, without its ids.
func (s *Store) clientRow(rec oauthreg.Record) ([]any, error) {
	k := rec.Client
	data, err := json.Marshal(k)
	if err != nil {
		return nil, fmt.Errorf("encode client: %w", err)
	}
	if data, err = s.sealer.sealMembers(sealClient, []byte(k.ID), data); err != nil {
		return nil, err
	}
	secrets := []byte("[]")
	if len(rec.Secrets) > 0 {
		if secrets, err = json.Marshal(rec.Secrets); err != nil {
			return nil, fmt.Errorf("encode secrets: %w", err)
		}
	}
	var token any
	if len(rec.RegistrationToken) > 0 {
		token = rec.RegistrationToken
	}
	return []any{
		k.OrgID, k.ProjectID, k.Name, foldASCII(k.Name), string(k.Type), grantTypesText(k.GrantTypes),
		flag(k.Verified), flag(k.SelfRegistered), maybe(k.SuspendedAt),
		micros(k.CreatedAt), micros(k.UpdatedAt), k.Version, string(data), string(secrets), token,
	}, nil
}

// flag is the stored form of a boolean.
func flag(v bool) int64 {
	if v {
		return 1
	}
	return 0
}

// grantTypesText is a list in which one type is found as " type ".
func grantTypesText(types []string) string {
	if len(types) == 0 {
		return ""
	}
	return " " + strings.Join(types, " ") + " "
}

// foldASCII lowers A to Z and nothing else.
func foldASCII(v string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, v)
}

// storedClient is a record with what a change must still find unchanged.
type storedClient struct {
	oauthreg.Record
	incarnation, revision int64
}

func (s *Store) client(ctx context.Context, doing string, ref oauthreg.Ref) (storedClient, error) {
	var k storedClient
	var w where
	w.is("id", ref.ID)
	w.is("client_id", ref.ClientID)
	if len(w.conditions) == 0 { // it names no client
		return k, oauthreg.ErrNotFound
	}
	w.is("org_id", ref.OrgID)
	w.is("project_id", ref.ProjectID)
	err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
		found := false
		err := c.each(ctx, "SELECT "+storedColumns+" FROM oauthreg_clients"+w.sql(), w.args, func(scan func(...any) error) (err error) {
			found = true
			k, err = s.scanClient(scan)
			return err
		})
		if err == nil && !found {
			return oauthreg.ErrNotFound
		}
		return err
	})
	return k, err
}

// storedColumns are what scanClient reads.
const storedColumns = "id, data, secrets, registration_token, incarnation, revision"

func (s *Store) scanClient(scan func(...any) error) (storedClient, error) {
	var k storedClient
	var id, data, secrets, token []byte
	if err := scan(&id, &data, &secrets, &token, &k.incarnation, &k.revision); err != nil {
		return k, err
	}
	data, err := s.sealer.openMembers(sealClient, id, data)
	if err != nil {
		return k, err
	}
	if err := errors.Join(json.Unmarshal(data, &k.Client), json.Unmarshal(secrets, &k.Secrets)); err != nil {
		return k, fmt.Errorf("decode client: %w", err)
	}
	if len(k.Secrets) == 0 {
		k.Secrets = nil
	}
	if len(token) > 0 {
		k.RegistrationToken = token
	}
	return k, nil
}

// ListClients returns a page of clients; see [oauthreg.Store]. A limit above
// 1000 counts as 1000.
func (s *Store) ListClients(ctx context.Context, q oauthreg.ListQuery) ([]oauthreg.Client, int, error) {
	const doing = "list clients"
	var w where
	w.is("org_id", q.OrgID)
	w.is("project_id", q.ProjectID)
	w.is("client_id", q.ClientID)
	w.is("name", q.Name)
	w.is("type", string(q.Type))
	if q.NameContains != "" {
		w.and(s.sql.d.contains("name_folded"), foldASCII(q.NameContains))
	}
	if q.GrantType != "" {
		if strings.Contains(q.GrantType, " ") { // no type is called so, but two in a row are found
			w.and("1 = 0")
		}
		w.and(s.sql.d.contains("grant_types"), " "+q.GrantType+" ")
	}
	if q.Verified != nil {
		w.and("verified = ?", flag(*q.Verified))
	}
	if q.SelfRegistered != nil {
		w.and("self_registered = ?", flag(*q.SelfRegistered))
	}
	if q.Suspended != nil {
		if *q.Suspended {
			w.and("suspended_at IS NOT NULL")
		} else {
			w.and("suspended_at IS NULL")
		}
	}
	all := w
	count, countArgs := "SELECT COUNT(*) FROM oauthreg_clients"+w.sql(), w.args
	if !q.AfterCreatedAt.IsZero() || q.AfterID != "" {
		at := micros(q.AfterCreatedAt)
		w.and("created_at <= ? AND (created_at < ? OR id < ?)", at, at, q.AfterID)
	}

	list := "SELECT id, incarnation, revision FROM oauthreg_clients" + w.sql() + " ORDER BY created_at DESC, id DESC LIMIT "
	var refs []clientRef
	total := -1
	err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
		refs, total = nil, -1
		limit, offset := page(q.Limit), max(q.Offset, 0)
		if found, ok, err := s.searchNames(ctx, c, q, all); err != nil {
			return err
		} else if ok {
			if q.Count {
				total = len(found)
			}
			for _, k := range pageOf(found, q, limit, offset) {
				refs = append(refs, k.clientRef)
			}
			return nil
		}
		if q.Count {
			var now bool
			var err error
			if total, now, err = s.countClients(ctx, c, count, countArgs); err != nil {
				return err
			}
			// The search ends with the last that there is. What is only remembered
			// may lack one, which is not to be hidden.
			if now {
				if limit = min(limit, total-offset); limit <= 0 {
					return nil
				}
			}
		}
		// The number of rows is part of the text: SQLite compiles a statement anew
		// each time in which it is bound.
		query, args := list+strconv.Itoa(limit), w.args
		if offset > 0 {
			query, args = query+" OFFSET ?", append(slices.Clip(args), offset)
		}
		return c.each(ctx, query, args, func(scan func(...any) error) error {
			var ref clientRef
			err := scan(&ref.id, &ref.incarnation, &ref.revision)
			refs = append(refs, ref)
			return err
		})
	})
	if err != nil {
		return nil, -1, err
	}
	clients, err := s.clientsOf(ctx, doing, refs)
	return clients, total, err
}

// clientRef is a client at one state.
type clientRef struct {
	id                    string
	incarnation, revision int64
}

// maxRemembered is how many clients a page may have to be remembered. A longer
// one would drive out those that are used.
const maxRemembered = 100

// clientsOf are the clients that a query has just named, in its order: from
// memory those that are the same there, the others from the database. One that
// was deleted meanwhile is left out.
func (s *Store) clientsOf(ctx context.Context, doing string, refs []clientRef) ([]oauthreg.Client, error) {
	known := make(map[string]*knownClient, len(refs))
	var missing []any
	for _, ref := range refs {
		if k := s.records.at(ref); k != nil {
			known[ref.id] = k
		} else {
			missing = append(missing, ref.id)
		}
	}
	cleared := s.records.mark()
	var fresh []*knownClient
	for some := range lists(missing) {
		before := len(fresh)
		err := s.read(ctx, doing, func(ctx context.Context, c conn) error {
			fresh = fresh[:before]
			return c.each(ctx, "SELECT "+storedColumns+" FROM oauthreg_clients WHERE id IN ("+marks(len(some))+")", some, func(scan func(...any) error) error {
				stored, err := s.scanClient(scan)
				if err != nil {
					return err
				}
				k := newKnown(stored)
				known[k.Client.ID] = k
				fresh = append(fresh, k)
				return nil
			})
		})
		if err != nil {
			return nil, err
		}
	}
	if len(fresh) <= maxRemembered {
		for _, k := range fresh {
			s.records.put(cleared, k)
		}
	}
	clients := make([]oauthreg.Client, 0, len(refs))
	for _, ref := range refs {
		if k := known[ref.id]; k != nil {
			clients = append(clients, k.Client.Clone())
		}
	}
	if len(clients) == 0 {
		return nil, nil
	}
	return clients, nil
}

// maxRevisions is how often a change is made again because another came
// between its reading and its writing.
const maxRevisions = 10

// UpdateClient changes a client; see [oauthreg.Store]. change runs outside the
// transaction, which checks that the client is still the one that change saw;
// if not, change runs again, up to ten times before it is
// [oauthreg.ErrConflict]. The ids cannot be changed.
func (s *Store) UpdateClient(ctx context.Context, ref oauthreg.Ref, change func(*oauthreg.Record) (*oauthreg.AuditRecord, error)) error {
	return s.revise(ctx, "update client", ref, func(k storedClient) (func(context.Context, conn) (bool, error), error) {
		rec := oauthreg.Record{Client: k.Client.Clone(), RegistrationToken: k.RegistrationToken}
		rec.Secrets = append(rec.Secrets, k.Secrets...)
		audit, err := change(&rec)
		if err != nil || audit == nil {
			return nil, err
		}
		if rec.Client.ID != k.Client.ID || rec.Client.ClientID != k.Client.ClientID {
			return nil, errors.New("storage: update client: the change touches the client's ids")
		}
		row, err := s.clientRow(rec)
		if err != nil {
			return nil, explain("update client", err)
		}
		insertAudit, err := s.auditInsert(*audit)
		if err != nil {
			return nil, explain("update client", err)
		}
		gone := removedSecrets(k.Secrets, rec.Secrets)
		return func(ctx context.Context, c conn) (bool, error) {
			if err := countClientChange(ctx, c); err != nil {
				return false, err
			}
			n, err := c.exec(ctx, "UPDATE oauthreg_clients SET revision = revision + 1, "+strings.ReplaceAll(clientColumns, ",", " = ?,")+" = ?"+
				" WHERE id = ? AND incarnation = ? AND revision = ?",
				append(row, k.Client.ID, k.incarnation, k.revision)...)
			if err != nil || n == 0 {
				return false, err
			}
			if rec.Client.Name != k.Client.Name {
				if err := openNameBlock(ctx, c, k.Client.ID); err != nil {
					return false, err
				}
			}
			if err := forgetSecrets(ctx, c, gone); err != nil {
				return false, err
			}
			return true, insertAudit(ctx, c)
		}, nil
	})
}

// DeleteClient removes a client; see [oauthreg.Store]. Its consents go in the
// same transaction, and its grants are revoked in it, which ends their codes
// and tokens; the rows of those are left to [Store.Sweep]. describe runs
// outside the transaction, and again if the client changes meanwhile.
func (s *Store) DeleteClient(ctx context.Context, ref oauthreg.Ref, describe func(oauthreg.Record) (oauthreg.AuditRecord, error)) error {
	return s.revise(ctx, "delete client", ref, func(k storedClient) (func(context.Context, conn) (bool, error), error) {
		gone := removedSecrets(k.Secrets, nil)
		audit, err := describe(k.Record)
		if err != nil {
			return nil, err
		}
		insertAudit, err := s.auditInsert(audit)
		if err != nil {
			return nil, explain("delete client", err)
		}
		id, now := k.Client.ID, micros(s.now())
		return func(ctx context.Context, c conn) (bool, error) {
			if err := countClientChange(ctx, c); err != nil {
				return false, err
			}
			n, err := c.exec(ctx, "DELETE FROM oauthreg_clients WHERE id = ? AND incarnation = ? AND revision = ?", id, k.incarnation, k.revision)
			if err != nil || n == 0 {
				return false, err
			}
			if err := openNameBlock(ctx, c, id); err != nil {
				return false, err
			}
			if _, err := c.exec(ctx, "DELETE FROM oauthreg_consents WHERE client_id = ?", id); err != nil {
				return false, err
			}
			if _, err := c.exec(ctx, "UPDATE oauthreg_grants SET revoked_at = ? WHERE client_id = ? AND revoked_at IS NULL", now, id); err != nil {
				return false, err
			}
			if _, err := c.exec(ctx, "DELETE FROM oauthreg_interactions WHERE client_id = ?", id); err != nil {
				return false, err
			}
			if err := forgetSecrets(ctx, c, gone); err != nil {
				return false, err
			}
			return true, insertAudit(ctx, c)
		}, nil
	})
}

// revise reads a client, lets plan make a write of it, and runs that. The write
// reports false when the client is no longer the one that was read; then it
// starts again. A plan without a write ends it.
func (s *Store) revise(ctx context.Context, doing string, ref oauthreg.Ref, plan func(storedClient) (func(context.Context, conn) (bool, error), error)) error {
	for range maxRevisions {
		k, err := s.client(ctx, doing, ref)
		if err != nil {
			return err
		}
		write, err := plan(k)
		if err != nil || write == nil {
			return err
		}
		err = s.write(ctx, doing, func(ctx context.Context, c conn) error {
			ok, err := write(ctx, c)
			if err == nil && !ok {
				return errRevised
			}
			return err
		})
		// Whatever it says: a commit may have been made that was not confirmed.
		s.records.forget(k.Client.ID)
		s.outer.unsettle(k.Client.ID)
		if !errors.Is(err, errRevised) {
			return err
		}
	}
	return oauthreg.ErrConflict
}

var errRevised = errors.New("the client changed meanwhile")

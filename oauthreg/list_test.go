package oauthreg_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// names are the names of a page's clients.
func names(clients []oauthreg.Client) []string {
	var out []string
	for _, c := range clients {
		out = append(out, c.Name)
	}
	return out
}

func (f fixture) fill(t *testing.T, n int) {
	t.Helper()
	for i := range n {
		c := oauthreg.Client{Name: fmt.Sprintf("client %02d", i), OrgID: "org-1", GrantTypes: []string{"client_credentials"}}
		f.mustRegister(t, c, oauthreg.RegisterOptions{})
		if i%3 == 0 { // some have the same time
			f.clock.add(time.Second)
		}
	}
}

func TestListByCursor(t *testing.T) {
	f := newRegistry(t)
	f.fill(t, 11)
	for _, limit := range []int{1, 3, 5, 11, 12} {
		var got []string
		q := oauthreg.ListQuery{OrgID: "org-1", Limit: limit, Count: true}
		pages := 0
		for {
			page, err := f.List(t.Context(), q)
			if err != nil {
				t.Fatal(err)
			}
			pages++
			if page.Total != 11 || len(page.Clients) == 0 || len(page.Clients) > limit {
				t.Errorf("limit %d: got %d of %d clients", limit, len(page.Clients), page.Total)
			}
			got = append(got, names(page.Clients)...)
			if page.Next == "" {
				break
			}
			q.Cursor = page.Next
		}
		if want := (11 + limit - 1) / limit; pages != want {
			t.Errorf("limit %d: got %d pages, want %d", limit, pages, want)
		}
		if len(got) != 11 || !slices.IsSortedFunc(got, func(a, b string) int { return strings.Compare(b, a) }) {
			t.Errorf("limit %d: got %q, want all, newest first", limit, got)
		}
	}
}

func TestListByOffset(t *testing.T) {
	f := newRegistry(t)
	f.fill(t, 5)
	page, err := f.List(t.Context(), oauthreg.ListQuery{Offset: 3, Limit: 3})
	if err != nil || page.Total != -1 || page.Next != "" || !slices.Equal(names(page.Clients), []string{"client 01", "client 00"}) {
		t.Errorf("got %q, total %d, next %q, %v", names(page.Clients), page.Total, page.Next, err)
	}
	page, err = f.List(t.Context(), oauthreg.ListQuery{Offset: 30, Count: true})
	if err != nil || page.Total != 5 || len(page.Clients) != 0 {
		t.Errorf("past the end: got %q, total %d, %v", names(page.Clients), page.Total, err)
	}
}

func TestListOfTheLargestPage(t *testing.T) {
	f := newRegistry(t)
	for i := range 1001 {
		c := oauthreg.Client{ID: fmt.Sprintf("0190a2c4-0000-7000-8000-%012d", i), ClientID: fmt.Sprint("c", i), CreatedAt: f.clock.now()}
		f.store.Plant(oauthreg.Record{Client: c})
	}
	page, err := f.List(t.Context(), oauthreg.ListQuery{Limit: 1000})
	if err != nil || len(page.Clients) != 1000 || page.Next == "" {
		t.Fatalf("got %d clients, next %q, %v", len(page.Clients), page.Next, err)
	}
	page, err = f.List(t.Context(), oauthreg.ListQuery{Limit: 1000, Cursor: page.Next})
	if err != nil || len(page.Clients) != 1 || page.Next != "" {
		t.Errorf("got %d clients, next %q, %v, want the last one", len(page.Clients), page.Next, err)
	}
}

// A client that is deleted between pages does no harm to the cursor after it.
func TestListCursorOfDeletedClient(t *testing.T) {
	f := newRegistry(t)
	f.fill(t, 4)
	page, err := f.List(t.Context(), oauthreg.ListQuery{Limit: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Delete(t.Context(), oauthreg.ByID(page.Clients[1].ID)); err != nil {
		t.Fatal(err)
	}
	page, err = f.List(t.Context(), oauthreg.ListQuery{Limit: 2, Cursor: page.Next})
	if err != nil || !slices.Equal(names(page.Clients), []string{"client 01", "client 00"}) {
		t.Errorf("got %q, %v", names(page.Clients), err)
	}
}

func TestListRefusesBadQueries(t *testing.T) {
	f := newRegistry(t)
	now := time.Now()
	for field, q := range map[string]oauthreg.ListQuery{
		"limit":         {Limit: 1001},
		"limit ":        {Limit: -1},
		"offset":        {Offset: -1},
		"offset ":       {Offset: 1, AfterID: "x", AfterCreatedAt: now},
		"after":         {AfterID: "x"},
		"after ":        {AfterCreatedAt: now},
		"cursor":        {Cursor: "x", AfterID: "x", AfterCreatedAt: now},
		"type":          {Type: "Public"},
		"name":          {Name: "a\x00"},
		"name_contains": {NameContains: "\xff"},
		"client_id":     {ClientID: strings.Repeat("a", 256)},
		"org_id":        {OrgID: "a\nb"},
		"project_id":    {ProjectID: "\u202e"},
		"grant_type":    {GrantType: "\x00"},
	} {
		_, err := f.List(t.Context(), q)
		var invalid *oauthreg.InvalidQueryError
		if !errors.As(err, &invalid) || invalid.Field != strings.TrimSpace(field) || invalid.Message == "" {
			t.Errorf("%s: got %v, want an InvalidQueryError for it", field, err)
		}
	}
}

func TestListRefusesForgedCursors(t *testing.T) {
	f := newRegistry(t)
	f.fill(t, 3)
	page, err := f.List(t.Context(), oauthreg.ListQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	good := page.Next
	raw, err := base64.RawURLEncoding.DecodeString(good)
	if err != nil {
		t.Fatal(err)
	}
	forged := map[string]string{
		"not base64": "!!", "empty body": base64.RawURLEncoding.EncodeToString(make([]byte, 24)),
		"cut": good[:len(good)-1], "longer": good + "A", "padded": good + "==", "an id": page.Clients[0].ID,
		"very long": strings.Repeat("A", 10000), "with a newline": good[:10] + "\n" + good[10:],
	}
	for i := range raw {
		b := slices.Clone(raw)
		b[i] ^= 1
		forged[fmt.Sprint("bit in octet ", i)] = base64.RawURLEncoding.EncodeToString(b)
	}
	other := newRegistry(t, func(cfg *oauthreg.Config) { cfg.SecretKey = []byte(strings.Repeat("k", 32)) })
	other.fill(t, 3)
	page, err = other.List(t.Context(), oauthreg.ListQuery{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	forged["of another key"] = page.Next

	for name, cursor := range forged {
		if _, err := f.List(t.Context(), oauthreg.ListQuery{Cursor: cursor}); !errors.Is(err, oauthreg.ErrBadCursor) {
			t.Errorf("%s: got %v, want ErrBadCursor", name, err)
		}
	}
	if _, err := f.List(t.Context(), oauthreg.ListQuery{Cursor: good}); err != nil {
		t.Errorf("the good one: got %v", err)
	}
}

// No cursor but those that were given out is taken.
func FuzzCursor(f *testing.F) {
	reg, err := oauthreg.NewRegistry(oauthreg.Config{Store: newStoreOf(3), SecretKey: testKey})
	if err != nil {
		f.Fatal(err)
	}
	given := map[string]bool{"": true}
	q := oauthreg.ListQuery{Limit: 1}
	for {
		page, err := reg.List(f.Context(), q)
		if err != nil {
			f.Fatal(err)
		}
		if page.Next == "" {
			break
		}
		given[page.Next] = true
		f.Add(page.Next)
		q.Cursor = page.Next
	}
	f.Add("AAAA")
	f.Add(strings.Repeat("A", 54))
	f.Fuzz(func(t *testing.T, cursor string) {
		_, err := reg.List(t.Context(), oauthreg.ListQuery{Cursor: cursor})
		if given[cursor] != (err == nil) {
			t.Errorf("%q: got %v, given out: %v", cursor, err, given[cursor])
		}
		if err != nil && !errors.Is(err, oauthreg.ErrBadCursor) {
			t.Errorf("%q: got %v, want ErrBadCursor", cursor, err)
		}
	})
}

package storage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Why a column may be in clear.
const (
	found    = "rows are found, joined or put in order by it"
	hashed   = "a digest"
	moment   = "a time or a count, by which rows are found, swept or changed"
	ofClient = "says what a program is or may do"
	ours     = "says nothing of anybody: the store's own"
	partly   = "says what a program is or may do; the members that tell of persons are sealed"
)

// inClear are the columns that are not sealed, by table, each with its reason. A
// person's identifier is in clear where rows are found by it, and nowhere else.
var inClear = map[string]map[string]string{
	"clients": {
		"id": found, "client_id": found, "org_id": found, "project_id": found, "name": found, "name_folded": found, "type": found,
		"grant_types": found, "verified": found, "self_registered": found, "suspended_at": found, "created_at": moment, "updated_at": moment,
		"incarnation": ours, "revision": ours, "version": ours, "data": partly, "secrets": "hashes, and the operator's labels", "registration_token": hashed,
	},
	"client_secret_uses": {"secret_id": found, "last_used_at": moment},
	"client_name_blocks": {"after_id": found, "last_id": found, "filter": found},
	"initial_access_tokens": {
		"id": found, "digest": hashed, "data": partly, "max_uses": moment, "uses": moment, "created_at": moment, "expires_at": moment,
	},
	"audit_log": {
		"id": found, "at": moment, "action": found, "actor_kind": "user, admin, client or system", "actor_request_id": "random: what to look for in logs",
		"client_id": found, "org_id": found, "project_id": found, "before_json": partly, "after_json": partly,
	},
	"consents": {
		"id": found, "client_id": found, "subject": found, "scopes": ofClient, "resources": ofClient,
		"created_at": moment, "last_used_at": moment, "uses": moment,
	},
	"grants": {
		"id": found, "client_id": found, "subject": found, "session_id": found, "consent_id": found, "scopes": ofClient, "resources": ofClient,
		"created_at": moment, "last_used_at": moment, "expires_at": moment, "revoked_at": moment, "uses": moment,
	},
	"authorize_codes": {"signature": hashed, "grant_id": found, "client_id": found, "created_at": moment, "expires_at": moment, "used_at": moment},
	"access_tokens":   {"signature": hashed, "grant_id": found, "client_id": found, "incarnation": ours, "created_at": moment, "expires_at": moment},
	"refresh_tokens": {
		"signature": hashed, "grant_id": found, "client_id": found, "access_signature": hashed,
		"created_at": moment, "expires_at": moment, "first_used_at": moment, "used_times": moment,
	},
	"assertions": {"jti": hashed, "expires_at": moment},
	"interactions": {
		"handle": hashed, "browser": hashed, "client_id": found, "session_id": "random: names a sign-in, and opens none",
		"created_at": moment, "expires_at": moment, "finished_at": moment,
	},
	"login_sessions": {
		"handle": hashed, "session_id": found, "subject": found, "auth_time": moment, "created_at": moment, "last_seen_at": moment,
		"absolute_expires_at": moment, "idle_expires_at": moment, "expires_at": moment, "touches": moment,
	},
	"session_members": {"session_id": found, "client_id": found, "expires_at": moment},
	"logout_outbox": {
		"id": found, "session_id": "random: names a sign-in, and opens none", "client_id": found, "ended_at": moment, "due_at": moment,
		"attempts": moment, "lease": ours, "expires_at": moment,
	},
	"signing_keys": {
		"kid": found, "alg": "stands in what is signed", "created_at": moment, "active_at": moment, "retired_at": moment, "expires_at": moment, "changes": ours,
	},
	"counters":          {"name": found, "n": ours},
	"key_check":         {"name": found},
	"schema_migrations": {"version": ours, "name": ours, "checksum": ours, "applied_at": ours},
}

// Every column of the migrated schema is sealed, or has a reason to be in clear.
func TestColumnsInClear(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		sealed := map[string]sealedForm{}
		for _, col := range sealedColumns {
			sealed[col.table+"."+col.column] = col.form
		}
		listed := map[string]bool{} // those of inClear that there are
		columns := columnsOf(t, s)
		for _, name := range columns {
			table, column, _ := strings.Cut(name, ".")
			why := inClear[table][column]
			form, isSealed := sealed[name]
			listed[name] = why != ""
			switch {
			case why == "" && !isSealed:
				t.Errorf("%s is neither sealed nor has it a reason to be in clear", name)
			case isSealed && (why == partly) != (form == sealedMembers), !isSealed && why == partly:
				t.Errorf("%s is sealed, and is said to be in clear because it %s", name, why)
			case (column == "subject" || column == "client_subject") && !isSealed && !slices.Contains([]string{"consents", "grants", "login_sessions"}, table):
				t.Errorf("%s is in clear, and no row is found by it", name)
			}
			delete(sealed, name)
		}
		for name := range sealed {
			t.Errorf("%s is said to be sealed, and there is no such column", name)
		}
		for table, of := range inClear {
			for column := range of {
				if !listed[table+"."+column] {
					t.Errorf("%s.%s is said to be in clear, and there is no such column", table, column)
				}
			}
		}
		// What is said to be sealed is: of one of everything, nothing is left to seal.
		seed(t, s, c)
		checkNoneInClear(t, s)
	})
}

// columnsOf are all columns of the store's tables, "table.column" without prefix.
func columnsOf(t *testing.T, s *Store) []string {
	t.Helper()
	query := map[string]string{
		"sqlite":   "SELECT m.name, c.name FROM sqlite_master m, pragma_table_info(m.name) c WHERE m.type = 'table'",
		"postgres": "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()",
		"mysql":    "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = DATABASE()",
	}[s.sql.d.name]
	var names []string
	tables := map[string]bool{}
	must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
		return c.each(ctx, query, nil, func(scan func(...any) error) error {
			var table, column string
			err := scan(&table, &column)
			if strings.HasPrefix(table, s.sql.prefix) {
				table = strings.TrimPrefix(table, s.sql.prefix)
				tables[table] = true
				names = append(names, table+"."+column)
			}
			return err
		})
	}))
	if len(tables) != len(inClear) {
		t.Errorf("got tables %q, want %q", slices.Sorted(maps.Keys(tables)), slices.Sorted(maps.Keys(inClear)))
	}
	return names
}

// checkNoneInClear looks at every value of every sealed column: it is sealed.
func checkNoneInClear(t *testing.T, s *Store) {
	t.Helper()
	for _, col := range sealedColumns {
		var after []any
		for {
			page, err := s.sealedPage(t.Context(), &col, after)
			must(t, err)
			if len(page) == 0 {
				break
			}
			after = page[len(page)-1].bound
			for _, row := range page {
				if len(row.stored) == 0 {
					continue
				}
				name, value := col.table+"."+col.column, string(row.stored)
				switch col.form {
				case sealedBlob:
					_, err = s.sealer.open(col.kind, row.key, row.stored)
				case sealedText:
					_, err = s.sealer.openText(col.kind, row.key, value)
				case sealedMarked:
					if !strings.HasPrefix(value, sealedMark) {
						t.Errorf("%s has %q in clear", name, value)
					}
					_, err = s.sealer.openMarked(col.kind, row.key, value)
				case sealedMembers:
					for _, member := range []string{"contacts", "user_id"} {
						if _, of, found := strings.Cut(value, `"`+member+`":`); found && !strings.HasPrefix(strings.TrimSpace(of), `"`+sealedMark) {
							t.Errorf("%s has %s in clear: %s", name, member, value)
						}
					}
					_, err = s.sealer.openMembers(col.kind, row.key, row.stored)
				}
				if err != nil {
					t.Errorf("%s does not open: %v", name, err)
				}
			}
		}
	}
}

// Members of JSON are sealed where they stand, and nothing else is touched.
func TestSealMembers(t *testing.T) {
	s := newSealer([][]byte{testKey})
	row := []byte("row")
	for _, tc := range []struct {
		doc  string
		same bool // nothing is to be sealed
	}{
		{`{"contacts":["a@mail.example"]}`, false},
		{" { \"a\" : 1.50 ,\n\t\"contacts\" :\t[ \"a@mail.example\" , \"b\" ] , \"z\" : {} } \n", false},
		{`{"user_id":"u","x":[1,{"y":"z"}],"contacts":["<a@mail.example>","\u00e9\"\\"]}`, false},
		{`{"contacts":["a"],"contacts":["b"]}`, false},
		{`{"contacts":"sealed:no"}`, false}, // a text that only looks so
		{`{"contacts":[],"user_id":""}`, true},
		{`{"contacts":null,"user_id":null}`, true},
		{`{"name":"contacts","metadata":{"contacts":"a"}}`, true}, // not the client's own
		{`["contacts"]`, true},
		{`"contacts"`, true},
		{`{}`, true},
		{``, true},
	} {
		sealed, err := s.sealMembers(sealClient, row, []byte(tc.doc))
		must(t, err)
		if same := string(sealed) == tc.doc; same != tc.same {
			t.Errorf("%s was sealed as %s", tc.doc, sealed)
		}
		if !tc.same && strings.Contains(string(sealed), "mail.example") {
			t.Errorf("%s has an address in it", sealed)
		}
		got, err := s.openMembers(sealClient, row, sealed)
		must(t, err)
		if string(got) != tc.doc {
			t.Errorf("got  %s\nwant %s", got, tc.doc)
		}
		if tc.same {
			continue
		}
		for what, open := range map[string]func() ([]byte, error){
			"another row":    func() ([]byte, error) { return s.openMembers(sealClient, []byte("other"), sealed) },
			"another kind":   func() ([]byte, error) { return s.openMembers(sealBefore, row, sealed) },
			"another key":    func() ([]byte, error) { return newSealer([][]byte{freshKey}).openMembers(sealClient, row, sealed) },
			"another member": func() ([]byte, error) { return s.openMembers(sealClient, row, swapMembers(sealed)) },
		} {
			if got, err := open(); err == nil {
				t.Errorf("%s: %s opens as %s", what, sealed, got)
			}
		}
	}
	if _, err := s.sealMembers(sealClient, row, []byte(`{"contacts":["a"`)); err == nil {
		t.Error("what is not JSON was taken")
	}
}

func swapMembers(doc []byte) []byte {
	return []byte(strings.NewReplacer(`"contacts"`, `"user_id"`, `"user_id"`, `"contacts"`).Replace(string(doc)))
}

// A notice that opens with no key keeps no other back, and is told of when it is
// alone.
func TestNoticeThatDoesNotOpen(t *testing.T) {
	eachKind(t, func(t *testing.T, s *Store, c *clock) {
		ctx := t.Context()
		for _, client := range []string{"a", "b"} {
			must(t, s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "sid", ClientID: client, Subject: "alice", ExpiresAt: c.now().Add(time.Hour)}))
		}
		must(t, s.EndSession(ctx, "sid", c.now()))
		run(t, s, "UPDATE oauthreg_logout_outbox SET subject = 'sealed:AAAA' WHERE client_id = 'a'")
		claim := func() ([]oauthreg.LogoutNotice, error) {
			return s.ClaimLogouts(ctx, c.now(), c.now().Add(time.Minute), 10)
		}
		notices, err := claim()
		must(t, err)
		if len(notices) != 1 || notices[0].ClientID != "b" || notices[0].Subject != "alice" {
			t.Fatalf("got %+v", notices)
		}
		must(t, s.LogoutDelivered(ctx, notices[0]))
		c.add(time.Minute)
		_, err = claim()
		wantErr(t, err, errUnsealable)
		notices, err = claim() // not due for another minute
		must(t, err)
		if fmt.Sprint(notices) != "[]" {
			t.Errorf("got %+v", notices)
		}
	})
}

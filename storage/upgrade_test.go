package storage

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// What a database had in it when its schema was at a level is kept below
// testdata/upgrade, one file per level, the same for all databases. The file of
// the newest level is written, before a release, by
//
//	OAUTHREG_WRITE_SEED=1 go test ./storage -run TestUpgrade
//
// and is never changed after it. Before the first release, all of them follow
// when the stored form of something changes.
const writeSeed = "OAUTHREG_WRITE_SEED"

// seedRows are the rows of each table, whose name has no prefix. Binary values
// are {"hex": "..."}.
type seedRows map[string][]map[string]any

func seedFile(level int) string {
	return filepath.Join("testdata", "upgrade", fmt.Sprintf("%04d.json", level))
}

// What the audit log of a seed has in it.
const (
	seedBefore = `{"contacts": [ "wendy@mail.example" ], "name":"Known", "user_id":"owner"}`
	seedAfter  = `{"contacts":["wendy@mail.example","w@mail.example"],"name":"Known","user_id":"owner"}`
)

// seed puts one of everything into a database.
func seed(t *testing.T, s *Store, c *clock) {
	t.Helper()
	ctx := t.Context()
	now := c.now()
	k := addClient(t, s, func(rec *oauthreg.Record) {
		rec.Client.ID, rec.Client.ClientID, rec.Client.OrgID, rec.Client.ProjectID = "internal", "client", "org", "project"
		rec.Client.Metadata = map[string]string{"a": "b"}
		rec.Secrets = []oauthreg.Secret{{ID: "secret", Label: "first", Hash: "digest"}}
		rec.RegistrationToken = []byte{1, 2, 0xff}
	})
	must(t, s.SecretsUsed(ctx, map[string]time.Time{"secret": now}))
	other := addClient(t, s, func(rec *oauthreg.Record) { rec.Client.ID, rec.Client.ClientID = "other", "suspended" })
	suspend(t, s, other, now)
	known := oauthreg.Record{Client: oauthreg.Client{ID: "known", ClientID: "known", Name: "Known", UserID: "owner", Contacts: []string{"wendy@mail.example", "w@mail.example"}, CreatedAt: now, UpdatedAt: now, Version: 1}}
	by := oauthreg.Actor{Kind: "user", ID: "wendy", RequestID: "r", Address: "192.0.2.7"}
	must(t, s.InsertClient(ctx, known, oauthreg.AuditRecord{Action: "client.registered", ClientID: "known", Actor: by, After: json.RawMessage(seedAfter)}))
	must(t, s.UpdateClient(ctx, oauthreg.ByID("known"), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		rec.Client.Name = "Well known"
		return &oauthreg.AuditRecord{Action: "client.updated", ClientID: "known", Actor: by, Before: json.RawMessage(seedBefore), After: json.RawMessage(`{"name":"Well known"}`)}, nil
	}))
	must(t, s.CreateInitialAccessToken(ctx, oauthreg.InitialAccessToken{ID: "permission", Digest: []byte("digest"), UserID: "owner", MaxUses: 2, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}))
	must(t, s.UseInitialAccessToken(ctx, []byte("digest"), now))

	consent, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: "internal", Subject: "alice", Scopes: []string{"openid"}})
	must(t, err)
	must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: "consented", ClientID: "internal", Subject: "alice", SessionID: "sid", ConsentID: consent, ExpiresAt: now.Add(time.Hour)}))
	for _, id := range []string{"fresh", "used", "revoked"} {
		r := newRequest(s, k)
		r.ID = id
		r.Form.Set("nonce", "nonce of "+id)
		issue(t, s, r)
		must(t, s.CreatePKCERequestSession(ctx, id+"code", r))
		must(t, s.CreateOpenIDConnectSession(ctx, id+"code", r))
		switch id {
		case "used":
			must(t, s.InvalidateAuthorizeCodeSession(ctx, id+"code"))
			must(t, s.RotateRefreshToken(ctx, id, id+"refresh"))
			must(t, s.CreateRefreshTokenSession(ctx, "next", "", r))
		case "revoked":
			must(t, s.RevokeRefreshToken(ctx, id))
		}
	}
	m := machineRequest(s, k)
	m.ID = "request of machine"
	must(t, s.CreateAccessTokenSession(ctx, "machine", m))
	must(t, s.SetClientAssertionJWT(ctx, "jti", now.Add(time.Hour)))
	must(t, s.CreateInteraction(ctx, oauthreg.Interaction{Handle: "waiting", Browser: "b", ClientID: "internal", Subject: "alice", Request: []byte(`{"a":1}`), ExpiresAt: now.Add(time.Hour)}))
	must(t, s.CreateInteraction(ctx, oauthreg.Interaction{Handle: "finished", ExpiresAt: now.Add(time.Hour)}))
	must(t, s.FinishInteraction(ctx, "finished"))
	must(t, s.CreateLoginSession(ctx, oauthreg.LoginSession{
		Login: oauthreg.Login{Subject: "alice", SessionID: "sid", AuthTime: now, AMR: []string{"pwd"}, ACR: "level"}, Handle: "cookie", UserAgent: "Browser",
		CreatedAt: now, ExpiresAt: now.Add(time.Hour), IdleExpiresAt: now.Add(time.Hour),
	}))
	must(t, s.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
		return []oauthreg.SigningKey{{KeyID: "kid", Alg: "ES256", Private: []byte("private"), CreatedAt: now, ActiveAt: now}}, nil, nil
	}))
	must(t, s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "sid", ClientID: "internal", Subject: "alice", ExpiresAt: now.Add(time.Hour)}))
	must(t, s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "sid", ClientID: "pairwise", Subject: "alice", ClientSubject: "alias", ExpiresAt: now.Add(time.Hour)}))
	must(t, s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "ended", ClientID: "internal", Subject: "alice", ClientSubject: "alias", ExpiresAt: now.Add(time.Hour)}))
	must(t, s.EndSession(ctx, "ended", now))
}

// checkSeed looks for everything that seed put into a database of that level, and
// goes on with it.
func checkSeed(t *testing.T, s *Store, c *clock, level int) {
	t.Helper()
	ctx := t.Context()
	c.add(30 * time.Second) // longer than the grace time, shorter than a code lives
	rec, err := s.Client(ctx, oauthreg.ByClientID("client").In("org", "project"))
	must(t, err)
	if rec.Client.ID != "internal" || rec.Client.Metadata["a"] != "b" || len(rec.Secrets) != 1 || rec.Secrets[0].Hash != "digest" || !bytes.Equal(rec.RegistrationToken, []byte{1, 2, 0xff}) {
		t.Errorf("got client %+v", rec)
	}
	uses, err := s.SecretUses(ctx, "internal")
	must(t, err)
	if len(uses) != 1 {
		t.Errorf("got uses %v", uses)
	}
	_, err = s.GetClient(ctx, "suspended")
	wantErr(t, err, fosite.ErrNotFound)
	must(t, s.UseInitialAccessToken(ctx, []byte("digest"), c.now()))
	wantErr(t, s.UseInitialAccessToken(ctx, []byte("digest"), c.now()), oauthreg.ErrConsumed)

	if level >= 5 {
		checkPersons(t, s)
	}

	consent, err := s.Consent(ctx, "internal", "alice")
	must(t, err)
	g, err := s.Grant(ctx, "consented")
	must(t, err)
	if g.ConsentID != consent.ID || g.SessionID != "sid" {
		t.Errorf("got grant %+v on consent %+v", g, consent)
	}

	r, err := s.GetAuthorizeCodeSession(ctx, "freshcode", nil)
	must(t, err)
	if r.GetID() != "fresh" || r.GetSession().GetSubject() != "alice" || r.GetRequestForm().Get("nonce") != "nonce of fresh" {
		t.Errorf("got request %+v", r)
	}
	_, err = s.GetPKCERequestSession(ctx, "freshcode", nil)
	must(t, err)
	_, err = s.GetOpenIDConnectSession(ctx, "freshcode", nil)
	must(t, err)
	must(t, s.InvalidateAuthorizeCodeSession(ctx, "freshcode"))
	_, err = s.GetAuthorizeCodeSession(ctx, "usedcode", nil)
	wantErr(t, err, fosite.ErrInvalidatedAuthorizeCode)
	for _, token := range []string{"freshaccess", "usedaccess", "machine"} {
		_, err = s.GetAccessTokenSession(ctx, token, nil)
		must(t, err)
	}
	_, err = s.GetAccessTokenSession(ctx, "revokedaccess", nil)
	wantErr(t, err, fosite.ErrNotFound)
	_, err = s.GetRefreshTokenSession(ctx, "usedrefresh", nil)
	wantErr(t, err, fosite.ErrInactiveToken)
	r, err = s.GetRefreshTokenSession(ctx, "next", nil)
	must(t, err)
	must(t, s.RotateRefreshToken(ctx, "used", "next"))
	must(t, s.CreateRefreshTokenSession(ctx, "after", "", r))
	wantErr(t, s.ClientAssertionJWTValid(ctx, "jti"), fosite.ErrJTIKnown)

	i, err := s.Interaction(ctx, "waiting", "b")
	must(t, err)
	if string(i.Request) != `{"a":1}` {
		t.Errorf("got interaction %+v", i)
	}
	_, err = s.Interaction(ctx, "finished", "")
	wantErr(t, err, oauthreg.ErrConsumed)
	l, err := s.LoginSession(ctx, "cookie")
	must(t, err)
	if l.SessionID != "sid" || !slices.Equal(l.AMR, []string{"pwd"}) || l.UserAgent != "Browser" {
		t.Errorf("got sign-in %+v", l)
	}
	keys, err := s.SigningKeys(ctx)
	must(t, err)
	if len(keys) != 1 || string(keys[0].Private) != "private" {
		t.Errorf("got keys %+v", keys)
	}
	must(t, s.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
		return []oauthreg.SigningKey{{KeyID: "second", Alg: "ES256", Private: []byte("x")}}, nil, nil
	}))
	if level >= 2 {
		members, err := s.SessionMembers(ctx, "sid")
		must(t, err)
		notices, err := s.ClaimLogouts(ctx, c.now(), c.now().Add(time.Minute), 10)
		must(t, err)
		if len(members) == 0 || members[0].Subject != "alice" || members[0].ClientSubject != "alice" || len(notices) != 1 || notices[0].SessionID != "ended" || notices[0].Subject != "alice" {
			t.Errorf("got members %+v and notices %+v", members, notices)
		}
		if level >= 5 && (len(members) != 2 || members[1].Subject != "alice" || members[1].ClientSubject != "alias" || notices[0].ClientSubject != "alias") {
			t.Errorf("got members %+v and notices %+v", members, notices)
		}
	}
	must(t, s.UpdateClient(ctx, oauthreg.ByID("internal"), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		rec.Client.Name = "changed"
		return &oauthreg.AuditRecord{Action: "client.updated", ClientID: "internal"}, nil
	}))
	audit, err := s.AuditRecords(ctx, oauthreg.AuditQuery{ClientID: "internal"})
	must(t, err)
	if len(audit) != 2 {
		t.Errorf("got %d audit records", len(audit))
	}
	c.add(1000 * 24 * time.Hour)
	sweep(t, s)
	if n := count(t, s, "grants") + count(t, s, "refresh_tokens") + count(t, s, "authorize_codes"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
}

// checkPersons looks for what seed put into a database that tells of persons,
// since level 5.
func checkPersons(t *testing.T, s *Store) {
	t.Helper()
	ctx := t.Context()
	rec, err := s.Client(ctx, oauthreg.ByID("known"))
	must(t, err)
	if k := rec.Client; k.UserID != "owner" || !slices.Equal(k.Contacts, []string{"wendy@mail.example", "w@mail.example"}) || k.Name != "Well known" {
		t.Errorf("got client %+v", k)
	}
	permission, err := s.InitialAccessToken(ctx, []byte("digest"))
	must(t, err)
	if permission.UserID != "owner" {
		t.Errorf("got permission %+v", permission)
	}
	audit, err := s.AuditRecords(ctx, oauthreg.AuditQuery{ClientID: "known"})
	must(t, err)
	var before, after string
	for _, a := range audit {
		switch a.Action {
		case "client.registered":
			after = string(a.After)
		case "client.updated":
			before = string(a.Before)
		}
		if want := (oauthreg.Actor{Kind: "user", ID: "wendy", RequestID: "r", Address: "192.0.2.7"}); a.Actor != want {
			t.Errorf("got actor %+v, want %+v", a.Actor, want)
		}
	}
	if before != seedBefore || after != seedAfter {
		t.Errorf("got before %s and after %s", before, after)
	}
	i, err := s.Interaction(ctx, "waiting", "b")
	must(t, err)
	l, err := s.LoginSession(ctx, "cookie")
	must(t, err)
	if i.Subject != "alice" || l.ACR != "level" {
		t.Errorf("got interaction %+v and sign-in %+v", i, l)
	}
}

// A database of every level is brought to the newest, and what was in it works.
func TestUpgrade(t *testing.T) {
	have, err := migrationsOf("sqlite")
	must(t, err)
	if os.Getenv(writeSeed) != "" {
		c := newClock()
		s := openTest(t, "file", testConfig(c))
		seed(t, s, c)
		b, err := json.MarshalIndent(dumpRows(t, s), "", "\t")
		must(t, err)
		must(t, os.MkdirAll(filepath.Dir(seedFile(0)), 0o755))
		must(t, os.WriteFile(seedFile(len(have)), append(b, '\n'), 0o644))
	}
	for level := 1; level <= len(have); level++ {
		text, err := os.ReadFile(seedFile(level))
		if os.IsNotExist(err) && level == len(have) {
			continue // not released yet
		}
		must(t, err)
		for i, kind := range append(kinds, kinds...) {
			// Either as older releases left it, or once all of it is sealed.
			sealed, name := i >= len(kinds), fmt.Sprintf("%04d/%s", level, kind)
			if sealed {
				name += "/sealed"
			}
			t.Run(name, func(t *testing.T) {
				c := newClock()
				s, err := Open(place(t, kind), testConfig(c))
				must(t, err)
				t.Cleanup(func() { must(t, s.Close()) })
				all, err := migrationsOf(s.sql.d.name)
				must(t, err)
				must(t, s.migrate(t.Context(), "migrate", all[:level]))
				load(t, s, text)
				must(t, s.Migrate(t.Context()))
				status, err := s.MigrationStatus(t.Context())
				must(t, err)
				if len(status) != len(have) || slices.ContainsFunc(status, func(m Migration) bool { return m.AppliedAt.IsZero() }) {
					t.Errorf("got status %+v", status)
				}
				if sealed {
					n, err := s.Reencrypt(t.Context())
					must(t, err)
					if level <= 5 && n == 0 {
						t.Error("nothing was in clear")
					}
					n, err = s.Reencrypt(t.Context())
					must(t, err)
					if n != 0 {
						t.Errorf("again: %d values", n)
					}
					checkNoneInClear(t, s)
				}
				checkSeed(t, s, c, level)
			})
		}
	}
}

// dumpRows reads all rows of a SQLite database.
func dumpRows(t *testing.T, s *Store) seedRows {
	t.Helper()
	all := seedRows{}
	must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
		var names []string
		err := c.each(ctx, "SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'oauthreg\\_%' ESCAPE '\\' ORDER BY name", nil, func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			names = append(names, name)
			return err
		})
		for _, name := range names {
			if name == "oauthreg_schema_migrations" {
				continue
			}
			rows, err := c.pool.QueryContext(ctx, "SELECT * FROM "+name)
			must(t, err)
			defer rows.Close()
			columns, err := rows.Columns()
			must(t, err)
			for rows.Next() {
				values, dest := make([]any, len(columns)), make([]any, len(columns))
				for i := range values {
					dest[i] = &values[i]
				}
				must(t, rows.Scan(dest...))
				row := map[string]any{}
				for i, v := range values {
					if b, ok := v.([]byte); ok {
						v = map[string]string{"hex": hex.EncodeToString(b)}
					}
					row[columns[i]] = v
				}
				table := strings.TrimPrefix(name, "oauthreg_")
				all[table] = append(all[table], row)
			}
			must(t, rows.Err())
		}
		return err
	}))
	return all
}

// load makes the rows of a seed the only ones of their tables.
func load(t *testing.T, s *Store, text []byte) {
	t.Helper()
	var all seedRows
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	must(t, d.Decode(&all))
	must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
		for table, rows := range all {
			if _, err := c.exec(ctx, "DELETE FROM oauthreg_"+table); err != nil {
				return err
			}
			for _, row := range rows {
				columns := slices.Sorted(maps.Keys(row))
				args := make([]any, len(columns))
				for i, name := range columns {
					switch v := row[name].(type) {
					case json.Number:
						n, err := v.Int64()
						must(t, err)
						args[i] = n
					case map[string]any:
						b, err := hex.DecodeString(v["hex"].(string))
						must(t, err)
						args[i] = b
					default:
						args[i] = v
					}
				}
				_, err := c.exec(ctx, "INSERT INTO oauthreg_"+table+" ("+strings.Join(columns, ", ")+") VALUES ("+marks(len(columns))+")", args...)
				if err != nil {
					return fmt.Errorf("%s: %w", table, err)
				}
			}
		}
		return nil
	}))
}

package storage

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// recording is a backend that remembers the statements that run on it.
type recording struct {
	backend
	mu   sync.Mutex
	seen map[string][]any
}

type recordingPool struct {
	pool
	r *recording
}

func (r *recording) wrap(fn func(context.Context, conn) error) func(context.Context, conn) error {
	return func(ctx context.Context, c conn) error {
		c.pool, c.direct = recordingPool{c.pool, r}, nil
		return fn(ctx, c)
	}
}

func (r *recording) read(ctx context.Context, fn func(context.Context, conn) error) error {
	return r.backend.read(ctx, r.wrap(fn))
}

func (r *recording) write(ctx context.Context, fn func(context.Context, conn) error) error {
	return r.backend.write(ctx, r.wrap(fn))
}

func (r *recording) writeOne(ctx context.Context, fn func(context.Context, conn) error) error {
	return r.backend.writeOne(ctx, r.wrap(fn))
}

func (p recordingPool) note(query string, args []any) {
	p.r.mu.Lock()
	defer p.r.mu.Unlock()
	p.r.seen[query] = args
}

func (p recordingPool) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	p.note(query, args)
	return p.pool.ExecContext(ctx, query, args...)
}

func (p recordingPool) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	p.note(query, args)
	return p.pool.QueryContext(ctx, query, args...)
}

// hotStatements are all that run on the way of a request, of a revocation or of
// the janitor, with what they bind.
func hotStatements(t *testing.T, s *Store, c *clock) map[string][]any {
	t.Helper()
	rec := &recording{backend: s.db, seen: make(map[string][]any)}
	s.db = rec
	ctx := t.Context()
	k := addClient(t, s, func(r *oauthreg.Record) { r.Secrets = []oauthreg.Secret{{ID: "s"}} })
	ref := oauthreg.ByID(k.RegistryID())

	r, machine := newRequest(s, k), machineRequest(s, k)
	issue(t, s, r)
	issue(t, s, newRequest(s, k)) // whose code and refresh token nobody uses
	must(t, s.CreatePKCERequestSession(ctx, r.ID+"code", r))
	must(t, s.CreateOpenIDConnectSession(ctx, r.ID+"code", r))
	must(t, s.CreateAccessTokenSession(ctx, "machine", machine))
	consent, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.RegistryID(), Subject: "alice"})
	must(t, err)
	_, err = s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.RegistryID(), Subject: "alice", Scopes: []string{"x"}})
	must(t, err)
	must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: "g", ClientID: k.RegistryID(), Subject: "alice", SessionID: "sid", ConsentID: consent, ExpiresAt: c.now().Add(time.Hour)}))
	must(t, s.CreateInteraction(ctx, oauthreg.Interaction{Handle: "h", ExpiresAt: c.now().Add(time.Hour)}))
	must(t, s.CreateLoginSession(ctx, oauthreg.LoginSession{Login: oauthreg.Login{Subject: "alice", SessionID: "sid"}, Handle: "h"}))

	for _, call := range []func() error{
		func() error { _, err := s.GetClient(ctx, k.GetID()); return err },
		func() error { _, err := s.clientIDOf(ctx, foreignClient{k.GetID()}); return err },
		func() error { _, err := s.Client(ctx, ref); return err },
		func() error { _, err := s.Client(ctx, oauthreg.ByClientID(k.GetID()).In("", "")); return err },
		func() error { _, err := s.GetAuthorizeCodeSession(ctx, r.ID+"code", nil); return err },
		func() error { _, err := s.GetPKCERequestSession(ctx, r.ID+"code", nil); return err },
		func() error { _, err := s.GetOpenIDConnectSession(ctx, r.ID+"code", nil); return err },
		func() error { return s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code") },
		func() error { _ = s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"); return nil }, // used
		func() error { _, err := s.GetAccessTokenSession(ctx, r.ID+"access", nil); return err },
		func() error { _, err := s.GetRefreshTokenSession(ctx, r.ID+"refresh", nil); return err },
		func() error { return s.RotateRefreshToken(ctx, r.ID, r.ID+"refresh") },
		func() error { return s.DeleteAccessTokenSession(ctx, "x") },
		func() error { return s.DeleteRefreshTokenSession(ctx, "x") },
		func() error { return s.RevokeAccessToken(ctx, machine.ID) },
		func() error { return s.ClientAssertionJWTValid(ctx, "jti") },
		func() error { return s.SetClientAssertionJWT(ctx, "jti", c.now().Add(time.Hour)) },
		func() error { _ = s.SetClientAssertionJWT(ctx, "jti", c.now().Add(time.Hour)); return nil }, // known
		func() error { _, err := s.Grant(ctx, "g"); return err },
		func() error { return s.UseGrant(ctx, "g", c.now(), c.now().Add(time.Hour)) },
		func() error { _, err := s.Consent(ctx, k.RegistryID(), "alice"); return err },
		func() error { _, err := s.Interaction(ctx, "h", ""); return err },
		func() error { return s.UpdateInteraction(ctx, oauthreg.Interaction{Handle: "h"}) },
		func() error { return s.FinishInteraction(ctx, "h") },
		func() error { _ = s.FinishInteraction(ctx, "h"); return nil }, // finished
		func() error { _, err := s.LoginSession(ctx, "h"); return err },
		func() error { return s.TouchLoginSession(ctx, "h", c.now(), c.now().Add(time.Hour)) },
		func() error { _, err := s.ListLoginSessions(ctx, "alice"); return err },
		func() error { return s.EndLoginSession(ctx, "sid") },
		func() error { return s.SecretsUsed(ctx, map[string]time.Time{"s": c.now()}) },
		func() error { return s.SecretsUsed(ctx, map[string]time.Time{"s": c.now()}) },
		func() error { _, err := s.SecretUses(ctx, k.RegistryID()); return err },
		func() error { _, _, err := s.ListGrants(ctx, oauthreg.GrantFilter{Subject: "alice"}, 0, 0); return err },
		func() error {
			_, _, err := s.ListGrants(ctx, oauthreg.GrantFilter{ClientID: k.RegistryID()}, 0, 0)
			return err
		},
		func() error {
			_, _, err := s.ListConsents(ctx, oauthreg.GrantFilter{Subject: "alice"}, 0, 0)
			return err
		},
		func() error {
			_, _, err := s.ListConsents(ctx, oauthreg.GrantFilter{ClientID: k.RegistryID()}, 0, 0)
			return err
		},
		func() error {
			_, _, err := s.ListConsents(ctx, oauthreg.GrantFilter{ID: consent, OrgID: "o"}, 0, 1)
			return err
		},
		func() error {
			_, _, err := s.ListClients(ctx, oauthreg.ListQuery{OrgID: "o", ProjectID: "p"})
			return err
		},
		func() error {
			_, _, err := s.ListClients(ctx, oauthreg.ListQuery{AfterCreatedAt: c.now(), AfterID: "x"})
			return err
		},
		func() error { return listClients(ctx, s, c.now()) },
		func() error { return listAudit(ctx, s) },
		func() error { return rotateKeys(ctx, s, c.now()) },
		func() error { _, _, err := s.ListGrants(ctx, oauthreg.GrantFilter{SessionID: "sid"}, 0, 0); return err },
		func() error { _, _, err := s.ListGrants(ctx, oauthreg.GrantFilter{OrgID: "o"}, 0, 0); return err },
		func() error {
			_, _, err := s.ListConsents(ctx, oauthreg.GrantFilter{ClientID: k.RegistryID()}, 0, 0)
			return err
		},
		func() error { _, err := s.RevokeConsents(ctx, oauthreg.GrantFilter{ClientID: "x"}); return err },
		func() error { _, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{SessionID: "sid"}); return err },
		func() error { _, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{Subject: "alice"}); return err },
		func() error { _, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{ClientID: "x"}); return err },
		func() error { _, err := s.RevokeGrants(ctx, oauthreg.GrantFilter{ID: "x"}); return err },
		func() error { _, err := s.RevokeConsents(ctx, oauthreg.GrantFilter{Subject: "alice"}); return err },
		func() error {
			return s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "sid", ClientID: "k", Subject: "alice"})
		},
		func() error {
			return s.JoinSession(ctx, oauthreg.SessionMember{SessionID: "sid", ClientID: "k", Subject: "alice"})
		},
		func() error { _, err := s.SessionMembers(ctx, "sid"); return err },
		func() error { return s.EndSession(ctx, "sid", c.now()) },
		func() error {
			notices, err := s.ClaimLogouts(ctx, c.now(), c.now(), 10)
			for _, n := range notices {
				must(t, s.LogoutFailed(ctx, n, c.now()))
				must(t, s.LogoutDelivered(ctx, n))
			}
			return err
		},
		func() error {
			return s.CreateInitialAccessToken(ctx, oauthreg.InitialAccessToken{ID: "i", Digest: []byte("d"), MaxUses: 1})
		},
		func() error { _, err := s.InitialAccessToken(ctx, []byte("d")); return err },
		func() error { _, err := s.ListInitialAccessTokens(ctx, 0, 10); return err },
		func() error { return s.UseInitialAccessToken(ctx, []byte("d"), c.now()) },
		func() error { return s.DeleteInitialAccessToken(ctx, "i") },
		func() error { suspend(t, s, k, c.now()); return nil },
		func() error { return deleteClient(ctx, s, k) },
		func() error {
			lease, err := s.claimJanitor(ctx, 0)
			must(t, err)
			return s.releaseJanitor(ctx, lease)
		},
		func() error { return searchNames(t, s) },
		func() error { c.add(100 * 24 * time.Hour); _, err := s.Sweep(ctx, 0); return err },
	} {
		must(t, call())
	}
	s.db = rec.backend
	if len(rec.seen) < 60 {
		t.Errorf("only %d statements were recorded", len(rec.seen))
	}
	return rec.seen
}

// listClients lists as the management APIs, the console and registration do: of
// all, of an owner, those of a name that may have to be unique, and those that
// registered themselves.
func listClients(ctx context.Context, s *Store, now time.Time) error {
	yes := true
	for _, q := range []oauthreg.ListQuery{
		{},
		{Count: true},
		{OrgID: "o"},
		{OrgID: "o", AfterCreatedAt: now, AfterID: "x"},
		{OrgID: "o", Count: true},
		{OrgID: "o", ProjectID: "p", AfterCreatedAt: now, AfterID: "x"},
		{OrgID: "o", ProjectID: "p", Count: true},
		// A name that none had: InnoDB also counts what was just deleted.
		{OrgID: "o", ProjectID: "p", Name: "a name", Limit: 2},
		{SelfRegistered: &yes, Limit: 1, Count: true},
		{SelfRegistered: &yes, AfterCreatedAt: now, AfterID: "x"},
	} {
		if _, _, err := s.ListClients(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// listAudit lists as the management APIs and the console do.
func listAudit(ctx context.Context, s *Store) error {
	for _, q := range []oauthreg.AuditQuery{
		{},
		{BeforeID: "x"},
		{ClientID: "x"},
		{ClientID: "x", BeforeID: "y"},
		{ClientID: "x", OrgID: "o", ProjectID: "p"},
		{NoClient: true},
		{OrgID: "o"},
		{OrgID: "o", ProjectID: "p"},
		{OrgID: "o", ProjectID: "p", BeforeID: "x"},
	} {
		if _, err := s.AuditRecords(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// rotateKeys adds a signing key and changes its schedule.
func rotateKeys(ctx context.Context, s *Store, now time.Time) error {
	key := oauthreg.SigningKey{KeyID: "kid", Alg: "RS256", Private: []byte("private"), ActiveAt: now}
	for _, add := range []bool{true, false} {
		err := s.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (added, replaced []oauthreg.SigningKey, err error) {
			if add {
				return []oauthreg.SigningKey{key}, nil, nil
			}
			key.RetiredAt = now
			return nil, []oauthreg.SigningKey{key}, nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// searchNames makes blocks of names in every way, and searches by them.
func searchNames(t *testing.T, s *Store) error {
	t.Helper()
	s.blocks = smallBlocks
	var ids []string
	add := func(n int) {
		for range n {
			ids = append(ids, addNamed(t, s, time.UnixMilli(int64(len(ids))), "name", func(rec *oauthreg.Record) { rec.Client.OrgID, rec.Client.ProjectID = "o", "p" }))
		}
	}
	add(40)
	makeAllNameBlocks(t, s) // new
	rename(t, s, ids[2], "renamed")
	_, _, err := s.ListClients(t.Context(), oauthreg.ListQuery{OrgID: "o", ProjectID: "p", NameContains: "renamed", Count: true})
	makeAllNameBlocks(t, s) // again
	for range 4 {
		ids = append(ids, addNamed(t, s, time.UnixMilli(2), "name"))
	}
	makeAllNameBlocks(t, s) // cut
	for _, id := range ids {
		must(t, deleteByID(t, s, id))
	}
	makeAllNameBlocks(t, s) // united
	return err
}

// smallTables are read whole by the statement, on purpose: requests that wait for
// a person live for minutes, and an index would cost each of them more than it
// saves when a client is deleted; blocks of names are one for hundreds of clients;
// signing keys are a few, read together; permissions to register are listed for
// operators, who made them one by one; a count of all clients has to look at all,
// which is why it is remembered.
var smallTables = []string{
	"DELETE FROM oauthreg_interactions WHERE client_id = ",
	"SELECT COUNT(*), COALESCE(MAX(last_id), '') FROM oauthreg_client_name_blocks",
	"SELECT " + blockColumns + " WHERE filter IS NULL OR ",
	"SELECT after_id FROM oauthreg_client_name_blocks WHERE filter IS NULL ",
	"SELECT kid, alg, private_key, created_at, active_at, retired_at, expires_at FROM oauthreg_signing_keys ORDER BY ",
	"SELECT id, data, digest, uses FROM oauthreg_initial_access_tokens ORDER BY ",
	"SELECT COUNT(*) FROM oauthreg_clients;", // and no condition
}

// byKeys finds deletions of rows of which the keys are known.
var byKeys = regexp.MustCompile(`^(DELETE FROM \w+ WHERE \w+ IN \()([?, ]+)\)`)

// parameter is one as PostgreSQL writes it, in their order.
var parameter = regexp.MustCompile(`\$[0-9]+`)

// manyKeys is such a deletion with as many keys as the janitor has: of one alone,
// every database knows that it is one row.
func manyKeys(query string, args []any) (string, []any) {
	in := byKeys.FindStringSubmatch(parameter.ReplaceAllString(query, "?"))
	if in == nil {
		return query, args
	}
	query = parameter.ReplaceAllString(query, "?")
	n := strings.Count(in[2], "?")
	return in[1] + marks(256) + ")" + query[len(in[0]):], slices.Concat(slices.Repeat(args[:1], 256), args[n:])
}

// plan is what a statement does: what it reads as a whole, and the indexes that it
// finds rows by.
type plan struct{ scans, indexes []string }

// No such statement reads a whole table, or a whole index, and no index is there
// that none of them uses: each costs with every row that is written.
func TestStatementsUseIndexes(t *testing.T) {
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			c := newClock()
			s := openTest(t, kind, testConfig(c))
			statements := hotStatements(t, s, c)
			explain := map[string]func(context.Context, conn, string, []any) (plan, error){
				"sqlite": sqlitePlan, "postgres": postgresPlan, "mysql": mysqlPlan,
			}[s.sql.d.name]
			used := map[string]bool{}
			explainAll := func(ctx context.Context, c conn, each func(query string, found plan)) error {
				for _, setting := range preferIndexes[s.sql.d.name] {
					if _, err := c.exec(ctx, setting); err != nil {
						return err
					}
				}
				for query, args := range statements {
					query, args = manyKeys(strings.Join(strings.Fields(query), " "), args)
					found, err := explain(ctx, c, query, args)
					if err != nil {
						return fmt.Errorf("%s: %w", query, err)
					}
					for _, index := range found.indexes {
						used[index] = true
					}
					each(query, found)
				}
				return nil
			}
			must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
				deletions := 0
				err := explainAll(ctx, c, func(query string, found plan) {
					if slices.ContainsFunc(smallTables, func(small string) bool { return strings.HasPrefix(query+";", small) }) {
						return
					}
					for _, scan := range found.scans {
						t.Errorf("%s\n\t%s", scan, query)
					}
					// However many rows there are of which the rest is true.
					for _, index := range found.indexes {
						if byKeys.MatchString(query) && strings.HasPrefix(index, "oauthreg_") && !strings.HasSuffix(index, "_pkey") {
							t.Errorf("looks rows up by %s and not by their keys\n\t%s", index, query)
						}
					}
					if byKeys.MatchString(query) {
						deletions++
					}
				})
				if deletions < 5 {
					t.Errorf("only %d statements delete by keys", deletions)
				}
				if err != nil {
					return err
				}
				for _, of := range []string{"INSERT INTO oauthreg_client_name_blocks", "UPDATE oauthreg_client_name_blocks SET after_id", "DELETE FROM oauthreg_client_name_blocks", " UNION ALL SELECT id, incarnation"} {
					if !slices.ContainsFunc(slices.Collect(maps.Keys(statements)), func(query string) bool { return strings.Contains(query, of) }) {
						t.Errorf("no statement has %q", of)
					}
				}
				// The check itself: this has to read all.
				found, err := explain(ctx, c, "SELECT COUNT(*) FROM oauthreg_grants WHERE uses > ?", []any{7})
				if len(found.scans) == 0 {
					t.Error("a scan is not noticed")
				}
				return err
			}))
			// Of two indexes that help, servers take one by what the tables have in
			// them: of empty ones, and of those with many rows.
			if s.sql.d.name != "sqlite" {
				populate(t, s)
			}
			must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
				if err := explainAll(ctx, c, func(string, plan) {}); err != nil {
					return err
				}
				there := 0
				err := c.each(ctx, indexesOf[s.sql.d.name], nil, func(scan func(...any) error) error {
					var index string
					err := scan(&index)
					if there++; !used[index] {
						t.Errorf("no statement uses the index %s", index)
					}
					return err
				})
				if there < 20 {
					t.Errorf("only %d indexes were found", there)
				}
				return err
			}))
		})
	}
}

// indexesOf lists the indexes of our tables but for the primary keys'.
var indexesOf = map[string]string{
	"sqlite":   "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND name LIKE 'oauthreg%'",
	"postgres": "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND indexname LIKE 'oauthreg%' AND indexname NOT LIKE '%_pkey'",
	"mysql":    "SELECT DISTINCT index_name FROM information_schema.statistics WHERE table_schema = DATABASE() AND table_name LIKE 'oauthreg%' AND index_name <> 'PRIMARY'",
}

// populate makes enough rows for a planner to see which of two indexes is the
// better one: a third of the clients are those of one organization, and most of these
// of one project, under names of their own; grants have sessions and consents of
// their own, of a hundred users.
func populate(t *testing.T, s *Store) {
	t.Helper()
	const numbers = " WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 900) SELECT "
	fill := []string{
		`INSERT INTO oauthreg_clients (id, client_id, incarnation, revision, org_id, project_id, name, name_folded, type, grant_types,
			verified, self_registered, created_at, updated_at, version, data, secrets)` + numbers + `
			CONCAT('id', i), CONCAT('client', i), i, 1, CASE WHEN i % 3 = 0 THEN 'o' ELSE CONCAT('o', i % 30) END,
			CASE WHEN i % 15 <> 0 THEN 'p' ELSE CONCAT('p', i % 30) END, CONCAT('name', i), CONCAT('name', i), 'public', '',
			0, CASE WHEN i % 9 = 0 THEN 1 ELSE 0 END, i, i, 1, '{}', '[]' FROM n`,
		`INSERT INTO oauthreg_grants (id, client_id, subject, session_id, consent_id, scopes, resources, created_at, last_used_at, expires_at, uses)` + numbers + `
			CONCAT('g', i), CONCAT('id', i % 100), CONCAT('user', i % 100), CONCAT('session', i), CONCAT('consent', i), '[]', '[]',
			i, i, 9000000000000000, 0 FROM n`,
	}
	if s.sql.d.name == "mysql" { // which of few rows looks at those that have not ended
		fill = append(fill, `INSERT INTO oauthreg_initial_access_tokens (id, digest, data, max_uses, uses, created_at, expires_at)`+numbers+`
			CONCAT('t', i), CONCAT('digest', i), '{}', 0, 0, i, 9000000000000000 FROM n`)
	}
	must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
		for _, statement := range fill {
			if _, err := c.exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}))
	must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
		for _, statement := range analyze[s.sql.d.name] {
			if _, err := c.exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

var analyze = map[string][]string{
	"postgres": {"ANALYZE oauthreg_clients", "ANALYZE oauthreg_grants"},
	"mysql":    {"ANALYZE TABLE oauthreg_clients, oauthreg_grants, oauthreg_initial_access_tokens"},
}

// preferIndexes makes a database with few rows plan as if there were many.
var preferIndexes = map[string][]string{
	"postgres": {"SET LOCAL enable_seqscan = off"},
	"mysql":    {"SET SESSION max_seeks_for_key = 1"},
}

// ordered reports whether a statement takes the first rows of an index, in whose
// order it wants them, and so reads no more than its limit.
func ordered(query string) bool {
	return strings.Contains(query, " ORDER BY ") && strings.Contains(query, " LIMIT ")
}

var indexName = regexp.MustCompile(`INDEX (oauthreg_\w+)`)

func sqlitePlan(ctx context.Context, c conn, query string, args []any) (found plan, err error) {
	err = c.each(ctx, "EXPLAIN QUERY PLAN "+query, args, func(scan func(...any) error) error {
		var id, parent, unused int
		var detail string
		err := scan(&id, &parent, &unused, &detail)
		index := indexName.FindStringSubmatch(detail)
		if index != nil {
			found.indexes = append(found.indexes, index[1])
		}
		if strings.HasPrefix(detail, "SCAN") && detail != "SCAN CONSTANT ROW" && detail != "SCAN few" && // of a subquery's rows
			(!strings.Contains(detail, " USING ") || !ordered(query)) {
			found.scans = append(found.scans, detail)
		}
		return err
	})
	return found, err
}

func postgresPlan(ctx context.Context, c conn, query string, args []any) (found plan, err error) {
	type node struct {
		Type     string `json:"Node Type"`
		Relation string `json:"Relation Name"`
		Index    string `json:"Index Name"`
		Cond     string `json:"Index Cond"`
		Plans    []node `json:"Plans"`
	}
	var text []byte
	if _, err = c.one(ctx, "EXPLAIN (FORMAT JSON) "+query, args, &text); err != nil {
		return found, err
	}
	var plans []struct{ Plan node }
	if err = json.Unmarshal(text, &plans); err != nil {
		return found, err
	}
	var walk func(n node)
	walk = func(n node) {
		if n.Index != "" {
			found.indexes = append(found.indexes, n.Index)
		}
		switch {
		case n.Type == "Seq Scan",
			strings.Contains(n.Type, "Index") && n.Cond == "" && !ordered(query):
			found.scans = append(found.scans, n.Type+" "+n.Relation+" "+n.Index)
		}
		for _, below := range n.Plans {
			walk(below)
		}
	}
	walk(plans[0].Plan)
	return found, nil
}

func mysqlPlan(ctx context.Context, c conn, query string, args []any) (found plan, err error) {
	err = c.each(ctx, "EXPLAIN "+query, args, func(scan func(...any) error) error {
		var id, rows sql.NullInt64
		var kind, table, access, possible, key, length, ref, extra sql.NullString
		err := scan(&id, &kind, &table, &access, &possible, &key, &length, &ref, &rows, &extra)
		if key.Valid {
			found.indexes = append(found.indexes, strings.Split(key.String, ",")...) // several that are merged
		}
		if kind.String != "INSERT" && !strings.HasPrefix(table.String, "<derived") && (access.String == "ALL" || access.String == "index" && !ordered(query)) {
			found.scans = append(found.scans, fmt.Sprintf("%s %s: %s, possible %s: %s", kind.String, table.String, access.String, possible.String, extra.String))
		}
		return err
	})
	return found, err
}

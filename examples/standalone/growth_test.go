package main

import (
	"cmp"
	"database/sql"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/oauth2"
)

// sizes are how many bytes each table has with its indexes; of a SQLite file,
// which does not tell, the whole.
func sizes(t *testing.T, kind string, db *sql.DB) map[string]int64 {
	t.Helper()
	query := map[string]string{
		"sqlite": "SELECT 'all', page_count * page_size FROM pragma_page_count, pragma_page_size",
		"postgres": `SELECT relname, pg_total_relation_size(oid) FROM pg_class
			WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace`,
		"mysql": `SELECT table_name, data_length + index_length FROM information_schema.tables WHERE table_schema = DATABASE()`,
	}[kind]
	if kind == "mysql" { // else they are of a while ago
		var tables string
		err := db.QueryRow("SELECT GROUP_CONCAT(table_name) FROM information_schema.tables WHERE table_schema = DATABASE()").Scan(&tables)
		if err == nil {
			_, err = db.Exec("ANALYZE TABLE " + tables)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	rows, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	found := map[string]int64{}
	for rows.Next() {
		var table string
		var n int64
		if err := rows.Scan(&table, &n); err != nil {
			t.Fatal(err)
		}
		found[table] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return found
}

// How much a login leaves behind: sign-in, code, tokens, and one refresh.
// OAUTHREG_GROWTH_LOGINS=1000 gives the figures that the documentation has.
func TestGrowth(t *testing.T) {
	logins := countFrom(t, "OAUTHREG_GROWTH_LOGINS", 50)
	const most = 16 << 10 // bytes a login, with what pages that are not full add
	for _, kind := range []string{"sqlite", "postgres", "mysql"} {
		t.Run(kind, func(t *testing.T) {
			var dsn string
			var db *sql.DB
			if kind == "sqlite" {
				k := keepSQLite(t, "")
				dsn, db = k.dsn, k.db(t, k.dsn)
			} else {
				dsn, db = serverDatabase(t, kind)
			}
			dir := t.TempDir()
			clients := filepath.Join(dir, "clients.json")
			write(t, clients, crashClient, 0o600)
			s := launch(t, "-db", dsn, "-key", filepath.Join(dir, "key"), "-clients", clients, "-users", "../../testdata/users.json", "-limits", "off")
			c := &crashing{issuer: s.issuer}
			before := sizes(t, kind, db)
			var wg sync.WaitGroup
			for part := range 4 {
				wg.Go(func() {
					for i := part; i < logins; i += 4 {
						verifier := oauth2.GenerateVerifier()
						b := newBrowser(t, crashRedirect)
						answer := b.authorize(c.config().AuthCodeURL("s", oauth2.S256ChallengeOption(verifier)), "alice", "alice-password", "consent-allow")
						got, err := c.grant(t.Context(), (&login{code: answer.Get("code"), verifier: verifier}).form())
						if err == nil {
							_, err = c.grant(t.Context(), refreshForm(got.Refresh))
						}
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			after := sizes(t, kind, db)
			var total int64
			var lines []string
			for _, table := range slices.SortedFunc(maps.Keys(after), func(a, b string) int { return cmp.Compare(after[b]-before[b], after[a]-before[a]) }) {
				grown := after[table] - before[table]
				total += grown
				if grown > 0 {
					lines = append(lines, fmt.Sprintf("%s %d", table, grown>>10))
				}
			}
			t.Logf("%d logins: %d KiB (%s)", logins, total>>10, strings.Join(lines, ", "))
			if total == 0 || total/int64(logins) > most {
				t.Errorf("got %d bytes a login, want some, and at most %d", total/int64(logins), most)
			}
		})
	}
}

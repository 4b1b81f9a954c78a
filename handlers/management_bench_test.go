package handlers_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// BenchmarkManagement is the management API over loopback HTTP and a SQLite file,
// with a hundred clients and with a hundred thousand, which a janitor has seen.
func BenchmarkManagement(b *testing.B) {
	for _, n := range []int{100, 100_000} {
		e := newEnv(b, envOptions{handler: func(e *env) http.Handler {
			mux := http.NewServeMux()
			mux.Handle("/", e.server)
			mux.Handle("/v2/", e.server.ManagementV2(handlers.ManagementConfig{
				Authenticate: e.server.AdminKey(adminKey, handlers.Principal{UserID: homeUser, OrgID: homeOrg, ProjectID: homeProject}),
			}))
			return mux
		}})
		ids := fillWithClients(b, e, n)
		sweepOnce(b, e)
		for _, tt := range []struct{ name, path string }{
			{"get", "/oauth_clients/" + ids[n/2]},
			{"list of 20, first page", "/oauth_clients"},
			{"list of 20, middle page", "/oauth_clients?page[number]=" + strconv.Itoa(max(n/40, 1))},
			{"filter by name substring, one hit", "/oauth_clients?filter[name][contains]=number+" + strconv.Itoa(n/2) + "+"},
			{"filter by name substring, no hit", "/oauth_clients?filter[name][contains]=nothing"},
			{"filter by name substring, all hit", "/oauth_clients?filter[name][contains]=umber"},
			{"filter by client_id", "/oauth_clients?filter[client_id]=" + ids[n/2]},
		} {
			b.Run(fmt.Sprintf("%d clients/%s", n, tt.name), func(b *testing.B) {
				for b.Loop() {
					req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, e.issuer+"/v2"+tt.path, nil)
					if err != nil {
						b.Fatal(err)
					}
					req.Header.Set("Authorization", "Bearer "+adminKey)
					resp, err := e.http.Client().Do(req)
					if err != nil {
						b.Fatal(err)
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					_ = resp.Body.Close()
					if resp.StatusCode != http.StatusOK {
						b.Fatal(resp.Status)
					}
				}
			})
		}
	}
}

// sweepOnce lets the janitor do all that it has to do when the clients have been
// there for a while.
func sweepOnce(b *testing.B, e *env) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	// It says at its end what it deleted.
	if err := e.store.SetClientAssertionJWT(ctx, "jti", e.clock.Now()); err != nil {
		b.Fatal(err)
	}
	e.clock.add(15 * time.Minute)
	if err := e.store.RunJanitor(ctx, time.Hour, slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	}), nil))); err != nil {
		b.Fatal(err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// fillWithClients registers n clients and returns their client_ids.
func fillWithClients(b *testing.B, e *env, n int) []string {
	b.Helper()
	ids := make([]string, n)
	var wg sync.WaitGroup
	const workers = 64
	for w := range workers {
		wg.Go(func() {
			for i := w; i < n; i += workers {
				c := machineClient()
				c.OrgID, c.ProjectID, c.Name = homeOrg, homeProject, "Client number "+strconv.Itoa(i)+" of many"
				reg, err := e.reg.Register(b.Context(), c, oauthreg.RegisterOptions{})
				if err != nil {
					b.Error(err)
					return
				}
				ids[i] = reg.Client.ClientID
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return ids
}

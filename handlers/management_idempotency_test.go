package handlers_test

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func (e *managedEnv) clients() int {
	e.t.Helper()
	page, err := e.reg.List(context.Background(), oauthreg.ListQuery{Limit: 1, Count: true})
	if err != nil {
		e.t.Fatal(err)
	}
	return page.Total
}

func TestIdempotencyKey(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	const key = "6d1f5a0e-5d5c-4f33-9a4e-6a2f9d7d2c11"
	create := func(body, key string) *tokenAnswer {
		return e.call(http.MethodPost, "/oauth_clients", body, "Idempotency-Key", key)
	}
	first := create(machineBody, key)
	first.wantStatus(t, 201)
	again := create(machineBody, key)
	if again.status != 201 || again.raw != first.raw || again.header.Get("ETag") != first.header.Get("ETag") || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("got %d %s,\nwant %s", again.status, again.raw, first.raw)
	}
	if e.clients() != 1 {
		t.Errorf("%d clients", e.clients())
	}
	create(webBody, key).wantError(t, 422, "invalid_request")
	create(machineBody, "another").wantStatus(t, 201)
	create(machineBody, strings.Repeat("k", 256)).wantError(t, 400, "invalid_request")
	create(machineBody, "\u00e9").wantError(t, 400, "invalid_request")

	// A failure is not remembered.
	bad := strings.Replace(machineBody, "client_credentials", "password", 1)
	create(bad, "third").wantStatus(t, 422)
	create(machineBody, "third").wantStatus(t, 201)

	// The same key of another caller is another key.
	c := machineClient()
	c.OrgID, c.ProjectID, c.Scopes = homeOrg, homeProject, []string{"admin"}
	bearer := e.tokenRequest(e.register(c), "grant_type", "client_credentials", "scope", "admin").str("access_token")
	other := e.callAs(bearer, http.MethodPost, "/oauth_clients", machineBody, "Idempotency-Key", key)
	other.wantStatus(t, 201)
	if other.data(t)["client_id"] == first.data(t)["client_id"] {
		t.Error("two callers share a client")
	}

	// Rotation too: the retry shows the same secret, which works.
	id := first.data(t)["client_id"].(string)
	rotate := func() string {
		a := e.call(http.MethodPost, "/oauth_clients/"+id+"/secrets", "", "Idempotency-Key", "rotate-1")
		a.wantStatus(t, 201)
		return a.data(t)["client_secret"].(string)
	}
	if a, b := rotate(), rotate(); a != b || e.post("/oauth/token", id, a, "grant_type", "client_credentials").status != 200 {
		t.Error("the rotation was carried out twice")
	}

	// Within a day; then the key is free.
	e.clock.add(23 * time.Hour)
	if got := create(machineBody, key); got.raw != first.raw {
		t.Errorf("after 23 hours: %d %s", got.status, got.raw)
	}
	e.clock.add(2 * time.Hour)
	late := create(machineBody, key)
	late.wantStatus(t, 201)
	if late.data(t)["client_id"] == id {
		t.Error("after 25 hours the key still stands for the old client")
	}
}

// Another process, or the same one after a restart, has no answers in memory. It
// creates nothing twice.
func TestIdempotencyKeyElsewhere(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	restart := func() { // on the same database, as another process
		clock := e.clock
		e.http.Close()
		_ = e.store.Close()
		e = newManagedEnv(t, envOptions{file: e.file, clock: clock}, nil)
	}
	create := func(body, key string) *tokenAnswer {
		return e.call(http.MethodPost, "/oauth_clients", body, "Idempotency-Key", key)
	}
	public := strings.Replace(webBody, "confidential", "public", 1)
	first, second := create(machineBody, "a"), create(public, "b")
	restart()
	a := create(machineBody, "a")
	a.wantError(t, 409, "conflict")
	if a.header.Get("X-Should-Retry") != "false" || !strings.Contains(a.str("error_description"), first.data(t)["client_id"].(string)) {
		t.Errorf("got %s, %v", a.raw, a.header)
	}
	if b := create(public, "b"); b.status != 201 || b.raw != second.raw {
		t.Errorf("got %d %s,\nwant %s", b.status, b.raw, second.raw)
	}
	restart()
	create(webBody, "a").wantError(t, 422, "invalid_request")
	if e.clients() != 2 {
		t.Errorf("%d clients, want 2", e.clients())
	}

	// A secret too: the one that was shown first goes on working.
	id := first.data(t)["client_id"].(string)
	etag := e.call(http.MethodGet, "/oauth_clients/"+id, "").header.Get("ETag")
	rotate := func(key string) *tokenAnswer {
		return e.call(http.MethodPost, "/oauth_clients/"+id+"/secrets", "", "Idempotency-Key", key, "If-Match", etag)
	}
	works := func(a *tokenAnswer) bool {
		return e.post("/oauth/token", id, a.data(t)["client_secret"].(string), "grant_type", "client_credentials").status == 200
	}
	shown := rotate("r")
	restart()
	a = rotate("r")
	a.wantError(t, 409, "conflict")
	if a.header.Get("X-Should-Retry") != "false" || !strings.Contains(a.str("error_description"), shown.data(t)["id"].(string)) || !works(shown) {
		t.Errorf("got %s, %v", a.raw, a.header)
	}
	// Also when another has taken its place since.
	etag = e.call(http.MethodGet, "/oauth_clients/"+id, "").header.Get("ETag")
	latest := rotate("s")
	restart()
	rotate("r").wantError(t, 409, "conflict")
	if !works(latest) {
		t.Error("a repetition ended a later secret")
	}

	e.clock.add(25 * time.Hour)
	restart()
	create(machineBody, "a").wantStatus(t, 201)
	rotate("s").wantError(t, 412, "precondition_failed")
	etag = "*"
	if again := rotate("s"); again.status != 201 || again.data(t)["id"] == latest.data(t)["id"] || !works(again) {
		t.Errorf("got %d %s", again.status, again.raw)
	}
}

// Under both families of paths a key is the same key.
func TestIdempotencyKeyOfBothPaths(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	send := func(path string) *tokenAnswer {
		return e.call(http.MethodPost, path, machineBody, "Idempotency-Key", "k")
	}
	first, second := send("/oauth_clients"), send("/oauth/clients")
	if first.status != 201 || second.raw != first.raw || e.clients() != 1 {
		t.Errorf("got %s,\nand %s; %d clients", first.raw, second.raw, e.clients())
	}
	id := first.data(t)["client_id"].(string)
	rotate := func(path string) *tokenAnswer {
		return e.call(http.MethodPost, path+id+"/secrets", "", "Idempotency-Key", "k")
	}
	if a, b := rotate("/oauth/clients/"), rotate("/oauth_clients/"); a.status != 201 || a.raw != b.raw {
		t.Errorf("got %s,\nand %s", a.raw, b.raw)
	}
	project := "/api/v1/org/" + homeOrg + "/project/"
	for _, path := range []string{project + homeProject, project + strings.ToUpper(homeProject)} {
		req := mustRequest(t, e.issuer+path+"/oauth_client", "Authorization", "Bearer "+adminKey, "Idempotency-Key", "p", "Content-Type", "application/json")
		req.Method, req.Body = http.MethodPost, asBody(`{"name":"One"}`)
		e.send(req).wantStatus(t, 201)
	}
}

func TestIdempotencyKeyRace(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
	other := newManagedEnv(t, envOptions{file: e.file, clock: e.clock}, nil) // another process
	id := e.create(machineBody)["client_id"].(string)
	for round := range 5 {
		var wg sync.WaitGroup
		statuses := make([]int, 2)
		for i, node := range []*managedEnv{e, other} {
			wg.Go(func() {
				statuses[i] = node.call(http.MethodPost, "/oauth_clients/"+id+"/secrets", `{"overlap_seconds":60}`, "Idempotency-Key", "round "+strconv.Itoa(round)).status
			})
		}
		wg.Wait()
		winner := e // which has not remembered what was before
		if statuses[1] == 201 {
			winner = other
		}
		if n := len(winner.call(http.MethodGet, "/oauth_clients/"+id+"/secrets", "").items(t)); min(statuses[0], statuses[1]) != 201 || max(statuses[0], statuses[1]) != 409 || n != round+2 {
			t.Fatalf("got %v and %d secrets", statuses, n)
		}
	}
	e.call(http.MethodDelete, "/oauth_clients/"+id, "").wantStatus(t, 204)
	for round := range 5 {
		var wg sync.WaitGroup
		answers := make([]*tokenAnswer, 20)
		raced(len(answers))
		for i := range answers {
			wg.Go(func() {
				answers[i] = e.call(http.MethodPost, "/oauth_clients", machineBody, "Idempotency-Key", "round "+strconv.Itoa(round))
			})
		}
		wg.Wait()
		for _, a := range answers {
			if a.status != 201 || a.raw != answers[0].raw {
				t.Fatalf("got %d %s,\nwant %s", a.status, a.raw, answers[0].raw)
			}
		}
		if e.clients() != round+1 {
			t.Fatalf("%d clients after %d rounds", e.clients(), round+1)
		}
	}
}

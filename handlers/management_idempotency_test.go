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
	e.clock.add(25 * time.Hour)
	restart()
	create(machineBody, "a").wantStatus(t, 201)
}

func TestIdempotencyKeyRace(t *testing.T) {
	e := newManagedEnv(t, envOptions{}, nil)
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

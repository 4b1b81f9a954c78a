package oauthreg_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

// A new signing key is told once, when the store has it.
func TestKeyEvents(t *testing.T) {
	var heard []oauthreg.Event
	now := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	store := new(failingKeys)
	ring, err := oauthreg.NewKeyRing(oauthreg.KeyRingConfig{
		Store: store, Algorithms: []string{"ES256"}, Now: func() time.Time { return now },
		Events: func(_ context.Context, e oauthreg.Event) { heard = append(heard, e) },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := func(what string, n int) {
		t.Helper()
		if len(heard) != n {
			t.Fatalf("%s: heard %d events, want %d", what, len(heard), n)
		}
		for _, e := range heard {
			if e.Type != oauthreg.EventKeyRotated || e.Alg != "ES256" || e.KeyID == "" || !e.Time.Equal(now) {
				t.Errorf("%s: heard %+v", what, e)
			}
		}
		heard = nil
	}
	store.err = errors.New("disk I/O error")
	if err := ring.Maintain(t.Context()); err == nil {
		t.Fatal("maintained without a store")
	}
	want("a failure", 0)
	store.err = nil
	for _, step := range []struct {
		name string
		do   func() error
		want int
	}{
		{"the first key", func() error { return ring.Maintain(t.Context()) }, 1},
		{"nothing due", func() error { return ring.Maintain(t.Context()) }, 0},
		{"by hand", func() error { _, err := ring.Rotate(t.Context(), "ES256"); return err }, 1},
		{"by schedule", func() error { now = now.Add(90 * 24 * time.Hour); return ring.Maintain(t.Context()) }, 1},
	} {
		if err := step.do(); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		want(step.name, step.want)
	}
}

// failingKeys is a key store in memory that can fail.
type failingKeys struct {
	err  error
	keys []oauthreg.SigningKey
}

func (s *failingKeys) SigningKeys(context.Context) ([]oauthreg.SigningKey, error) {
	return slices.Clone(s.keys), nil
}

func (s *failingKeys) UpdateSigningKeys(_ context.Context, change func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error)) error {
	add, replace, err := change(slices.Clone(s.keys))
	if err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	for _, k := range replace {
		s.keys[slices.IndexFunc(s.keys, func(have oauthreg.SigningKey) bool { return have.KeyID == k.KeyID })] = k
	}
	s.keys = append(s.keys, add...)
	return nil
}

// A client event is told once although the change ran twice, and a panic of the
// function only reaches the log.
func TestClientEventsOfRetries(t *testing.T) {
	var heard []oauthreg.EventType
	var log bytes.Buffer
	store := &conflictOnce{Memory: new(oauthregtest.Memory)}
	reg, err := oauthreg.NewRegistry(oauthreg.Config{
		Store: store, SecretKey: bytes.Repeat([]byte("k"), 32), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		Events: func(_ context.Context, e oauthreg.Event) {
			heard = append(heard, e.Type)
			panic("broken")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	made, err := reg.Register(t.Context(), oauthreg.Client{Name: "a", Type: oauthreg.Confidential, GrantTypes: []string{oauthreg.GrantClientCredentials}}, oauthreg.RegisterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	store.conflicts = 2
	if _, err := reg.Suspend(t.Context(), oauthreg.ByID(made.Client.ID)); err != nil {
		t.Fatal(err)
	}
	if want := []oauthreg.EventType{oauthreg.EventClientRegistered, oauthreg.EventClientSuspended}; !slices.Equal(heard, want) {
		t.Errorf("heard %v, want %v", heard, want)
	}
	if n := strings.Count(log.String(), "event function panicked"); n != 2 {
		t.Errorf("%d panics are in the log, want 2:\n%s", n, &log)
	}
	// Without a logger nothing is written, and nothing breaks.
	oauthreg.EventFunc(func(context.Context, oauthreg.Event) { panic("broken") }).Emit(t.Context(), nil, oauthreg.Event{})
	oauthreg.EventFunc(nil).Emit(t.Context(), nil, oauthreg.Event{})
}

// conflictOnce lets changes run and then loses them to somebody faster.
type conflictOnce struct {
	*oauthregtest.Memory
	conflicts int
}

func (s *conflictOnce) UpdateClient(ctx context.Context, ref oauthreg.Ref, change func(*oauthreg.Record) (*oauthreg.AuditRecord, error)) error {
	if s.conflicts > 0 {
		s.conflicts--
		rec, err := s.Client(ctx, ref)
		if err != nil {
			return err
		}
		if _, err := change(&rec); err != nil {
			return err
		}
		return oauthreg.ErrConflict
	}
	return s.Memory.UpdateClient(ctx, ref, change)
}

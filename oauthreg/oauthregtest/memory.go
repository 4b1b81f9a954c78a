// Package oauthregtest has a store in memory for tests of programs that use
// package oauthreg.
package oauthregtest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

var (
	_ oauthreg.Store    = (*Memory)(nil)
	_ oauthreg.KeyStore = (*Memory)(nil)
)

// Memory keeps clients and signing keys in memory, for tests. The zero value is
// empty and ready. It is safe for concurrent use, never blocks for long, and
// keeps the promises of [oauthreg.Store] and [oauthreg.KeyStore], but for what
// it does not have: grants and tokens, and persistence.
type Memory struct {
	mu      sync.Mutex
	clients map[string]oauthreg.Record // by Client.ID
	uses    map[string]time.Time
	audit   []oauthreg.AuditRecord
	keys    []oauthreg.SigningKey
	failure error
	reads   int
}

// Fail makes every call from now on return err; nil ends that.
func (m *Memory) Fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failure = err
}

// Reads is how often SigningKeys was called.
func (m *Memory) Reads() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

// Plant stores rec as it is, whatever it may be, in place of one of its ID.
func (m *Memory) Plant(rec oauthreg.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.put(rec)
}

func (m *Memory) put(rec oauthreg.Record) {
	if m.clients == nil {
		m.clients = map[string]oauthreg.Record{}
	}
	m.clients[rec.Client.ID] = clone(rec)
}

func clone(rec oauthreg.Record) oauthreg.Record {
	rec.Client = rec.Client.Clone()
	rec.Secrets = slices.Clone(rec.Secrets)
	rec.RegistrationToken = bytes.Clone(rec.RegistrationToken)
	return rec
}

func cloneAudit(a oauthreg.AuditRecord) oauthreg.AuditRecord {
	a.Before = slices.Clone(a.Before)
	a.After = slices.Clone(a.After)
	return a
}

// find returns the record that ref names.
func (m *Memory) find(ref oauthreg.Ref) (oauthreg.Record, error) {
	if m.failure != nil {
		return oauthreg.Record{}, m.failure
	}
	if (ref.ID == "") == (ref.ClientID == "") {
		return oauthreg.Record{}, errors.New("oauthregtest: a Ref has either ID or ClientID")
	}
	for _, rec := range m.clients {
		c := rec.Client
		if (c.ID == ref.ID || c.ClientID == ref.ClientID) &&
			(ref.OrgID == "" || c.OrgID == ref.OrgID) && (ref.ProjectID == "" || c.ProjectID == ref.ProjectID) {
			return clone(rec), nil
		}
	}
	return oauthreg.Record{}, oauthreg.ErrNotFound
}

// InsertClient implements [oauthreg.Store].
func (m *Memory) InsertClient(_ context.Context, rec oauthreg.Record, audit oauthreg.AuditRecord) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return m.failure
	}
	for _, have := range m.clients {
		if have.Client.ID == rec.Client.ID || have.Client.ClientID == rec.Client.ClientID {
			return oauthreg.ErrConflict
		}
	}
	m.put(rec)
	m.audit = append(m.audit, cloneAudit(audit))
	return nil
}

// Client implements [oauthreg.Store].
func (m *Memory) Client(_ context.Context, ref oauthreg.Ref) (oauthreg.Record, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.find(ref)
}

// UpdateClient implements [oauthreg.Store]. change runs without a lock, and the
// result is only written if nobody wrote meanwhile.
func (m *Memory) UpdateClient(ctx context.Context, ref oauthreg.Ref, change func(*oauthreg.Record) (*oauthreg.AuditRecord, error)) error {
	rec, err := m.Client(ctx, ref)
	if err != nil {
		return err
	}
	id, version := rec.Client.ID, rec.Client.Version
	audit, err := change(&rec)
	if err != nil || audit == nil {
		return err
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return m.failure
	}
	if have, ok := m.clients[id]; !ok || have.Client.Version != version || rec.Client.ID != id {
		return oauthreg.ErrConflict
	}
	m.put(rec)
	m.audit = append(m.audit, cloneAudit(*audit))
	return nil
}

// DeleteClient implements [oauthreg.Store].
func (m *Memory) DeleteClient(_ context.Context, ref oauthreg.Ref, describe func(oauthreg.Record) (oauthreg.AuditRecord, error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	rec, err := m.find(ref)
	if err != nil {
		return err
	}
	audit, err := describe(rec)
	if err != nil {
		return err
	}
	for _, s := range rec.Secrets {
		delete(m.uses, s.ID)
	}
	delete(m.clients, rec.Client.ID)
	m.audit = append(m.audit, cloneAudit(audit))
	return nil
}

// ListClients implements [oauthreg.Store].
func (m *Memory) ListClients(_ context.Context, q oauthreg.ListQuery) ([]oauthreg.Client, int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return nil, 0, m.failure
	}
	var found []oauthreg.Client
	for _, rec := range m.clients {
		if matches(&rec.Client, q) {
			found = append(found, rec.Client.Clone())
		}
	}
	newestFirst := func(a, b oauthreg.Client) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), strings.Compare(b.ID, a.ID))
	}
	slices.SortFunc(found, newestFirst)
	total := -1
	if q.Count {
		total = len(found)
	}
	if q.AfterID != "" {
		after := oauthreg.Client{ID: q.AfterID, CreatedAt: q.AfterCreatedAt}
		found = slices.DeleteFunc(found, func(c oauthreg.Client) bool { return newestFirst(c, after) <= 0 })
	}
	found = found[min(q.Offset, len(found)):]
	return found[:min(cmp.Or(q.Limit, 100), len(found))], total, nil
}

func matches(c *oauthreg.Client, q oauthreg.ListQuery) bool {
	is := func(want *bool, have bool) bool { return want == nil || *want == have }
	eq := func(want, have string) bool { return want == "" || want == have }
	return eq(q.OrgID, c.OrgID) && eq(q.ProjectID, c.ProjectID) &&
		eq(q.ClientID, c.ClientID) && eq(q.Name, c.Name) &&
		strings.Contains(lowerASCII(c.Name), lowerASCII(q.NameContains)) &&
		eq(string(q.Type), string(c.Type)) &&
		(q.GrantType == "" || c.AllowsGrantType(q.GrantType)) &&
		is(q.Verified, c.Verified) && is(q.SelfRegistered, c.SelfRegistered) && is(q.Suspended, c.Suspended())
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, s)
}

// SecretsUsed implements [oauthreg.Store].
func (m *Memory) SecretsUsed(_ context.Context, used map[string]time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return m.failure
	}
	if m.uses == nil {
		m.uses = map[string]time.Time{}
	}
	maps.Copy(m.uses, used)
	return nil
}

// SecretUses implements [oauthreg.Store].
func (m *Memory) SecretUses(_ context.Context, clientID string) (map[string]time.Time, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return nil, m.failure
	}
	out := map[string]time.Time{}
	for _, s := range m.clients[clientID].Secrets {
		if at, ok := m.uses[s.ID]; ok {
			out[s.ID] = at
		}
	}
	return out, nil
}

// AuditRecords implements [oauthreg.Store].
func (m *Memory) AuditRecords(_ context.Context, q oauthreg.AuditQuery) ([]oauthreg.AuditRecord, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return nil, m.failure
	}
	eq := func(want, have string) bool { return want == "" || want == have }
	var out []oauthreg.AuditRecord
	for _, a := range m.audit {
		if eq(q.ClientID, a.ClientID) && eq(q.OrgID, a.OrgID) && eq(q.ProjectID, a.ProjectID) &&
			eq(q.Action, a.Action) && (!q.NoClient || a.ClientID == "") && (q.BeforeID == "" || a.ID < q.BeforeID) {
			out = append(out, cloneAudit(a))
		}
	}
	slices.SortFunc(out, func(a, b oauthreg.AuditRecord) int { return strings.Compare(b.ID, a.ID) })
	return out[:min(cmp.Or(q.Limit, 100), len(out))], nil
}

// SigningKeys implements [oauthreg.KeyStore].
func (m *Memory) SigningKeys(context.Context) ([]oauthreg.SigningKey, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.reads++
	if m.failure != nil {
		return nil, m.failure
	}
	return m.sortedKeys(), nil
}

func (m *Memory) sortedKeys() []oauthreg.SigningKey {
	out := slices.Clone(m.keys)
	for i := range out {
		out[i].Private = bytes.Clone(out[i].Private)
	}
	slices.SortFunc(out, func(a, b oauthreg.SigningKey) int {
		return cmp.Or(a.CreatedAt.Compare(b.CreatedAt), strings.Compare(a.KeyID, b.KeyID))
	})
	return out
}

// UpdateSigningKeys implements [oauthreg.KeyStore].
func (m *Memory) UpdateSigningKeys(ctx context.Context, change func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failure != nil {
		return m.failure
	}
	add, replace, err := change(m.sortedKeys())
	if err != nil {
		return err
	}
	keys := slices.Clone(m.keys)
	var audit []oauthreg.AuditRecord
	tell := func(before, after *oauthreg.SigningKey) error {
		rec, err := oauthreg.AuditSigningKey(ctx, time.Now(), before, after)
		audit = append(audit, rec)
		return err
	}
	at := func(kid string) int {
		return slices.IndexFunc(keys, func(k oauthreg.SigningKey) bool { return k.KeyID == kid })
	}
	for _, k := range replace {
		i := at(k.KeyID)
		if i < 0 {
			return oauthreg.ErrNotFound
		}
		if err := tell(&keys[i], &k); err != nil {
			return err
		}
		k.Private = keys[i].Private
		keys[i] = k
	}
	for _, k := range add {
		if at(k.KeyID) >= 0 {
			return oauthreg.ErrConflict
		}
		if err := tell(nil, &k); err != nil {
			return err
		}
		k.Private = bytes.Clone(k.Private)
		keys = append(keys, k)
	}
	m.keys = keys
	m.audit = append(m.audit, audit...)
	return nil
}

// Dump returns everything that is stored as text, for tests that look for what
// must not be in it. Private signing keys are left out.
func (m *Memory) Dump() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	b, err := json.Marshal(map[string]any{"clients": m.clients, "audit": m.audit, "uses": m.uses})
	if err != nil {
		return err.Error()
	}
	return string(b)
}

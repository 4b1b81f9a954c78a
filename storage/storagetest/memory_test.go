package storagetest

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

// memory is a store that has nothing to do with package storage: maps, one lock,
// and writes that are made on a copy of all maps. It shows that the rules can be
// kept by another store, and is what the broken ones are made of.
type memory struct {
	saved   sync.Map            // ids of consents, by those that SaveConsent returned
	clients oauthregtest.Memory // clients, their secrets, the audit log, signing keys

	changing sync.Mutex // one change of a client at a time
	mu       sync.Mutex
	rows     *rows
}

// rows is all that is stored. It is never changed, but copied and replaced.
type rows struct {
	grants       map[string]oauthreg.Grant
	codes        map[string]stored
	access       map[string]stored
	refresh      map[string]stored
	assertions   map[string]time.Time
	consents     map[[2]string]oauthreg.Consent // by client and subject
	sessions     map[string]oauthreg.LoginSession
	interactions map[string]waiting
	members      map[[2]string]oauthreg.SessionMember // by session and client
	notices      map[string]notice
	permissions  map[string]oauthreg.InitialAccessToken // by digest
}

func (r *rows) clone() *rows {
	c := *r
	c.grants, c.codes, c.access, c.refresh = maps.Clone(r.grants), maps.Clone(r.codes), maps.Clone(r.access), maps.Clone(r.refresh)
	c.assertions, c.consents, c.sessions = maps.Clone(r.assertions), maps.Clone(r.consents), maps.Clone(r.sessions)
	c.interactions, c.members, c.notices, c.permissions = maps.Clone(r.interactions), maps.Clone(r.members), maps.Clone(r.notices), maps.Clone(r.permissions)
	return &c
}

// stored is a code or a token.
type stored struct {
	packed
	pkce, openid *packed // of a code
	expires      time.Time
	used         bool
	machine      bool // beneath no grant
}

type waiting struct {
	oauthreg.Interaction
	finished bool
}

type notice struct {
	oauthreg.LogoutNotice
	due time.Time
}

// packed is a request that shares nothing with the one it was made of.
type packed struct {
	id, client, clientID string
	at                   time.Time
	scopes, granted      []string
	form                 url.Values
	session              []byte
}

func newMemory() *memory {
	return &memory{rows: &rows{
		grants: map[string]oauthreg.Grant{}, codes: map[string]stored{}, access: map[string]stored{}, refresh: map[string]stored{},
		assertions: map[string]time.Time{}, consents: map[[2]string]oauthreg.Consent{}, sessions: map[string]oauthreg.LoginSession{},
		interactions: map[string]waiting{}, members: map[[2]string]oauthreg.SessionMember{}, notices: map[string]notice{},
		permissions: map[string]oauthreg.InitialAccessToken{},
	}}
}

func TestMemory(t *testing.T) { Run(t, func(*testing.T) Store { return newMemory() }) }

// Transactions: writes wait in the context until the outermost commit.

type memoryTx struct {
	outer *memoryTx
	ops   []func(*rows) error
	done  bool
}

type memoryTxKey struct{}

func (m *memory) BeginTX(ctx context.Context) (context.Context, error) {
	outer, _ := ctx.Value(memoryTxKey{}).(*memoryTx)
	if outer != nil && outer.done {
		return ctx, errors.New("the transaction has ended")
	}
	return context.WithValue(ctx, memoryTxKey{}, &memoryTx{outer: outer}), nil
}

func (m *memory) Commit(ctx context.Context) error {
	tx, _ := ctx.Value(memoryTxKey{}).(*memoryTx)
	if tx == nil || tx.done {
		return errors.New("there is no open transaction")
	}
	tx.done = true
	if tx.outer != nil {
		tx.outer.ops = append(tx.outer.ops, tx.ops...)
		return nil
	}
	return m.change(func(r *rows) error {
		for _, op := range tx.ops {
			if err := op(r); err != nil {
				return err
			}
		}
		return nil
	})
}

func (m *memory) Rollback(ctx context.Context) error {
	if tx, _ := ctx.Value(memoryTxKey{}).(*memoryTx); tx != nil {
		tx.done, tx.ops = true, nil
	}
	return nil
}

// change is a write of its own, whole or not at all.
func (m *memory) change(op func(*rows) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rows.clone()
	if err := op(r); err != nil {
		return err
	}
	m.rows = r
	return nil
}

// write takes part in the transaction of ctx.
func (m *memory) write(ctx context.Context, op func(*rows) error) error {
	if tx, _ := ctx.Value(memoryTxKey{}).(*memoryTx); tx != nil {
		tx.ops = append(tx.ops, op)
		return nil
	}
	return m.change(op)
}

func (m *memory) read() *rows {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rows
}

func (m *memory) Ping(context.Context) error { return nil }

// Clients.

func (m *memory) InsertClient(ctx context.Context, rec oauthreg.Record, audit oauthreg.AuditRecord) error {
	return m.clients.InsertClient(ctx, rec, audit)
}

func (m *memory) Client(ctx context.Context, ref oauthreg.Ref) (oauthreg.Record, error) {
	if ref.ID == "" && ref.ClientID == "" {
		return oauthreg.Record{}, oauthreg.ErrNotFound
	}
	return m.clients.Client(ctx, ref)
}

func (m *memory) UpdateClient(ctx context.Context, ref oauthreg.Ref, change func(*oauthreg.Record) (*oauthreg.AuditRecord, error)) error {
	m.changing.Lock()
	defer m.changing.Unlock()
	if _, err := m.Client(ctx, ref); err != nil {
		return err
	}
	return m.clients.UpdateClient(ctx, ref, change)
}

func (m *memory) DeleteClient(ctx context.Context, ref oauthreg.Ref, describe func(oauthreg.Record) (oauthreg.AuditRecord, error)) error {
	rec, err := m.Client(ctx, ref)
	if err != nil {
		return err
	}
	if err := m.clients.DeleteClient(ctx, ref, describe); err != nil {
		return err
	}
	return m.change(func(r *rows) error {
		id := rec.Client.ID
		maps.DeleteFunc(r.grants, func(_ string, g oauthreg.Grant) bool { return g.ClientID == id })
		maps.DeleteFunc(r.consents, func(k [2]string, _ oauthreg.Consent) bool { return k[0] == id })
		for _, of := range []map[string]stored{r.codes, r.access, r.refresh} {
			maps.DeleteFunc(of, func(_ string, s stored) bool { return s.client == id })
		}
		return nil
	})
}

func (m *memory) ListClients(ctx context.Context, q oauthreg.ListQuery) ([]oauthreg.Client, int, error) {
	return m.clients.ListClients(ctx, q)
}

func (m *memory) SecretsUsed(ctx context.Context, used map[string]time.Time) error {
	return m.clients.SecretsUsed(ctx, used)
}

func (m *memory) SecretUses(ctx context.Context, id string) (map[string]time.Time, error) {
	return m.clients.SecretUses(ctx, id)
}

func (m *memory) AuditRecords(ctx context.Context, q oauthreg.AuditQuery) ([]oauthreg.AuditRecord, error) {
	return m.clients.AuditRecords(ctx, q)
}

func (m *memory) SigningKeys(ctx context.Context) ([]oauthreg.SigningKey, error) {
	return m.clients.SigningKeys(ctx)
}

func (m *memory) UpdateSigningKeys(ctx context.Context, change func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error)) error {
	return m.clients.UpdateSigningKeys(ctx, change)
}

func (m *memory) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	rec, err := m.Client(ctx, oauthreg.ByClientID(id))
	if errors.Is(err, oauthreg.ErrNotFound) || err == nil && rec.Client.Suspended() {
		return nil, fosite.ErrNotFound
	}
	return &fosite.DefaultClient{ID: rec.Client.ClientID, Scopes: rec.Client.Scopes, GrantTypes: rec.Client.GrantTypes}, err
}

func (m *memory) ClientAssertionJWTValid(_ context.Context, jti string) error {
	if m.read().assertions[jti].After(time.Now()) {
		return fosite.ErrJTIKnown
	}
	return nil
}

func (m *memory) SetClientAssertionJWT(ctx context.Context, jti string, exp time.Time) error {
	return m.write(ctx, func(r *rows) error {
		if r.assertions[jti].After(time.Now()) {
			return fosite.ErrJTIKnown
		}
		r.assertions[jti] = exp
		return nil
	})
}

// Codes and tokens.

func (m *memory) pack(ctx context.Context, r fosite.Requester) (packed, error) {
	rec, err := m.Client(ctx, oauthreg.ByClientID(r.GetClient().GetID()))
	if err != nil {
		return packed{}, fosite.ErrNotFound
	}
	session, err := json.Marshal(r.GetSession())
	form := url.Values{}
	for k, v := range r.GetRequestForm() {
		form[k] = slices.Clone(v)
	}
	return packed{
		id: r.GetID(), client: rec.Client.ID, clientID: rec.Client.ClientID, at: r.GetRequestedAt(),
		scopes: slices.Clone(r.GetRequestedScopes()), granted: slices.Clone(r.GetGrantedScopes()), form: form, session: session,
	}, err
}

// unpack makes the request that was stored, if its client may still have it.
func (m *memory) unpack(ctx context.Context, p packed, session fosite.Session) (fosite.Requester, error) {
	client, err := m.GetClient(ctx, p.clientID)
	if err != nil {
		return nil, err
	}
	// Only a session that is new is filled in.
	if session == nil || !reflect.ValueOf(session).Elem().IsZero() {
		session = new(openid.DefaultSession)
	}
	if err := json.Unmarshal(p.session, session); err != nil {
		return nil, err
	}
	form := url.Values{}
	for k, v := range p.form {
		form[k] = slices.Clone(v)
	}
	return &fosite.Request{
		ID: p.id, Client: client, RequestedAt: p.at, Form: form, Session: session,
		RequestedScope: slices.Clone(p.scopes), GrantedScope: slices.Clone(p.granted),
	}, nil
}

// live is the grant of that id, if it is.
func (r *rows) live(id string) (oauthreg.Grant, bool) {
	g, ok := r.grants[id]
	return g, ok && g.RevokedAt.IsZero() && g.ExpiresAt.After(time.Now())
}

// put stores a code or a token of a request beneath its grant.
func (m *memory) put(ctx context.Context, sig string, req fosite.Requester, kind fosite.TokenType, into func(*rows) map[string]stored) error {
	if sig == "" {
		return fosite.ErrNotFound
	}
	p, err := m.pack(ctx, req)
	if err != nil {
		return err
	}
	s := stored{packed: p, expires: req.GetSession().GetExpiresAt(kind)}
	if a, ok := req.(fosite.AccessRequester); ok && a.GetGrantTypes().ExactOne("client_credentials") {
		if _, err := m.GetClient(ctx, p.clientID); err != nil {
			return err
		}
		s.machine = true
		return m.write(ctx, func(r *rows) error { into(r)[sig] = s; return nil })
	}
	subject := req.GetSession().GetSubject()
	return m.write(ctx, func(r *rows) error {
		g, live := r.live(p.id)
		_, known := r.grants[p.id]
		if kind == fosite.AuthorizeCode && !known {
			g, live = oauthreg.Grant{ID: p.id, ClientID: p.client, Subject: subject, Scopes: p.granted, CreatedAt: time.Now()}, true
		}
		if !live {
			return fosite.ErrNotFound
		}
		if s.expires.After(g.ExpiresAt) {
			g.ExpiresAt = s.expires
		}
		r.grants[p.id] = g
		into(r)[sig] = s
		return nil
	})
}

func codesOf(r *rows) map[string]stored   { return r.codes }
func accessOf(r *rows) map[string]stored  { return r.access }
func refreshOf(r *rows) map[string]stored { return r.refresh }

func (m *memory) CreateAuthorizeCodeSession(ctx context.Context, sig string, r fosite.Requester) error {
	return m.put(ctx, sig, r, fosite.AuthorizeCode, codesOf)
}

func (m *memory) CreateAccessTokenSession(ctx context.Context, sig string, r fosite.Requester) error {
	return m.put(ctx, sig, r, fosite.AccessToken, accessOf)
}

func (m *memory) CreateRefreshTokenSession(ctx context.Context, sig, _ string, r fosite.Requester) error {
	return m.put(ctx, sig, r, fosite.RefreshToken, refreshOf)
}

// get returns what was stored, beside the error used when it was used.
func (m *memory) get(ctx context.Context, of func(*rows) map[string]stored, sig string, session fosite.Session, used error) (fosite.Requester, error) {
	r := m.read()
	s, ok := of(r)[sig]
	if !ok || !s.used && !s.expires.After(time.Now()) {
		return nil, fosite.ErrNotFound
	}
	if _, live := r.live(s.id); !live && !s.machine {
		return nil, fosite.ErrNotFound
	}
	req, err := m.unpack(ctx, s.packed, session)
	if err == nil && s.used {
		err = used
	}
	return req, err
}

func (m *memory) GetAuthorizeCodeSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	return m.get(ctx, codesOf, sig, session, fosite.ErrInvalidatedAuthorizeCode)
}

func (m *memory) GetAccessTokenSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	return m.get(ctx, accessOf, sig, session, nil)
}

func (m *memory) GetRefreshTokenSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	return m.get(ctx, refreshOf, sig, session, fosite.ErrInactiveToken)
}

// use marks what may be used once.
func (m *memory) use(ctx context.Context, of func(*rows) map[string]stored, sig string, used error) error {
	return m.write(ctx, func(r *rows) error {
		s, ok := of(r)[sig]
		if ok && s.used {
			return used
		}
		if _, live := r.live(s.id); !ok || !live || !s.expires.After(time.Now()) {
			return fosite.ErrNotFound
		}
		s.used = true
		of(r)[sig] = s
		return nil
	})
}

func (m *memory) InvalidateAuthorizeCodeSession(ctx context.Context, sig string) error {
	return m.use(ctx, codesOf, sig, fosite.ErrInvalidatedAuthorizeCode)
}

func (m *memory) RotateRefreshToken(ctx context.Context, _, sig string) error {
	return m.use(ctx, refreshOf, sig, fosite.ErrInactiveToken)
}

func (m *memory) DeleteAccessTokenSession(ctx context.Context, sig string) error {
	return m.write(ctx, func(r *rows) error { delete(r.access, sig); return nil })
}

func (m *memory) DeleteRefreshTokenSession(ctx context.Context, sig string) error {
	return m.write(ctx, func(r *rows) error { delete(r.refresh, sig); return nil })
}

func (m *memory) RevokeAccessToken(ctx context.Context, id string) error {
	return m.write(ctx, func(r *rows) error { r.revoke(id); return nil })
}

func (m *memory) RevokeRefreshToken(ctx context.Context, id string) error {
	return m.RevokeAccessToken(ctx, id)
}

func (r *rows) revoke(id string) {
	if g, ok := r.grants[id]; ok {
		g.RevokedAt = time.Now()
		r.grants[id] = g
		return
	}
	maps.DeleteFunc(r.access, func(_ string, s stored) bool { return s.machine && s.id == id })
}

// beside stores something with a code.
func (m *memory) beside(ctx context.Context, sig string, req fosite.Requester, set func(*stored, *packed)) error {
	p, err := m.pack(ctx, req)
	if err != nil {
		return err
	}
	return m.write(ctx, func(r *rows) error {
		s, ok := r.codes[sig]
		if !ok {
			return fosite.ErrNotFound
		}
		set(&s, &p)
		r.codes[sig] = s
		return nil
	})
}

func (m *memory) CreatePKCERequestSession(ctx context.Context, sig string, r fosite.Requester) error {
	return m.beside(ctx, sig, r, func(s *stored, p *packed) { s.pkce = p })
}

func (m *memory) GetPKCERequestSession(ctx context.Context, sig string, _ fosite.Session) (fosite.Requester, error) {
	r := m.read()
	if _, live := r.live(r.codes[sig].id); !live {
		return nil, fosite.ErrNotFound
	}
	if s := r.codes[sig]; s.pkce != nil {
		return m.unpack(ctx, *s.pkce, nil)
	}
	return nil, fosite.ErrNotFound
}

func (m *memory) DeletePKCERequestSession(context.Context, string) error { return nil }

func (m *memory) CreateOpenIDConnectSession(ctx context.Context, code string, r fosite.Requester) error {
	return m.beside(ctx, code[strings.LastIndexByte(code, '.')+1:], r, func(s *stored, p *packed) { s.openid = p })
}

func (m *memory) GetOpenIDConnectSession(ctx context.Context, code string, _ fosite.Requester) (fosite.Requester, error) {
	r := m.read()
	if s, ok := r.codes[code[strings.LastIndexByte(code, '.')+1:]]; ok && s.openid != nil {
		return m.unpack(ctx, *s.openid, nil)
	}
	return nil, openid.ErrNoSessionFound
}

func (m *memory) DeleteOpenIDConnectSession(context.Context, string) error { return nil }

// Grants and consents.

func (m *memory) CreateGrant(ctx context.Context, g oauthreg.Grant) error {
	return m.write(ctx, func(r *rows) error {
		if _, taken := r.grants[g.ID]; taken {
			return oauthreg.ErrConflict
		}
		g.ConsentID = m.savedAs(g.ConsentID)
		if c, ok := r.consents[[2]string{g.ClientID, g.Subject}]; g.ConsentID != "" && (!ok || c.ID != g.ConsentID) {
			return oauthreg.ErrConflict
		}
		if g.CreatedAt.IsZero() {
			g.CreatedAt = time.Now()
		}
		r.grants[g.ID] = g
		return nil
	})
}

func (m *memory) Grant(_ context.Context, id string) (oauthreg.Grant, error) {
	if g, live := m.read().live(id); live {
		return g, nil
	}
	return oauthreg.Grant{}, oauthreg.ErrNotFound
}

func (m *memory) UseGrant(ctx context.Context, id string, at, expires time.Time) error {
	return m.write(ctx, func(r *rows) error {
		g, live := r.live(id)
		if !live {
			return oauthreg.ErrNotFound
		}
		g.LastUsedAt, g.ExpiresAt = at, expires
		r.grants[id] = g
		return nil
	})
}

// selects reports whether a filter selects a grant or consent.
func (m *memory) selects(f oauthreg.GrantFilter, id, clientID, subject, sessionID string) bool {
	is := func(want, have string) bool { return want == "" || want == have }
	if !is(f.ID, id) || !is(f.ClientID, clientID) || !is(f.Subject, subject) || !is(f.SessionID, sessionID) {
		return false
	}
	if f.OrgID == "" && f.ProjectID == "" {
		return true
	}
	rec, err := m.Client(context.Background(), oauthreg.ByID(clientID))
	return err == nil && is(f.OrgID, rec.Client.OrgID) && is(f.ProjectID, rec.Client.ProjectID)
}

func window[T any](all []T, offset, limit int) []T {
	all = all[min(offset, len(all)):]
	return all[:min(cmp.Or(limit, 100), len(all))]
}

func (m *memory) ListGrants(_ context.Context, f oauthreg.GrantFilter, offset, limit int) ([]oauthreg.Grant, int, error) {
	r := m.read()
	var found []oauthreg.Grant
	for id, g := range r.grants {
		if _, live := r.live(id); live && m.selects(f, id, g.ClientID, g.Subject, g.SessionID) {
			found = append(found, g)
		}
	}
	slices.SortFunc(found, func(a, b oauthreg.Grant) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return window(found, offset, limit), len(found), nil
}

var errAll = errors.New("the filter is empty")

func (m *memory) RevokeGrants(ctx context.Context, f oauthreg.GrantFilter) (n int, err error) {
	if f == (oauthreg.GrantFilter{}) {
		return 0, errAll
	}
	err = m.write(ctx, func(r *rows) error {
		for id, g := range r.grants {
			if _, live := r.live(id); live && m.selects(f, id, g.ClientID, g.Subject, g.SessionID) {
				r.revoke(id)
				n++
			}
		}
		return nil
	})
	return n, err
}

func (m *memory) Consent(_ context.Context, clientID, subject string) (oauthreg.Consent, error) {
	if c, ok := m.read().consents[[2]string{clientID, subject}]; ok {
		return c, nil
	}
	return oauthreg.Consent{}, oauthreg.ErrNotFound
}

// SaveConsent gives an id that follows from the two, so that it is known before
// the commit.
func (m *memory) SaveConsent(ctx context.Context, c oauthreg.Consent) (string, error) {
	return m.saveConsent(ctx, unique("consent"), c)
}

// saveConsent is SaveConsent with the id that a new one gets.
func (m *memory) saveConsent(ctx context.Context, id string, c oauthreg.Consent) (string, error) {
	if c.CreatedAt.IsZero() {
		c.CreatedAt = time.Now()
	}
	if c.LastUsedAt.IsZero() {
		c.LastUsedAt = c.CreatedAt
	}
	err := m.write(ctx, func(r *rows) error {
		key := [2]string{c.ClientID, c.Subject}
		have, ok := r.consents[key]
		if c.ID != "" && have.ID != c.ID {
			return oauthreg.ErrConflict
		}
		if !ok {
			have = oauthreg.Consent{ID: id, ClientID: c.ClientID, Subject: c.Subject, CreatedAt: c.CreatedAt}
		}
		have.Scopes, have.Resources, have.LastUsedAt = joined(have.Scopes, c.Scopes), joined(have.Resources, c.Resources), c.LastUsedAt
		r.consents[key] = have
		m.saved.Store(id, have.ID)
		return nil
	})
	return m.savedAs(id), err
}

// savedAs is the consent that was saved under an id, which before the commit is
// that id alone.
func (m *memory) savedAs(id string) string {
	if as, ok := m.saved.Load(id); ok {
		return as.(string)
	}
	return id
}

func joined(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func (m *memory) ListConsents(_ context.Context, f oauthreg.GrantFilter, offset, limit int) ([]oauthreg.Consent, int, error) {
	r := m.read()
	var found []oauthreg.Consent
	for _, c := range r.consents {
		if !m.selects(f, c.ID, c.ClientID, c.Subject, "") {
			continue
		}
		c.LastIssuedAt = c.LastUsedAt
		for id, g := range r.grants {
			if _, live := r.live(id); live && g.ConsentID == c.ID && g.LastUsedAt.After(c.LastIssuedAt) {
				c.LastIssuedAt = g.LastUsedAt
			}
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(a, b oauthreg.Consent) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return window(found, offset, limit), len(found), nil
}

func (m *memory) RevokeConsents(_ context.Context, f oauthreg.GrantFilter) (n int, err error) {
	if f == (oauthreg.GrantFilter{}) {
		return 0, errAll
	}
	err = m.change(func(r *rows) error {
		for key, c := range r.consents {
			if !m.selects(f, c.ID, c.ClientID, c.Subject, "") {
				continue
			}
			delete(r.consents, key)
			n++
			for id, g := range r.grants {
				if g.ConsentID == c.ID {
					r.revoke(id)
				}
			}
		}
		return nil
	})
	return n, err
}

// Sign-in sessions, interactions, logout notices, permissions to register.

func liveSession(l oauthreg.LoginSession) bool {
	now := time.Now()
	return l.ExpiresAt.After(now) && l.IdleExpiresAt.After(now)
}

func (m *memory) CreateLoginSession(ctx context.Context, l oauthreg.LoginSession) error {
	return m.write(ctx, func(r *rows) error { r.sessions[l.Handle] = l; return nil })
}

func (m *memory) LoginSession(_ context.Context, handle string) (oauthreg.LoginSession, error) {
	if l, ok := m.read().sessions[handle]; ok && liveSession(l) {
		return l, nil
	}
	return oauthreg.LoginSession{}, oauthreg.ErrNotFound
}

func (m *memory) TouchLoginSession(_ context.Context, handle string, seen, idle time.Time) error {
	return m.change(func(r *rows) error {
		l, ok := r.sessions[handle]
		if !ok || !liveSession(l) {
			return oauthreg.ErrNotFound
		}
		l.LastSeenAt, l.IdleExpiresAt = seen, idle
		r.sessions[handle] = l
		return nil
	})
}

func (m *memory) ListLoginSessions(_ context.Context, subject string) (list []oauthreg.LoginSession, err error) {
	for _, l := range m.read().sessions {
		if l.Subject == subject && liveSession(l) {
			l.Handle = ""
			list = append(list, l)
		}
	}
	slices.SortFunc(list, func(a, b oauthreg.LoginSession) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return list, nil
}

func (m *memory) EndLoginSession(ctx context.Context, sessionID string) error {
	return m.write(ctx, func(r *rows) error {
		maps.DeleteFunc(r.sessions, func(_ string, l oauthreg.LoginSession) bool { return l.SessionID == sessionID })
		return nil
	})
}

func (m *memory) CreateInteraction(ctx context.Context, i oauthreg.Interaction) error {
	return m.write(ctx, func(r *rows) error {
		if _, taken := r.interactions[i.Handle]; taken {
			return oauthreg.ErrConflict
		}
		r.interactions[i.Handle] = waiting{Interaction: i}
		return nil
	})
}

func (m *memory) Interaction(_ context.Context, handle, browser string) (oauthreg.Interaction, error) {
	i, err := m.read().pending(handle)
	if err != nil || browser != "" && browser != i.Browser {
		return oauthreg.Interaction{}, cmp.Or(err, oauthreg.ErrNotFound)
	}
	i.Browser = ""
	return i.Interaction, nil
}

func (r *rows) pending(handle string) (waiting, error) {
	i, ok := r.interactions[handle]
	switch {
	case !ok, !i.ExpiresAt.After(time.Now()):
		return i, oauthreg.ErrNotFound
	case i.finished:
		return i, oauthreg.ErrConsumed
	}
	return i, nil
}

func (m *memory) UpdateInteraction(ctx context.Context, with oauthreg.Interaction) error {
	return m.write(ctx, func(r *rows) error {
		i, err := r.pending(with.Handle)
		if err == nil {
			i.Subject, i.SessionID, i.Request = with.Subject, with.SessionID, slices.Clone(with.Request)
			r.interactions[with.Handle] = i
		}
		return err
	})
}

func (m *memory) FinishInteraction(ctx context.Context, handle string) error {
	return m.write(ctx, func(r *rows) error {
		i, err := r.pending(handle)
		if err == nil {
			i.finished = true
			r.interactions[handle] = i
		}
		return err
	})
}

func (m *memory) JoinSession(ctx context.Context, member oauthreg.SessionMember) error {
	return m.write(ctx, func(r *rows) error { r.members[[2]string{member.SessionID, member.ClientID}] = member; return nil })
}

func (m *memory) SessionMembers(_ context.Context, sessionID string) (list []oauthreg.SessionMember, err error) {
	for key, member := range m.read().members {
		if key[0] == sessionID && member.ExpiresAt.After(time.Now()) {
			list = append(list, member)
		}
	}
	slices.SortFunc(list, func(a, b oauthreg.SessionMember) int { return strings.Compare(a.ClientID, b.ClientID) })
	return list, nil
}

func (m *memory) EndSession(ctx context.Context, sessionID string, at time.Time) error {
	return m.write(ctx, func(r *rows) error {
		for key, member := range r.members {
			if key[0] == sessionID {
				delete(r.members, key)
				if !member.ExpiresAt.After(time.Now()) {
					continue
				}
				id := unique("notice")
				r.notices[id] = notice{oauthreg.LogoutNotice{SessionMember: member, ID: id, EndedAt: at}, at}
			}
		}
		return nil
	})
}

func (m *memory) ClaimLogouts(_ context.Context, now, until time.Time, limit int) (list []oauthreg.LogoutNotice, err error) {
	err = m.change(func(r *rows) error {
		var due []notice
		for _, n := range r.notices {
			if !n.due.After(now) {
				due = append(due, n)
			}
		}
		slices.SortFunc(due, func(a, b notice) int { return a.due.Compare(b.due) })
		for _, n := range due[:min(limit, len(due))] {
			n.due, n.Lease = until, unique("lease")
			r.notices[n.ID] = n
			list = append(list, n.LogoutNotice)
		}
		return nil
	})
	return list, err
}

func (m *memory) LogoutDelivered(_ context.Context, done oauthreg.LogoutNotice) error {
	return m.change(func(r *rows) error {
		if r.notices[done.ID].Lease == done.Lease {
			delete(r.notices, done.ID)
		}
		return nil
	})
}

func (m *memory) LogoutFailed(_ context.Context, failed oauthreg.LogoutNotice, retry time.Time) error {
	return m.change(func(r *rows) error {
		if n, ok := r.notices[failed.ID]; ok && n.Lease == failed.Lease {
			n.due, n.Lease = retry, ""
			n.Attempts++
			r.notices[failed.ID] = n
		}
		return nil
	})
}

func (m *memory) CreateInitialAccessToken(_ context.Context, t oauthreg.InitialAccessToken) error {
	return m.change(func(r *rows) error {
		for _, have := range r.permissions {
			if have.ID == t.ID || string(have.Digest) == string(t.Digest) {
				return oauthreg.ErrConflict
			}
		}
		r.permissions[string(t.Digest)] = clonePermission(t)
		return nil
	})
}

func clonePermission(t oauthreg.InitialAccessToken) oauthreg.InitialAccessToken {
	t.Digest, t.Scopes, t.GrantTypes = slices.Clone(t.Digest), slices.Clone(t.Scopes), slices.Clone(t.GrantTypes)
	return t
}

func (m *memory) InitialAccessToken(_ context.Context, digest []byte) (oauthreg.InitialAccessToken, error) {
	if t, ok := m.read().permissions[string(digest)]; ok {
		return clonePermission(t), nil
	}
	return oauthreg.InitialAccessToken{}, oauthreg.ErrNotFound
}

func (m *memory) UseInitialAccessToken(_ context.Context, digest []byte, now time.Time) error {
	return m.change(func(r *rows) error {
		t, ok := r.permissions[string(digest)]
		if !ok || t.Expired(now) {
			return oauthreg.ErrNotFound
		}
		if t.UsedUp() {
			return oauthreg.ErrConsumed
		}
		t.Uses++
		r.permissions[string(digest)] = t
		return nil
	})
}

func (m *memory) ListInitialAccessTokens(_ context.Context, offset, limit int) (list []oauthreg.InitialAccessToken, err error) {
	list = slices.SortedFunc(maps.Values(m.read().permissions), func(a, b oauthreg.InitialAccessToken) int { return b.CreatedAt.Compare(a.CreatedAt) })
	for i := range list {
		list[i] = clonePermission(list[i])
	}
	return window(list, offset, limit), nil
}

func (m *memory) DeleteInitialAccessToken(_ context.Context, id string) error {
	return m.change(func(r *rows) error {
		before := len(r.permissions)
		maps.DeleteFunc(r.permissions, func(_ string, t oauthreg.InitialAccessToken) bool { return t.ID == id })
		if len(r.permissions) == before {
			return oauthreg.ErrNotFound
		}
		return nil
	})
}

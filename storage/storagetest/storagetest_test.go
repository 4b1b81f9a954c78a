package storagetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

// A database of package storage, the smallest; the others are in its own tests.
func TestStorage(t *testing.T) { Run(t, sqlite) }

func sqlite(t *testing.T) Store {
	t.Helper()
	s, err := storage.Open(":memory:", storage.Config{EncryptionKeys: [][]byte{make([]byte, 32)}, RefreshGrace: -1})
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	must(t, s.Migrate(t.Context()))
	return s
}

// recorder notes failures instead of failing the test.
type recorder struct {
	testing.TB
	mu     sync.Mutex
	failed []string
}

func (r *recorder) note(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, text)
}

func (r *recorder) Helper()                   {}
func (r *recorder) Error(args ...any)         { r.note(fmt.Sprint(args...)) }
func (r *recorder) Errorf(f string, a ...any) { r.note(fmt.Sprintf(f, a...)) }
func (r *recorder) Fatalf(f string, a ...any) { r.note(fmt.Sprintf(f, a...)); runtime.Goexit() }

// breaks runs a rule on what wrap makes of a store in memory and returns what it
// says. A rule may rely on what another has found out, and panic.
func breaks(t *testing.T, r rule, wrap func(Store) Store) []string {
	rec := &recorder{TB: t}
	var wg sync.WaitGroup
	s := wrap(newMemory())
	wg.Go(func() {
		defer func() {
			if p := recover(); p != nil {
				rec.note(fmt.Sprint("panic: ", p))
			}
		}()
		r.run(rec, s) // which Fatalf ends
	})
	wg.Wait()
	return rec.failed
}

// broken returns the names of the rules that a store breaks.
func broken(t *testing.T, wrap func(Store) Store) (names, texts []string) {
	for _, r := range rules {
		if failed := breaks(t, r, wrap); len(failed) > 0 {
			names = append(names, r.name)
			texts = append(texts, failed...)
		}
	}
	return names, texts
}

// Stores that break one rule each. The embedded store does the rest.
type (
	deadPing         struct{ Store }
	noSingleUse      struct{ Store }
	noReplay         struct{ Store }
	nilForEmpty      struct{ Store }
	zombieTokens     struct{ Store }
	lostUpdates      struct{ Store }
	silentUpdates    struct{ Store }
	anyOwner         struct{ Store }
	foldedIDs        struct{ Store }
	exactCase        struct{ Store }
	looseGrants      struct{ Store }
	takesEmptyFilter struct{ Store }
	narrowConsent    struct{ Store }
	unusedConsent    struct{ Store }
	sameConsent      struct{ Store }
	revivedConsent   struct{ Store }
	anyBrowser       struct{ Store }
	endless          struct{ Store }
	twiceCreated     struct{ Store }
	twiceFinished    struct{ Store }
	loudRollback     struct{ Store }
	flatTransactions struct{ Store }
	greedyClaims     struct{ Store }
	manyKeys         struct{ Store }
	silentKeys       struct{ Store }
	unlimited        struct{ Store }
	reusedAssertion  struct{ Store }
	wholeFamily      struct{ Store }
	refreshReplay    struct{ Store }
	overwrites       struct{ Store }
	forgetful        struct{ Store }
	takenTwice       struct{ Store }
	keepsDeleted     struct{ Store }
	servesSuspended  struct{ Store }
	loudRevocation   struct{ Store }
	pickySession     struct{ Store }
	lateCode         struct{ Store }
	noNonce          struct{ Store }
	lateToken        struct{ Store }
	halfRevocation   struct{ Store }
	readThenRotate   struct{ Store }
	halfCommit       struct{ Store }
	blindFilter      struct{ Store }
	looseConsent     struct{ Store }
	allSignIns       struct{ Store }
	lateSignIn       struct{ Store }
	noChallenge      struct {
		Store
		deleted *sync.Map
	}
	sharedReads struct {
		Store
		first *sync.Map
	}
	checkThenIssue struct {
		Store
		zombies *sync.Map
	}
	doubleNotice struct {
		Store
		ended *sync.Map
	}
)

func (deadPing) Ping(context.Context) error { return oauthreg.ErrUnavailable }

func (s noSingleUse) InvalidateAuthorizeCodeSession(ctx context.Context, sig string) error {
	err := s.Store.InvalidateAuthorizeCodeSession(ctx, sig)
	if errors.Is(err, fosite.ErrInvalidatedAuthorizeCode) {
		return nil
	}
	return err
}

func (s noReplay) GetAuthorizeCodeSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	r, err := s.Store.GetAuthorizeCodeSession(ctx, sig, session)
	if errors.Is(err, fosite.ErrInvalidatedAuthorizeCode) {
		return nil, err
	}
	return r, err
}

func (s refreshReplay) GetRefreshTokenSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	r, err := s.Store.GetRefreshTokenSession(ctx, sig, session)
	if errors.Is(err, fosite.ErrInactiveToken) {
		return nil, fosite.ErrNotFound
	}
	return r, err
}

// noChallenge does as it is told.
func (s noChallenge) DeletePKCERequestSession(_ context.Context, sig string) error {
	s.deleted.Store(sig, true)
	return nil
}

func (s noChallenge) GetPKCERequestSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	if _, gone := s.deleted.Load(sig); gone {
		return nil, fosite.ErrNotFound
	}
	return s.Store.GetPKCERequestSession(ctx, sig, session)
}

func (s nilForEmpty) GetAccessTokenSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	if sig == "" {
		return nil, nil
	}
	return s.Store.GetAccessTokenSession(ctx, sig, session)
}

// zombieTokens stores what is issued beneath no grant elsewhere.
func (s zombieTokens) CreateAccessTokenSession(ctx context.Context, sig string, r fosite.Requester) error {
	err := s.Store.CreateAccessTokenSession(ctx, sig, r)
	if _, known := rowsOf(s).grants[r.GetID()]; sig != "" && !known && errors.Is(err, fosite.ErrNotFound) {
		if _, ok := r.(*fosite.Request); ok {
			return nil
		}
	}
	return err
}

func (s lostUpdates) UpdateClient(ctx context.Context, ref oauthreg.Ref, change func(*oauthreg.Record) (*oauthreg.AuditRecord, error)) error {
	rec, err := s.Client(ctx, ref)
	if err != nil {
		return err
	}
	audit, err := change(&rec)
	if err != nil {
		return err
	}
	runtime.Gosched()
	return s.Store.UpdateClient(ctx, ref, func(now *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		*now = rec
		return audit, nil
	})
}

func (s silentUpdates) AuditRecords(ctx context.Context, q oauthreg.AuditQuery) ([]oauthreg.AuditRecord, error) {
	records, err := s.Store.AuditRecords(ctx, q)
	return slices.DeleteFunc(records, func(a oauthreg.AuditRecord) bool { return a.Action == "client.updated" }), err
}

func (s silentKeys) AuditRecords(ctx context.Context, q oauthreg.AuditQuery) ([]oauthreg.AuditRecord, error) {
	records, err := s.Store.AuditRecords(ctx, q)
	return slices.DeleteFunc(records, func(a oauthreg.AuditRecord) bool { return a.Action == "signing_key.withdrawn" }), err
}

func (s anyOwner) Client(ctx context.Context, ref oauthreg.Ref) (oauthreg.Record, error) {
	ref.ProjectID = ""
	return s.Store.Client(ctx, ref)
}

func (s foldedIDs) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	c, err := s.Store.GetClient(ctx, id)
	if errors.Is(err, fosite.ErrNotFound) {
		return s.Store.GetClient(ctx, strings.ToLower(id))
	}
	return c, err
}

func (s exactCase) ListClients(ctx context.Context, q oauthreg.ListQuery) ([]oauthreg.Client, int, error) {
	list, total, err := s.Store.ListClients(ctx, q)
	return slices.DeleteFunc(list, func(k oauthreg.Client) bool { return !strings.Contains(k.Name, q.NameContains) }), total, err
}

func (s looseGrants) UseGrant(ctx context.Context, id string, at, expires time.Time) error {
	err := s.Store.UseGrant(ctx, id, at, expires)
	if _, known := rowsOf(s).grants[id]; known && errors.Is(err, oauthreg.ErrNotFound) {
		return nil
	}
	return err
}

func (s takesEmptyFilter) RevokeGrants(ctx context.Context, f oauthreg.GrantFilter) (int, error) {
	if f == (oauthreg.GrantFilter{}) {
		return 0, nil
	}
	return s.Store.RevokeGrants(ctx, f)
}

// narrowConsent replaces what was given before.
func (s narrowConsent) SaveConsent(ctx context.Context, c oauthreg.Consent) (string, error) {
	_ = under(s).write(ctx, func(r *rows) error {
		key := [2]string{c.ClientID, c.Subject}
		if have, ok := r.consents[key]; ok {
			have.Scopes, have.Resources = nil, nil
			r.consents[key] = have
		}
		return nil
	})
	return s.Store.SaveConsent(ctx, c)
}

// sameConsent names a consent by client and subject.
func (s sameConsent) SaveConsent(ctx context.Context, c oauthreg.Consent) (string, error) {
	return under(s).saveConsent(ctx, c.ClientID+" "+c.Subject, c)
}

// revivedConsent takes whatever id there is.
func (s revivedConsent) SaveConsent(ctx context.Context, c oauthreg.Consent) (string, error) {
	c.ID = ""
	return s.Store.SaveConsent(ctx, c)
}

// unusedConsent does not look at the grants beneath.
func (s unusedConsent) ListConsents(ctx context.Context, f oauthreg.GrantFilter, offset, limit int) ([]oauthreg.Consent, int, error) {
	list, total, err := s.Store.ListConsents(ctx, f, offset, limit)
	for i := range list {
		list[i].LastIssuedAt = list[i].LastUsedAt
	}
	return list, total, err
}

func (s anyBrowser) Interaction(ctx context.Context, handle, _ string) (oauthreg.Interaction, error) {
	return s.Store.Interaction(ctx, handle, "")
}

func (s endless) CreateInteraction(ctx context.Context, i oauthreg.Interaction) error {
	if i.ExpiresAt.Before(time.Now()) {
		i.ExpiresAt = time.Now().Add(time.Hour)
	}
	return s.Store.CreateInteraction(ctx, i)
}

func (s twiceCreated) CreateInteraction(ctx context.Context, i oauthreg.Interaction) error {
	err := s.Store.CreateInteraction(ctx, i)
	if errors.Is(err, oauthreg.ErrConflict) {
		return nil
	}
	return err
}

func (s twiceFinished) FinishInteraction(ctx context.Context, handle string) error {
	err := s.Store.FinishInteraction(ctx, handle)
	if errors.Is(err, oauthreg.ErrConsumed) {
		return nil
	}
	return err
}

func (s loudRollback) Rollback(ctx context.Context) error {
	// A transaction that can still be begun in is open.
	if _, err := s.BeginTX(ctx); err != nil {
		return errors.New("the transaction has ended")
	}
	return s.Store.Rollback(ctx)
}

// flatTransactions ends the outer transaction with the inner one.
func (s flatTransactions) BeginTX(ctx context.Context) (context.Context, error) {
	if ctx.Value(flatTransactions{}) != nil {
		return ctx, nil
	}
	ctx, err := s.Store.BeginTX(ctx)
	return context.WithValue(ctx, flatTransactions{}, true), err
}

// doubleNotice makes another notice when a session that has ended is ended
// again, once.
func (s doubleNotice) EndSession(ctx context.Context, sessionID string, at time.Time) error {
	err := s.Store.EndSession(ctx, sessionID, at)
	calls, _ := s.ended.LoadOrStore(sessionID, new(atomic.Int64))
	if calls.(*atomic.Int64).Add(1) == 2 {
		err = errors.Join(err,
			s.JoinSession(ctx, oauthreg.SessionMember{SessionID: sessionID, ClientID: "k", Subject: "alice", ExpiresAt: at.Add(time.Hour)}),
			s.Store.EndSession(ctx, sessionID, at))
	}
	return err
}

// greedyClaims does not settle what was claimed.
func (greedyClaims) LogoutDelivered(context.Context, oauthreg.LogoutNotice) error { return nil }

// manyKeys makes changes of what was there a moment ago.
func (s manyKeys) UpdateSigningKeys(ctx context.Context, change func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error)) error {
	before, err := s.SigningKeys(ctx)
	if err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < time.Millisecond; {
		runtime.Gosched()
	}
	return s.Store.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
		return change(before)
	})
}

func (s unlimited) UseInitialAccessToken(ctx context.Context, digest []byte, now time.Time) error {
	err := s.Store.UseInitialAccessToken(ctx, digest, now)
	if errors.Is(err, oauthreg.ErrConsumed) {
		return nil
	}
	return err
}

func (s reusedAssertion) SetClientAssertionJWT(ctx context.Context, jti string, exp time.Time) error {
	err := s.Store.SetClientAssertionJWT(ctx, jti, exp)
	if errors.Is(err, fosite.ErrJTIKnown) {
		return nil
	}
	return err
}

func (s wholeFamily) DeleteAccessTokenSession(ctx context.Context, sig string) error {
	r, err := s.GetAccessTokenSession(ctx, sig, nil)
	if err != nil {
		return nil
	}
	return s.RevokeAccessToken(ctx, r.GetID())
}

func (s overwrites) GetAuthorizeCodeSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	if session != nil {
		session.SetExpiresAt(fosite.AuthorizeCode, time.Time{})
	}
	return s.Store.GetAuthorizeCodeSession(ctx, sig, session)
}

func (s forgetful) Client(ctx context.Context, ref oauthreg.Ref) (oauthreg.Record, error) {
	rec, err := s.Store.Client(ctx, ref)
	rec.Client.Metadata = nil
	return rec, err
}

// takenTwice minds the id alone.
func (s takenTwice) InsertClient(ctx context.Context, rec oauthreg.Record, audit oauthreg.AuditRecord) error {
	err := s.Store.InsertClient(ctx, rec, audit)
	if _, taken := s.Client(ctx, oauthreg.ByID(rec.Client.ID)); errors.Is(err, oauthreg.ErrConflict) && taken != nil {
		return nil
	}
	return err
}

// keepsDeleted forgets about consents.
func (s keepsDeleted) DeleteClient(ctx context.Context, ref oauthreg.Ref, describe func(oauthreg.Record) (oauthreg.AuditRecord, error)) error {
	consents := rowsOf(s).consents
	if err := s.Store.DeleteClient(ctx, ref, describe); err != nil {
		return err
	}
	return under(s).change(func(r *rows) error { r.consents = consents; return nil })
}

func (s servesSuspended) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	c, err := s.Store.GetClient(ctx, id)
	if _, known := s.Client(ctx, oauthreg.ByClientID(id)); err != nil && known == nil {
		return &fosite.DefaultClient{ID: id}, nil
	}
	return c, err
}

func (s loudRevocation) RevokeRefreshToken(ctx context.Context, id string) error {
	if _, err := s.Grant(ctx, id); err != nil {
		return fosite.ErrNotFound
	}
	return s.Store.RevokeRefreshToken(ctx, id)
}

// sharedReads returns the same value again.
func (s sharedReads) GetAccessTokenSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	r, err := s.Store.GetAccessTokenSession(ctx, sig, session)
	if err != nil {
		return r, err
	}
	first, _ := s.first.LoadOrStore(sig, r)
	return first.(fosite.Requester), nil
}

func (s pickySession) GetRefreshTokenSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	if session != nil {
		return nil, errors.New("a session was given")
	}
	return s.Store.GetRefreshTokenSession(ctx, sig, session)
}

// lateCode does not mind when a code is used.
func (s lateCode) InvalidateAuthorizeCodeSession(ctx context.Context, sig string) error {
	err := s.Store.InvalidateAuthorizeCodeSession(ctx, sig)
	if errors.Is(err, fosite.ErrNotFound) {
		return nil
	}
	return err
}

// noNonce forgets it with the exchange.
func (s noNonce) GetOpenIDConnectSession(ctx context.Context, code string, r fosite.Requester) (fosite.Requester, error) {
	if rowsOf(s).codes[code[strings.LastIndexByte(code, '.')+1:]].used {
		return nil, fosite.ErrNotFound
	}
	return s.Store.GetOpenIDConnectSession(ctx, code, r)
}

// lateToken prolongs tokens that have ended.
func (s lateToken) CreateAccessTokenSession(ctx context.Context, sig string, r fosite.Requester) error {
	return s.Store.CreateAccessTokenSession(ctx, sig, prolonged(r, fosite.AccessToken))
}

// prolonged is a request of which a token that has ended has not.
func prolonged(r fosite.Requester, kind fosite.TokenType) fosite.Requester {
	q, ok := r.(*fosite.Request)
	if !ok || q.Session.GetExpiresAt(kind).After(time.Now()) {
		return r
	}
	late := *q
	late.Session = q.Session.Clone()
	late.Session.SetExpiresAt(kind, time.Now().Add(time.Hour))
	return &late
}

// halfRevocation ends no access tokens.
func (s halfRevocation) RevokeRefreshToken(ctx context.Context, id string) error {
	return under(s).write(ctx, func(r *rows) error {
		maps.DeleteFunc(r.refresh, func(_ string, token stored) bool { return token.id == id })
		return nil
	})
}

// checkThenIssue looks at the grant first, and issues later.
func (s checkThenIssue) CreateAccessTokenSession(ctx context.Context, sig string, r fosite.Requester) error {
	if _, err := s.Grant(ctx, r.GetID()); err != nil {
		return s.Store.CreateAccessTokenSession(ctx, sig, r)
	}
	for began := time.Now(); time.Since(began) < 20*time.Millisecond; {
		runtime.Gosched()
	}
	if _, err := s.Grant(ctx, r.GetID()); err != nil {
		s.zombies.Store(sig, r)
		return nil
	}
	return s.Store.CreateAccessTokenSession(ctx, sig, r)
}

func (s checkThenIssue) GetAccessTokenSession(ctx context.Context, sig string, session fosite.Session) (fosite.Requester, error) {
	if r, ok := s.zombies.Load(sig); ok {
		return r.(fosite.Requester), nil
	}
	return s.Store.GetAccessTokenSession(ctx, sig, session)
}

// readThenRotate looks whether the token was used, and marks it later.
func (s readThenRotate) RotateRefreshToken(ctx context.Context, _, sig string) error {
	if _, err := s.GetRefreshTokenSession(ctx, sig, nil); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < time.Millisecond; {
		runtime.Gosched()
	}
	return under(s).write(ctx, func(r *rows) error {
		token := r.refresh[sig]
		token.used = true
		r.refresh[sig] = token
		return nil
	})
}

// halfCommit keeps the access tokens of a transaction that fails.
func (s halfCommit) BeginTX(ctx context.Context) (context.Context, error) {
	ctx, err := s.Store.BeginTX(ctx)
	return context.WithValue(ctx, halfCommit{}, new([]func())), err
}

func (s halfCommit) CreateAccessTokenSession(ctx context.Context, sig string, r fosite.Requester) error {
	if later, ok := ctx.Value(halfCommit{}).(*[]func()); ok {
		*later = append(*later, func() { _ = s.Store.CreateAccessTokenSession(context.Background(), sig, r) })
	}
	return s.Store.CreateAccessTokenSession(ctx, sig, r)
}

func (s halfCommit) Commit(ctx context.Context) error {
	err := s.Store.Commit(ctx)
	if later, ok := ctx.Value(halfCommit{}).(*[]func()); ok && err != nil {
		for _, create := range *later {
			create()
		}
	}
	return err
}

func (s blindFilter) ListGrants(ctx context.Context, f oauthreg.GrantFilter, offset, limit int) ([]oauthreg.Grant, int, error) {
	f.OrgID = ""
	return s.Store.ListGrants(ctx, f, offset, limit)
}

// looseConsent revokes grants too that stand on none.
func (s looseConsent) RevokeConsents(ctx context.Context, f oauthreg.GrantFilter) (int, error) {
	n, err := s.Store.RevokeConsents(ctx, f)
	if err == nil {
		_, err = s.RevokeGrants(ctx, f)
	}
	return n, err
}

// allSignIns ends all at once.
func (s allSignIns) EndLoginSession(ctx context.Context, sessionID string) error {
	return under(s).write(ctx, func(r *rows) error {
		if slices.ContainsFunc(slices.Collect(maps.Values(r.sessions)), func(l oauthreg.LoginSession) bool { return l.SessionID == sessionID }) {
			clear(r.sessions)
		}
		return nil
	})
}

func (s lateSignIn) CreateLoginSession(ctx context.Context, l oauthreg.LoginSession) error {
	if l.IdleExpiresAt.Before(time.Now()) {
		l.IdleExpiresAt = l.ExpiresAt
	}
	return s.Store.CreateLoginSession(ctx, l)
}

// under is the store in memory beneath broken ones.
func under(s any) *memory {
	for {
		if m, ok := s.(*memory); ok {
			return m
		}
		s = reflect.ValueOf(s).FieldByName("Store").Interface()
	}
}

func rowsOf(s any) *rows { return under(s).read() }

// A store that breaks one rule fails that rule and no other.
func TestBrokenStores(t *testing.T) {
	stores := map[string]func(Store) Store{
		"PingAnswers":                     func(s Store) Store { return deadPing{s} },
		"CodeIsUsedOnce":                  func(s Store) Store { return noSingleUse{s} },
		"UsedCodeIsTold":                  func(s Store) Store { return noReplay{s} },
		"UsedRefreshTokenIsTold":          func(s Store) Store { return refreshReplay{s} },
		"ChallengeStaysWithCode":          func(s Store) Store { return noChallenge{s, new(sync.Map)} },
		"EmptySignatureIsNotFound":        func(s Store) Store { return nilForEmpty{s} },
		"TokenNeedsGrant":                 func(s Store) Store { return zombieTokens{s} },
		"ClientChangesAreNotLost":         func(s Store) Store { return lostUpdates{s} },
		"ClientChangesAreAudited":         func(s Store) Store { return silentUpdates{s} },
		"OwnersAreSeparate":               func(s Store) Store { return anyOwner{s} },
		"IdentifiersAreExact":             func(s Store) Store { return foldedIDs{s} },
		"NamesAreSearched":                func(s Store) Store { return exactCase{s} },
		"GrantEnds":                       func(s Store) Store { return looseGrants{s} },
		"EmptyFilterRevokesNothing":       func(s Store) Store { return takesEmptyFilter{s} },
		"ConsentWidens":                   func(s Store) Store { return narrowConsent{s} },
		"ConsentIsGivenAnew":              func(s Store) Store { return sameConsent{s} },
		"RevokedConsentIsNotWidened":      func(s Store) Store { return revivedConsent{s} },
		"ConsentTellsLastIssue":           func(s Store) Store { return unusedConsent{s} },
		"InteractionIsBoundToBrowser":     func(s Store) Store { return anyBrowser{s} },
		"InteractionExpires":              func(s Store) Store { return endless{s} },
		"InteractionIsCreatedOnce":        func(s Store) Store { return twiceCreated{s} },
		"InteractionIsFinishedOnce":       func(s Store) Store { return twiceFinished{s} },
		"RollbackAfterCommitIsQuiet":      func(s Store) Store { return loudRollback{s} },
		"TransactionsNest":                func(s Store) Store { return flatTransactions{s} },
		"LogoutIsNotifiedOnce":            func(s Store) Store { return doubleNotice{s, new(sync.Map)} },
		"LogoutNoticeIsClaimedOnce":       func(s Store) Store { return greedyClaims{s} },
		"SigningKeysAreMadeOnce":          func(s Store) Store { return manyKeys{s} },
		"SigningKeyChangesAreAudited":     func(s Store) Store { return silentKeys{s} },
		"RegistrationPermissionIsLimited": func(s Store) Store { return unlimited{s} },
		"AssertionIsUsedOnce":             func(s Store) Store { return reusedAssertion{s} },
		"OneAccessTokenEndsAlone":         func(s Store) Store { return wholeFamily{s} },
		"LiveSessionIsLeftAlone":          func(s Store) Store { return overwrites{s} },
		"ClientIsKeptWhole":               func(s Store) Store { return forgetful{s} },
		"ClientIDIsUnique":                func(s Store) Store { return takenTwice{s} },
		"DeletedClientsTokensEnd":         func(s Store) Store { return keepsDeleted{s} },
		"SuspendedClientsTokensRest":      func(s Store) Store { return servesSuspended{s} },
		"UnknownIsNotFound":               func(s Store) Store { return loudRevocation{s} },
		"ReadsShareNothing":               func(s Store) Store { return sharedReads{s, new(sync.Map)} },
		"AnySessionArgumentIsTaken":       func(s Store) Store { return pickySession{s} },
		"CodeExpires":                     func(s Store) Store { return lateCode{s} },
		"NonceStaysWithCode":              func(s Store) Store { return noNonce{s} },
		"AccessTokenExpires":              func(s Store) Store { return lateToken{s} },
		"RevocationEndsAll":               func(s Store) Store { return halfRevocation{s} },
		"RevocationBeatsIssue":            func(s Store) Store { return checkThenIssue{s, new(sync.Map)} },
		"RefreshTokenIsUsedOnce":          func(s Store) Store { return readThenRotate{s} },
		"TransactionIsWhole":              func(s Store) Store { return halfCommit{s} },
		"FiltersSelect":                   func(s Store) Store { return blindFilter{s} },
		"RevokedConsentEndsGrants":        func(s Store) Store { return looseConsent{s} },
		"SignInSessionEnds":               func(s Store) Store { return allSignIns{s} },
		"SignInSessionExpires":            func(s Store) Store { return lateSignIn{s} },
	}
	maps.Copy(stores, brokenValues)
	for _, r := range rules {
		if stores[r.name] == nil {
			t.Errorf("no store breaks the rule %s", r.name)
		}
	}
	for want, wrap := range stores {
		t.Run(want, func(t *testing.T) {
			if names, texts := broken(t, wrap); !slices.Equal(names, []string{want}) {
				t.Errorf("got %v broken, want %s alone: %q", names, want, texts)
			}
		})
	}
	for what, b := range brokenFurther {
		t.Run(what, func(t *testing.T) {
			if names, texts := broken(t, b.wrap); !slices.Equal(names, b.rules) {
				t.Errorf("got %v broken, want %v: %q", names, b.rules, texts)
			}
		})
	}
}

// Names are what failures are found by.
func TestRulesAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range rules {
		if seen[r.name] || r.from == "" {
			t.Errorf("%s: the name is not unique, or nothing says where the rule comes from", r.name)
		}
		seen[r.name] = true
	}
}

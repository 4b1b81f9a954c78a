package storagetest

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// More stores that break something. The embedded store does the rest.
type (
	sharedPermission struct{ Store }
	bareCode         struct{ Store }
	deafToMachines   struct{ Store }
	lateRefresh      struct{ Store }
	revivedGrant     struct{ Store }
	shortGrant       struct{ Store }
	accessAlone      struct{ Store }
	wholeGrant       struct{ Store }
	savesAnyway      struct {
		Store
		saved *sync.Map // by transaction
	}
	keepsSession    struct{ Store }
	goneConsent     struct{ Store }
	sameInteraction struct{ Store }
	firstMember     struct{ Store }
	longMember      struct{ Store }
	dropsFailed     struct{ Store }
	anyLease        struct{ Store }
	anyFailure      struct{ Store }
	grantsStay      struct{ Store }
	revivedSignIn   struct{ Store }
	deafToRefusal   struct{ Store }
	alwaysWrites    struct{ Store }
	oldToken        struct{ Store }
	oneMore         struct{ Store }
	latePermission  struct{ Store }
	suspendsDeleted struct{ Store }
	noSignInEnds    struct{ Store }
	checkedGrant    struct{ Store }
)

func (s sharedPermission) InitialAccessToken(ctx context.Context, digest []byte) (oauthreg.InitialAccessToken, error) {
	if t, ok := rowsOf(s).permissions[string(digest)]; ok {
		return t, nil
	}
	return s.Store.InitialAccessToken(ctx, digest)
}

// bareCode makes a grant of nothing.
func (s bareCode) CreateAuthorizeCodeSession(ctx context.Context, sig string, req fosite.Requester) error {
	_, known := rowsOf(s).grants[req.GetID()]
	if err := s.Store.CreateAuthorizeCodeSession(ctx, sig, req); err != nil || known {
		return err
	}
	return under(s).write(ctx, func(r *rows) error {
		g := r.grants[req.GetID()]
		g.Scopes = nil
		r.grants[g.ID] = g
		return nil
	})
}

// deafToMachines revokes grants alone.
func (s deafToMachines) RevokeAccessToken(ctx context.Context, id string) error {
	if _, known := rowsOf(s).grants[id]; !known {
		return nil
	}
	return s.Store.RevokeAccessToken(ctx, id)
}

func (s lateRefresh) CreateRefreshTokenSession(ctx context.Context, sig, access string, r fosite.Requester) error {
	return s.Store.CreateRefreshTokenSession(ctx, sig, access, prolonged(r, fosite.RefreshToken))
}

// revivedGrant prolongs a grant that has ended.
func (s revivedGrant) CreateAccessTokenSession(ctx context.Context, sig string, req fosite.Requester) error {
	_ = under(s).write(ctx, func(r *rows) error {
		if g, known := r.grants[req.GetID()]; known && g.RevokedAt.IsZero() {
			g.ExpiresAt = time.Now().Add(time.Hour)
			r.grants[g.ID] = g
		}
		return nil
	})
	return s.Store.CreateAccessTokenSession(ctx, sig, req)
}

// shortGrant does not extend a grant to what is issued.
func (s shortGrant) CreateRefreshTokenSession(ctx context.Context, sig, access string, req fosite.Requester) error {
	before, known := rowsOf(s).grants[req.GetID()]
	err := s.Store.CreateRefreshTokenSession(ctx, sig, access, req)
	if err != nil || !known {
		return err
	}
	return under(s).write(ctx, func(r *rows) error {
		g := r.grants[req.GetID()]
		g.ExpiresAt = before.ExpiresAt
		r.grants[g.ID] = g
		return nil
	})
}

// accessAlone leaves the refresh token where there is one.
func (s accessAlone) RevokeAccessToken(ctx context.Context, id string) error {
	for _, token := range rowsOf(s).refresh {
		if token.id == id {
			return under(s).write(ctx, func(r *rows) error {
				maps.DeleteFunc(r.access, func(_ string, a stored) bool { return a.id == id })
				return nil
			})
		}
	}
	return s.Store.RevokeAccessToken(ctx, id)
}

// wholeGrant ends everything with one refresh token.
func (s wholeGrant) DeleteRefreshTokenSession(ctx context.Context, sig string) error {
	return s.RevokeRefreshToken(ctx, rowsOf(s).refresh[sig].id)
}

// savesAnyway keeps the consent of a decision that was not made.
func (s savesAnyway) SaveConsent(ctx context.Context, c oauthreg.Consent) (string, error) {
	if tx := ctx.Value(memoryTxKey{}); tx != nil {
		s.saved.Store(tx, c)
	}
	return s.Store.SaveConsent(ctx, c)
}

func (s savesAnyway) Commit(ctx context.Context) error {
	err := s.Store.Commit(ctx)
	if c, ok := s.saved.Load(ctx.Value(memoryTxKey{})); ok && err != nil {
		_, _ = s.Store.SaveConsent(context.Background(), c.(oauthreg.Consent))
	}
	return err
}

// keepsSession lets grants outlive the logout.
func (s keepsSession) RevokeGrants(ctx context.Context, f oauthreg.GrantFilter) (int, error) {
	if f.SessionID != "" {
		return 0, nil
	}
	return s.Store.RevokeGrants(ctx, f)
}

// goneConsent does without a consent that is gone.
func (s goneConsent) CreateGrant(ctx context.Context, g oauthreg.Grant) error {
	err := s.Store.CreateGrant(ctx, g)
	if _, known := rowsOf(s).grants[g.ID]; !known && errors.Is(err, oauthreg.ErrConflict) {
		g.ConsentID = ""
		return s.Store.CreateGrant(ctx, g)
	}
	return err
}

// checkedGrant looks whether the consent is there, and makes the grant later.
func (s checkedGrant) CreateGrant(ctx context.Context, g oauthreg.Grant) error {
	key := [2]string{g.ClientID, g.Subject}
	if have, ok := rowsOf(s).consents[key]; ctx.Value(memoryTxKey{}) == nil && ok && have.ID == g.ConsentID {
		for began := time.Now(); time.Since(began) < time.Millisecond; {
			runtime.Gosched()
		}
		if _, ok := rowsOf(s).consents[key]; !ok {
			return under(s).change(func(r *rows) error { r.grants[g.ID] = g; return nil })
		}
	}
	return s.Store.CreateGrant(ctx, g)
}

// sameInteraction keeps the session that it had.
func (s sameInteraction) UpdateInteraction(ctx context.Context, i oauthreg.Interaction) error {
	i.SessionID = ""
	return s.Store.UpdateInteraction(ctx, i)
}

// firstMember keeps what was said at first.
func (s firstMember) JoinSession(ctx context.Context, m oauthreg.SessionMember) error {
	if _, known := rowsOf(s).members[[2]string{m.SessionID, m.ClientID}]; known {
		return nil
	}
	return s.Store.JoinSession(ctx, m)
}

func (s longMember) JoinSession(ctx context.Context, m oauthreg.SessionMember) error {
	if m.ExpiresAt.Before(time.Now()) {
		m.ExpiresAt = time.Now().Add(time.Hour)
	}
	return s.Store.JoinSession(ctx, m)
}

func (s dropsFailed) LogoutFailed(ctx context.Context, n oauthreg.LogoutNotice, _ time.Time) error {
	return s.LogoutDelivered(ctx, n)
}

func (s anyLease) LogoutDelivered(ctx context.Context, n oauthreg.LogoutNotice) error {
	n.Lease = rowsOf(s).notices[n.ID].Lease
	return s.Store.LogoutDelivered(ctx, n)
}

func (s anyFailure) LogoutFailed(ctx context.Context, n oauthreg.LogoutNotice, retry time.Time) error {
	n.Lease = rowsOf(s).notices[n.ID].Lease
	return s.Store.LogoutFailed(ctx, n, retry)
}

// grantsStay when the consent goes.
func (s grantsStay) RevokeConsents(ctx context.Context, f oauthreg.GrantFilter) (int, error) {
	before := rowsOf(s).grants
	n, err := s.Store.RevokeConsents(ctx, f)
	if err != nil {
		return n, err
	}
	return n, under(s).change(func(r *rows) error { maps.Copy(r.grants, before); return nil })
}

func (s revivedSignIn) TouchLoginSession(ctx context.Context, handle string, seen, idle time.Time) error {
	return under(s).change(func(r *rows) error {
		l, ok := r.sessions[handle]
		if !ok {
			return oauthreg.ErrNotFound
		}
		l.LastSeenAt, l.IdleExpiresAt = seen, idle
		r.sessions[handle] = l
		return nil
	})
}

// deafToRefusal deletes, and reports the refusal.
func (s deafToRefusal) DeleteClient(ctx context.Context, ref oauthreg.Ref, describe func(oauthreg.Record) (oauthreg.AuditRecord, error)) error {
	var refusal error
	err := s.Store.DeleteClient(ctx, ref, func(rec oauthreg.Record) (audit oauthreg.AuditRecord, _ error) {
		audit, refusal = describe(rec)
		return audit, nil
	})
	return errors.Join(err, refusal)
}

// alwaysWrites also when there is nothing to write.
func (s alwaysWrites) UpdateClient(ctx context.Context, ref oauthreg.Ref, change func(*oauthreg.Record) (*oauthreg.AuditRecord, error)) error {
	return s.Store.UpdateClient(ctx, ref, func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		audit, err := change(rec)
		if audit == nil && err == nil {
			audit = new(oauthreg.AuditRecord)
		}
		return audit, err
	})
}

// oldToken does not write registration tokens with a change.
func (s oldToken) UpdateClient(ctx context.Context, ref oauthreg.Ref, change func(*oauthreg.Record) (*oauthreg.AuditRecord, error)) error {
	return s.Store.UpdateClient(ctx, ref, func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		before := rec.RegistrationToken
		audit, err := change(rec)
		rec.RegistrationToken = before
		return audit, err
	})
}

func (s oneMore) CreateInitialAccessToken(ctx context.Context, t oauthreg.InitialAccessToken) error {
	err := s.Store.CreateInitialAccessToken(ctx, t)
	if err != nil || t.MaxUses != 3 {
		return err
	}
	return under(s).change(func(r *rows) error {
		t := r.permissions[string(t.Digest)]
		t.MaxUses++
		r.permissions[string(t.Digest)] = t
		return nil
	})
}

func (s latePermission) UseInitialAccessToken(ctx context.Context, digest []byte, now time.Time) error {
	return s.Store.UseInitialAccessToken(ctx, digest, now.Add(-24*time.Hour))
}

func (s suspendsDeleted) DeleteClient(ctx context.Context, ref oauthreg.Ref, describe func(oauthreg.Record) (oauthreg.AuditRecord, error)) error {
	return s.UpdateClient(ctx, ref, func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		audit, err := describe(*rec)
		rec.Client.SuspendedAt = time.Now()
		return &audit, err
	})
}

func (noSignInEnds) EndLoginSession(context.Context, string) error { return nil }

func reverse[T any](list *[]T) { slices.Reverse(*list) }

// brokenValues break the one rule that they are named after, as those of
// TestBrokenStores do.
var brokenValues = map[string]func(Store) Store{
	"ClientsAreSelected": func(s Store) Store { return listing{s, func(q *oauthreg.ListQuery) { q.Type = "" }} },
	"ClientsAreListedNewestFirst": func(s Store) Store {
		return listing{s, func(q *oauthreg.ListQuery) {
			if q.NameContains == "" {
				q.Offset = 0
			}
		}}
	},
	"AuditRecordsAreSelected":     func(s Store) Store { return auditing{s, func(q *oauthreg.AuditQuery) { q.Action = "" }} },
	"SecretUsesAreKept":           instead("SecretsUsed", nil),
	"RecordsShareNothing":         func(s Store) Store { return sharedPermission{s} },
	"CodeMakesItsGrant":           func(s Store) Store { return bareCode{s} },
	"MachineTokenNeedsNoGrant":    func(s Store) Store { return deafToMachines{s} },
	"RefreshTokenExpires":         func(s Store) Store { return lateRefresh{s} },
	"TokensEndWithGrant":          func(s Store) Store { return revivedGrant{s} },
	"GrantLastsAsLongAsItsTokens": func(s Store) Store { return shortGrant{s} },
	"RevokedAccessTokenEndsAll":   func(s Store) Store { return accessAlone{s} },
	"OneRefreshTokenEndsAlone":    func(s Store) Store { return wholeGrant{s} },
	"WritesTakePart":              outside("EndSession"),
	"DecisionIsWhole":             func(s Store) Store { return savesAnyway{s, new(sync.Map)} },
	"GrantIsKeptWhole":            after("Grant", func(g *oauthreg.Grant) { g.Resources = nil }),
	"GrantsAreListedNewestFirst":  after("ListConsents", reverse[oauthreg.Consent]),
	"FiltersRevoke":               func(s Store) Store { return keepsSession{s} },
	"ConsentIsKeptWhole":          after("Consent", func(c *oauthreg.Consent) { c.CreatedAt = time.Time{} }),
	"ConsentsAreSelected": func(s Store) Store {
		return filtering{s, "RevokeConsents", func(f *oauthreg.GrantFilter) { f.ProjectID = "" }}
	},
	"GrantNeedsItsConsent":              func(s Store) Store { return goneConsent{s} },
	"SignInSessionIsKeptWhole":          after("LoginSession", func(l *oauthreg.LoginSession) { l.AMR = nil }),
	"SignInSessionIsProlonged":          instead("TouchLoginSession", nil),
	"SignInSessionsAreListed":           after("ListLoginSessions", reverse[oauthreg.LoginSession]),
	"InteractionIsKeptWhole":            after("Interaction", func(i *oauthreg.Interaction) { i.CreatedAt = time.Time{} }),
	"InteractionIsUpdated":              func(s Store) Store { return sameInteraction{s} },
	"SessionMembersAreKept":             func(s Store) Store { return firstMember{s} },
	"LogoutNoticeIsWhole":               after("ClaimLogouts", func(list *[]oauthreg.LogoutNotice) { forgetSubjects(*list) }),
	"LogoutsAreClaimedInOrder":          after("ClaimLogouts", reverse[oauthreg.LogoutNotice]),
	"FailedLogoutIsTriedAgain":          instead("LogoutFailed", nil),
	"SigningKeysAreKeptWhole":           after("SigningKeys", reverse[oauthreg.SigningKey]),
	"RegistrationPermissionIsKeptWhole": after("InitialAccessToken", func(t *oauthreg.InitialAccessToken) { t.Label = "" }),
	"RegistrationPermissionsAreListed":  after("ListInitialAccessTokens", reverse[oauthreg.InitialAccessToken]),
}

func forgetSubjects(list []oauthreg.LogoutNotice) {
	for i := range list {
		list[i].ClientSubject = ""
	}
}

// brokenFurther break what a rule checks besides, or several rules at once, in
// the order of the rules.
var brokenFurther = map[string]struct {
	rules []string
	wrap  func(Store) Store
}{
	"secrets are dropped": {[]string{"ClientIsKeptWhole", "SecretUsesAreKept"}, func(s Store) Store {
		return inserting{s, func(r *oauthreg.Record) { r.Secrets = nil }}
	}},
	"registration tokens are dropped": {[]string{"ClientIsKeptWhole"}, func(s Store) Store {
		return inserting{s, func(r *oauthreg.Record) { r.RegistrationToken = nil }}
	}},
	"registration tokens are not changed": {[]string{"ClientIsKeptWhole"}, func(s Store) Store { return oldToken{s} }},
	"a refused deletion is made":          {[]string{"ClientChangesAreAudited"}, func(s Store) Store { return deafToRefusal{s} }},
	"a change without a record is made":   {[]string{"ClientChangesAreAudited"}, func(s Store) Store { return alwaysWrites{s} }},
	"deleted clients are suspended": {
		[]string{"ClientsAreListedNewestFirst", "DeletedClientsTokensEnd"},
		func(s Store) Store { return suspendsDeleted{s} },
	},
	"grants outlive a revoked consent": {
		[]string{"RevokedConsentEndsGrants", "GrantNeedsItsConsent"},
		func(s Store) Store { return grantsStay{s} },
	},
	"a grant is made while its consent is revoked": {[]string{"GrantNeedsItsConsent"}, func(s Store) Store { return checkedGrant{s} }},
	"decisions are outside the transaction":        {[]string{"WritesTakePart"}, outside("FinishInteraction")},
	"sign-ins are outside the transaction": {[]string{"WritesTakePart"}, func(s Store) Store {
		return outside("CreateLoginSession")(outside("UpdateInteraction")(s))
	}},
	"grants are outside the transaction": {
		[]string{"WritesTakePart", "DecisionIsWhole"},
		func(s Store) Store { return outside("CreateGrant")(outside("SaveConsent")(outside("RevokeGrants")(s))) },
	},
	"members are outside the transaction": {[]string{"WritesTakePart", "DecisionIsWhole"}, outside("JoinSession")},
	"sign-in sessions never end": {
		[]string{"WritesTakePart", "SignInSessionEnds"}, func(s Store) Store { return noSignInEnds{s} },
	},
	"a touch brings a sign-in session back":  {[]string{"SignInSessionIsProlonged"}, func(s Store) Store { return revivedSignIn{s} }},
	"members are told after their session":   {[]string{"SessionMembersAreKept", "LogoutNoticeIsWhole"}, func(s Store) Store { return longMember{s} }},
	"a notice that failed is dropped":        {[]string{"FailedLogoutIsTriedAgain"}, func(s Store) Store { return dropsFailed{s} }},
	"somebody too late settles a notice":     {[]string{"LogoutNoticeIsClaimedOnce"}, func(s Store) Store { return anyLease{s} }},
	"somebody too late postpones a notice":   {[]string{"FailedLogoutIsTriedAgain"}, func(s Store) Store { return anyFailure{s} }},
	"a permission for three is one for four": {[]string{"RegistrationPermissionIsLimited"}, func(s Store) Store { return oneMore{s} }},
	"a permission does not expire": {
		[]string{"RegistrationPermissionIsLimited"}, func(s Store) Store { return latePermission{s} },
	},
	"nothing is anything": {
		[]string{"RegistrationPermissionIsKeptWhole"},
		after("InitialAccessToken", func(t *oauthreg.InitialAccessToken) {
			if len(t.Scopes) == 0 {
				t.Scopes = nil
			}
		}),
	},
}

package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"
	"github.com/ory/fosite/token/jwt"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// callers is how many calls race.
const callers = 24

var rules = []rule{
	{"PingAnswers", "handlers.Store", pingAnswers},

	{"ClientIsKeptWhole", "oauthreg.Store", clientIsKeptWhole},
	{"ClientIDIsUnique", "RFC 7591 §3.2.1: the client identifier is unique", clientIDIsUnique},
	{"IdentifiersAreExact", "RFC 3986 §6.2.1, RFC 6749 §1.9: identifiers are compared character by character", identifiersAreExact},
	{"OwnersAreSeparate", "oauthreg.Ref: a client of another owner does not exist", ownersAreSeparate},
	{"NamesAreSearched", "oauthreg.ListQuery: NameContains is a literal substring; ASCII letters match in either case", namesAreSearched},
	{"ClientChangesAreNotLost", "oauthreg.Store: UpdateClient", clientChangesAreNotLost},
	{"ClientChangesAreAudited", "oauthreg.Store: the audit record is written in the same transaction", clientChangesAreAudited},
	{"DeletedClientsTokensEnd", "RFC 7592 §2.3: deletion invalidates grants and tokens", deletedClientsTokensEnd},
	{"SuspendedClientsTokensRest", "oauthreg.Client: SuspendedAt", suspendedClientsTokensRest},

	{"UnknownIsNotFound", "fosite: ErrNotFound, nothing else, tells that something is not there", unknownIsNotFound},
	{"EmptySignatureIsNotFound", "fosite: the signature of a malformed token is empty", emptySignatureIsNotFound},
	{"ReadsShareNothing", "fosite: handlers change what they read", readsShareNothing},
	{"LiveSessionIsLeftAlone", "fosite: the session of a request being answered is passed to every read", liveSessionIsLeftAlone},
	{"AnySessionArgumentIsTaken", "fosite: revocation passes no session", anySessionArgumentIsTaken},

	{"CodeIsUsedOnce", "RFC 6749 §4.1.2: the client must not use the code more than once", codeIsUsedOnce},
	{"UsedCodeIsTold", "RFC 6749 §4.1.2: tokens of a code that is used again are revoked", usedCodeIsTold},
	{"CodeExpires", "RFC 6749 §4.1.2: the code must expire shortly after it is issued", codeExpires},
	{"ChallengeStaysWithCode", "RFC 7636 §4.6: a code with a challenge needs the verifier, however often it is tried", challengeStaysWithCode},
	{"NonceStaysWithCode", "OpenID Connect Core §3.1.3.3: the ID token answers the authentication request", nonceStaysWithCode},

	{"TokenNeedsGrant", "oauthreg.Grant: tokens are worth nothing without it", tokenNeedsGrant},
	{"AccessTokenExpires", "RFC 6749 §1.4: an access token has a duration", accessTokenExpires},
	{"RevocationEndsAll", "RFC 7009 §2.1: revoking a refresh token ends the grant's access tokens", revocationEndsAll},
	{"OneAccessTokenEndsAlone", "fosite: DeleteAccessTokenSession", oneAccessTokenEndsAlone},
	{"RevocationBeatsIssue", "RFC 7009 §2.1: revocation takes place immediately", revocationBeatsIssue},
	{"RefreshTokenIsUsedOnce", "RFC 9700 §4.14.2: refresh token rotation", refreshTokenIsUsedOnce},
	{"UsedRefreshTokenIsTold", "RFC 9700 §4.14.2: a used refresh token revokes the active one", usedRefreshTokenIsTold},
	{"AssertionIsUsedOnce", "RFC 7523 §3 item 7: the jti is not used again until the assertion expires", assertionIsUsedOnce},

	{"TransactionIsWhole", "fosite storage.Transactional", transactionIsWhole},
	{"RollbackAfterCommitIsQuiet", "fosite: a failed commit is rolled back", rollbackAfterCommitIsQuiet},
	{"TransactionsNest", "fosite: handlers begin a transaction within the server's", transactionsNest},

	{"GrantEnds", "oauthreg.GrantStore: Grant, UseGrant", grantEnds},
	{"EmptyFilterRevokesNothing", "oauthreg.GrantStore: nobody revokes everything by mistake", emptyFilterRevokesNothing},
	{"FiltersSelect", "oauthreg.GrantFilter", filtersSelect},
	{"ConsentWidens", "oauthreg.GrantStore: SaveConsent, also concurrently", consentWidens},
	{"ConsentIsGivenAnew", "oauthreg.GrantStore: SaveConsent; an id names one consent for ever", consentIsGivenAnew},
	{"ConsentTellsLastIssue", "oauthreg.Consent: LastIssuedAt", consentTellsLastIssue},
	{"RevokedConsentEndsGrants", "oauthreg.GrantStore: RevokeConsents", revokedConsentEndsGrants},

	{"SignInSessionEnds", "oauthreg.SessionStore", signInSessionEnds},
	{"SignInSessionExpires", "oauthreg.SessionStore", signInSessionExpires},
	{"InteractionIsFinishedOnce", "RFC 6749 §10.12: a decision is made once", interactionIsFinishedOnce},
	{"InteractionIsBoundToBrowser", "RFC 6749 §10.12: the decision is the user agent's own", interactionIsBoundToBrowser},
	{"InteractionExpires", "oauthreg.InteractionStore", interactionExpires},
	{"LogoutIsNotifiedOnce", "OpenID Connect Back-Channel Logout §2.5", logoutIsNotifiedOnce},
	{"LogoutNoticeIsClaimedOnce", "OpenID Connect Back-Channel Logout §2.5", logoutNoticeIsClaimedOnce},
	{"SigningKeysAreMadeOnce", "oauthreg.KeyStore: UpdateSigningKeys excludes other updates", signingKeysAreMadeOnce},
	{"SigningKeyChangesAreAudited", "oauthreg.KeyStore: UpdateSigningKeys writes audit records", signingKeyChangesAreAudited},
	{"RegistrationPermissionIsLimited", "RFC 7591 §1.2: initial access tokens", registrationPermissionIsLimited},
}

func unique(what string) string { return what + "-" + rand.Text() }

// client registers one and returns it, and what fosite is given for it.
func client(t testing.TB, s Store, edit ...func(*oauthreg.Client)) (oauthreg.Client, fosite.Client) {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Millisecond)
	k := oauthreg.Client{
		ID: unique("internal"), ClientID: unique("client"), Name: "Test",
		Type: oauthreg.Confidential, ApplicationType: oauthreg.Web,
		GrantTypes: []string{"authorization_code", "refresh_token"}, ResponseTypes: []string{"code"},
		Scopes: []string{"openid", "read"}, RedirectURIs: []string{"https://a.example/cb"},
		CreatedAt: now, UpdatedAt: now, Version: 1,
	}
	for _, e := range edit {
		e(&k)
	}
	must(t, s.InsertClient(t.Context(), oauthreg.Record{Client: k}, oauthreg.AuditRecord{Action: "client.registered", ClientID: k.ID}))
	f, err := s.GetClient(t.Context(), k.ClientID)
	must(t, err)
	return k, f
}

// request is an authorization request of alice.
func request(client fosite.Client) *fosite.Request {
	now := time.Now()
	r := fosite.NewRequest()
	r.ID = unique("request")
	r.Client = client
	r.RequestedAt = now.UTC().Truncate(time.Millisecond)
	r.RequestedScope, r.GrantedScope = fosite.Arguments{"openid", "read"}, fosite.Arguments{"openid"}
	r.Form = url.Values{"redirect_uri": {"https://a.example/cb"}, "scope": {"openid read"}}
	r.Session = &openid.DefaultSession{
		Claims: &jwt.IDTokenClaims{Subject: "alice"}, Headers: &jwt.Headers{}, Subject: "alice",
		ExpiresAt: map[fosite.TokenType]time.Time{
			fosite.AuthorizeCode: now.Add(time.Minute), fosite.AccessToken: now.Add(time.Hour), fosite.RefreshToken: now.Add(24 * time.Hour),
		},
	}
	return r
}

// issue stores a request's code, access and refresh token.
func issue(t testing.TB, s Store, r *fosite.Request) {
	t.Helper()
	must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID+"code", r))
	must(t, s.CreateAccessTokenSession(t.Context(), r.ID+"access", r))
	must(t, s.CreateRefreshTokenSession(t.Context(), r.ID+"refresh", r.ID+"access", r))
}

// dead reports what of a request still lives.
func dead(t testing.TB, s Store, r *fosite.Request) {
	t.Helper()
	_, err := s.GetAuthorizeCodeSession(t.Context(), r.ID+"code", nil)
	want(t, "code", err, fosite.ErrNotFound)
	_, err = s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	want(t, "access token", err, fosite.ErrNotFound)
	_, err = s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", nil)
	want(t, "refresh token", err, fosite.ErrNotFound)
}

func pingAnswers(t testing.TB, s Store) { must(t, s.Ping(t.Context())) }

func clientIsKeptWhole(t testing.TB, s Store) {
	k, f := client(t, s, func(k *oauthreg.Client) { k.Description, k.Metadata = "d", map[string]string{"a": "b"} })
	got, err := s.Client(t.Context(), oauthreg.ByID(k.ID))
	must(t, err)
	if got.Client.Description != "d" || got.Client.Metadata["a"] != "b" || !got.Client.CreatedAt.Equal(k.CreatedAt) || !slices.Equal(got.Client.RedirectURIs, k.RedirectURIs) {
		t.Errorf("got %+v, want %+v", got.Client, k)
	}
	if f.GetID() != k.ClientID || !slices.Equal(f.GetScopes(), k.Scopes) {
		t.Errorf("as fosite sees it: got %q with %v", f.GetID(), f.GetScopes())
	}
}

func clientIDIsUnique(t testing.TB, s Store) {
	k, _ := client(t, s)
	race(t, callers, oauthreg.ErrConflict, func(i int) error {
		return s.InsertClient(t.Context(), oauthreg.Record{Client: oauthreg.Client{ID: fmt.Sprint("i", i), ClientID: "same"}}, oauthreg.AuditRecord{})
	})
	want(t, "a taken client_id", s.InsertClient(t.Context(), oauthreg.Record{Client: oauthreg.Client{ID: "x", ClientID: k.ClientID}}, oauthreg.AuditRecord{}), oauthreg.ErrConflict)
	want(t, "a taken id", s.InsertClient(t.Context(), oauthreg.Record{Client: oauthreg.Client{ID: k.ID, ClientID: "x"}}, oauthreg.AuditRecord{}), oauthreg.ErrConflict)
}

func identifiersAreExact(t testing.TB, s Store) {
	ids := []string{"abc", "ABC", "abc ", "äbc", "%"}
	for i, id := range ids {
		client(t, s, func(k *oauthreg.Client) { k.ID, k.ClientID = fmt.Sprint("i", i), id })
	}
	for i, id := range ids {
		got, err := s.Client(t.Context(), oauthreg.ByClientID(id))
		must(t, err)
		if got.Client.ID != fmt.Sprint("i", i) {
			t.Errorf("%q: got the client of %q", id, got.Client.ClientID)
		}
	}
	for _, id := range []string{"Abc", " abc", "abc\x00", "abc\xff", "_bc"} {
		_, err := s.GetClient(t.Context(), id)
		want(t, fmt.Sprintf("%q", id), err, fosite.ErrNotFound)
	}
}

func ownersAreSeparate(t testing.TB, s Store) {
	k, _ := client(t, s, func(k *oauthreg.Client) { k.OrgID, k.ProjectID = "o", "p" })
	_, err := s.Client(t.Context(), oauthreg.ByID(k.ID).In("o", "p"))
	must(t, err)
	for _, ref := range []oauthreg.Ref{oauthreg.ByID(k.ID).In("o", "q"), oauthreg.ByClientID(k.ClientID).In("q", "p"), {}} {
		_, err := s.Client(t.Context(), ref)
		want(t, fmt.Sprintf("%+v", ref), err, oauthreg.ErrNotFound)
		err = s.UpdateClient(t.Context(), ref, func(*oauthreg.Record) (*oauthreg.AuditRecord, error) { return &oauthreg.AuditRecord{}, nil })
		want(t, fmt.Sprintf("update %+v", ref), err, oauthreg.ErrNotFound)
	}
	list, total, err := s.ListClients(t.Context(), oauthreg.ListQuery{OrgID: "q", Count: true})
	must(t, err)
	if len(list) != 0 || total != 0 {
		t.Errorf("another owner sees %d clients of %d", len(list), total)
	}
}

func namesAreSearched(t testing.TB, s Store) {
	at := time.Now().UTC().Truncate(time.Millisecond)
	for i, name := range []string{"Alpha One", "alpha two", "100% _under\\", "1000", "ÄPFEL"} {
		client(t, s, func(k *oauthreg.Client) {
			k.ID, k.Name, k.OrgID, k.CreatedAt = fmt.Sprint("id", i), name, fmt.Sprint("o", i%2), at.Add(time.Duration(i)*time.Second)
		})
	}
	found := func(q oauthreg.ListQuery, all int, ids ...string) {
		t.Helper()
		q.Count = true
		list, total, err := s.ListClients(t.Context(), q)
		must(t, err)
		var got []string
		for _, k := range list {
			got = append(got, k.ID)
		}
		if !slices.Equal(got, ids) || total != all {
			t.Errorf("%+v: got %v and a total of %d, want %v and %d", q, got, total, ids, all)
		}
	}
	found(oauthreg.ListQuery{NameContains: "LPHA "}, 2, "id1", "id0")
	found(oauthreg.ListQuery{NameContains: "LPHA ", OrgID: "o1"}, 1, "id1")
	found(oauthreg.ListQuery{NameContains: "LPHA ", Limit: 1}, 2, "id1")
	found(oauthreg.ListQuery{NameContains: "LPHA ", Offset: 1}, 2, "id0")
	found(oauthreg.ListQuery{NameContains: "LPHA ", AfterCreatedAt: at.Add(time.Second), AfterID: "id1"}, 2, "id0")
	found(oauthreg.ListQuery{NameContains: "lphaone"}, 0)
	found(oauthreg.ListQuery{NameContains: "100%"}, 1, "id2")
	found(oauthreg.ListQuery{NameContains: "0_u"}, 0)
	found(oauthreg.ListQuery{NameContains: `under\`}, 1, "id2")
	found(oauthreg.ListQuery{NameContains: "äpfel"}, 0)
	found(oauthreg.ListQuery{NameContains: "Äpf"}, 1, "id4")
	must(t, s.UpdateClient(t.Context(), oauthreg.ByID("id0"), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		r.Client.Name = "Beta"
		return &oauthreg.AuditRecord{Action: "client.updated", ClientID: "id0"}, nil
	}))
	found(oauthreg.ListQuery{NameContains: "alpha"}, 1, "id1")
	found(oauthreg.ListQuery{NameContains: "beta"}, 1, "id0")
}

func clientChangesAreNotLost(t testing.TB, s Store) {
	k, _ := client(t, s)
	all(t, 8, func(i int) error {
		for {
			err := s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
				r.Client.Contacts = append(r.Client.Contacts, fmt.Sprint(i))
				return &oauthreg.AuditRecord{Action: "client.updated", ClientID: k.ID}, nil
			})
			if !errors.Is(err, oauthreg.ErrConflict) { // which asks to try again
				return err
			}
		}
	})
	got, err := s.Client(t.Context(), oauthreg.ByID(k.ID))
	must(t, err)
	if len(got.Client.Contacts) != 8 {
		t.Errorf("got %d changes of 8", len(got.Client.Contacts))
	}
}

func clientChangesAreAudited(t testing.TB, s Store) {
	k, _ := client(t, s)
	refused := errors.New("refused")
	err := s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		r.Client.Name = "never"
		return &oauthreg.AuditRecord{Action: "client.updated", ClientID: k.ID}, refused
	})
	want(t, "change's error", err, refused)
	must(t, s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(r *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		r.Client.Name = "new"
		return &oauthreg.AuditRecord{Action: "client.updated", ClientID: k.ID}, nil
	}))
	want(t, "a taken id", s.InsertClient(t.Context(), oauthreg.Record{Client: k}, oauthreg.AuditRecord{Action: "client.registered", ClientID: k.ID}), oauthreg.ErrConflict)
	records, err := s.AuditRecords(t.Context(), oauthreg.AuditQuery{ClientID: k.ID})
	must(t, err)
	var actions []string
	for _, a := range records {
		actions = append(actions, a.Action)
	}
	slices.Sort(actions) // they may be of the same moment
	if !slices.Equal(actions, []string{"client.registered", "client.updated"}) {
		t.Errorf("got records %v, want one per change that was made", actions)
	}
}

func deletedClientsTokensEnd(t testing.TB, s Store) {
	k, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.DeleteClient(t.Context(), oauthreg.ByID(k.ID), func(oauthreg.Record) (oauthreg.AuditRecord, error) {
		return oauthreg.AuditRecord{Action: "client.deleted", ClientID: k.ID}, nil
	}))
	dead(t, s, r)
	_, err := s.Grant(t.Context(), r.ID)
	want(t, "grant", err, oauthreg.ErrNotFound)
	client(t, s, func(again *oauthreg.Client) { again.ID, again.ClientID = k.ID, k.ClientID })
	dead(t, s, r)
}

func suspendedClientsTokensRest(t testing.TB, s Store) {
	k, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	set := func(at time.Time) {
		must(t, s.UpdateClient(t.Context(), oauthreg.ByID(k.ID), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
			rec.Client.SuspendedAt = at
			return &oauthreg.AuditRecord{Action: "client.suspended", ClientID: k.ID}, nil
		}))
	}
	set(time.Now())
	dead(t, s, r)
	_, err := s.GetClient(t.Context(), k.ClientID)
	want(t, "client", err, fosite.ErrNotFound)
	set(time.Time{})
	_, err = s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
}

func unknownIsNotFound(t testing.TB, s Store) {
	_, f := client(t, s)
	dead(t, s, request(f))
	_, err := s.GetClient(t.Context(), "unknown")
	want(t, "client", err, fosite.ErrNotFound)
	_, err = s.GetPKCERequestSession(t.Context(), "unknown", nil)
	want(t, "challenge", err, fosite.ErrNotFound)
	_, err = s.GetOpenIDConnectSession(t.Context(), "unknown", request(f))
	want(t, "OpenID Connect session", err, openid.ErrNoSessionFound)
	_, err = s.Consent(t.Context(), "unknown", "alice")
	want(t, "consent", err, oauthreg.ErrNotFound)
	must(t, s.RevokeRefreshToken(t.Context(), "unknown"))
	must(t, s.DeleteRefreshTokenSession(t.Context(), "unknown"))
}

func emptySignatureIsNotFound(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	for what, call := range map[string]func() error{
		"store": func() error { return s.CreateAccessTokenSession(t.Context(), "", r) },
		"code":  func() error { _, err := s.GetAuthorizeCodeSession(t.Context(), "", nil); return err },
		"access": func() error {
			_, err := s.GetAccessTokenSession(t.Context(), "", nil)
			return err
		},
		"refresh": func() error { _, err := s.GetRefreshTokenSession(t.Context(), "", nil); return err },
		"client":  func() error { _, err := s.GetClient(t.Context(), ""); return err },
	} {
		want(t, what, call(), fosite.ErrNotFound)
	}
}

func readsShareNothing(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	a, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
	a.GetSession().SetExpiresAt(fosite.AccessToken, time.Time{})
	a.GetRequestForm().Set("scope", "changed")
	b, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
	if b.GetSession().GetExpiresAt(fosite.AccessToken).IsZero() || b.GetRequestForm().Get("scope") == "changed" {
		t.Error("a second read has what was done to the first")
	}
}

func liveSessionIsLeftAlone(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	live := new(openid.DefaultSession)
	got, err := s.GetAuthorizeCodeSession(t.Context(), "sig", live)
	must(t, err)
	if live.Subject != "alice" || got.GetSession() != fosite.Session(live) {
		t.Errorf("a fresh session: got %+v, want it filled in", live)
	}
	live.Subject = "added since"
	_, err = s.GetAuthorizeCodeSession(t.Context(), "sig", live)
	must(t, err)
	if live.Subject != "added since" {
		t.Errorf("the live session was overwritten")
	}
}

func anySessionArgumentIsTaken(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	for _, session := range []fosite.Session{nil, new(openid.DefaultSession)} {
		got, err := s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", session)
		must(t, err)
		if got.GetID() != r.ID || got.GetSession().GetSubject() != "alice" || !slices.Equal(got.GetGrantedScopes(), r.GrantedScope) || got.GetClient().GetID() != f.GetID() {
			t.Errorf("got %+v, want what was stored", got)
		}
	}
}

func codeIsUsedOnce(t testing.TB, s Store) {
	_, f := client(t, s)
	for range 5 {
		r := request(f)
		must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
		race(t, callers, fosite.ErrInvalidatedAuthorizeCode, func(i int) error {
			if i%2 == 0 {
				return s.InvalidateAuthorizeCodeSession(t.Context(), r.ID)
			}
			return inTransaction(t.Context(), s, func(ctx context.Context) error { return s.InvalidateAuthorizeCodeSession(ctx, r.ID) })
		})
	}
}

// inTransaction does what fosite's handlers do.
func inTransaction(ctx context.Context, s Store, do func(context.Context) error) error {
	tx, err := s.BeginTX(ctx)
	if err != nil {
		return err
	}
	if err = do(tx); err == nil {
		err = s.Commit(tx)
	}
	if err != nil {
		return errors.Join(err, s.Rollback(tx))
	}
	return nil
}

func usedCodeIsTold(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.InvalidateAuthorizeCodeSession(t.Context(), r.ID+"code"))
	got, err := s.GetAuthorizeCodeSession(t.Context(), r.ID+"code", nil)
	want(t, "a used code", err, fosite.ErrInvalidatedAuthorizeCode)
	if got == nil || got.GetID() != r.ID {
		t.Errorf("got request %v, want the code's beside the error", got)
	}
}

func codeExpires(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateGrant(t.Context(), oauthreg.Grant{ID: r.ID, ClientID: internalID(t, s, f), Subject: "alice", ExpiresAt: time.Now().Add(time.Hour)}))
	r.Session.SetExpiresAt(fosite.AuthorizeCode, time.Now().Add(-time.Second))
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	_, err := s.GetAuthorizeCodeSession(t.Context(), "sig", nil)
	want(t, "read", err, fosite.ErrNotFound)
	if err := s.InvalidateAuthorizeCodeSession(t.Context(), "sig"); err == nil {
		t.Error("an expired code could be used")
	}
}

func internalID(t testing.TB, s Store, f fosite.Client) string {
	t.Helper()
	rec, err := s.Client(t.Context(), oauthreg.ByClientID(f.GetID()))
	must(t, err)
	return rec.Client.ID
}

func challengeStaysWithCode(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	r.Form.Set("code_challenge", "challenge")
	must(t, s.CreatePKCERequestSession(t.Context(), "sig", r))
	// fosite deletes it before it compares the verifier.
	must(t, s.DeletePKCERequestSession(t.Context(), "sig"))
	got, err := s.GetPKCERequestSession(t.Context(), "sig", nil)
	must(t, err)
	if c := got.GetRequestForm().Get("code_challenge"); c != "challenge" {
		t.Errorf("got challenge %q", c)
	}
}

func nonceStaysWithCode(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "sig", r))
	r.Form.Set("nonce", "n")
	must(t, s.CreateOpenIDConnectSession(t.Context(), "code.sig", r))
	must(t, s.InvalidateAuthorizeCodeSession(t.Context(), "sig")) // fosite asks after the exchange
	got, err := s.GetOpenIDConnectSession(t.Context(), "code.sig", r)
	must(t, err)
	if n := got.GetRequestForm().Get("nonce"); n != "n" {
		t.Errorf("got nonce %q", n)
	}
}

func tokenNeedsGrant(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	want(t, "no grant, access token", s.CreateAccessTokenSession(t.Context(), "a", r), fosite.ErrNotFound)
	want(t, "no grant, refresh token", s.CreateRefreshTokenSession(t.Context(), "r", "", r), fosite.ErrNotFound)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), "code", r))
	must(t, s.RevokeAccessToken(t.Context(), r.ID))
	want(t, "revoked grant, access token", s.CreateAccessTokenSession(t.Context(), "a", r), fosite.ErrNotFound)
	want(t, "revoked grant, refresh token", s.CreateRefreshTokenSession(t.Context(), "r", "", r), fosite.ErrNotFound)
}

func accessTokenExpires(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
	r.Session.SetExpiresAt(fosite.AccessToken, time.Now().Add(-time.Second))
	must(t, s.CreateAccessTokenSession(t.Context(), "sig", r))
	if got, err := s.GetAccessTokenSession(t.Context(), "sig", nil); err == nil && got.GetSession().GetExpiresAt(fosite.AccessToken).After(time.Now()) {
		t.Error("an expired token was read as a good one")
	}
}

func revocationEndsAll(t testing.TB, s Store) {
	_, f := client(t, s)
	r, other := request(f), request(f)
	issue(t, s, r)
	issue(t, s, other)
	must(t, s.CreateAccessTokenSession(t.Context(), r.ID+"second", r))
	must(t, s.RevokeRefreshToken(t.Context(), r.ID))
	dead(t, s, r)
	_, err := s.GetAccessTokenSession(t.Context(), r.ID+"second", nil)
	want(t, "a second access token", err, fosite.ErrNotFound)
	_, err = s.GetAccessTokenSession(t.Context(), other.ID+"access", nil)
	must(t, err)
}

func oneAccessTokenEndsAlone(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.CreateAccessTokenSession(t.Context(), r.ID+"second", r))
	must(t, s.DeleteAccessTokenSession(t.Context(), r.ID+"access"))
	_, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	want(t, "the deleted one", err, fosite.ErrNotFound)
	_, err = s.GetAccessTokenSession(t.Context(), r.ID+"second", nil)
	must(t, err)
}

func revocationBeatsIssue(t testing.TB, s Store) {
	_, f := client(t, s)
	const issuers, each = 3, 3
	for range 10 {
		r := request(f)
		must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID, r))
		var wg sync.WaitGroup
		begun := make(chan struct{}) // somebody issues
		for i := range issuers {
			wg.Go(func() {
				for j := range each {
					if i == 0 && j == 1 {
						close(begun)
					}
					if err := s.CreateAccessTokenSession(t.Context(), fmt.Sprint(r.ID, i, j), r); err != nil && !errors.Is(err, fosite.ErrNotFound) {
						t.Errorf("issue: got %v, want success or ErrNotFound", err)
					}
				}
			})
		}
		<-begun
		if err := s.RevokeAccessToken(t.Context(), r.ID); err != nil {
			t.Errorf("revoke: got %v", err)
		}
		wg.Wait()
		for i := range issuers {
			for j := range each {
				_, err := s.GetAccessTokenSession(t.Context(), fmt.Sprint(r.ID, i, j), nil)
				want(t, "a token issued during the revocation", err, fosite.ErrNotFound)
			}
		}
	}
}

func refreshTokenIsUsedOnce(t testing.TB, s Store) {
	_, f := client(t, s)
	for range 5 {
		r := request(f)
		issue(t, s, r)
		race(t, callers, fosite.ErrInactiveToken, func(i int) error {
			return inTransaction(t.Context(), s, func(ctx context.Context) error {
				next := fmt.Sprint(r.ID, i)
				return errors.Join(
					s.RotateRefreshToken(ctx, r.ID, r.ID+"refresh"),
					s.CreateAccessTokenSession(ctx, next+"a", r),
					s.CreateRefreshTokenSession(ctx, next+"r", next+"a", r),
				)
			})
		})
		successors := 0
		for i := range callers {
			if _, err := s.GetRefreshTokenSession(t.Context(), fmt.Sprint(r.ID, i, "r"), nil); err == nil {
				successors++
			}
		}
		if successors != 1 {
			t.Errorf("one refresh token has %d successors, want 1", successors)
		}
	}
}

func usedRefreshTokenIsTold(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	issue(t, s, r)
	must(t, s.RotateRefreshToken(t.Context(), r.ID, r.ID+"refresh"))
	got, err := s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", nil)
	want(t, "a used refresh token", err, fosite.ErrInactiveToken)
	if got == nil || got.GetID() != r.ID {
		t.Errorf("got request %v, want the token's beside the error", got)
	}
}

func assertionIsUsedOnce(t testing.TB, s Store) {
	end := time.Now().Add(time.Minute)
	must(t, s.ClientAssertionJWTValid(t.Context(), "jti"))
	race(t, callers, fosite.ErrJTIKnown, func(int) error { return s.SetClientAssertionJWT(t.Context(), "jti", end) })
	want(t, "look up", s.ClientAssertionJWTValid(t.Context(), "jti"), fosite.ErrJTIKnown)
	// One that has expired may be used again, once.
	must(t, s.SetClientAssertionJWT(t.Context(), "old", time.Now().Add(-time.Minute)))
	race(t, callers, fosite.ErrJTIKnown, func(int) error { return s.SetClientAssertionJWT(t.Context(), "old", end) })
}

func transactionIsWhole(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	must(t, s.CreateAuthorizeCodeSession(t.Context(), r.ID+"code", r))
	exchange := func(ctx context.Context) error {
		return errors.Join(
			s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"),
			s.CreateAccessTokenSession(ctx, r.ID+"access", r),
			s.CreateRefreshTokenSession(ctx, r.ID+"refresh", r.ID+"access", r),
		)
	}
	stop := errors.New("stop")
	want(t, "rolled back", inTransaction(t.Context(), s, func(ctx context.Context) error { return errors.Join(exchange(ctx), stop) }), stop)
	_, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	want(t, "after the rollback", err, fosite.ErrNotFound)
	must(t, inTransaction(t.Context(), s, exchange))
	_, err = s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	must(t, err)
	// The code is used: what came before in the transaction goes too.
	err = inTransaction(t.Context(), s, func(ctx context.Context) error {
		return errors.Join(s.CreateAccessTokenSession(ctx, r.ID+"late", r), s.InvalidateAuthorizeCodeSession(ctx, r.ID+"code"))
	})
	want(t, "a failed commit", err, fosite.ErrInvalidatedAuthorizeCode)
	_, err = s.GetAccessTokenSession(t.Context(), r.ID+"late", nil)
	want(t, "after the failed commit", err, fosite.ErrNotFound)
}

func rollbackAfterCommitIsQuiet(t testing.TB, s Store) {
	_, f := client(t, s)
	r := request(f)
	tx, err := s.BeginTX(t.Context())
	must(t, err)
	first := s.CreateAccessTokenSession(tx, "sig", r) // beneath no grant
	if err := errors.Join(first, s.Commit(tx)); err == nil {
		t.Error("the commit succeeded")
	}
	must(t, s.Rollback(tx))
	tx, err = s.BeginTX(t.Context())
	must(t, err)
	must(t, s.SetClientAssertionJWT(tx, "jti", time.Now().Add(time.Minute)))
	must(t, s.Commit(tx))
	must(t, s.Rollback(tx))
	want(t, "what was committed", s.ClientAssertionJWTValid(t.Context(), "jti"), fosite.ErrJTIKnown)
}

func transactionsNest(t testing.TB, s Store) {
	end := time.Now().Add(time.Minute)
	outer, err := s.BeginTX(t.Context())
	must(t, err)
	inner, err := s.BeginTX(outer)
	must(t, err)
	must(t, s.SetClientAssertionJWT(inner, "kept", end))
	must(t, s.Commit(inner))
	inner, err = s.BeginTX(outer)
	must(t, err)
	must(t, s.SetClientAssertionJWT(inner, "dropped", end))
	must(t, s.Rollback(inner))
	must(t, s.Commit(outer))
	want(t, "committed", s.ClientAssertionJWTValid(t.Context(), "kept"), fosite.ErrJTIKnown)
	must(t, s.ClientAssertionJWTValid(t.Context(), "dropped"))

	outer, err = s.BeginTX(t.Context())
	must(t, err)
	inner, err = s.BeginTX(outer)
	must(t, err)
	must(t, s.SetClientAssertionJWT(inner, "undone", end))
	must(t, s.Commit(inner))
	must(t, s.Rollback(outer))
	must(t, s.ClientAssertionJWTValid(t.Context(), "undone"))
}

// grant makes one that ends in an hour.
func grant(t testing.TB, s Store, g oauthreg.Grant) string {
	t.Helper()
	g.ID = unique("grant")
	g.ExpiresAt = time.Now().Add(time.Hour)
	must(t, s.CreateGrant(t.Context(), g))
	return g.ID
}

func grantEnds(t testing.TB, s Store) {
	k, _ := client(t, s)
	id := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", Scopes: []string{"a"}})
	got, err := s.Grant(t.Context(), id)
	must(t, err)
	if got.Subject != "alice" || got.ClientID != k.ID || !slices.Equal(got.Scopes, []string{"a"}) {
		t.Errorf("got %+v", got)
	}
	now := time.Now()
	must(t, s.UseGrant(t.Context(), id, now, now.Add(-time.Second)))
	_, err = s.Grant(t.Context(), id)
	want(t, "after its end", err, oauthreg.ErrNotFound)
	want(t, "use after its end", s.UseGrant(t.Context(), id, now, now.Add(time.Hour)), oauthreg.ErrNotFound)
}

func emptyFilterRevokesNothing(t testing.TB, s Store) {
	k, _ := client(t, s)
	id := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice"})
	if _, err := s.RevokeGrants(t.Context(), oauthreg.GrantFilter{}); err == nil {
		t.Error("RevokeGrants took an empty filter")
	}
	if _, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{}); err == nil {
		t.Error("RevokeConsents took an empty filter")
	}
	_, err := s.Grant(t.Context(), id)
	must(t, err)
}

func filtersSelect(t testing.TB, s Store) {
	k, _ := client(t, s, func(k *oauthreg.Client) { k.OrgID = "o" })
	other, _ := client(t, s)
	grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", SessionID: "s1"})
	grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "bob", SessionID: "s2"})
	grant(t, s, oauthreg.Grant{ClientID: other.ID, Subject: "alice", SessionID: "s1"})
	for _, f := range []struct {
		filter oauthreg.GrantFilter
		n      int
	}{
		{oauthreg.GrantFilter{Subject: "alice"}, 2},
		{oauthreg.GrantFilter{ClientID: k.ID}, 2},
		{oauthreg.GrantFilter{SessionID: "s1"}, 2},
		{oauthreg.GrantFilter{OrgID: "o"}, 2},
		{oauthreg.GrantFilter{OrgID: "o", Subject: "alice"}, 1},
		{oauthreg.GrantFilter{OrgID: "p"}, 0},
	} {
		list, total, err := s.ListGrants(t.Context(), f.filter, 0, 0)
		must(t, err)
		if len(list) != f.n || total != f.n {
			t.Errorf("%+v: got %d of %d, want %d", f.filter, len(list), total, f.n)
		}
	}
	n, err := s.RevokeGrants(t.Context(), oauthreg.GrantFilter{OrgID: "o", Subject: "alice"})
	must(t, err)
	_, left, err := s.ListGrants(t.Context(), oauthreg.GrantFilter{}, 0, 0)
	must(t, err)
	if n != 1 || left != 2 {
		t.Errorf("got %d revoked and %d left, want 1 and 2", n, left)
	}
}

func consentWidens(t testing.TB, s Store) {
	k, _ := client(t, s)
	var mu sync.Mutex
	ids := map[string]bool{}
	all(t, callers, func(i int) error {
		id, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "alice", Scopes: []string{"same", fmt.Sprint(i)}})
		mu.Lock()
		defer mu.Unlock()
		ids[id] = true
		return err
	})
	got, err := s.Consent(t.Context(), k.ID, "alice")
	must(t, err)
	if len(got.Scopes) != callers+1 || len(ids) != 1 || !ids[got.ID] {
		t.Errorf("got %d scopes in %d consents, want %d in one", len(got.Scopes), len(ids), callers+1)
	}
}

func consentIsGivenAnew(t testing.TB, s Store) {
	k, _ := client(t, s)
	old, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "alice"})
	must(t, err)
	_, err = s.RevokeConsents(t.Context(), oauthreg.GrantFilter{ID: old})
	must(t, err)
	// The first decisions after it, at the same time: each is a grant on the one
	// consent, whoever made it.
	var ids [callers]string
	decide := func(i int) error {
		ids[i] = unique("grant")
		ctx, err := s.BeginTX(t.Context())
		must(t, err)
		consent, err := s.SaveConsent(ctx, oauthreg.Consent{ClientID: k.ID, Subject: "alice"})
		must(t, err)
		must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: ids[i], ClientID: k.ID, Subject: "alice", ConsentID: consent, ExpiresAt: time.Now().Add(time.Hour)}))
		return s.Commit(ctx)
	}
	all(t, callers, decide)
	_, consents, err := s.ListConsents(t.Context(), oauthreg.GrantFilter{ClientID: k.ID}, 0, 0)
	must(t, err)
	got, err := s.Consent(t.Context(), k.ID, "alice")
	must(t, err)
	if consents != 1 || got.ID == old {
		t.Errorf("got %d consents, %+v; want one, with another id than %s", consents, got, old)
	}
	n, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{ID: old})
	must(t, err)
	if n != 0 {
		t.Errorf("got %d revoked by an id that was revoked before, want 0", n)
	}
	for _, id := range ids {
		g, err := s.Grant(t.Context(), id)
		must(t, err)
		if g.ConsentID != got.ID {
			t.Errorf("got a grant on %q, want on %q", g.ConsentID, got.ID)
		}
	}
}

func consentTellsLastIssue(t testing.TB, s Store) {
	k, _ := client(t, s)
	made := time.Now().UTC().Truncate(time.Millisecond).Add(-time.Hour)
	consent, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "alice", CreatedAt: made, LastUsedAt: made})
	must(t, err)
	_, err = s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "bob", CreatedAt: made, LastUsedAt: made})
	must(t, err)
	first := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", ConsentID: consent, CreatedAt: made})
	second := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", ConsentID: consent, CreatedAt: made})
	without := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice"})
	check := func(what string, want time.Time) {
		t.Helper()
		for subject, want := range map[string]time.Time{"alice": want, "bob": made} {
			list, _, err := s.ListConsents(t.Context(), oauthreg.GrantFilter{ClientID: k.ID, Subject: subject}, 0, 0)
			must(t, err)
			if len(list) != 1 || !list[0].LastIssuedAt.Equal(want) {
				t.Errorf("%s, %s: got %+v, want issued at %v", what, subject, list, want)
			}
		}
		// Whether a consent still counts is judged by what the user did.
		own, err := s.Consent(t.Context(), k.ID, "alice")
		must(t, err)
		if !own.LastUsedAt.Equal(made) {
			t.Errorf("%s: got used at %v, want %v", what, own.LastUsedAt, made)
		}
	}
	use := func(id string, after time.Duration) time.Time {
		at := made.Add(after)
		must(t, s.UseGrant(t.Context(), id, at, time.Now().Add(time.Hour)))
		return at
	}
	check("no token yet", made)
	earlier := use(first, time.Minute)
	check("a token", earlier)
	later := use(second, 2*time.Minute)
	use(without, 3*time.Minute)
	check("a later one", later)
	_, err = s.RevokeGrants(t.Context(), oauthreg.GrantFilter{ID: second})
	must(t, err)
	check("its grant is revoked", earlier)
}

func revokedConsentEndsGrants(t testing.TB, s Store) {
	k, _ := client(t, s)
	consent, err := s.SaveConsent(t.Context(), oauthreg.Consent{ClientID: k.ID, Subject: "alice", Scopes: []string{"a"}})
	must(t, err)
	id := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice", ConsentID: consent})
	without := grant(t, s, oauthreg.Grant{ClientID: k.ID, Subject: "alice"})
	n, err := s.RevokeConsents(t.Context(), oauthreg.GrantFilter{ClientID: k.ID, Subject: "alice"})
	must(t, err)
	if n != 1 {
		t.Errorf("got %d consents revoked, want 1", n)
	}
	_, err = s.Consent(t.Context(), k.ID, "alice")
	want(t, "the consent", err, oauthreg.ErrNotFound)
	_, err = s.Grant(t.Context(), id)
	want(t, "the grant on it", err, oauthreg.ErrNotFound)
	_, err = s.Grant(t.Context(), without)
	must(t, err)
}

func signIn(handle string) oauthreg.LoginSession {
	now := time.Now()
	return oauthreg.LoginSession{
		Login: oauthreg.Login{Subject: "alice", SessionID: "sid-" + handle, AuthTime: now}, Handle: handle,
		CreatedAt: now, LastSeenAt: now, ExpiresAt: now.Add(time.Hour), IdleExpiresAt: now.Add(time.Hour),
	}
}

func signInSessionEnds(t testing.TB, s Store) {
	must(t, s.CreateLoginSession(t.Context(), signIn("h")))
	got, err := s.LoginSession(t.Context(), "h")
	must(t, err)
	if got.Subject != "alice" || got.SessionID != "sid-h" {
		t.Errorf("got %+v", got)
	}
	must(t, s.EndLoginSession(t.Context(), "sid-h"))
	must(t, s.EndLoginSession(t.Context(), "sid-h"))
	_, err = s.LoginSession(t.Context(), "h")
	want(t, "after its end", err, oauthreg.ErrNotFound)
}

func signInSessionExpires(t testing.TB, s Store) {
	idle, old := signIn("idle"), signIn("old")
	idle.IdleExpiresAt = time.Now().Add(-time.Second)
	old.ExpiresAt = time.Now().Add(-time.Second)
	must(t, s.CreateLoginSession(t.Context(), idle))
	must(t, s.CreateLoginSession(t.Context(), old))
	for _, handle := range []string{"idle", "old"} {
		_, err := s.LoginSession(t.Context(), handle)
		want(t, handle, err, oauthreg.ErrNotFound)
	}
	list, err := s.ListLoginSessions(t.Context(), "alice")
	must(t, err)
	if len(list) != 0 {
		t.Errorf("%d sessions that have ended are listed", len(list))
	}
}

func pending(t testing.TB, s Store) {
	t.Helper()
	now := time.Now()
	must(t, s.CreateInteraction(t.Context(), oauthreg.Interaction{Handle: "h", Browser: "b", ClientID: "k", Request: []byte("{}"), CreatedAt: now, ExpiresAt: now.Add(time.Hour)}))
}

func interactionIsFinishedOnce(t testing.TB, s Store) {
	pending(t, s)
	race(t, callers, oauthreg.ErrConsumed, func(i int) error {
		if i%2 == 0 {
			return s.FinishInteraction(t.Context(), "h")
		}
		return inTransaction(t.Context(), s, func(ctx context.Context) error { return s.FinishInteraction(ctx, "h") })
	})
	_, err := s.Interaction(t.Context(), "h", "b")
	want(t, "a finished one", err, oauthreg.ErrConsumed)
	want(t, "changing a finished one", s.UpdateInteraction(t.Context(), oauthreg.Interaction{Handle: "h"}), oauthreg.ErrConsumed)
}

func interactionIsBoundToBrowser(t testing.TB, s Store) {
	pending(t, s)
	_, err := s.Interaction(t.Context(), "h", "b")
	must(t, err)
	_, err = s.Interaction(t.Context(), "h", "another")
	want(t, "another browser", err, oauthreg.ErrNotFound)
}

func interactionExpires(t testing.TB, s Store) {
	must(t, s.CreateInteraction(t.Context(), oauthreg.Interaction{Handle: "h", ExpiresAt: time.Now().Add(-time.Second)}))
	_, err := s.Interaction(t.Context(), "h", "")
	want(t, "read", err, oauthreg.ErrNotFound)
	want(t, "finish", s.FinishInteraction(t.Context(), "h"), oauthreg.ErrNotFound)
}

func member(t testing.TB, s Store) {
	t.Helper()
	must(t, s.JoinSession(t.Context(), oauthreg.SessionMember{SessionID: "sid", ClientID: "k", Subject: "alice", ExpiresAt: time.Now().Add(time.Hour)}))
}

func logoutIsNotifiedOnce(t testing.TB, s Store) {
	member(t, s)
	member(t, s)
	now := time.Now()
	all(t, callers, func(int) error { return s.EndSession(t.Context(), "sid", now) })
	got, err := s.ClaimLogouts(t.Context(), now.Add(time.Second), now.Add(time.Minute), 100)
	must(t, err)
	if len(got) != 1 || got[0].ClientID != "k" || got[0].Subject != "alice" {
		t.Errorf("got notices %+v, want one", got)
	}
	members, err := s.SessionMembers(t.Context(), "sid")
	must(t, err)
	if len(members) != 0 {
		t.Errorf("got members %+v of a session that has ended", members)
	}
}

func logoutNoticeIsClaimedOnce(t testing.TB, s Store) {
	member(t, s)
	now := time.Now()
	must(t, s.EndSession(t.Context(), "sid", now))
	var mu sync.Mutex
	var got []oauthreg.LogoutNotice
	all(t, callers, func(int) error {
		some, err := s.ClaimLogouts(t.Context(), now.Add(time.Second), now.Add(time.Minute), 100)
		mu.Lock()
		defer mu.Unlock()
		got = append(got, some...)
		return err
	})
	if len(got) != 1 {
		t.Fatalf("a notice was claimed %d times, want once", len(got))
	}
	// Not delivered: due again when the lease ends.
	again, err := s.ClaimLogouts(t.Context(), now.Add(2*time.Minute), now.Add(3*time.Minute), 100)
	must(t, err)
	if len(again) != 1 {
		t.Fatalf("got %d notices after the lease, want 1", len(again))
	}
	must(t, s.LogoutDelivered(t.Context(), got[0])) // by someone too late
	must(t, s.LogoutDelivered(t.Context(), again[0]))
	left, err := s.ClaimLogouts(t.Context(), now.Add(time.Hour), now.Add(2*time.Hour), 100)
	must(t, err)
	if len(left) != 0 {
		t.Errorf("a delivered notice is due again")
	}
}

func signingKeysAreMadeOnce(t testing.TB, s Store) {
	all(t, callers/2, func(i int) error {
		return s.UpdateSigningKeys(t.Context(), func(have []oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
			if len(have) == 0 {
				add = []oauthreg.SigningKey{{KeyID: fmt.Sprint(i), Alg: "RS256", Private: []byte("private"), CreatedAt: time.Now()}}
			}
			return add, nil, nil
		})
	})
	keys, err := s.SigningKeys(t.Context())
	must(t, err)
	if len(keys) != 1 || string(keys[0].Private) != "private" {
		t.Errorf("got %d keys, want the first", len(keys))
	}
}

func signingKeyChangesAreAudited(t testing.TB, s Store) {
	now := time.Now()
	key := oauthreg.SigningKey{KeyID: "audited", Alg: "RS256", Private: []byte("private"), CreatedAt: now, ActiveAt: now}
	change := func(add, replace []oauthreg.SigningKey, err error) error {
		return s.UpdateSigningKeys(t.Context(), func([]oauthreg.SigningKey) ([]oauthreg.SigningKey, []oauthreg.SigningKey, error) {
			return add, replace, err
		})
	}
	refused := errors.New("refused")
	want(t, "change's error", change([]oauthreg.SigningKey{key}, nil, refused), refused)
	must(t, change([]oauthreg.SigningKey{key}, nil, nil))
	keys, err := s.SigningKeys(t.Context())
	must(t, err)
	keys[0].RetiredAt, keys[0].ExpiresAt = now, now
	must(t, change(nil, keys, nil))
	records, err := s.AuditRecords(t.Context(), oauthreg.AuditQuery{NoClient: true})
	must(t, err)
	var actions []string
	for _, a := range records {
		actions = append(actions, a.Action)
	}
	slices.Sort(actions)
	if !slices.Equal(actions, []string{"signing_key.created", "signing_key.withdrawn"}) {
		t.Errorf("got records %v, want one per change that was made", actions)
	}
}

func registrationPermissionIsLimited(t testing.TB, s Store) {
	now := time.Now()
	token := oauthreg.InitialAccessToken{ID: "1", Digest: []byte("digest"), MaxUses: 1, CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
	must(t, s.CreateInitialAccessToken(t.Context(), token))
	want(t, "the same again", s.CreateInitialAccessToken(t.Context(), token), oauthreg.ErrConflict)
	want(t, "after its end", s.UseInitialAccessToken(t.Context(), token.Digest, now.Add(2*time.Hour)), oauthreg.ErrNotFound)
	race(t, callers, oauthreg.ErrConsumed, func(int) error { return s.UseInitialAccessToken(t.Context(), token.Digest, now) })
	must(t, s.DeleteInitialAccessToken(t.Context(), "1"))
	want(t, "after its deletion", s.UseInitialAccessToken(t.Context(), token.Digest, now), oauthreg.ErrNotFound)
}

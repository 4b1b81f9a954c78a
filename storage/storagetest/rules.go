package storagetest

import (
	"context"
	"crypto/rand"
	"errors"
	"net/url"
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

	// Clients: clients.go.
	{"ClientIsKeptWhole", "oauthreg.Store: a record comes back as it was written, with its secrets and registration token", clientIsKeptWhole},
	{"ClientIDIsUnique", "RFC 7591 §3.2.1: the client identifier is unique", clientIDIsUnique},
	{"IdentifiersAreExact", "RFC 3986 §6.2.1, RFC 6749 §1.9: identifiers are compared character by character", identifiersAreExact},
	{"OwnersAreSeparate", "oauthreg.Ref: a client of another owner does not exist", ownersAreSeparate},
	{"NamesAreSearched", "oauthreg.ListQuery: NameContains is a literal substring; ASCII letters match in either case", namesAreSearched},
	{"ClientsAreSelected", "oauthreg.ListQuery: all set filters must hold", clientsAreSelected},
	{"ClientsAreListedNewestFirst", "oauthreg.ListQuery: the order, pages and cursors", clientsAreListedNewestFirst},
	{"ClientChangesAreNotLost", "oauthreg.Store: UpdateClient", clientChangesAreNotLost},
	{"ClientChangesAreAudited", "oauthreg.Store: the audit record is written in the same transaction", clientChangesAreAudited},
	{"AuditRecordsAreSelected", "oauthreg.AuditQuery", auditRecordsAreSelected},
	{"SecretUsesAreKept", "oauthreg.Store: SecretsUsed, SecretUses", secretUsesAreKept},
	{"DeletedClientsTokensEnd", "RFC 7592 §2.3: deletion invalidates grants and tokens", deletedClientsTokensEnd},
	{"SuspendedClientsTokensRest", "oauthreg.Client: SuspendedAt", suspendedClientsTokensRest},

	// What reads have in common: reads.go.
	{"UnknownIsNotFound", "oauthreg, fosite: ErrNotFound, nothing else, tells that something is not there", unknownIsNotFound},
	{"EmptySignatureIsNotFound", "fosite: the signature of a malformed token is empty", emptySignatureIsNotFound},
	{"ReadsShareNothing", "fosite: handlers change what they read", readsShareNothing},
	{"RecordsShareNothing", "oauthreg.Store: values share nothing with later ones", recordsShareNothing},
	{"LiveSessionIsLeftAlone", "fosite: the session of a request being answered is passed to every read", liveSessionIsLeftAlone},
	{"AnySessionArgumentIsTaken", "fosite: revocation passes no session", anySessionArgumentIsTaken},

	// Codes, tokens and assertions: tokens.go.
	{"CodeIsUsedOnce", "RFC 6749 §4.1.2: the client must not use the code more than once", codeIsUsedOnce},
	{"UsedCodeIsTold", "RFC 6749 §4.1.2: tokens of a code that is used again are revoked", usedCodeIsTold},
	{"CodeExpires", "RFC 6749 §4.1.2: the code must expire shortly after it is issued", codeExpires},
	{"CodeMakesItsGrant", "oauthreg.Grant: codes, access and refresh tokens point at it", codeMakesItsGrant},
	{"ChallengeStaysWithCode", "RFC 7636 §4.6: a code with a challenge needs the verifier, however often it is tried", challengeStaysWithCode},
	{"NonceStaysWithCode", "OpenID Connect Core §3.1.3.3: the ID token answers the authentication request", nonceStaysWithCode},
	{"TokenNeedsGrant", "oauthreg.Grant: tokens are worth nothing without it", tokenNeedsGrant},
	{"MachineTokenNeedsNoGrant", "RFC 6749 §4.4: client credentials", machineTokenNeedsNoGrant},
	{"AccessTokenExpires", "RFC 6749 §1.4: an access token has a duration", accessTokenExpires},
	{"RefreshTokenExpires", "RFC 9700 §4.14.2: refresh tokens should expire", refreshTokenExpires},
	{"TokensEndWithGrant", "oauthreg.Grant: no token outlives it", tokensEndWithGrant},
	{"GrantLastsAsLongAsItsTokens", "RFC 6749 §1.5: a refresh token outlives the code and the access token", grantLastsAsLongAsItsTokens},
	{"RevocationEndsAll", "RFC 7009 §2.1: revoking a refresh token ends the grant's access tokens", revocationEndsAll},
	{"RevokedAccessTokenEndsAll", "RFC 6749 §4.1.2: tokens of a code that is used again are revoked by the request's id", revokedAccessTokenEndsAll},
	{"OneAccessTokenEndsAlone", "fosite: DeleteAccessTokenSession", oneAccessTokenEndsAlone},
	{"OneRefreshTokenEndsAlone", "fosite: DeleteRefreshTokenSession", oneRefreshTokenEndsAlone},
	{"RevocationBeatsIssue", "RFC 7009 §2.1: revocation takes place immediately", revocationBeatsIssue},
	{"RefreshTokenIsUsedOnce", "RFC 9700 §4.14.2: refresh token rotation", refreshTokenIsUsedOnce},
	{"UsedRefreshTokenIsTold", "RFC 9700 §4.14.2: a used refresh token revokes the active one", usedRefreshTokenIsTold},
	{"AssertionIsUsedOnce", "RFC 7523 §3 item 7: the jti is not used again until the assertion expires", assertionIsUsedOnce},

	// Transactions: transactions.go.
	{"TransactionIsWhole", "fosite storage.Transactional", transactionIsWhole},
	{"WritesTakePart", "fosite storage.Transactional; oauthreg: inside a transaction of the engine a write is part of it", writesTakePart},
	{"DecisionIsWhole", "RFC 6749 §4.1.1: what the resource owner decides, once", decisionIsWhole},
	{"RollbackAfterCommitIsQuiet", "fosite: a failed commit is rolled back", rollbackAfterCommitIsQuiet},
	{"TransactionsNest", "fosite: handlers begin a transaction within the server's", transactionsNest},

	// Grants and consents: grants.go.
	{"GrantIsKeptWhole", "oauthreg.GrantStore: CreateGrant, Grant, ListGrants", grantIsKeptWhole},
	{"GrantEnds", "oauthreg.GrantStore: Grant, UseGrant", grantEnds},
	{"GrantsAreListedNewestFirst", "oauthreg.GrantStore: ListGrants, ListConsents", grantsAreListedNewestFirst},
	{"EmptyFilterRevokesNothing", "oauthreg.GrantStore: nobody revokes everything by mistake", emptyFilterRevokesNothing},
	{"FiltersSelect", "oauthreg.GrantFilter: of grants that are listed", filtersSelect},
	{"FiltersRevoke", "RFC 7009 §2.1, OpenID Connect Back-Channel Logout §2.7: grants that are revoked end at once, with their codes and tokens", filtersRevoke},
	{"ConsentIsKeptWhole", "oauthreg.GrantStore: SaveConsent, Consent, ListConsents", consentIsKeptWhole},
	{"ConsentWidens", "oauthreg.GrantStore: SaveConsent, also concurrently", consentWidens},
	{"ConsentIsGivenAnew", "oauthreg.GrantStore: SaveConsent; an id names one consent for ever", consentIsGivenAnew},
	{"RevokedConsentIsNotWidened", "oauthreg.GrantStore: SaveConsent with an id", revokedConsentIsNotWidened},
	{"ConsentTellsLastIssue", "oauthreg.Consent: LastIssuedAt", consentTellsLastIssue},
	{"ConsentsAreSelected", "oauthreg.GrantFilter: of consents", consentsAreSelected},
	{"RevokedConsentEndsGrants", "oauthreg.GrantStore: RevokeConsents", revokedConsentEndsGrants},
	{"GrantNeedsItsConsent", "oauthreg.GrantStore: CreateGrant on a consent that was revoked meanwhile", grantNeedsItsConsent},

	// Sign-in sessions, interactions and logout: sessions.go.
	{"SignInSessionIsKeptWhole", "oauthreg.SessionStore: CreateLoginSession, LoginSession, ListLoginSessions", signInSessionIsKeptWhole},
	{"SignInSessionEnds", "oauthreg.SessionStore: EndLoginSession", signInSessionEnds},
	{"SignInSessionExpires", "oauthreg.SessionStore: live is who has reached neither end", signInSessionExpires},
	{"SignInSessionIsProlonged", "oauthreg.SessionStore: TouchLoginSession", signInSessionIsProlonged},
	{"SignInSessionsAreListed", "oauthreg.SessionStore: ListLoginSessions", signInSessionsAreListed},
	{"InteractionIsKeptWhole", "oauthreg.InteractionStore: CreateInteraction, Interaction", interactionIsKeptWhole},
	{"InteractionIsCreatedOnce", "RFC 6749 §10.12: a decision is made once", interactionIsCreatedOnce},
	{"InteractionIsUpdated", "oauthreg.InteractionStore: UpdateInteraction", interactionIsUpdated},
	{"InteractionIsFinishedOnce", "RFC 6749 §10.12: a decision is made once", interactionIsFinishedOnce},
	{"InteractionIsBoundToBrowser", "RFC 6749 §10.12: the decision is the user agent's own", interactionIsBoundToBrowser},
	{"InteractionExpires", "oauthreg.InteractionStore", interactionExpires},
	{"SessionMembersAreKept", "oauthreg.LogoutOutbox: JoinSession, SessionMembers", sessionMembersAreKept},
	{"LogoutNoticeIsWhole", "OpenID Connect Back-Channel Logout §2.4: what a logout token is made of", logoutNoticeIsWhole},
	{"LogoutIsNotifiedOnce", "OpenID Connect Back-Channel Logout §2.5", logoutIsNotifiedOnce},
	{"LogoutNoticeIsClaimedOnce", "OpenID Connect Back-Channel Logout §2.5", logoutNoticeIsClaimedOnce},
	{"LogoutsAreClaimedInOrder", "oauthreg.LogoutOutbox: ClaimLogouts", logoutsAreClaimedInOrder},
	{"FailedLogoutIsTriedAgain", "OpenID Connect Back-Channel Logout §2.8: whoever was not reached is told again", failedLogoutIsTriedAgain},

	// Signing keys and permissions to register: keys.go.
	{"SigningKeysAreKeptWhole", "oauthreg.KeyStore: SigningKeys, UpdateSigningKeys", signingKeysAreKeptWhole},
	{"SigningKeysAreMadeOnce", "oauthreg.KeyStore: UpdateSigningKeys excludes other updates", signingKeysAreMadeOnce},
	{"SigningKeyChangesAreAudited", "oauthreg.KeyStore: UpdateSigningKeys writes audit records", signingKeyChangesAreAudited},
	{"RegistrationPermissionIsKeptWhole", "oauthreg.InitialAccessTokenStore", registrationPermissionIsKeptWhole},
	{"RegistrationPermissionsAreListed", "oauthreg.InitialAccessTokenStore: ListInitialAccessTokens", registrationPermissionsAreListed},
	{"RegistrationPermissionIsLimited", "RFC 7591 §1.2: initial access tokens", registrationPermissionIsLimited},
}

func unique(what string) string { return what + "-" + rand.Text() }

// client registers one and returns it, and what fosite is given for it.
func client(t testing.TB, s Store, edit ...func(*oauthreg.Client)) (oauthreg.Client, fosite.Client) {
	t.Helper()
	now := now()
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

// machineRequest is what a client asks for itself (RFC 6749 §4.4): nobody granted
// it anything.
func machineRequest(client fosite.Client) *fosite.AccessRequest {
	r := fosite.NewAccessRequest(&openid.DefaultSession{
		Claims: &jwt.IDTokenClaims{}, Headers: &jwt.Headers{}, Subject: client.GetID(),
		ExpiresAt: map[fosite.TokenType]time.Time{fosite.AccessToken: time.Now().Add(time.Hour)},
	})
	r.ID, r.Client, r.RequestedAt = unique("request"), client, now()
	r.GrantTypes = fosite.Arguments{"client_credentials"}
	r.Form = url.Values{"grant_type": {"client_credentials"}}
	r.RequestedScope, r.GrantedScope = fosite.Arguments{"read"}, fosite.Arguments{"read"}
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

func internalID(t testing.TB, s Store, f fosite.Client) string {
	t.Helper()
	rec, err := s.Client(t.Context(), oauthreg.ByClientID(f.GetID()))
	must(t, err)
	return rec.Client.ID
}

// grant makes one that ends in an hour.
func grant(t testing.TB, s Store, g oauthreg.Grant) string {
	t.Helper()
	g.ID = unique("grant")
	g.ExpiresAt = time.Now().Add(time.Hour)
	must(t, s.CreateGrant(t.Context(), g))
	return g.ID
}

// granted makes a grant, and a code and tokens beneath it.
func granted(t testing.TB, s Store, f fosite.Client, g oauthreg.Grant) *fosite.Request {
	t.Helper()
	r := request(f)
	g.ClientID = internalID(t, s, f)
	r.ID = grant(t, s, g)
	r.Session.(*openid.DefaultSession).Subject = g.Subject
	issue(t, s, r)
	return r
}

// alive reports what of a request does not live.
func alive(t testing.TB, s Store, r *fosite.Request) {
	t.Helper()
	_, err := s.GetAccessTokenSession(t.Context(), r.ID+"access", nil)
	want(t, "access token", err, nil)
	_, err = s.GetRefreshTokenSession(t.Context(), r.ID+"refresh", nil)
	want(t, "refresh token", err, nil)
}

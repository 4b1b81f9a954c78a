package storagetest

import (
	"context"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// hooked is a store of which one method is another. It embeds nothing, so that it
// does not compile before it has a method that is added to the interfaces.
type hooked struct {
	s      Store
	method string
	// before may change the context, or return false: the method does not run, and
	// returns nothing and the error.
	before func(ctx *context.Context, err *error) bool
	// after may change what the method returns, to which it is given a pointer.
	after func(result any)
}

var _ Store = hooked{}

func (h hooked) calls(method string, ctx *context.Context, err *error) bool {
	return h.before == nil || method != h.method || h.before(ctx, err)
}

func (h hooked) returns(method string, result any) {
	if h.after != nil && method == h.method {
		h.after(result)
	}
}

// instead is a store of which a method does nothing but return err, which may be nil.
func instead(method string, err error) func(Store) Store {
	return func(s Store) Store {
		return hooked{s: s, method: method, before: func(_ *context.Context, failure *error) bool {
			*failure = err
			return false
		}}
	}
}

// outside is a store of which a method takes no part in transactions.
func outside(method string) func(Store) Store {
	return func(s Store) Store {
		return hooked{s: s, method: method, before: func(ctx *context.Context, _ *error) bool {
			*ctx = context.Background()
			return true
		}}
	}
}

// after is a store of which a method returns what edit makes of its result.
func after[T any](method string, edit func(*T)) func(Store) Store {
	return func(s Store) Store {
		return hooked{s: s, method: method, after: func(result any) { edit(result.(*T)) }}
	}
}

func (h hooked) AuditRecords(ctx context.Context, a oauthreg.AuditQuery) (v []oauthreg.AuditRecord, err error) {
	if h.calls("AuditRecords", &ctx, &err) {
		v, err = h.s.AuditRecords(ctx, a)
		h.returns("AuditRecords", &v)
	}
	return v, err
}

// BeginTX that is not called begins nothing.
func (h hooked) BeginTX(ctx context.Context) (tx context.Context, err error) {
	if tx = ctx; h.calls("BeginTX", &ctx, &err) {
		tx, err = h.s.BeginTX(ctx)
	}
	return tx, err
}

func (h hooked) ClaimLogouts(ctx context.Context, a, b time.Time, c int) (v []oauthreg.LogoutNotice, err error) {
	if h.calls("ClaimLogouts", &ctx, &err) {
		v, err = h.s.ClaimLogouts(ctx, a, b, c)
		h.returns("ClaimLogouts", &v)
	}
	return v, err
}

func (h hooked) Client(ctx context.Context, a oauthreg.Ref) (v oauthreg.Record, err error) {
	if h.calls("Client", &ctx, &err) {
		v, err = h.s.Client(ctx, a)
		h.returns("Client", &v)
	}
	return v, err
}

func (h hooked) ClientAssertionJWTValid(ctx context.Context, a string) (err error) {
	if h.calls("ClientAssertionJWTValid", &ctx, &err) {
		err = h.s.ClientAssertionJWTValid(ctx, a)
	}
	return err
}

func (h hooked) Commit(ctx context.Context) (err error) {
	if h.calls("Commit", &ctx, &err) {
		err = h.s.Commit(ctx)
	}
	return err
}

func (h hooked) Consent(ctx context.Context, a, b string) (v oauthreg.Consent, err error) {
	if h.calls("Consent", &ctx, &err) {
		v, err = h.s.Consent(ctx, a, b)
		h.returns("Consent", &v)
	}
	return v, err
}

func (h hooked) CreateAccessTokenSession(ctx context.Context, a string, b fosite.Requester) (err error) {
	if h.calls("CreateAccessTokenSession", &ctx, &err) {
		err = h.s.CreateAccessTokenSession(ctx, a, b)
	}
	return err
}

func (h hooked) CreateAuthorizeCodeSession(ctx context.Context, a string, b fosite.Requester) (err error) {
	if h.calls("CreateAuthorizeCodeSession", &ctx, &err) {
		err = h.s.CreateAuthorizeCodeSession(ctx, a, b)
	}
	return err
}

func (h hooked) CreateGrant(ctx context.Context, a oauthreg.Grant) (err error) {
	if h.calls("CreateGrant", &ctx, &err) {
		err = h.s.CreateGrant(ctx, a)
	}
	return err
}

func (h hooked) CreateInitialAccessToken(ctx context.Context, a oauthreg.InitialAccessToken) (err error) {
	if h.calls("CreateInitialAccessToken", &ctx, &err) {
		err = h.s.CreateInitialAccessToken(ctx, a)
	}
	return err
}

func (h hooked) CreateInteraction(ctx context.Context, a oauthreg.Interaction) (err error) {
	if h.calls("CreateInteraction", &ctx, &err) {
		err = h.s.CreateInteraction(ctx, a)
	}
	return err
}

func (h hooked) CreateLoginSession(ctx context.Context, a oauthreg.LoginSession) (err error) {
	if h.calls("CreateLoginSession", &ctx, &err) {
		err = h.s.CreateLoginSession(ctx, a)
	}
	return err
}

func (h hooked) CreateOpenIDConnectSession(ctx context.Context, a string, b fosite.Requester) (err error) {
	if h.calls("CreateOpenIDConnectSession", &ctx, &err) {
		err = h.s.CreateOpenIDConnectSession(ctx, a, b)
	}
	return err
}

func (h hooked) CreatePKCERequestSession(ctx context.Context, a string, b fosite.Requester) (err error) {
	if h.calls("CreatePKCERequestSession", &ctx, &err) {
		err = h.s.CreatePKCERequestSession(ctx, a, b)
	}
	return err
}

func (h hooked) CreateRefreshTokenSession(ctx context.Context, a, b string, c fosite.Requester) (err error) {
	if h.calls("CreateRefreshTokenSession", &ctx, &err) {
		err = h.s.CreateRefreshTokenSession(ctx, a, b, c)
	}
	return err
}

func (h hooked) DeleteAccessTokenSession(ctx context.Context, a string) (err error) {
	if h.calls("DeleteAccessTokenSession", &ctx, &err) {
		err = h.s.DeleteAccessTokenSession(ctx, a)
	}
	return err
}

func (h hooked) DeleteClient(ctx context.Context, a oauthreg.Ref, b func(oauthreg.Record) (oauthreg.AuditRecord, error)) (err error) {
	if h.calls("DeleteClient", &ctx, &err) {
		err = h.s.DeleteClient(ctx, a, b)
	}
	return err
}

func (h hooked) DeleteInitialAccessToken(ctx context.Context, a string) (err error) {
	if h.calls("DeleteInitialAccessToken", &ctx, &err) {
		err = h.s.DeleteInitialAccessToken(ctx, a)
	}
	return err
}

func (h hooked) DeleteOpenIDConnectSession(ctx context.Context, a string) (err error) {
	if h.calls("DeleteOpenIDConnectSession", &ctx, &err) {
		err = h.s.DeleteOpenIDConnectSession(ctx, a)
	}
	return err
}

func (h hooked) DeletePKCERequestSession(ctx context.Context, a string) (err error) {
	if h.calls("DeletePKCERequestSession", &ctx, &err) {
		err = h.s.DeletePKCERequestSession(ctx, a)
	}
	return err
}

func (h hooked) DeleteRefreshTokenSession(ctx context.Context, a string) (err error) {
	if h.calls("DeleteRefreshTokenSession", &ctx, &err) {
		err = h.s.DeleteRefreshTokenSession(ctx, a)
	}
	return err
}

func (h hooked) EndLoginSession(ctx context.Context, a string) (err error) {
	if h.calls("EndLoginSession", &ctx, &err) {
		err = h.s.EndLoginSession(ctx, a)
	}
	return err
}

func (h hooked) EndSession(ctx context.Context, a string, b time.Time) (err error) {
	if h.calls("EndSession", &ctx, &err) {
		err = h.s.EndSession(ctx, a, b)
	}
	return err
}

func (h hooked) FinishInteraction(ctx context.Context, a string) (err error) {
	if h.calls("FinishInteraction", &ctx, &err) {
		err = h.s.FinishInteraction(ctx, a)
	}
	return err
}

func (h hooked) GetAccessTokenSession(ctx context.Context, a string, b fosite.Session) (v fosite.Requester, err error) {
	if h.calls("GetAccessTokenSession", &ctx, &err) {
		v, err = h.s.GetAccessTokenSession(ctx, a, b)
		h.returns("GetAccessTokenSession", &v)
	}
	return v, err
}

func (h hooked) GetAuthorizeCodeSession(ctx context.Context, a string, b fosite.Session) (v fosite.Requester, err error) {
	if h.calls("GetAuthorizeCodeSession", &ctx, &err) {
		v, err = h.s.GetAuthorizeCodeSession(ctx, a, b)
		h.returns("GetAuthorizeCodeSession", &v)
	}
	return v, err
}

func (h hooked) GetClient(ctx context.Context, a string) (v fosite.Client, err error) {
	if h.calls("GetClient", &ctx, &err) {
		v, err = h.s.GetClient(ctx, a)
		h.returns("GetClient", &v)
	}
	return v, err
}

func (h hooked) GetOpenIDConnectSession(ctx context.Context, a string, b fosite.Requester) (v fosite.Requester, err error) {
	if h.calls("GetOpenIDConnectSession", &ctx, &err) {
		v, err = h.s.GetOpenIDConnectSession(ctx, a, b)
		h.returns("GetOpenIDConnectSession", &v)
	}
	return v, err
}

func (h hooked) GetPKCERequestSession(ctx context.Context, a string, b fosite.Session) (v fosite.Requester, err error) {
	if h.calls("GetPKCERequestSession", &ctx, &err) {
		v, err = h.s.GetPKCERequestSession(ctx, a, b)
		h.returns("GetPKCERequestSession", &v)
	}
	return v, err
}

func (h hooked) GetRefreshTokenSession(ctx context.Context, a string, b fosite.Session) (v fosite.Requester, err error) {
	if h.calls("GetRefreshTokenSession", &ctx, &err) {
		v, err = h.s.GetRefreshTokenSession(ctx, a, b)
		h.returns("GetRefreshTokenSession", &v)
	}
	return v, err
}

func (h hooked) Grant(ctx context.Context, a string) (v oauthreg.Grant, err error) {
	if h.calls("Grant", &ctx, &err) {
		v, err = h.s.Grant(ctx, a)
		h.returns("Grant", &v)
	}
	return v, err
}

func (h hooked) InitialAccessToken(ctx context.Context, a []byte) (v oauthreg.InitialAccessToken, err error) {
	if h.calls("InitialAccessToken", &ctx, &err) {
		v, err = h.s.InitialAccessToken(ctx, a)
		h.returns("InitialAccessToken", &v)
	}
	return v, err
}

func (h hooked) InsertClient(ctx context.Context, a oauthreg.Record, b oauthreg.AuditRecord) (err error) {
	if h.calls("InsertClient", &ctx, &err) {
		err = h.s.InsertClient(ctx, a, b)
	}
	return err
}

func (h hooked) Interaction(ctx context.Context, a, b string) (v oauthreg.Interaction, err error) {
	if h.calls("Interaction", &ctx, &err) {
		v, err = h.s.Interaction(ctx, a, b)
		h.returns("Interaction", &v)
	}
	return v, err
}

func (h hooked) InvalidateAuthorizeCodeSession(ctx context.Context, a string) (err error) {
	if h.calls("InvalidateAuthorizeCodeSession", &ctx, &err) {
		err = h.s.InvalidateAuthorizeCodeSession(ctx, a)
	}
	return err
}

func (h hooked) JoinSession(ctx context.Context, a oauthreg.SessionMember) (err error) {
	if h.calls("JoinSession", &ctx, &err) {
		err = h.s.JoinSession(ctx, a)
	}
	return err
}

func (h hooked) ListClients(ctx context.Context, a oauthreg.ListQuery) (v []oauthreg.Client, n int, err error) {
	if h.calls("ListClients", &ctx, &err) {
		v, n, err = h.s.ListClients(ctx, a)
		h.returns("ListClients", &v)
	}
	return v, n, err
}

func (h hooked) ListConsents(ctx context.Context, a oauthreg.GrantFilter, b, c int) (v []oauthreg.Consent, n int, err error) {
	if h.calls("ListConsents", &ctx, &err) {
		v, n, err = h.s.ListConsents(ctx, a, b, c)
		h.returns("ListConsents", &v)
	}
	return v, n, err
}

func (h hooked) ListGrants(ctx context.Context, a oauthreg.GrantFilter, b, c int) (v []oauthreg.Grant, n int, err error) {
	if h.calls("ListGrants", &ctx, &err) {
		v, n, err = h.s.ListGrants(ctx, a, b, c)
		h.returns("ListGrants", &v)
	}
	return v, n, err
}

func (h hooked) ListInitialAccessTokens(ctx context.Context, a, b int) (v []oauthreg.InitialAccessToken, err error) {
	if h.calls("ListInitialAccessTokens", &ctx, &err) {
		v, err = h.s.ListInitialAccessTokens(ctx, a, b)
		h.returns("ListInitialAccessTokens", &v)
	}
	return v, err
}

func (h hooked) ListLoginSessions(ctx context.Context, a string) (v []oauthreg.LoginSession, err error) {
	if h.calls("ListLoginSessions", &ctx, &err) {
		v, err = h.s.ListLoginSessions(ctx, a)
		h.returns("ListLoginSessions", &v)
	}
	return v, err
}

func (h hooked) LoginSession(ctx context.Context, a string) (v oauthreg.LoginSession, err error) {
	if h.calls("LoginSession", &ctx, &err) {
		v, err = h.s.LoginSession(ctx, a)
		h.returns("LoginSession", &v)
	}
	return v, err
}

func (h hooked) LogoutDelivered(ctx context.Context, a oauthreg.LogoutNotice) (err error) {
	if h.calls("LogoutDelivered", &ctx, &err) {
		err = h.s.LogoutDelivered(ctx, a)
	}
	return err
}

func (h hooked) LogoutFailed(ctx context.Context, a oauthreg.LogoutNotice, b time.Time) (err error) {
	if h.calls("LogoutFailed", &ctx, &err) {
		err = h.s.LogoutFailed(ctx, a, b)
	}
	return err
}

func (h hooked) Ping(ctx context.Context) (err error) {
	if h.calls("Ping", &ctx, &err) {
		err = h.s.Ping(ctx)
	}
	return err
}

func (h hooked) RevokeAccessToken(ctx context.Context, a string) (err error) {
	if h.calls("RevokeAccessToken", &ctx, &err) {
		err = h.s.RevokeAccessToken(ctx, a)
	}
	return err
}

func (h hooked) RevokeConsents(ctx context.Context, a oauthreg.GrantFilter) (v int, err error) {
	if h.calls("RevokeConsents", &ctx, &err) {
		v, err = h.s.RevokeConsents(ctx, a)
		h.returns("RevokeConsents", &v)
	}
	return v, err
}

func (h hooked) RevokeGrants(ctx context.Context, a oauthreg.GrantFilter) (v int, err error) {
	if h.calls("RevokeGrants", &ctx, &err) {
		v, err = h.s.RevokeGrants(ctx, a)
		h.returns("RevokeGrants", &v)
	}
	return v, err
}

func (h hooked) RevokeRefreshToken(ctx context.Context, a string) (err error) {
	if h.calls("RevokeRefreshToken", &ctx, &err) {
		err = h.s.RevokeRefreshToken(ctx, a)
	}
	return err
}

func (h hooked) Rollback(ctx context.Context) (err error) {
	if h.calls("Rollback", &ctx, &err) {
		err = h.s.Rollback(ctx)
	}
	return err
}

func (h hooked) RotateRefreshToken(ctx context.Context, a, b string) (err error) {
	if h.calls("RotateRefreshToken", &ctx, &err) {
		err = h.s.RotateRefreshToken(ctx, a, b)
	}
	return err
}

func (h hooked) SaveConsent(ctx context.Context, a oauthreg.Consent) (v string, err error) {
	if h.calls("SaveConsent", &ctx, &err) {
		v, err = h.s.SaveConsent(ctx, a)
		h.returns("SaveConsent", &v)
	}
	return v, err
}

func (h hooked) SecretUses(ctx context.Context, a string) (v map[string]time.Time, err error) {
	if h.calls("SecretUses", &ctx, &err) {
		v, err = h.s.SecretUses(ctx, a)
		h.returns("SecretUses", &v)
	}
	return v, err
}

func (h hooked) SecretsUsed(ctx context.Context, a map[string]time.Time) (err error) {
	if h.calls("SecretsUsed", &ctx, &err) {
		err = h.s.SecretsUsed(ctx, a)
	}
	return err
}

func (h hooked) SessionMembers(ctx context.Context, a string) (v []oauthreg.SessionMember, err error) {
	if h.calls("SessionMembers", &ctx, &err) {
		v, err = h.s.SessionMembers(ctx, a)
		h.returns("SessionMembers", &v)
	}
	return v, err
}

func (h hooked) SetClientAssertionJWT(ctx context.Context, a string, b time.Time) (err error) {
	if h.calls("SetClientAssertionJWT", &ctx, &err) {
		err = h.s.SetClientAssertionJWT(ctx, a, b)
	}
	return err
}

func (h hooked) SigningKeys(ctx context.Context) (v []oauthreg.SigningKey, err error) {
	if h.calls("SigningKeys", &ctx, &err) {
		v, err = h.s.SigningKeys(ctx)
		h.returns("SigningKeys", &v)
	}
	return v, err
}

func (h hooked) TouchLoginSession(ctx context.Context, a string, b, c time.Time) (err error) {
	if h.calls("TouchLoginSession", &ctx, &err) {
		err = h.s.TouchLoginSession(ctx, a, b, c)
	}
	return err
}

func (h hooked) UpdateClient(ctx context.Context, a oauthreg.Ref, b func(*oauthreg.Record) (*oauthreg.AuditRecord, error)) (err error) {
	if h.calls("UpdateClient", &ctx, &err) {
		err = h.s.UpdateClient(ctx, a, b)
	}
	return err
}

func (h hooked) UpdateInteraction(ctx context.Context, a oauthreg.Interaction) (err error) {
	if h.calls("UpdateInteraction", &ctx, &err) {
		err = h.s.UpdateInteraction(ctx, a)
	}
	return err
}

func (h hooked) UpdateSigningKeys(ctx context.Context, a func([]oauthreg.SigningKey) ([]oauthreg.SigningKey, []oauthreg.SigningKey, error)) (err error) {
	if h.calls("UpdateSigningKeys", &ctx, &err) {
		err = h.s.UpdateSigningKeys(ctx, a)
	}
	return err
}

func (h hooked) UseGrant(ctx context.Context, a string, b, c time.Time) (err error) {
	if h.calls("UseGrant", &ctx, &err) {
		err = h.s.UseGrant(ctx, a, b, c)
	}
	return err
}

func (h hooked) UseInitialAccessToken(ctx context.Context, a []byte, b time.Time) (err error) {
	if h.calls("UseInitialAccessToken", &ctx, &err) {
		err = h.s.UseInitialAccessToken(ctx, a, b)
	}
	return err
}

package handlers

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// replayAfter is how long after its redemption a repeated code counts as a lost
// race or a retry rather than a replay.
const replayAfter = 10 * time.Second

// codeGrant issues authorization codes at the authorization endpoint and redeems
// them at the token endpoint (RFC 6749 §4.1, RFC 7636 §4.5 and §4.6).
type codeGrant struct{ s *Server }

var _ fosite.AuthorizeEndpointHandler = (*codeGrant)(nil)

// HandleAuthorizeEndpointRequest makes the code. The request was permitted, and
// the user decided.
func (g *codeGrant) HandleAuthorizeEndpointRequest(ctx context.Context, ar fosite.AuthorizeRequester, resp fosite.AuthorizeResponder) error {
	if !ar.GetResponseTypes().ExactOne("code") {
		return nil
	}
	code, signature := g.s.engine.tokens.newCode()
	if err := g.s.store.CreateAuthorizeCodeSession(ctx, signature, ar.Sanitize(nil)); err != nil {
		return err
	}
	resp.AddParameter("code", code)
	ar.SetResponseTypeHandled("code")
	return nil
}

// check compares the request with what the code is bound to: client, redirect
// URI, code verifier, resources; each alone is enough to refuse. Nothing is
// consumed, so that a mistaken request does not burn the code.
func (g *codeGrant) check(ctx context.Context, r fosite.AccessRequester) error {
	s, form, client := g.s, r.GetRequestForm(), registered(r)
	code, cerr := sentCode(form)
	if cerr != nil {
		return cerr
	}
	signature := s.engine.tokens.codeSignature(code)
	if signature == "" {
		return invalidCode()
	}
	stored, err := s.store.GetAuthorizeCodeSession(ctx, signature, NewSession())
	switch {
	case errors.Is(err, fosite.ErrInvalidatedAuthorizeCode):
		return g.replayed(ctx, client, stored, err)
	case isNotFound(err):
		return invalidCode()
	case err != nil:
		return err
	}
	session, ok := stored.GetSession().(*Session)
	switch {
	case !ok:
		return serverError(errors.New("the store returned a session of another type"))
	case !sameClient(stored, client):
		return invalidCode()
	case !s.now().Before(session.GetExpiresAt(fosite.AuthorizeCode)):
		return invalidCode()
	case !sameRedirect(client, session.RedirectURI, form.Get("redirect_uri")):
		return invalidGrant("The redirect_uri is not the one of the authorization request.").decidedBy("redirect_uris")
	}
	if err := checkVerifier(client, session.CodeChallenge, form.Get("code_verifier")); err != nil {
		return err
	}
	return s.adopt(ctx, r, stored, session, nil)
}

// sentCode is what a token request redeems a code by, whatever the code is. There
// is no scope in it (RFC 6749 §4.1.3): one that is sent is ignored.
func sentCode(form url.Values) (code string, _ *Error) {
	if code = form.Get("code"); code == "" {
		return "", invalidRequest("The code parameter is missing.")
	}
	return code, nil
}

// replayed answers a code that was redeemed before. The rightful client's replay
// revokes what the code produced (RFC 6749 §4.1.2), unless it is so soon that it
// is a retry or a lost race; a stranger's changes nothing.
func (g *codeGrant) replayed(ctx context.Context, client *oauthreg.Client, stored fosite.Requester, err error) error {
	if stored == nil || !sameClient(stored, client) {
		return invalidCode()
	}
	var used *oauthreg.UsedError
	if errors.As(err, &used) && g.s.now().Sub(used.At) <= replayAfter {
		return invalidCode()
	}
	return g.s.revokeReplayed(ctx, stored, "code")
}

func (g *codeGrant) issue(ctx context.Context, r fosite.AccessRequester, resp fosite.AccessResponder) error {
	s, client := g.s, registered(r)
	session := r.GetSession().(*Session)
	refresh := client.AllowsGrantType(oauthreg.GrantRefreshToken)
	t, err := s.newTokens(ctx, r, refresh)
	if err != nil {
		return err
	}
	signature := s.engine.tokens.codeSignature(r.GetRequestForm().Get("code"))
	err = s.inTransaction(ctx, func(ctx context.Context) error {
		if err := s.store.InvalidateAuthorizeCodeSession(ctx, signature); err != nil {
			return err
		}
		return t.store(ctx, s.store, session)
	})
	switch {
	case err == nil:
		s.emitTokens(ctx, oauthreg.GrantAuthorizationCode, t.access, t.refresh != nil)
		t.respond(resp)
		return nil
	case errors.Is(err, fosite.ErrInvalidatedAuthorizeCode), errors.Is(err, oauthreg.ErrConsumed), isNotFound(err):
		return invalidCode().because(err) // somebody was faster, or the grant was revoked meanwhile
	default:
		return err
	}
}

func invalidCode() *Error {
	return invalidGrant("The code is invalid, expired, or was used before.")
}

// sameRedirect compares the redirect_uri of the two requests (RFC 6749 §4.1.3).
// When authorize had none, the token request may leave it out or name a
// registered one.
func sameRedirect(c *oauthreg.Client, authorized, sent string) bool {
	if authorized == "" {
		return sent == "" || slices.Contains(c.RedirectURIs, sent)
	}
	return sent == authorized
}

// checkVerifier is RFC 7636 §4.6 for S256, and both directions of a downgrade: a
// verifier that nobody announced, and one that is missing.
func checkVerifier(c *oauthreg.Client, challenge, verifier string) *Error {
	switch {
	case challenge == "" && c.PKCERequired():
		return invalidGrant("The client must use PKCE, and the code was made without.").decidedBy("require_pkce")
	case challenge == "" && verifier == "":
		return nil
	case challenge == "":
		return invalidGrant("There is a code_verifier, but the authorization request had no code_challenge.")
	case verifier == "":
		return invalidGrant("The code_verifier is missing.")
	case !isVerifier(verifier):
		return invalidRequest("The code_verifier must be 43 to 128 unreserved characters.")
	}
	sum := sha256.Sum256([]byte(verifier))
	if subtle.ConstantTimeCompare([]byte(strictBase64.EncodeToString(sum[:])), []byte(challenge)) != 1 {
		return invalidGrant("The code_verifier does not belong to the code_challenge.")
	}
	return nil
}

// isVerifier is the grammar of RFC 7636 §4.1.
func isVerifier(v string) bool {
	if len(v) < 43 || len(v) > 128 {
		return false
	}
	for i := range len(v) {
		switch c := v[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
		default:
			return false
		}
	}
	return true
}

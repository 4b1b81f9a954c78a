package conformance

import (
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// leeway is how far the clocks may be apart.
const leeway = 30 * time.Second

// idToken takes a flow with openid and returns the verified claims.
func (r *run) idToken(ctx context.Context, pairs ...string) (*visit, members, members, error) {
	v, t, claims, _, err := r.signedIDToken(ctx, pairs...)
	return v, t, claims, err
}

func (r *run) signedIDToken(ctx context.Context, pairs ...string) (*visit, members, members, *jose.Header, error) {
	c, err := r.userClient()
	if err != nil {
		return nil, nil, nil, nil, err
	}
	if !slices.Contains(c.Scopes, "openid") {
		return nil, nil, nil, nil, skip("the client does not ask for openid (Client.Scopes)")
	}
	v, t, err := r.tokens(ctx, pairs...)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	if t.text("id_token") == "" {
		return nil, nil, nil, nil, errors.New("asked for openid, and the answer has no id_token")
	}
	claims, header, err := r.verify(ctx, t.text("id_token"))
	return v, t, claims, header, err
}

func idTokenSignature(ctx context.Context, r *run) error {
	_, _, _, header, err := r.signedIDToken(ctx)
	if err != nil {
		return err
	}
	if algs := r.meta.list("id_token_signing_alg_values_supported"); len(algs) > 0 && !slices.Contains(algs, header.Algorithm) {
		return fmt.Errorf("signed with %s, which is none of %s", header.Algorithm, strings.Join(algs, ", "))
	}
	return nil
}

func (m members) time(name string) time.Time {
	var seconds float64
	if json.Unmarshal(m[name], &seconds) != nil {
		return time.Time{}
	}
	return time.Unix(int64(seconds), 0)
}

func idTokenClaims(ctx context.Context, r *run) error {
	v, _, claims, err := r.idToken(ctx)
	if err != nil {
		return err
	}
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if got := claims.text("iss"); got != r.cfg.Issuer {
		wrong("got iss %q, want %q", got, r.cfg.Issuer)
	}
	aud := claims.audience("aud")
	if !slices.Contains(aud, v.client.ID) {
		wrong("got aud %q, want %q in it", aud, v.client.ID)
	}
	if azp := claims.text("azp"); azp != "" && azp != v.client.ID {
		wrong("got azp %q, want %q", azp, v.client.ID)
	}
	if sub := claims.text("sub"); sub == "" || len(sub) > 255 {
		wrong("got a sub of %d characters, want 1 to 255", len(sub))
	}
	now := r.now()
	if exp := claims.time("exp"); !exp.After(now.Add(-leeway)) {
		wrong("got exp %s, want a time to come", claims["exp"])
	}
	if iat := claims.time("iat"); iat.IsZero() || iat.After(now.Add(leeway)) {
		wrong("got iat %s, want a time that was", claims["iat"])
	}
	return errors.Join(errs...)
}

func idTokenNonce(ctx context.Context, r *run) error {
	v, _, claims, err := r.idToken(ctx)
	if err != nil {
		return err
	}
	if got, want := claims.text("nonce"), v.request.Get("nonce"); got != want {
		return fmt.Errorf("got nonce %q, want %q", got, want)
	}
	return nil
}

func idTokenAccessHash(ctx context.Context, r *run) error {
	_, t, claims, header, err := r.signedIDToken(ctx)
	if err != nil {
		return err
	}
	if !claims.has("at_hash") {
		return skip("the id_token has no at_hash, which the code flow leaves open")
	}
	var h hash.Hash
	switch {
	case strings.HasSuffix(header.Algorithm, "256"):
		h = sha256.New()
	case strings.HasSuffix(header.Algorithm, "384"):
		h = sha512.New384()
	default: // 512, and EdDSA with Ed25519
		h = sha512.New()
	}
	h.Write([]byte(t.text("access_token")))
	sum := h.Sum(nil)
	if want := base64.RawURLEncoding.EncodeToString(sum[:len(sum)/2]); claims.text("at_hash") != want {
		return errors.New("at_hash is not the hash of the access token")
	}
	return nil
}

func idTokenAuthTime(ctx context.Context, r *run) error {
	_, _, claims, err := r.idToken(ctx, "max_age", "3600")
	if err != nil {
		return err
	}
	at := claims.time("auth_time")
	if at.IsZero() || at.After(r.now().Add(leeway)) || at.Before(r.now().Add(-time.Hour-leeway)) {
		return fmt.Errorf("asked for max_age=3600, got auth_time %s", claims["auth_time"])
	}
	return nil
}

// accessTokenJWT looks at access tokens that say of themselves that they are of
// RFC 9068.
func accessTokenJWT(ctx context.Context, r *run) error {
	var token, clientID string
	if r.machine != nil {
		a, err := r.machineToken(ctx, "resource", r.cfg.Resource)
		if err != nil {
			return err
		}
		if err := a.hasToken(); err != nil {
			return err
		}
		token, clientID = a.json.text("access_token"), r.machine.ID
	} else {
		v, t, err := r.tokens(ctx, "resource", r.cfg.Resource)
		if err != nil {
			return err
		}
		token, clientID = t.text("access_token"), v.client.ID
	}
	jws, err := jose.ParseSignedCompact(token, publicAlgs)
	if err != nil {
		return skip("access tokens are opaque")
	}
	typ, _ := jws.Signatures[0].Protected.ExtraHeaders[jose.HeaderType].(string)
	if typ = strings.ToLower(typ); typ != "at+jwt" && typ != "application/at+jwt" {
		return skipf("access tokens are of the type %q, not at+jwt", typ)
	}
	claims, _, err := r.verify(ctx, token)
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
		if !claims.has(name) {
			errs = append(errs, fmt.Errorf("%s is missing", name))
		}
	}
	if got := claims.text("iss"); got != r.cfg.Issuer {
		errs = append(errs, fmt.Errorf("got iss %q, want %q", got, r.cfg.Issuer))
	}
	if got := claims.text("client_id"); got != clientID {
		errs = append(errs, fmt.Errorf("got client_id %q, want %q", got, clientID))
	}
	if exp := claims.time("exp"); !exp.After(r.now().Add(-leeway)) {
		errs = append(errs, fmt.Errorf("got exp %s, want a time to come", claims["exp"]))
	}
	return errors.Join(errs...)
}

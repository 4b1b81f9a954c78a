package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// document is one metadata document.
type document struct {
	where   string
	openid  bool // the one of OpenID Connect Discovery
	members members
}

// discover reads the metadata at its two places: the path-inserted one of
// RFC 8414 §3.1 and the one of OpenID Connect Discovery §4. One is enough.
func (r *run) discover(ctx context.Context) {
	u, err := url.Parse(r.cfg.Issuer)
	if err != nil {
		r.fetched = err // checked by check
		return
	}
	path := strings.TrimSuffix(u.EscapedPath(), "/")
	origin := u.Scheme + "://" + u.Host
	var errs []error
	for _, d := range []document{
		{where: origin + path + "/.well-known/openid-configuration", openid: true},
		{where: origin + "/.well-known/oauth-authorization-server" + path},
	} {
		a, err := r.get(ctx, d.where, "Accept", jsonType)
		switch {
		case err != nil:
			errs = append(errs, err)
		case a.status != http.StatusOK:
			errs = append(errs, fmt.Errorf("%s: got %v", d.where, a))
		case a.isJSON() != nil:
			errs = append(errs, fmt.Errorf("%s: %w", d.where, a.isJSON()))
		default:
			d.members = a.json
			r.docs = append(r.docs, d)
		}
	}
	if len(r.docs) == 0 {
		r.fetched = fmt.Errorf("no metadata document: %w", errors.Join(errs...))
		return
	}
	r.meta = r.docs[0].members
}

func metadataDocument(_ context.Context, r *run) error { return r.fetched }

// Exactly the issuer that was asked for, or a mix-up is possible.
func metadataIssuer(_ context.Context, r *run) error {
	for _, d := range r.docs {
		if got := d.members.text("issuer"); got != r.cfg.Issuer {
			return fmt.Errorf("%s: got issuer %q, want %q", d.where, got, r.cfg.Issuer)
		}
	}
	return nil
}

func metadataMembers(_ context.Context, r *run) error {
	var errs []error
	for _, d := range r.docs {
		want := []string{"issuer", "response_types_supported"}
		if d.openid || r.grants("authorization_code") {
			want = append(want, "authorization_endpoint", "token_endpoint")
		}
		if d.openid { // Discovery §3
			want = append(want, "jwks_uri", "subject_types_supported", "id_token_signing_alg_values_supported")
		}
		for _, name := range want {
			if !d.members.has(name) {
				errs = append(errs, fmt.Errorf("%s: %s is missing", d.where, name))
			}
		}
		for name, raw := range d.members {
			if arrays(name) && d.members.list(name) == nil {
				errs = append(errs, fmt.Errorf("%s: %s must be an array of strings", d.where, name))
			}
			if bytes.Equal(raw, []byte("[]")) { // RFC 8414 §3.2
				errs = append(errs, fmt.Errorf("%s: %s is an empty array and must be left out", d.where, name))
			}
		}
	}
	return errors.Join(errs...)
}

// arrays reports whether a member is an array of strings wherever it is used.
func arrays(name string) bool {
	return slices.ContainsFunc([]string{
		"scopes_supported", "claims_supported", "_types_supported", "_modes_supported",
		"_methods_supported", "_alg_values_supported", "_locales_supported",
	}, func(suffix string) bool { return strings.HasSuffix(name, suffix) })
}

func metadataEndpoints(_ context.Context, r *run) error {
	issuer, err := url.Parse(r.cfg.Issuer)
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range r.docs {
		for name := range d.members {
			if !strings.HasSuffix(name, "_endpoint") && name != "jwks_uri" {
				continue
			}
			u, err := url.Parse(d.members.text(name))
			switch {
			case err != nil || u.Host == "":
				errs = append(errs, fmt.Errorf("%s: %s is not an absolute URL", d.where, name))
			case u.Fragment != "":
				errs = append(errs, fmt.Errorf("%s: %s has a fragment", d.where, name))
			case u.Scheme != "https" && (u.Scheme != "http" || issuer.Scheme != "http" || !loopback(u.Hostname())):
				errs = append(errs, fmt.Errorf("%s: %s is %s, want https", d.where, name, u.Scheme))
			}
		}
	}
	return errors.Join(errs...)
}

// Clients read one or the other.
func metadataAgree(_ context.Context, r *run) error {
	if len(r.docs) < 2 {
		return skip("there is one metadata document")
	}
	a, b := r.docs[0], r.docs[1]
	var differ []string
	for name, raw := range a.members {
		if other, ok := b.members[name]; ok && !sameJSON(raw, other) {
			differ = append(differ, name)
		}
	}
	if len(differ) > 0 {
		slices.Sort(differ)
		return fmt.Errorf("%s and %s differ in %s", a.where, b.where, strings.Join(differ, ", "))
	}
	return nil
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y bytes.Buffer
	return json.Compact(&x, a) == nil && json.Compact(&y, b) == nil && bytes.Equal(x.Bytes(), y.Bytes())
}

func metadataPKCE(_ context.Context, r *run) error {
	if !r.grants("authorization_code") {
		return skip("not offered: the authorization_code grant")
	}
	if methods := r.meta.list("code_challenge_methods_supported"); !slices.Contains(methods, "S256") {
		return fmt.Errorf("got code_challenge_methods_supported %q, want S256 in it", methods)
	}
	return nil
}

func metadataPlain(_ context.Context, r *run) error {
	if slices.Contains(r.meta.list("code_challenge_methods_supported"), "plain") {
		return errors.New("code_challenge_methods_supported has plain, which shows the verifier to whoever sees the authorization request")
	}
	return nil
}

func metadataAlgorithms(_ context.Context, r *run) error {
	var errs []error
	for _, endpoint := range []string{"token", "introspection", "revocation"} {
		name := endpoint + "_endpoint_auth_signing_alg_values_supported"
		algs, methods := r.meta.list(name), r.meta.list(endpoint+"_endpoint_auth_methods_supported")
		signs := slices.Contains(methods, "private_key_jwt") || slices.Contains(methods, "client_secret_jwt")
		if slices.Contains(algs, "none") {
			errs = append(errs, fmt.Errorf("%s has none", name))
		}
		if signs && len(algs) == 0 {
			errs = append(errs, fmt.Errorf("%s is missing, and the authentication methods have one that signs", name))
		}
	}
	// Only the OpenID Connect document, or one for both, has the member.
	if r.meta.has("id_token_signing_alg_values_supported") && !slices.Contains(r.meta.list("id_token_signing_alg_values_supported"), "RS256") {
		errs = append(errs, errors.New("id_token_signing_alg_values_supported does not have RS256"))
	}
	return errors.Join(errs...)
}

func metadataGrants(_ context.Context, r *run) error {
	var errs []error
	if slices.Contains(r.meta.list("grant_types_supported"), "password") {
		errs = append(errs, errors.New("the password grant is offered (RFC 9700 §2.4)"))
	}
	for _, t := range r.meta.list("response_types_supported") {
		if slices.Contains(strings.Fields(t), "token") {
			errs = append(errs, fmt.Errorf("the response type %q is offered, which sends access tokens through the browser (RFC 9700 §2.1.2)", t))
		}
	}
	return errors.Join(errs...)
}

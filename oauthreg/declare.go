package oauthreg

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// ParseDeclarations reads a clients file: a JSON array of objects with the
// client metadata of RFC 7591 §2 and OpenID Connect Registration §2, and, not
// part of those, id, client_id (required), client_secret, org_id, project_id,
// user_id, description, client_type, require_pkce, verified, default_scope,
// audience, resource_server, access_token_format, first_party, suspended,
// metadata, and, in whole seconds, authorization_code_lifetime,
// access_token_lifetime, refresh_token_idle_lifetime, refresh_token_lifetime
// and id_token_lifetime. scope and default_scope are separated by spaces.
//
// What a client leaves out has its default. client_name: its client_id.
// grant_types: authorization_code, as in RFC 7591, but none for a resource
// server without redirect URIs. token_endpoint_auth_method: none when
// client_type is public, client_secret_basic otherwise.
//
// Nothing is ignored: an unknown, repeated or unsupported member and a value of
// the wrong type, null included, are errors. The error is [DeclarationErrors]
// with all of them, or says that the file as a whole is not JSON of that form.
// Whether the clients are legal is for [Registry.Ensure] to say.
func ParseDeclarations(data []byte) ([]Declaration, error) {
	var clients []json.RawMessage
	if err := json.Unmarshal(data, &clients); err != nil {
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			line := 1 + bytes.Count(data[:min(int(syntax.Offset), len(data))], []byte("\n"))
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		return nil, errors.New("must be a JSON array of clients")
	}
	if clients == nil {
		return nil, errors.New("must be a JSON array of clients")
	}

	var errs DeclarationErrors
	decls := make([]Declaration, len(clients))
	for i, raw := range clients {
		d, err := parseDeclaration(raw)
		errs.add(i, err)
		decls[i] = d
	}
	if err := errs.err(); err != nil {
		return nil, err
	}
	return decls, nil
}

// declared is a client of the file while it is read.
type declared struct {
	Declaration
	has      map[string]bool
	problems []string
}

func (d *declared) problem(format string, args ...any) {
	d.problems = append(d.problems, fmt.Sprintf(format, args...))
}

func parseDeclaration(raw json.RawMessage) (Declaration, error) {
	d := &declared{has: map[string]bool{}}
	names, values, err := objectMembers(raw)
	if err != nil {
		return Declaration{}, err
	}
	members := d.members()
	for i, name := range names {
		if d.has[name] {
			d.problem("member %q occurs twice", name)
			continue
		}
		d.has[name] = true
		read, known := members[name]
		base, _, tagged := strings.Cut(name, "#")
		switch {
		case known:
			if want := read(values[i]); want != "" {
				d.problem("member %q must be %s", name, want)
			}
		case unsupportedMembers[name], tagged && members[base] != nil:
			d.problem("member %q is not supported", name)
		default:
			d.problem("unknown member %q", name)
		}
	}
	d.settle()
	if len(d.problems) > 0 {
		return Declaration{}, errors.New(strings.Join(d.problems, "; "))
	}
	return d.Declaration, nil
}

// settle applies defaults and checks what can no longer be told afterwards.
func (d *declared) settle() {
	c := &d.Client
	if c.ClientID == "" {
		d.problem("client_id is required")
	}
	if d.has["client_secret"] && d.Secret == "" {
		d.problem("member %q must not be empty", "client_secret")
	}
	if !d.has["client_name"] {
		c.Name = c.ClientID
	}
	if !d.has["grant_types"] && (len(c.RedirectURIs) > 0 || len(c.ResourceServer) == 0) {
		c.GrantTypes = []GrantType{GrantAuthorizationCode}
	}

	if !d.has["token_endpoint_auth_method"] {
		c.TokenEndpointAuthMethod = AuthClientSecretBasic
		if c.Type == Public {
			c.TokenEndpointAuthMethod = AuthNone
		}
	}
	derived := Confidential
	if c.TokenEndpointAuthMethod == AuthNone {
		derived = Public
	}
	if c.Type == "" {
		c.Type = derived
	} else if c.Type != derived {
		d.problem("client_type %s does not agree with token_endpoint_auth_method %s", c.Type, c.TokenEndpointAuthMethod)
	}
	if c.Type == Public && d.has["require_pkce"] && !c.RequirePKCE {
		d.problem("require_pkce must not be false for a public client")
	}
}

// members says how each member is read. A reader returns what the value must
// be, or nothing if it is that.
func (d *declared) members() map[string]func(json.RawMessage) string {
	c := &d.Client
	return map[string]func(json.RawMessage) string{
		"client_id":     text(&c.ClientID),
		"client_secret": text(&d.Secret),
		"client_name":   text(&c.Name),
		"client_uri":    text(&c.ClientURI),
		"logo_uri":      text(&c.LogoURI),
		"tos_uri":       text(&c.TOSURI),
		"policy_uri":    text(&c.PolicyURI),
		"contacts":      texts(&c.Contacts),

		"redirect_uris":             texts(&c.RedirectURIs),
		"post_logout_redirect_uris": texts(&c.PostLogoutRedirectURIs),
		"grant_types":               texts(&c.GrantTypes),
		"response_types":            texts(&c.ResponseTypes),
		"scope":                     scope(&c.Scopes),
		"application_type":          oneOf(&c.ApplicationType, Web, Native),

		"token_endpoint_auth_method": oneOf(&c.TokenEndpointAuthMethod,
			AuthClientSecretBasic, AuthClientSecretPost, AuthPrivateKeyJWT, AuthNone),
		"token_endpoint_auth_signing_alg": text(&c.TokenEndpointAuthSigningAlg),
		"id_token_signed_response_alg":    text(&c.IDTokenSignedResponseAlg),
		"jwks":                            object(&c.JWKS),
		"jwks_uri":                        text(&c.JWKSURI),
		"software_id":                     text(&c.SoftwareID),
		"software_version":                text(&c.SoftwareVersion),

		"subject_type":                         oneOf(&c.SubjectType, PublicSubject, PairwiseSubject),
		"sector_identifier_uri":                text(&c.SectorIdentifierURI),
		"userinfo_signed_response_alg":         text(&c.UserinfoSignedResponseAlg),
		"request_object_signing_alg":           text(&c.RequestObjectSigningAlg),
		"request_uris":                         texts(&c.RequestURIs),
		"default_max_age":                      secondsFromZero(&c.DefaultMaxAge),
		"require_auth_time":                    boolean(&c.RequireAuthTime),
		"default_acr_values":                   texts(&c.DefaultACRValues),
		"initiate_login_uri":                   text(&c.InitiateLoginURI),
		"backchannel_logout_uri":               text(&c.BackchannelLogoutURI),
		"backchannel_logout_session_required":  boolean(&c.BackchannelLogoutSessionRequired),
		"frontchannel_logout_uri":              text(&c.FrontchannelLogoutURI),
		"frontchannel_logout_session_required": boolean(&c.FrontchannelLogoutSessionRequired),

		"id":                  text(&c.ID),
		"org_id":              text(&c.OrgID),
		"project_id":          text(&c.ProjectID),
		"user_id":             text(&c.UserID),
		"description":         text(&c.Description),
		"client_type":         oneOf(&c.Type, Public, Confidential),
		"require_pkce":        boolean(&c.RequirePKCE),
		"verified":            boolean(&c.Verified),
		"first_party":         boolean(&c.FirstParty),
		"suspended":           boolean(&d.Suspended),
		"default_scope":       scope(&c.DefaultScopes),
		"audience":            texts(&c.Audience),
		"resource_server":     texts(&c.ResourceServer),
		"access_token_format": oneOf(&c.AccessTokenFormat, Opaque, JWT),
		"metadata":            textMap(&c.Metadata),

		"authorization_code_lifetime": seconds(&c.Lifetimes.AuthorizationCode),
		"access_token_lifetime":       seconds(&c.Lifetimes.AccessToken),
		"refresh_token_idle_lifetime": seconds(&c.Lifetimes.RefreshTokenIdle),
		"refresh_token_lifetime":      seconds(&c.Lifetimes.RefreshToken),
		"id_token_lifetime":           seconds(&c.Lifetimes.IDToken),
	}
}

// unsupportedMembers are registered metadata names that this registry does not
// act on. To ignore them would be to promise what they ask for.
var unsupportedMembers = func() map[string]bool {
	m := map[string]bool{}
	for name := range strings.FieldsSeq(`
		software_statement
		client_id_issued_at client_secret_expires_at registration_access_token registration_client_uri
		id_token_encrypted_response_alg id_token_encrypted_response_enc
		userinfo_encrypted_response_alg userinfo_encrypted_response_enc
		request_object_encryption_alg request_object_encryption_enc
		introspection_signed_response_alg introspection_encrypted_response_alg introspection_encrypted_response_enc
		authorization_signed_response_alg authorization_encrypted_response_alg authorization_encrypted_response_enc
		backchannel_token_delivery_mode backchannel_client_notification_endpoint
		backchannel_authentication_request_signing_alg backchannel_user_code_parameter
		require_pushed_authorization_requests require_signed_request_object
		tls_client_auth_subject_dn tls_client_auth_san_dns tls_client_auth_san_uri
		tls_client_auth_san_ip tls_client_auth_san_email tls_client_certificate_bound_access_tokens
		dpop_bound_access_tokens authorization_details_types use_mtls_endpoint_aliases
		client_registration_types organization_name nfv_token_signed_response_alg`) {
		m[name] = true
	}
	return m
}()

// objectMembers returns the members of a JSON object in order, with repeated
// ones, which maps and structs hide.
func objectMembers(raw json.RawMessage) (names []string, values []json.RawMessage, err error) {
	dec := json.NewDecoder(bytes.NewReader(raw))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, nil, errors.New("must be a JSON object")
	}
	for dec.More() {
		name, err := dec.Token()
		if err != nil {
			return nil, nil, err
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, nil, err
		}
		names = append(names, name.(string)) // JSON has no other names
		values = append(values, value)
	}
	return names, values, nil
}

// kind is the first byte of a JSON value, which tells its type.
func kind(raw json.RawMessage) byte {
	if raw = bytes.TrimSpace(raw); len(raw) > 0 {
		return raw[0]
	}
	return 0
}

func text(to *string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		if kind(raw) != '"' || json.Unmarshal(raw, to) != nil {
			return "a string"
		}
		return ""
	}
}

func texts(to *[]string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var items []json.RawMessage
		if kind(raw) != '[' || json.Unmarshal(raw, &items) != nil {
			return "an array of strings"
		}
		for _, item := range items {
			var s string
			if text(&s)(item) != "" {
				return "an array of strings"
			}
			*to = append(*to, s)
		}
		return ""
	}
}

func scope(to *[]string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var s string
		if text(&s)(raw) != "" {
			return "a string of scopes separated by spaces"
		}
		*to = SplitScope(s)
		return ""
	}
}

func boolean(to *bool) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		if kind(raw) == 'n' || json.Unmarshal(raw, to) != nil {
			return "true or false"
		}
		return ""
	}
}

func seconds(to *time.Duration) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var n int64
		if kind(raw) == 'n' || json.Unmarshal(raw, &n) != nil || n < 1 || n > int64(1<<63-1)/int64(time.Second) {
			return "a whole number of seconds, at least 1"
		}
		*to = time.Duration(n) * time.Second
		return ""
	}
}

func secondsFromZero(to **time.Duration) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var n int64
		if kind(raw) == 'n' || json.Unmarshal(raw, &n) != nil || n < 0 || n > int64(1<<63-1)/int64(time.Second) {
			return "a whole number of seconds, at least 0"
		}
		d := time.Duration(n) * time.Second
		*to = &d
		return ""
	}
}

func oneOf[S ~string](to *S, allowed ...S) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		var s string
		if text(&s)(raw) == "" && slices.Contains(allowed, S(s)) {
			*to = S(s)
			return ""
		}
		quoted := make([]string, len(allowed))
		for i, a := range allowed {
			quoted[i] = fmt.Sprintf("%q", string(a))
		}
		return strings.Join(quoted, " or ")
	}
}

func object(to *json.RawMessage) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		if kind(raw) != '{' {
			return "an object"
		}
		*to = slices.Clone(raw)
		return ""
	}
}

func textMap(to *map[string]string) func(json.RawMessage) string {
	return func(raw json.RawMessage) string {
		const want = "an object of strings without repeated names"
		names, values, err := objectMembers(raw)
		if err != nil {
			return want
		}
		m := map[string]string{}
		for i, name := range names {
			var s string
			if _, twice := m[name]; twice || text(&s)(values[i]) != "" {
				return want
			}
			m[name] = s
		}
		*to = m
		return ""
	}
}

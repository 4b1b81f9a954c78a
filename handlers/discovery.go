package handlers

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// metadata is the authorization server metadata (RFC 8414 §2), made once from
// what is switched on. Nothing in it comes from a request.
type metadata struct {
	body []byte
	etag string
}

func newMetadata(s *Server) *metadata {
	scopes := make([]string, 0, len(s.cfg.Scopes))
	for _, scope := range s.cfg.Scopes {
		scopes = append(scopes, scope.Name)
	}
	confidential := []string{oauthreg.AuthClientSecretBasic, oauthreg.AuthClientSecretPost, oauthreg.AuthPrivateKeyJWT}
	all := append([]string{oauthreg.AuthNone}, confidential...)
	doc := struct {
		Issuer                    string   `json:"issuer"`
		AuthorizationEndpoint     string   `json:"authorization_endpoint"`
		TokenEndpoint             string   `json:"token_endpoint"`
		IntrospectionEndpoint     string   `json:"introspection_endpoint"`
		RevocationEndpoint        string   `json:"revocation_endpoint"`
		RegistrationEndpoint      string   `json:"registration_endpoint,omitempty"`
		JWKSURI                   string   `json:"jwks_uri"`
		ScopesSupported           []string `json:"scopes_supported,omitempty"`
		ResponseTypesSupported    []string `json:"response_types_supported"`
		ResponseModesSupported    []string `json:"response_modes_supported"`
		GrantTypesSupported       []string `json:"grant_types_supported"`
		TokenAuthMethods          []string `json:"token_endpoint_auth_methods_supported"`
		TokenAuthAlgs             []string `json:"token_endpoint_auth_signing_alg_values_supported"`
		IntrospectionAuthMethods  []string `json:"introspection_endpoint_auth_methods_supported"`
		IntrospectionAuthAlgs     []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
		RevocationAuthMethods     []string `json:"revocation_endpoint_auth_methods_supported"`
		RevocationAuthAlgs        []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
		CodeChallengeMethods      []string `json:"code_challenge_methods_supported"`
		IssParameterSupported     bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 §3
		RequestParameterSupported bool     `json:"request_parameter_supported"`
		RequestURIParamSupported  bool     `json:"request_uri_parameter_supported"`
		UILocalesSupported        []string `json:"ui_locales_supported,omitempty"`
	}{
		Issuer:                   s.cfg.Issuer,
		AuthorizationEndpoint:    s.url("/oauth/authorize"),
		TokenEndpoint:            s.url("/oauth/token"),
		IntrospectionEndpoint:    s.url("/oauth/introspect"),
		RevocationEndpoint:       s.url("/oauth/revoke"),
		RegistrationEndpoint:     s.registrationEndpoint(),
		JWKSURI:                  s.url("/oauth/jwks"),
		ScopesSupported:          scopes,
		ResponseTypesSupported:   []string{"code"},
		ResponseModesSupported:   []string{"query"},
		GrantTypesSupported:      []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken, oauthreg.GrantClientCredentials},
		TokenAuthMethods:         all,
		TokenAuthAlgs:            assertionAlgs(),
		IntrospectionAuthMethods: confidential,
		IntrospectionAuthAlgs:    assertionAlgs(),
		RevocationAuthMethods:    all,
		RevocationAuthAlgs:       assertionAlgs(),
		CodeChallengeMethods:     []string{"S256"},
		IssParameterSupported:    true,
	}
	body, err := json.Marshal(doc)
	if err != nil {
		panic("handlers: metadata is plain data: " + err.Error())
	}
	sum := sha256.Sum256(body)
	return &metadata{body: body, etag: `"` + strictBase64.EncodeToString(sum[:12]) + `"`}
}

// serveMetadata serves GET /.well-known/oauth-authorization-server (RFC 8414 §3)
// at the path below the issuer and at the one where the issuer's path stands behind
// the well-known part.
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) error {
	writeDocument(w, r, "application/json", s.metadata.body, s.metadata.etag)
	return nil
}

package handlers

import (
	"crypto/sha256"
	"encoding/json"
	"net/http"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// metadata is what the server tells of itself (RFC 8414 §2, OpenID Connect
// Discovery §3): one document for both, made once from what is switched on.
// Nothing in it comes from a request.
type metadata struct {
	body   []byte
	etag   string
	scopes []string
}

func newMetadata(s *Server) *metadata {
	scopes := make([]string, 0, len(s.cfg.Scopes))
	for _, scope := range s.cfg.Scopes {
		scopes = append(scopes, scope.Name)
	}
	claims := []string{"sub", "iss", "aud", "azp", "exp", "iat", "auth_time", "nonce", "acr", "amr", "sid", "at_hash"}
	if s.cfg.Claims != nil {
		claims = append(claims, s.claims.names...)
	}
	grants := []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken, oauthreg.GrantClientCredentials}
	modes := []string{modeQuery, modeFormPost}
	if s.cfg.Implicit {
		grants = append(grants, oauthreg.GrantImplicit)
		modes = append(modes, modeFragment)
		claims = append(claims, "c_hash")
	}
	confidential := []string{oauthreg.AuthClientSecretBasic, oauthreg.AuthClientSecretPost, oauthreg.AuthPrivateKeyJWT}
	all := append([]string{oauthreg.AuthNone}, confidential...)
	logout := s.signOuter != nil
	doc := struct {
		Issuer                    string   `json:"issuer"`
		AuthorizationEndpoint     string   `json:"authorization_endpoint"`
		TokenEndpoint             string   `json:"token_endpoint"`
		UserinfoEndpoint          string   `json:"userinfo_endpoint"`
		IntrospectionEndpoint     string   `json:"introspection_endpoint"`
		RevocationEndpoint        string   `json:"revocation_endpoint"`
		JWKSURI                   string   `json:"jwks_uri"`
		RegistrationEndpoint      string   `json:"registration_endpoint,omitempty"`
		EndSessionEndpoint        string   `json:"end_session_endpoint,omitempty"` // RP-Initiated Logout §2.1
		ScopesSupported           []string `json:"scopes_supported,omitempty"`
		ResponseTypesSupported    []string `json:"response_types_supported"`
		ResponseModesSupported    []string `json:"response_modes_supported"`
		GrantTypesSupported       []string `json:"grant_types_supported"`
		SubjectTypes              []string `json:"subject_types_supported"`
		IDTokenAlgs               []string `json:"id_token_signing_alg_values_supported"`
		UserinfoAlgs              []string `json:"userinfo_signing_alg_values_supported"`
		RequestObjectAlgs         []string `json:"request_object_signing_alg_values_supported"`
		TokenAuthMethods          []string `json:"token_endpoint_auth_methods_supported"`
		TokenAuthAlgs             []string `json:"token_endpoint_auth_signing_alg_values_supported"`
		IntrospectionAuthMethods  []string `json:"introspection_endpoint_auth_methods_supported"`
		IntrospectionAuthAlgs     []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
		RevocationAuthMethods     []string `json:"revocation_endpoint_auth_methods_supported"`
		RevocationAuthAlgs        []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
		CodeChallengeMethods      []string `json:"code_challenge_methods_supported"`
		IssParameterSupported     bool     `json:"authorization_response_iss_parameter_supported"` // RFC 9207 §3
		ACRValues                 []string `json:"acr_values_supported,omitempty"`
		DisplayValues             []string `json:"display_values_supported"`
		PromptValues              []string `json:"prompt_values_supported"` // Initiating User Registration §3
		ClaimTypes                []string `json:"claim_types_supported"`
		ClaimsSupported           []string `json:"claims_supported"`
		ClaimsParameterSupported  bool     `json:"claims_parameter_supported"`
		RequestParameterSupported bool     `json:"request_parameter_supported"`
		RequestURIParamSupported  bool     `json:"request_uri_parameter_supported"`
		RequireRequestURI         bool     `json:"require_request_uri_registration"`
		BackchannelLogout         bool     `json:"backchannel_logout_supported,omitempty"`
		BackchannelLogoutSession  bool     `json:"backchannel_logout_session_supported,omitempty"`
		FrontchannelLogout        bool     `json:"frontchannel_logout_supported,omitempty"`
		FrontchannelLogoutSession bool     `json:"frontchannel_logout_session_supported,omitempty"`
		UILocalesSupported        []string `json:"ui_locales_supported,omitempty"`
		ClientMetadataDocuments   bool     `json:"client_id_metadata_document_supported,omitempty"` // draft-ietf-oauth-client-id-metadata-document §6
	}{
		Issuer:                    s.cfg.Issuer,
		AuthorizationEndpoint:     s.url("/oauth/authorize"),
		TokenEndpoint:             s.url("/oauth/token"),
		UserinfoEndpoint:          s.url("/oauth/userinfo"),
		IntrospectionEndpoint:     s.url("/oauth/introspect"),
		RevocationEndpoint:        s.url("/oauth/revoke"),
		JWKSURI:                   s.url("/oauth/jwks"),
		RegistrationEndpoint:      s.registrationEndpoint(),
		ScopesSupported:           scopes,
		ResponseTypesSupported:    s.responseTypes(),
		ResponseModesSupported:    modes,
		GrantTypesSupported:       grants,
		SubjectTypes:              []string{string(oauthreg.PublicSubject), string(oauthreg.PairwiseSubject)},
		IDTokenAlgs:               s.keys.Algorithms(),
		UserinfoAlgs:              s.keys.Algorithms(),
		RequestObjectAlgs:         assertionAlgs(),
		TokenAuthMethods:          all,
		TokenAuthAlgs:             assertionAlgs(),
		IntrospectionAuthMethods:  confidential,
		IntrospectionAuthAlgs:     assertionAlgs(),
		RevocationAuthMethods:     all,
		RevocationAuthAlgs:        assertionAlgs(),
		CodeChallengeMethods:      []string{"S256"},
		IssParameterSupported:     true,
		ACRValues:                 s.cfg.ACRValues,
		DisplayValues:             []string{"page"},
		PromptValues:              []string{"none", "login", "consent", "select_account"},
		ClaimTypes:                []string{"normal"},
		ClaimsSupported:           claims,
		ClaimsParameterSupported:  true,
		RequestParameterSupported: true,
		RequestURIParamSupported:  true,
		RequireRequestURI:         true,
		BackchannelLogout:         logout, BackchannelLogoutSession: logout,
		FrontchannelLogout: logout, FrontchannelLogoutSession: logout,
		ClientMetadataDocuments: s.documents != nil,
	}
	if logout {
		doc.EndSessionEndpoint = s.url("/oauth/logout")
	}
	if s.cfg.Renderer == nil { // of another one the languages are not known
		for _, text := range s.texts.texts {
			doc.UILocalesSupported = append(doc.UILocalesSupported, text.lang)
		}
	}
	body, err := json.Marshal(doc)
	if err != nil {
		panic("handlers: metadata is plain data: " + err.Error())
	}
	sum := sha256.Sum256(body)
	return &metadata{scopes: scopes, body: body, etag: `"` + strictBase64.EncodeToString(sum[:12]) + `"`}
}

// metadataRoutes mounts the document at its well-known paths: below the issuer
// (OpenID Connect Discovery §4), and with the issuer's path behind the well-known
// part (RFC 8414 §3.1). At the root both are the same.
func (s *Server) metadataRoutes() {
	for _, path := range []string{"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration"} {
		s.open(path, "metadata", s.serveMetadata, http.MethodGet, http.MethodHead)
		if s.base != "" {
			s.openAt(path+s.base, "metadata", s.serveMetadata, http.MethodGet, http.MethodHead)
		}
	}
}

// serveMetadata serves the metadata document (RFC 8414 §3, OpenID Connect
// Discovery §4).
func (s *Server) serveMetadata(w http.ResponseWriter, r *http.Request) error {
	writeDocument(w, r, "application/json", s.metadata.body, s.metadata.etag)
	return nil
}

package handlers

import (
	"net/http"
	"net/url"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// token serves POST /oauth/token (RFC 6749 §3.2): authorization_code,
// refresh_token and client_credentials.
func (s *Server) token(w http.ResponseWriter, r *http.Request, form url.Values, client *oauthreg.Client) error {
	if err := s.permitGrantType(client, form.Get("grant_type")); err != nil {
		return err
	}
	ctx := withCaller(r.Context(), client)
	request, err := s.engine.NewAccessRequest(ctx, r, NewSession())
	if err != nil {
		return err
	}
	response, err := s.engine.NewAccessResponse(ctx, request)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, newTokenResponse(response))
	return nil
}

// tokenResponse is RFC 6749 §5.1 and OpenID Connect Core §3.1.3.3.
type tokenResponse struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type"`
	ExpiresIn    any    `json:"expires_in,omitempty"` // seconds
	IDToken      any    `json:"id_token,omitempty"`
	RefreshToken any    `json:"refresh_token,omitempty"`
	Scope        any    `json:"scope"`
}

func newTokenResponse(r fosite.AccessResponder) tokenResponse {
	return tokenResponse{
		AccessToken: r.GetAccessToken(), TokenType: r.GetTokenType(), ExpiresIn: r.GetExtra("expires_in"),
		IDToken: r.GetExtra("id_token"), RefreshToken: r.GetExtra("refresh_token"), Scope: r.GetExtra("scope"),
	}
}

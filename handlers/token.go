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
	ExpiresIn    int64  `json:"expires_in,omitempty"` // seconds
	IDToken      string `json:"id_token,omitempty"`
	RefreshToken string `json:"refresh_token,omitempty"`
	Scope        string `json:"scope"`
}

func newTokenResponse(r fosite.AccessResponder) *tokenResponse {
	text := func(name string) string {
		v, _ := r.GetExtra(name).(string)
		return v
	}
	out := &tokenResponse{
		AccessToken: r.GetAccessToken(), TokenType: r.GetTokenType(),
		IDToken: text("id_token"), RefreshToken: text("refresh_token"), Scope: text("scope"),
	}
	out.ExpiresIn, _ = r.GetExtra("expires_in").(int64)
	return out
}

// appendJSON is part of [jsonAppender].
func (t *tokenResponse) appendJSON(b []byte) []byte {
	o := beginObject(b)
	o.text("access_token", t.AccessToken)
	o.text("token_type", t.TokenType)
	o.number("expires_in", t.ExpiresIn)
	o.optional("id_token", t.IDToken)
	o.optional("refresh_token", t.RefreshToken)
	o.text("scope", t.Scope)
	return o.end()
}

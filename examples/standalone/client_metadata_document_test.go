package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"golang.org/x/oauth2"
)

// Metadata documents are on unless switched off; those of this machine count for
// whoever allows fetches from there.
func TestClientMetadataDocuments(t *testing.T) {
	const advertised = "client_id_metadata_document_supported"
	off := launch(t, "-cimd", "off")
	if doc := getJSON(t, http.DefaultClient, off.issuer+"/.well-known/oauth-authorization-server"); doc[advertised] != nil {
		t.Errorf("off: %v", doc[advertised])
	}

	var id string
	documents := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"client_id": id, "client_name": "My app", "redirect_uris": []string{demoRedirectURI}, "token_endpoint_auth_method": "none",
		})
	}))
	defer documents.Close()
	id = documents.URL + "/client.json"
	s := launch(t, "-outbound-private", "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json")
	if doc := getJSON(t, http.DefaultClient, s.issuer+"/.well-known/oauth-authorization-server"); doc[advertised] != true {
		t.Errorf("on: %v", doc[advertised])
	}
	cfg := &oauth2.Config{
		ClientID: id, RedirectURL: demoRedirectURI,
		Endpoint: oauth2.Endpoint{AuthURL: s.issuer + "/oauth/authorize", TokenURL: s.issuer + "/oauth/token", AuthStyle: oauth2.AuthStyleInParams},
	}
	verifier := oauth2.GenerateVerifier()
	target := cfg.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("resource", s.issuer+"/api"))
	answer := newBrowser(t, demoRedirectURI).authorize(target, "alice", "alice-password", "consent-allow")
	token, err := cfg.Exchange(t.Context(), answer.Get("code"), oauth2.VerifierOption(verifier))
	if err != nil {
		t.Fatal(err)
	}
	if status, who := whoAmI(t, s.issuer, token.AccessToken); status != http.StatusOK || who["client_id"] != id {
		t.Errorf("whoami: %d %v", status, who)
	}
}

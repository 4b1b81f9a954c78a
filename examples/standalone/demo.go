package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	demoClientID    = "demo"
	demoUsername    = "demo"
	demoRedirectURI = "http://127.0.0.1:9999/callback"
)

// scopes are what the server knows, in the order of its metadata.
func scopes() []handlers.Scope {
	return []handlers.Scope{
		{Name: "openid", Title: "Sign you in", Description: "Learn who you are here."},
		{Name: "profile", Title: "Your profile", Description: "Read your name and picture."},
		{Name: "email", Title: "Your email address", Description: "Read your email address."},
		{Name: "address", Title: "Your postal address", Description: "Read your postal address."},
		{Name: "phone", Title: "Your phone number", Description: "Read your phone number."},
		{Name: "offline_access", Title: "Stay connected", Description: "Keep access while you are away."},
		{Name: "admin", Title: "Administration", Description: "Register, change and delete applications."},
	}
}

// demoClient is the client of a server that was given none. Its secret follows
// from the master key, so that it stays the same over restarts.
func demoClient(master masterKey) oauthreg.Declaration {
	return oauthreg.Declaration{
		Client: oauthreg.Client{
			ClientID:                demoClientID,
			Name:                    "Demo client",
			Type:                    oauthreg.Confidential,
			TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic,
			RequirePKCE:             true,
			GrantTypes:              []oauthreg.GrantType{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken},
			RedirectURIs:            []string{demoRedirectURI},
			Scopes:                  []string{"openid", "profile", "email", "offline_access"},
			// A person copies the code by hand.
			Lifetimes: oauthreg.Lifetimes{AuthorizationCode: 10 * time.Minute},
		},
		Secret: oauthreg.SecretPrefix + master.text("demo client secret", 43),
	}
}

// demoUser is the user of a server that was given none, and the password in clear.
func demoUser(master masterKey, subject string) (user, string) {
	password := master.text("demo user password", 12)
	return user{
		Username: demoUsername,
		Password: clearPassword(password),
		Subject:  subject,
		Claims: map[string]any{
			"name": "Demo User", "preferred_username": demoUsername,
			"email": "demo@example.com", "email_verified": true,
		},
	}, password
}

// firstFlow is a flow to copy and paste, with a client that can do one: empty
// when there is none. secret may be empty: then a placeholder stands for it.
func firstFlow(issuer string, clients []oauthreg.Client, secret, signInAs string) string {
	i := slices.IndexFunc(clients, func(c oauthreg.Client) bool {
		return !c.Suspended() && c.AllowsGrantType(oauthreg.GrantAuthorizationCode) && c.AllowsResponseType("code") &&
			c.TokenEndpointAuthMethod != oauthreg.AuthPrivateKeyJWT && len(c.RedirectURIs) > 0
	})
	if i < 0 {
		return ""
	}
	c := clients[i]
	verifier := rand.Text() + rand.Text()
	challenge := sha256.Sum256([]byte(verifier))
	redirect := c.RedirectURIs[0]
	resource := issuer + "/api"
	if len(c.Audience) > 0 && !slices.Contains(c.Audience, resource) {
		resource = ""
	}
	query := url.Values{
		"response_type": {"code"}, "client_id": {c.ClientID}, "redirect_uri": {redirect},
		"state": {rand.Text()}, "code_challenge_method": {"S256"},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(challenge[:])},
	}
	if resource != "" {
		query.Set("resource", resource)
	}

	// How the client names itself in each curl command.
	auth := ` -d client_id="$CLIENT"`
	client := c.ClientID
	if !c.IsPublic() {
		auth = ` -u "$CLIENT"`
		if secret == "" {
			secret = "its-secret"
		}
		client += ":" + secret
		if c.TokenEndpointAuthMethod == oauthreg.AuthClientSecretPost {
			auth, client = ` -d client_id='`+c.ClientID+`' -d client_secret="$CLIENT"`, secret
		}
	}
	refreshes := c.AllowsGrantType(oauthreg.GrantRefreshToken)
	codeLife := "60 seconds"
	if life := c.Lifetimes.AuthorizationCode; life >= 2*time.Minute {
		codeLife = fmt.Sprintf("%d minutes", int(life.Minutes()))
	} else if life > 0 {
		codeLife = fmt.Sprintf("%d seconds", int(life.Seconds()))
	}

	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("")
	line("A first flow: open this in a browser, %s, and allow.", signInAs)
	line("")
	line("  %s/oauth/authorize?%s", issuer, query.Encode())
	line("")
	line("The browser ends at %s?code=..., where nothing needs to listen.", redirect)
	line("Copy the code out of its address; it is good for one use, within %s. Then, in a shell:", codeLife)
	line("")
	line("  ISSUER='%s' CLIENT='%s'", issuer, client)
	line(`  pick() { sed 's/.*"'"$1"'":"\([^"]*\)".*/\1/'; }`)
	line("  CODE=paste-it-here")
	line(`  T=$(curl -sS%s -d grant_type=authorization_code -d code="$CODE" -d redirect_uri='%s' -d code_verifier=%s "$ISSUER/oauth/token"); echo "$T"`,
		auth, url.QueryEscape(redirect), verifier)
	if resource != "" {
		line(`  curl -sS -H "Authorization: Bearer $(echo "$T" | pick access_token)" "$ISSUER/api/whoami"`)
	}
	if refreshes {
		line(`  T=$(curl -sS%s -d grant_type=refresh_token -d refresh_token="$(echo "$T" | pick refresh_token)" "$ISSUER/oauth/token"); echo "$T"`, auth)
	}
	if !c.IsPublic() {
		line(`  curl -sS%s -d token="$(echo "$T" | pick access_token)" "$ISSUER/oauth/introspect"; echo`, auth)
	}
	if refreshes {
		line(`  curl -sS%s -d token="$(echo "$T" | pick refresh_token)" -w '%%{http_code}\n' "$ISSUER/oauth/revoke"`, auth)
		line(`  curl -sS%s -d grant_type=refresh_token -d refresh_token="$(echo "$T" | pick refresh_token)" "$ISSUER/oauth/token"; echo`, auth)
	} else {
		line(`  curl -sS%s -d token="$(echo "$T" | pick access_token)" -w '%%{http_code}\n' "$ISSUER/oauth/revoke"`, auth)
	}
	return b.String()
}

package oauthreg_test

import (
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// openIDClient has a legal value in every member of OpenID Connect.
func openIDClient() oauthreg.Client {
	c := webApp()
	age := time.Hour
	c.SubjectType, c.SectorIdentifierURI = oauthreg.PairwiseSubject, "https://sector.example/uris"
	c.UserinfoSignedResponseAlg, c.RequestObjectSigningAlg = "RS256", "ES256"
	c.RequestURIs = []string{"https://a.example/r", "https://a.example/r#part"}
	c.DefaultMaxAge, c.RequireAuthTime, c.DefaultACRValues = &age, true, []string{"urn:mfa"}
	c.InitiateLoginURI = "https://a.example/start"
	c.BackchannelLogoutURI, c.FrontchannelLogoutURI = "https://a.example/b?x=1", "https://a.example/f"
	return c
}

func TestOpenIDMembers(t *testing.T) {
	r := newRegistry(t)
	if err := r.Validate(openIDClient(), oauthreg.RegisterOptions{Rules: oauthreg.Rules{PublicHostsOnly: true}}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*oauthreg.Client)
		field  string
	}{
		{"MAC for userinfo", func(c *oauthreg.Client) { c.UserinfoSignedResponseAlg = "HS256" }, "userinfo_signed_response_alg"},
		{"unsigned request objects", func(c *oauthreg.Client) { c.RequestObjectSigningAlg = "none" }, "request_object_signing_alg"},
		{"unknown subject type", func(c *oauthreg.Client) { c.SubjectType = "x" }, "subject_type"},
		{"two hosts without a sector", func(c *oauthreg.Client) {
			c.SectorIdentifierURI = ""
			c.RedirectURIs = []string{"https://a.example/cb", "https://b.example/cb"}
		}, "sector_identifier_uri"},
		{"an app's scheme without a sector", func(c *oauthreg.Client) {
			c.SectorIdentifierURI, c.ApplicationType = "", oauthreg.Native
			c.RedirectURIs = []string{"com.example.app:/cb"}
		}, "sector_identifier_uri"},
		{"sector without TLS", func(c *oauthreg.Client) { c.SectorIdentifierURI = "http://sector.example/" }, "sector_identifier_uri"},
		{"internal sector", func(c *oauthreg.Client) { c.SectorIdentifierURI = "https://10.0.0.1/" }, "sector_identifier_uri"},
		{"age with a fraction", func(c *oauthreg.Client) { *c.DefaultMaxAge = time.Millisecond }, "default_max_age"},
		{"negative age", func(c *oauthreg.Client) { *c.DefaultMaxAge = -time.Second }, "default_max_age"},
		{"acr with a space", func(c *oauthreg.Client) { c.DefaultACRValues = []string{"a b"} }, "default_acr_values[0]"},
		{"request_uri without TLS", func(c *oauthreg.Client) { c.RequestURIs = []string{"http://a.example/r"} }, "request_uris[0]"},
		{"request_uri that is long", func(c *oauthreg.Client) { c.RequestURIs = []string{"https://a.example/" + strings.Repeat("r", 512)} }, "request_uris[0]"},
		{"request_uri twice", func(c *oauthreg.Client) { c.RequestURIs = []string{"https://a.example/r", "https://a.example/r"} }, "request_uris[1]"},
		{"script as initiate_login_uri", func(c *oauthreg.Client) { c.InitiateLoginURI = "javascript:alert(1)" }, "initiate_login_uri"},
		{"back-channel URI with fragment", func(c *oauthreg.Client) { c.BackchannelLogoutURI += "#f" }, "backchannel_logout_uri"},
		{"local back-channel URI", func(c *oauthreg.Client) { c.BackchannelLogoutURI = "https://localhost/b" }, "backchannel_logout_uri"},
		{"front-channel URI without TLS", func(c *oauthreg.Client) { c.FrontchannelLogoutURI = "http://a.example/f" }, "frontchannel_logout_uri"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := openIDClient()
			tt.change(&c)
			err := r.Validate(c, oauthreg.RegisterOptions{Rules: oauthreg.Rules{PublicHostsOnly: true}})
			if err == nil || !strings.Contains(err.Error(), tt.field) {
				t.Errorf("got %v, want a problem with %s", err, tt.field)
			}
		})
	}
}

// Pairwise subjects differ by sector and by user, and by nothing else.
func TestSubject(t *testing.T) {
	r := newRegistry(t)
	host := func(sector string, redirects ...string) *oauthreg.Client {
		return &oauthreg.Client{ID: "id" + sector, SubjectType: oauthreg.PairwiseSubject, SectorIdentifierURI: sector, RedirectURIs: redirects}
	}
	a := r.Subject(host("", "https://a.example/1"), "alice")
	for name, got := range map[string]struct {
		sub  string
		same bool
	}{
		"same host, other path and port": {r.Subject(host("", "https://A.example:444/2", "http://a.example/"), "alice"), true},
		"sector URI with that host":      {r.Subject(host("https://a.example/list", "https://b.example/"), "alice"), true},
		"other host":                     {r.Subject(host("", "https://b.example/1"), "alice"), false},
		"other user":                     {r.Subject(host("", "https://a.example/1"), "bob"), false},
		"no sector":                      {r.Subject(host("", "app:/x"), "alice"), false},
	} {
		if (got.sub == a) != got.same || got.sub == "" || strings.Contains(got.sub, "alice") {
			t.Errorf("%s: got %q beside %q, want same=%v", name, got.sub, a, got.same)
		}
	}
	if got := r.Subject(&oauthreg.Client{RedirectURIs: []string{"https://a.example/1"}}, "alice"); got != "alice" {
		t.Errorf("public: got %q", got)
	}
}

package handlers_test

import (
	"os"
	"strings"
	"testing"
)

// mount is where a test's server is: its path, and http or https.
type mount struct {
	base string
	tls  bool
}

// places are where the endpoints are tested.
var places = map[string]mount{
	"root":          {"", false},
	"path":          {"/auth/tenant", false},
	"root over TLS": {"", true},
	"path over TLS": {"/auth/tenant", true},
}

// mountOf is where the servers of a test are that does not say it itself: at the
// place that [TestMounts] runs it for, or at that of OAUTHREG_TEST_MOUNT, with
// which the whole package can be run at another place; at the root of a plain
// server otherwise.
func mountOf(t testing.TB) mount {
	t.Helper()
	name := os.Getenv("OAUTHREG_TEST_MOUNT")
	if rest, ok := strings.CutPrefix(t.Name(), "TestMounts/"); ok {
		name, _, _ = strings.Cut(rest, "/")
		name = strings.ReplaceAll(name, "_", " ")
	}
	if name == "" {
		name = "root"
	}
	m, ok := places[name]
	if !ok {
		t.Fatalf("there is no mount %q", name)
	}
	return m
}

// The endpoints, from end to end, with the issuer at the root and under a path,
// over http and https. The tests by themselves are the root over http.
func TestMounts(t *testing.T) {
	t.Parallel() // with the browsers, who leave processors idle
	for _, name := range []string{"path", "root over TLS", "path over TLS"} {
		t.Run(name, func(t *testing.T) {
			want := places[name]
			if at := newEnv(t, envOptions{}).issuer; strings.HasPrefix(at, "https:") != want.tls || !strings.HasSuffix(at, want.base) {
				t.Fatalf("the issuer is %s", at)
			}
			for name, test := range map[string]func(*testing.T){
				// OAuth
				"XOAuth2": TestXOAuth2, "RedirectsAfterPost": TestRedirectsAfterPost, "TokenResponse": TestTokenResponse, "ResourceMetadata": TestResourceMetadata,
				// OpenID Connect
				"GoOIDC": TestGoOIDC, "Discovery": TestDiscovery, "Userinfo": TestUserinfo, "SignedUserinfo": TestSignedUserinfo,
				"ClaimsParameter": TestClaimsParameter, "SignInRequirements": TestSignInRequirements, "IDTokenHint": TestIDTokenHint,
				"RequestObject": TestRequestObject, "RequestURI": TestRequestURI, "PairwiseSubject": TestPairwiseSubject,
				"FormPost": TestFormPost, "CrossSitePost": TestCrossSitePost, "Implicit": TestImplicit,
				"ManageSigningKeys": TestManageSigningKeys,
				// Logout
				"Logout": TestLogout, "BackchannelLogout": TestBackchannelLogout, "FrontchannelLogout": TestFrontchannelLogout,
				// Registration
				"RegisterAccepts": TestRegisterAccepts, "RegisteredClientWorks": TestRegisteredClientWorks,
				// People
				"SignInComesBackToTheRequest": TestSignInComesBackToTheRequest, "SignInRedirectsNowhereElse": TestSignInRedirectsNowhereElse,
				"SignInFormIsOfThisBrowserAndSite": TestSignInFormIsOfThisBrowserAndSite, "SignInMakesANewSession": TestSignInMakesANewSession,
				"AccessIsTakenBack": TestAccessIsTakenBack, "SessionsAreEnded": TestSessionsAreEnded,
				// Management
				"V2ClientLifecycle": TestV2ClientLifecycle, "V2ConsentByAPI": TestV2ConsentByAPI, "V2Authorize": TestV2Authorize,
				"ProjectClientLife": TestProjectClientLife,
			} {
				t.Run(name, test)
			}
			if want.tls && want.base != "" {
				t.Run("BadRequests", TestBadRequests)
			}
		})
	}
}

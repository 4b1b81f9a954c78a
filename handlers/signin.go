package handlers

import (
	"context"
	"net/http"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// SignIn is the host's side of authentication: the one interface an application
// with its own users, session and sign-in page implements. Leave
// [Config.SignIn] nil to use the built-in password sign-in.
// Implementations must be safe for concurrent use.
type SignIn interface {
	// Login returns who is signed in at the browser that sent r: completely, so
	// a session that still waits for a second factor is nobody. nil means
	// nobody. An error means that it cannot be told now; the browser gets 503.
	Login(r *http.Request) (*oauthreg.Login, error)

	// Begin sends the browser to sign in, by writing a redirect or a page. When
	// the user is signed in, the host redirects the browser to req.ReturnTo.
	// The host must redirect nowhere else on the word of the browser.
	Begin(w http.ResponseWriter, r *http.Request, req SignInRequest)
}

// SignOuter is implemented by a [SignIn] that can end the session of a browser.
// With it the server offers logout (OpenID Connect RP-Initiated Logout, Back-
// Channel Logout, Front-Channel Logout).
type SignOuter interface {
	// SignOut ends the session at the browser that sent r, at once and for good,
	// and may set cookies; it does not write status or body. Nobody being signed
	// in is no error.
	SignOut(w http.ResponseWriter, r *http.Request) error
}

// SignInRequest tells a [SignIn] what the authorization request asks of the
// sign-in (OpenID Connect Core §3.1.2.1).
type SignInRequest struct {
	// ReturnTo is the absolute path and query on this server to come back to.
	ReturnTo string
	// RedirectURI is where the whole request will end, at the client; for the
	// page's form-action policy and display only.
	RedirectURI string
	// Client is who asks, for display.
	Client ClientView
	// NotBefore, when not zero, is the earliest acceptable auth_time: the user
	// has to prove who they are again (prompt=login, max_age).
	NotBefore time.Time
	// SelectAccount asks to let the user choose among accounts (prompt=select_account).
	SelectAccount bool
	// ACRValues is acr_values, in order of preference. LoginHint is login_hint.
	ACRValues []string
	LoginHint string
	// UILocales is ui_locales, Display is display.
	UILocales []string
	Display   string

	carried *oauthreg.Interaction // not stored, for the built-in sign-in to take along
}

// Users answers for the built-in sign-in who has which password.
// Implementations must be safe for concurrent use.
type Users interface {
	// CheckPassword returns the user's subject and true when the password is
	// right. Unknown names must take the time of wrong passwords. An error
	// means that it cannot be told now.
	CheckPassword(ctx context.Context, username, password string) (subject string, ok bool, err error)
}

// ClaimsSource tells what the host knows of a user.
// Implementations must be safe for concurrent use.
type ClaimsSource interface {
	// Claims returns the standard claims (OpenID Connect Core §5.1) and the
	// host's own, typed as they are to appear in JSON. Only those that the
	// granted scopes and the claims parameter ask for are sent on. A subject
	// that no longer exists is [oauthreg.ErrNotFound].
	Claims(ctx context.Context, subject string) (map[string]any, error)
}

// ClientView is what pages show of a client.
type ClientView struct {
	ClientID string
	Name     string
	// Host is where the client's metadata document lies, for a client that is
	// known by one: all that is certain about it. Otherwise empty.
	Host           string
	LogoURI        string // as registered; pages do not load it
	ClientURI      string
	TOSURI         string
	PolicyURI      string
	Verified       bool
	SelfRegistered bool
	FirstParty     bool
	// Logo is where on this server the logo is; empty when none is to be shown.
	Logo string
}

func viewClient(c *oauthreg.Client) ClientView {
	return ClientView{
		ClientID: c.ClientID, Name: c.Name, Host: documentHost(c), LogoURI: c.LogoURI, ClientURI: c.ClientURI,
		TOSURI: c.TOSURI, PolicyURI: c.PolicyURI,
		Verified: c.Verified, SelfRegistered: c.SelfRegistered, FirstParty: c.FirstParty,
	}
}

// Scope is a scope the server knows, with the words shown on the consent page.
type Scope struct {
	// Name is the scope token (RFC 6749 §3.3).
	Name string
	// Title is a short name and Description a sentence, in English; the pages'
	// catalogue may have translations under the scope's name. Both may be empty.
	Title       string
	Description string
	// Claims are the claims of the user that the scope gives access to; nil means
	// those of OpenID Connect Core §5.4 for profile, email, address and phone,
	// and none for others. A claim belongs to the first scope that names it.
	Claims []string
}

// ConsentPage is what the consent page shows and sends back.
type ConsentPage struct {
	Client ClientView
	// Subject is who decides; Username is how the sign-in calls them, if known.
	Subject  string
	Username string
	// RedirectHost is the host (or private-use scheme) the browser returns to.
	RedirectHost string
	// Scopes is everything asked for; New marks those not allowed before.
	Scopes []ConsentScope
	// Resources are the resources (RFC 8707) the tokens will be for.
	Resources []string
	// Action is where the form posts to; ConsentToken and CSRF are its hidden
	// fields consent_token and csrf_token.
	Action       string
	ConsentToken string
	CSRF         string
	// SwitchAccount is where to go to decide as somebody else; empty when
	// nowhere.
	SwitchAccount string
	// UILocales is ui_locales of the request.
	UILocales []string
}

// ConsentScope is one line of the consent page.
type ConsentScope struct {
	Scope
	New bool
}

// LoginPage is what the sign-in page shows and sends back.
type LoginPage struct {
	// Client is who asks; its zero value when the user came by themselves.
	Client ClientView
	// Username is what to put in the field: login_hint, or what was typed.
	Username string
	// Failed says that the last try did not succeed; Throttled that there were
	// too many.
	Failed    bool
	Throttled bool
	// Reauthenticate says that a signed-in user has to prove it again.
	Reauthenticate bool
	// Action is where the form posts to; Interaction and CSRF are its hidden
	// fields interaction and csrf_token.
	Action      string
	Interaction string
	CSRF        string
	// Choose is where the accounts are that are signed in at this browser; empty
	// when there are none.
	Choose    string
	UILocales []string
}

// AccountsPage is the account chooser: who is signed in at this browser.
type AccountsPage struct {
	// Client is who asks; its zero value when the user came by themselves.
	Client ClientView
	// Accounts are one or more, the likeliest first.
	Accounts []AccountChoice
	// Action is where the forms post to, one for each account: its ID as account,
	// Interaction and CSRF as interaction and csrf_token, and action, which is
	// choose or sign_out.
	Action      string
	Interaction string
	CSRF        string
	// Other is the sign-in page for another account.
	Other     string
	UILocales []string
}

// AccountChoice is one line of [AccountsPage].
type AccountChoice struct {
	ID       string
	Username string
	// Current is the one that this browser would go on with.
	Current bool
}

// ErrorPage is what the error page shows: an OAuth error that may not be sent to
// a redirect URI, or a step that cannot go on.
type ErrorPage struct {
	Status      int
	Code        string // registered error code, e.g. invalid_request
	Description string
	RequestID   string
	// SignIn is where to sign in without an application, as a way on; empty
	// when there is none.
	SignIn string
	// Client is who sent the user, if known, and Account the user's account page;
	// both as ways on, the latter empty when there is none.
	Client    ClientView
	Account   string
	UILocales []string
}

// Renderer writes the pages that people see. [DefaultRenderer] has them all;
// a host replaces single templates through it, or the whole.
// Implementations must be safe for concurrent use. A Renderer writes status and
// body; the security headers are set already.
type Renderer interface {
	Login(w http.ResponseWriter, r *http.Request, status int, p LoginPage) error
	Accounts(w http.ResponseWriter, r *http.Request, p AccountsPage) error
	Consent(w http.ResponseWriter, r *http.Request, status int, p ConsentPage) error
	Error(w http.ResponseWriter, r *http.Request, p ErrorPage) error
	Message(w http.ResponseWriter, r *http.Request, p MessagePage) error
	Apps(w http.ResponseWriter, r *http.Request, p AppsPage) error
}

// MessagePage tells that something is done ("signed_out", ...), with nothing to
// fill in but an optional confirmation.
type MessagePage struct {
	// Kind is signed_out, confirm_sign_out, signed_in.
	Kind string
	// Action, when set, is where the one button posts to, with CSRF as
	// csrf_token and Fields as further hidden fields.
	Action string
	CSRF   string
	Fields map[string]string
	// Cancel, when set, is where to go instead of that.
	Cancel string
	// Client is who sent the user, if known.
	Client    ClientView
	UILocales []string
}

// AppsPage lists what a user has allowed ("my authorized apps") and where they
// are signed in.
type AppsPage struct {
	Username string
	Apps     []AuthorizedApp
	Sessions []oauthreg.LoginSession
	// CurrentSession is the session id of this browser.
	CurrentSession string
	Action         string
	SignOut        string
	// SwitchAccount is where to go on as somebody else; empty when nowhere.
	SwitchAccount string
	CSRF          string
}

// AuthorizedApp is one line of [AppsPage].
type AuthorizedApp struct {
	ConsentID string
	Client    ClientView
	Scopes    []Scope
	Resources []string
	Since     time.Time
	// LastUsedAt is when a token was last issued to the app.
	LastUsedAt time.Time
}

package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// RegistrationMode says who may register a client at <issuer>/oauth/register
// (RFC 7591 §3).
type RegistrationMode string

// The modes.
const (
	// RegistrationClosed refuses every registration. Clients that registered
	// before may still read, change and delete their registration.
	RegistrationClosed RegistrationMode = ""
	// RegistrationByToken asks for an initial access token.
	RegistrationByToken RegistrationMode = "token"
	// RegistrationOpen lets everybody register. Whoever has an initial access
	// token may register for what it permits.
	RegistrationOpen RegistrationMode = "open"
)

// RegistrationConfig says who may register clients and for what. The zero value
// is closed; what the other fields leave out is safe to offer to everybody:
// every client must use PKCE, none gets client_credentials, the scope admin, or
// a private-use redirect scheme without a dot, and the implicit grant is there
// only for those who ask for it where [Config.Implicit] is on.
type RegistrationConfig struct {
	Mode RegistrationMode

	// OrgID, ProjectID and UserID own what is registered. Empty means unowned.
	OrgID     string
	ProjectID string
	UserID    string

	// Scopes are what a client may register for without an initial access
	// token, and what it gets when it names none. nil means all of
	// [Config.Scopes]. The scope admin is never among them.
	Scopes []string

	// InitialTokens answers for initial access tokens; see
	// [NewInitialAccessTokens]. RegistrationByToken needs it.
	InitialTokens InitialAccessTokens

	// SoftwareStatements are the issuers whose software statements count (RFC
	// 7591 §2.3): statements of others are refused. RequireSoftwareStatement
	// refuses registrations and updates without one.
	SoftwareStatements       []SoftwareStatementIssuer
	RequireSoftwareStatement bool

	// Policy is asked last, when nothing else speaks against a registration or
	// an update. nil allows it.
	Policy RegistrationPolicy

	// MaxClients is how many clients there may be that registered themselves
	// without an initial access token; a registration beyond is answered with
	// 503. Zero means 100,000, negative any number. How many one address may
	// register in a minute is [Config.Limits]' business ([LimitRegistration]).
	MaxClients int
	// ReapUnused is after how long without a trace of use
	// [Server.ReapRegistrations] deletes such a client, unless the operator has
	// made it first-party or verified it. Zero means 30 days,
	// negative never.
	ReapUnused time.Duration

	count *registrationCount
}

// RegistrationPolicy decides about one registration or update. It may change c,
// which is validated afterwards. FirstParty, Verified and ResourceServer are
// refused on a client that registers without an initial access token. The
// context is the request's.
//
// To refuse, return an [*oauthreg.InvalidError] to say which metadata is wrong,
// or an [*Error] to choose code and status, such as unapproved_software_statement
// with 400 (empty ones are invalid_client_metadata and 400). Any other error means that the policy failed, and is answered with
// 5xx.
type RegistrationPolicy func(ctx context.Context, c *oauthreg.Client, req RegistrationRequest) error

// RegistrationRequest is what a [RegistrationPolicy] is told.
type RegistrationRequest struct {
	// Metadata is the members of the request (RFC 7591 §2), known or not, with
	// those of the software statement in place of the client's own.
	Metadata map[string]json.RawMessage
	// SoftwareStatement is the claims of the verified software statement; nil
	// when there was none.
	SoftwareStatement map[string]json.RawMessage
	// Ceiling is what the initial access token permits; nil without one.
	Ceiling *RegistrationCeiling
	// Previous is the client before an update (RFC 7592 §2.2); nil when it is
	// new.
	Previous *oauthreg.Client
	// Document is the client_id of a client that has a metadata document, and
	// Metadata what stands in it; empty for a registration. Such a client is
	// looked at whenever its document was fetched.
	Document string
	// Address is where the request comes from, empty with a Document; of an IPv6 address its /64.
	Address string
}

// RegistrationCeiling is the most that one initial access token permits.
type RegistrationCeiling struct {
	// Name tells the operator, in the audit log, which token it was.
	Name string
	// Scopes and GrantTypes are what a client may register for. nil means what
	// anybody may, an empty list none. They may go beyond that, to
	// client_credentials and to the scope admin.
	Scopes     []string
	GrantTypes []oauthreg.GrantType
	// OrgID, ProjectID and UserID own the client; empty means those of
	// [RegistrationConfig].
	OrgID     string
	ProjectID string
	UserID    string
}

// ErrInvalidInitialAccessToken: a token is not one, has expired, or is used up.
var ErrInvalidInitialAccessToken = errors.New("handlers: invalid initial access token")

// InitialAccessTokens answers for initial access tokens (RFC 7591 §3). The
// server asks for the ceiling first and uses the token up when everything else
// about the registration is right, so that a mistake costs nothing.
// Implementations must be safe for concurrent use. An error other than
// [ErrInvalidInitialAccessToken] means that it cannot be told now.
type InitialAccessTokens interface {
	// Ceiling returns what the token permits. [ErrInvalidInitialAccessToken]
	// when it is worth nothing now.
	Ceiling(ctx context.Context, token string) (*RegistrationCeiling, error)
	// Use takes one of the token's uses. Of any number of concurrent calls no
	// more succeed than the token has uses; the others get
	// [ErrInvalidInitialAccessToken].
	Use(ctx context.Context, token string) error
}

const (
	defaultMaxRegistrations = 100_000
	defaultReapUnused       = 30 * 24 * time.Hour
)

// check names everything wrong with c and fills in defaults.
func (c *RegistrationConfig) check() []error {
	var errs []error
	fail := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("handlers: Config.Registration."+format, args...))
	}
	switch c.Mode {
	case RegistrationClosed, RegistrationOpen:
	case RegistrationByToken:
		if c.InitialTokens == nil {
			fail("InitialTokens is nil: nobody could register")
		}
	default:
		fail("Mode is %q, it must be empty, %q or %q", c.Mode, RegistrationByToken, RegistrationOpen)
	}
	for _, scope := range c.Scopes {
		if !oauthreg.ValidScopeToken(scope) {
			fail("Scopes: %q is not a scope (RFC 6749 §3.3)", scope)
		}
	}
	seen := map[string]bool{}
	for i, issuer := range c.SoftwareStatements {
		for _, problem := range issuer.problems() {
			fail("SoftwareStatements[%d]%s", i, problem)
		}
		if seen[issuer.Issuer] {
			fail("SoftwareStatements[%d]: the issuer is listed twice", i)
		}
		seen[issuer.Issuer] = true
	}
	if c.RequireSoftwareStatement && len(c.SoftwareStatements) == 0 {
		fail("SoftwareStatements is empty, but one is required")
	}
	c.count = new(registrationCount)
	if c.MaxClients == 0 {
		c.MaxClients = defaultMaxRegistrations
	}
	switch {
	case c.ReapUnused == 0:
		c.ReapUnused = defaultReapUnused
	case c.ReapUnused > 0 && c.ReapUnused < time.Minute:
		fail("ReapUnused is %v, it must be at least a minute", c.ReapUnused)
	}
	return errs
}

// registrationTerms is what one caller may register for.
type registrationTerms struct {
	// scopes are all that may be registered, and what is when none is named.
	scopes []string
	// grants are all that may be registered; nil means all that the registry
	// offers but client_credentials, and implicit unless that is set.
	grants   []oauthreg.GrantType
	implicit bool
	// ceiling is the initial access token's; nil without one.
	ceiling *RegistrationCeiling
}

// openTerms is what anybody may register for.
func (s *Server) openTerms() registrationTerms {
	scopes := s.cfg.Registration.Scopes
	if scopes == nil {
		for _, scope := range s.cfg.Scopes {
			scopes = append(scopes, scope.Name)
		}
	}
	return registrationTerms{
		scopes:   slices.DeleteFunc(slices.Clone(scopes), func(scope string) bool { return scope == adminScope }),
		implicit: s.cfg.Implicit,
	}
}

// adminScope gives rights over other clients.
const adminScope = "admin"

// termsOf is what the holder of an initial access token may register for.
func (s *Server) termsOf(ceiling *RegistrationCeiling) registrationTerms {
	terms := s.openTerms()
	terms.ceiling = ceiling
	if ceiling.Scopes != nil {
		terms.scopes = ceiling.Scopes
	}
	if ceiling.GrantTypes != nil {
		terms.grants = ceiling.GrantTypes
	}
	return terms
}

// updateTerms is what a client may change its own registration to. One that
// registered without an initial access token may have what anybody may; every
// other has its ceiling in what it has.
func (s *Server) updateTerms(c *oauthreg.Client) registrationTerms {
	if c.SelfRegistered {
		return s.openTerms()
	}
	return registrationTerms{
		scopes: slices.Clone(c.Scopes),
		grants: append([]oauthreg.GrantType{}, c.GrantTypes...), // never nil
	}
}

func (t *registrationTerms) allowsGrant(g oauthreg.GrantType) bool {
	if t.grants == nil {
		return g != oauthreg.GrantClientCredentials && (t.implicit || g != oauthreg.GrantImplicit)
	}
	return slices.Contains(t.grants, g)
}

// defaultGrants is authorization_code (RFC 7591 §2), or all that there is to
// have where that is not permitted.
func (t *registrationTerms) defaultGrants() []oauthreg.GrantType {
	if t.grants == nil || slices.Contains(t.grants, oauthreg.GrantAuthorizationCode) {
		return []oauthreg.GrantType{oauthreg.GrantAuthorizationCode}
	}
	return slices.Clone(t.grants)
}

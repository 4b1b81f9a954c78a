package handlers

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// consoleField is one member of a client in a form. Its name is that of the
// [oauthreg.Problem] about it.
type consoleField struct {
	Name, Label, Help string
	Kind              string // text, area, list, seconds, json, pairs, select, checks or check
	Options           []string
	// get is the member as lines of text, set the other way round; it returns
	// what is wrong with the text itself.
	get func(*oauthreg.Client) []string
	set func(*oauthreg.Client, []string) string
}

// consoleSection is a part of the form.
type consoleSection struct {
	Title  string
	Fields []consoleField
}

// lines are the lines of a text that have something in them.
func lines(values []string) []string {
	var out []string
	for _, v := range values {
		for line := range strings.Lines(v) {
			if line = strings.TrimSpace(line); line != "" {
				out = append(out, line)
			}
		}
	}
	return out
}

func first(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return strings.TrimSpace(values[0])
}

func textField[T ~string](name, label, help string, at func(*oauthreg.Client) *T) consoleField {
	return consoleField{
		Name: name, Label: label, Help: help, Kind: "text",
		get: func(c *oauthreg.Client) []string { return []string{string(*at(c))} },
		set: func(c *oauthreg.Client, v []string) string { *at(c) = T(first(v)); return "" },
	}
}

func selectField[T ~string](name, label, help string, at func(*oauthreg.Client) *T, options ...string) consoleField {
	f := textField(name, label, help, at)
	f.Kind, f.Options = "select", options
	return f
}

func listField(name, label, help string, at func(*oauthreg.Client) *[]string) consoleField {
	return consoleField{
		Name: name, Label: label, Help: help, Kind: "list",
		get: func(c *oauthreg.Client) []string { return *at(c) },
		set: func(c *oauthreg.Client, v []string) string { *at(c) = lines(v); return "" },
	}
}

func checksField(name, label, help string, at func(*oauthreg.Client) *[]string, options ...string) consoleField {
	f := listField(name, label, help, at)
	f.Kind, f.Options = "checks", options
	return f
}

func checkField(name, label, help string, at func(*oauthreg.Client) *bool) consoleField {
	return consoleField{
		Name: name, Label: label, Help: help, Kind: "check",
		get: func(c *oauthreg.Client) []string {
			if *at(c) {
				return []string{"on"}
			}
			return nil
		},
		set: func(c *oauthreg.Client, v []string) string { *at(c) = first(v) == "on"; return "" },
	}
}

// seconds reads a number of seconds; empty is nothing.
func seconds(v []string) (d time.Duration, given bool, problem string) {
	text := first(v)
	if text == "" {
		return 0, false, ""
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < 0 || n > int64(100*365*24*time.Hour/time.Second) {
		return 0, true, "must be a whole number of seconds"
	}
	return time.Duration(n) * time.Second, true, ""
}

func secondsField(name, label, help string, at func(*oauthreg.Client) *time.Duration) consoleField {
	return consoleField{
		Name: name, Label: label, Help: help, Kind: "seconds",
		get: func(c *oauthreg.Client) []string {
			if *at(c) == 0 {
				return nil
			}
			return []string{strconv.FormatInt(int64(*at(c)/time.Second), 10)}
		},
		set: func(c *oauthreg.Client, v []string) string {
			d, _, problem := seconds(v)
			if problem == "" {
				*at(c) = d
			}
			return problem
		},
	}
}

var signingAlgOptions = []string{"", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// Members that have a form of their own.
var (
	maxAgeField = consoleField{
		Name: "default_max_age", Label: "Default max_age", Help: "Seconds; empty for none.", Kind: "seconds",
		get: func(c *oauthreg.Client) []string {
			if c.DefaultMaxAge == nil {
				return nil
			}
			return []string{strconv.FormatInt(int64(*c.DefaultMaxAge/time.Second), 10)}
		},
		set: func(c *oauthreg.Client, v []string) string {
			d, given, problem := seconds(v)
			if problem == "" {
				if c.DefaultMaxAge = nil; given {
					c.DefaultMaxAge = &d
				}
			}
			return problem
		},
	}
	jwksField = consoleField{
		Name: "jwks", Label: "Keys (JWKS)", Help: "Public keys only, as JSON.", Kind: "json",
		get: func(c *oauthreg.Client) []string {
			var b bytes.Buffer
			if len(c.JWKS) == 0 || json.Indent(&b, c.JWKS, "", "  ") != nil {
				return []string{string(c.JWKS)}
			}
			return []string{b.String()}
		},
		set: func(c *oauthreg.Client, v []string) string {
			text := first(v)
			if text == "" {
				c.JWKS = nil
				return ""
			}
			if !json.Valid([]byte(text)) {
				return "must be JSON"
			}
			c.JWKS = json.RawMessage(text)
			return ""
		},
	}
	metadataField = consoleField{
		Name: "metadata", Label: "Metadata", Help: "Yours, never shown to users: one key=value a line.", Kind: "pairs",
		get: func(c *oauthreg.Client) []string {
			var out []string
			for _, k := range slices.Sorted(maps.Keys(c.Metadata)) {
				out = append(out, k+"="+c.Metadata[k])
			}
			return out
		},
		set: func(c *oauthreg.Client, v []string) string {
			m := map[string]string{}
			for _, line := range lines(v) {
				key, value, ok := strings.Cut(line, "=")
				if _, twice := m[key]; !ok || twice {
					return "must be one key=value a line, each key once"
				}
				m[key] = value
			}
			if c.Metadata = m; len(m) == 0 {
				c.Metadata = nil
			}
			return ""
		},
	}
	descriptionField = consoleField{
		Name: "description", Label: "Description", Help: "For operators.", Kind: "area",
		get: func(c *oauthreg.Client) []string { return []string{c.Description} },
		set: func(c *oauthreg.Client, v []string) string {
			c.Description = strings.ReplaceAll(first(v), "\r\n", "\n")
			return ""
		},
	}
)

// consoleSections are all members that an operator may set. Of the
// authentication methods and grant types, those that the client may have.
func (c *console) consoleSections(client *oauthreg.Client, fresh bool) []consoleSection {
	methods := []string{oauthreg.AuthClientSecretBasic, oauthreg.AuthClientSecretPost, oauthreg.AuthPrivateKeyJWT}
	methodHelp := "Proves who the client is at the token endpoint."
	switch {
	case fresh:
		methods = append(methods, oauthreg.AuthNone)
		methodHelp += " none makes a public client, for apps that cannot keep a secret; that cannot be changed later."
	case client.IsPublic():
		methods = []string{oauthreg.AuthNone}
		methodHelp = "A public client stays public."
	case client.TokenEndpointAuthMethod == oauthreg.AuthUnnamed:
		methods = append(methods, "")
	}
	grants := []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken, oauthreg.GrantClientCredentials}
	types := []string{"code"}
	if c.s.cfg.Implicit {
		grants = append(grants, oauthreg.GrantImplicit)
		types = append(types, "id_token", "token", "id_token token", "code id_token", "code token", "code id_token token")
	}
	grants, types = withOthers(grants, client.GrantTypes), withOthers(types, client.ResponseTypes)

	type C = oauthreg.Client
	return []consoleSection{
		{"The client", []consoleField{
			textField("client_name", "Name", "Users see it when they are asked for consent.", func(c *C) *string { return &c.Name }),
			descriptionField,
			selectField("application_type", "Kind of application", "Empty follows from the redirect URIs.", func(c *C) *oauthreg.ApplicationType { return &c.ApplicationType }, "", string(oauthreg.Web), string(oauthreg.Native)),
		}},
		{"What it may do", []consoleField{
			checksField("grant_types", "Grant types", "", func(c *C) *[]string { return &c.GrantTypes }, grants...),
			checksField("response_types", "Response types", "None follows from the grant types.", func(c *C) *[]string { return &c.ResponseTypes }, types...),
			listField("redirect_uris", "Redirect URIs", "One a line. They are compared character by character; only the port of a loopback address is free.", func(c *C) *[]string { return &c.RedirectURIs }),
			listField("scope", "Scopes", "One a line: all that it may ask for.", func(c *C) *[]string { return &c.Scopes }),
			listField("default_scope", "Default scopes", "What a request without scopes gets; empty for all but offline_access and admin.", func(c *C) *[]string { return &c.DefaultScopes }),
			checkField("require_pkce", "Require PKCE", "Always on for public clients.", func(c *C) *bool { return &c.RequirePKCE }),
			listField("audience", "Resources", "One URI a line that it may ask tokens for; empty for all that the server knows.", func(c *C) *[]string { return &c.Audience }),
			listField("resource_server", "Is the resource server of", "One URI a line: it may introspect tokens meant for these.", func(c *C) *[]string { return &c.ResourceServer }),
		}},
		{"How it proves who it is", []consoleField{
			selectField("token_endpoint_auth_method", "Authentication method", methodHelp, func(c *C) *oauthreg.AuthMethod { return &c.TokenEndpointAuthMethod }, methods...),
			selectField("token_endpoint_auth_signing_alg", "Algorithm of its assertions", "Empty for any asymmetric one.", func(c *C) *string { return &c.TokenEndpointAuthSigningAlg }, signingAlgOptions...),
			textField("jwks_uri", "Address of its keys (jwks_uri)", "", func(c *C) *string { return &c.JWKSURI }),
			jwksField,
			selectField("request_object_signing_alg", "Algorithm of its request objects", "Empty for any asymmetric one.", func(c *C) *string { return &c.RequestObjectSigningAlg }, signingAlgOptions...),
			listField("request_uris", "Addresses of its request objects", "One a line.", func(c *C) *[]string { return &c.RequestURIs }),
		}},
		{"Tokens", []consoleField{
			selectField("access_token_format", "Access tokens", "", func(c *C) *oauthreg.AccessTokenFormat { return &c.AccessTokenFormat }, string(oauthreg.Opaque), string(oauthreg.JWT)),
			secondsField("access_token_lifetime", "Life of access tokens", "Seconds; empty for the server's.", func(c *C) *time.Duration { return &c.Lifetimes.AccessToken }),
			secondsField("refresh_token_idle_lifetime", "Life of unused refresh tokens", "Seconds; empty for the server's.", func(c *C) *time.Duration { return &c.Lifetimes.RefreshTokenIdle }),
			secondsField("refresh_token_lifetime", "Life of the whole grant", "Seconds; empty for the server's.", func(c *C) *time.Duration { return &c.Lifetimes.RefreshToken }),
			secondsField("id_token_lifetime", "Life of id_tokens", "Seconds; empty for the server's.", func(c *C) *time.Duration { return &c.Lifetimes.IDToken }),
			secondsField("authorization_code_lifetime", "Life of codes", "Seconds; empty for the server's.", func(c *C) *time.Duration { return &c.Lifetimes.AuthorizationCode }),
		}},
		{"OpenID Connect", []consoleField{
			selectField("id_token_signed_response_alg", "Algorithm of id_tokens", "Empty for RS256.", func(c *C) *string { return &c.IDTokenSignedResponseAlg }, append([]string{""}, c.s.keys.Algorithms()...)...),
			selectField("userinfo_signed_response_alg", "Algorithm of userinfo", "Empty for plain JSON.", func(c *C) *string { return &c.UserinfoSignedResponseAlg }, append([]string{""}, c.s.keys.Algorithms()...)...),
			selectField("subject_type", "Subjects", "Empty for public.", func(c *C) *oauthreg.SubjectType { return &c.SubjectType }, "", string(oauthreg.PublicSubject), string(oauthreg.PairwiseSubject)),
			textField("sector_identifier_uri", "Sector identifier URI", "Pairwise clients with the same host in it see the same subjects.", func(c *C) *string { return &c.SectorIdentifierURI }),
			maxAgeField,
			checkField("require_auth_time", "Require auth_time", "", func(c *C) *bool { return &c.RequireAuthTime }),
			listField("default_acr_values", "Default acr_values", "One a line.", func(c *C) *[]string { return &c.DefaultACRValues }),
			textField("initiate_login_uri", "Address that starts a sign-in", "", func(c *C) *string { return &c.InitiateLoginURI }),
		}},
		{"Sign-out", []consoleField{
			listField("post_logout_redirect_uris", "Post-logout redirect URIs", "One a line.", func(c *C) *[]string { return &c.PostLogoutRedirectURIs }),
			textField("backchannel_logout_uri", "Back-channel logout URI", "", func(c *C) *string { return &c.BackchannelLogoutURI }),
			checkField("backchannel_logout_session_required", "Back-channel: needs sid", "", func(c *C) *bool { return &c.BackchannelLogoutSessionRequired }),
			textField("frontchannel_logout_uri", "Front-channel logout URI", "", func(c *C) *string { return &c.FrontchannelLogoutURI }),
			checkField("frontchannel_logout_session_required", "Front-channel: needs iss and sid", "", func(c *C) *bool { return &c.FrontchannelLogoutSessionRequired }),
		}},
		{"What users see", []consoleField{
			textField("client_uri", "Home page", "", func(c *C) *string { return &c.ClientURI }),
			textField("logo_uri", "Logo", "", func(c *C) *string { return &c.LogoURI }),
			textField("tos_uri", "Terms of service", "", func(c *C) *string { return &c.TOSURI }),
			textField("policy_uri", "Privacy policy", "", func(c *C) *string { return &c.PolicyURI }),
			listField("contacts", "Contacts", "One a line.", func(c *C) *[]string { return &c.Contacts }),
			textField("software_id", "Software", "", func(c *C) *string { return &c.SoftwareID }),
			textField("software_version", "Version of the software", "", func(c *C) *string { return &c.SoftwareVersion }),
		}},
		{"Your word on it", []consoleField{
			checkField("verified", "Verified", "Users see that you vouch for who it is.", func(c *C) *bool { return &c.Verified }),
			checkField("first_party", "First party", "Users are not asked for consent.", func(c *C) *bool { return &c.FirstParty }),
			metadataField,
		}},
	}
}

// withOthers adds to options what a client has beside them.
func withOthers(options, has []string) []string {
	for _, v := range has {
		if !slices.Contains(options, v) {
			options = append(options, v)
		}
	}
	return options
}

// formField is a field as the page shows it.
type formField struct {
	consoleField
	Value    string   // of the kinds with one
	Chosen   []string // of checks
	Problems []string
}

// Has reports whether an option is chosen.
func (f formField) Has(option string) bool { return slices.Contains(f.Chosen, option) }

// Rows is how high a text area is.
func (f formField) Rows() int { return min(12, max(2, strings.Count(f.Value, "\n")+2)) }

// Invalid reports whether something is wrong with it.
func (f formField) Invalid() bool { return len(f.Problems) > 0 }

// Describes are the ids of what explains the field.
func (f formField) Describes() string {
	var ids []string
	if f.Help != "" {
		ids = append(ids, "h-"+f.Name)
	}
	if f.Invalid() {
		ids = append(ids, "p-"+f.Name)
	}
	return strings.Join(ids, " ")
}

type formSection struct {
	Title  string
	Fields []formField
}

// clientForm is the dot of the page on which a client is made or changed.
type clientForm struct {
	Action, Cancel, Submit string
	Client                 *oauthreg.Client
	Fresh                  bool
	ClientID               formField // of a new one
	Version                int64
	Changed                bool // by somebody else meanwhile
	Sections               []formSection
	Problems               []oauthreg.Problem
}

// Label is that of the field that a problem is about; empty if the form has none.
func (f clientForm) Label(problem oauthreg.Problem) string {
	name := fieldOf(problem)
	if f.Fresh && name == f.ClientID.Name {
		return f.ClientID.Label
	}
	for _, s := range f.Sections {
		for _, field := range s.Fields {
			if field.Name == name {
				return field.Label
			}
		}
	}
	return ""
}

// Text is what is wrong, and where in the field.
func (clientForm) Text(problem oauthreg.Problem) string { return problemText(problem) }

// Anchor is the id of the field that a problem is about.
func (clientForm) Anchor(problem oauthreg.Problem) string { return "f-" + fieldOf(problem) }

// fieldOf is the name of the field that a problem is about.
func fieldOf(p oauthreg.Problem) string {
	name, _, _ := strings.Cut(p.Field, "[")
	name, _, _ = strings.Cut(name, ".")
	return name
}

// apply puts a form into a client, and returns what is wrong with its texts.
// Fields that the form does not have keep their value; a box that is not checked
// does not come at all.
func apply(sections []consoleSection, client *oauthreg.Client, form url.Values) (problems []oauthreg.Problem) {
	for _, s := range sections {
		for _, f := range s.Fields {
			if !form.Has(f.Name) && f.Kind != "check" && f.Kind != "checks" {
				continue
			}
			if wrong := f.set(client, form[f.Name]); wrong != "" {
				problems = append(problems, oauthreg.Problem{Field: f.Name, Message: wrong})
			}
		}
	}
	return problems
}

// filled are the fields with what client has or, where there is a form, with what
// was typed.
func filled(sections []consoleSection, client *oauthreg.Client, form url.Values, problems []oauthreg.Problem) []formSection {
	var out []formSection
	for _, s := range sections {
		fs := formSection{Title: s.Title}
		for _, f := range s.Fields {
			values := f.get(client)
			if form != nil {
				values = form[f.Name]
			}
			field := formField{consoleField: f, Value: strings.Join(values, "\n"), Chosen: values}
			for _, p := range problems {
				if fieldOf(p) == f.Name {
					field.Problems = append(field.Problems, problemText(p))
				}
			}
			fs.Fields = append(fs.Fields, field)
		}
		out = append(out, fs)
	}
	return out
}

// problemText is a problem at its field: which line, and what.
func problemText(p oauthreg.Problem) string {
	_, index, found := strings.Cut(p.Field, "[")
	n, err := strconv.Atoi(strings.TrimSuffix(index, "]"))
	if !found || err != nil {
		return p.Message
	}
	return "Line " + strconv.Itoa(n+1) + " " + p.Message
}

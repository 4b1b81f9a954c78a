package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oauthreg/oauthreg/handlers"
)

// options is what the command line asks for.
type options struct {
	addr   string
	issuer string // empty: derived from the listener
	db     string
	key    string // file; empty: derived from db

	metrics string // address; empty: none

	clients string // file
	users   string // file

	org, project, user string
	adminKey           string

	tlsCert, tlsKey string

	outboundCA      string
	outboundPrivate bool

	resources []string
	limits    bool
	log       slog.Level
	console   bool
	implicit  bool
	cimd      bool
	// certification gives up safe defaults that the certification profiles
	// of OpenID Connect do not know.
	certification bool

	registration      handlers.RegistrationMode
	registrationLimit int

	refreshGrace time.Duration
	migrate      string // on, off, status or sql
	backup       string // file; empty: none
	reencrypt    bool

	conformance conformanceOptions
}

// usageError is a mistake on the command line; it ends the process with status 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// The owner of clients that a file or the demo declares without one.
const (
	defaultOrg     = "00000000-0000-4000-8000-000000000001"
	defaultProject = "00000000-0000-4000-8000-000000000002"
	defaultUser    = "00000000-0000-4000-8000-000000000003"
)

// parseFlags reads args. It prints only what -h asks for, to help, and returns
// [flag.ErrHelp] then; any other error is a [usageError].
func parseFlags(args []string, getenv func(string) string, help io.Writer) (options, error) {
	o := options{org: defaultOrg, project: defaultProject, user: defaultUser, limits: true, console: true, cimd: true, migrate: "on", registration: handlers.RegistrationOpen}
	fs := flag.NewFlagSet("standalone", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}

	fs.StringVar(&o.addr, "addr", "127.0.0.1:9096", "listen `address`; port 0 takes a free one")
	fs.Func("issuer", "issuer `URL` (default http://<addr>); it may have a path, everything then lives below it; port 0 stands for the port of -addr", func(v string) error {
		o.issuer = v
		return checkIssuer(v)
	})
	fs.StringVar(&o.db, "db", "oauthreg.db", `SQLite `+"`file`"+`, ":memory:", postgres://... or mysql://...`)
	fs.StringVar(&o.key, "key", "", "`file` of the key that everything secret is derived from, made when it and the database are new; the same for all servers on a database (default <file>.key beside a SQLite file, else oauthreg.key). Each further line, 32 random bytes in base64, is a key that encrypts what is stored from then on")
	fs.StringVar(&o.metrics, "metrics", "", "serve metrics for Prometheus at http://<`address`>/metrics, apart from everything else; port 0 takes a free one (default none)")
	fs.StringVar(&o.clients, "clients", "", "JSON `file`: array of clients, ensured at start (default: one demo client)")
	fs.StringVar(&o.users, "users", "", "JSON `file`: array of users (default: one demo user)")
	fs.Func("org", "`UUID` of the organization that owns clients declared without one (default "+defaultOrg+")", uuidFlag(&o.org))
	fs.Func("project", "`UUID` of their project (default "+defaultProject+")", uuidFlag(&o.project))
	fs.Func("user", "`UUID` of their creator, and of the demo user (default "+defaultUser+")", uuidFlag(&o.user))
	fs.StringVar(&o.adminKey, "admin-key", "", "bearer `key` of the management API (default $OAUTHREG_ADMIN_KEY, or one that is generated and printed)")
	fs.StringVar(&o.tlsCert, "tls-cert", "", "serve https with the PEM certificate chain in `file`")
	fs.StringVar(&o.tlsKey, "tls-key", "", "PEM private key `file` of -tls-cert")
	fs.StringVar(&o.outboundCA, "outbound-ca", "", "PEM `file` of further CAs for outgoing fetches (jwks_uri)")
	fs.BoolVar(&o.outboundPrivate, "outbound-private", false, "allow outgoing fetches to private and loopback addresses")
	fs.Func("resource", "`URL` of a protected resource that tokens may be asked for; repeatable", func(v string) error {
		o.resources = append(o.resources, v)
		return checkResource(v)
	})
	fs.TextVar(&o.log, "log", slog.LevelInfo, "`level` of the log on stderr: debug shows every request, info those that were refused; or warn, error")
	fs.Func("limits", "`on|off`: limits on failed authentications and floods (default on)", onOff(&o.limits))
	fs.Func("console", "`on|off`: the admin console at <issuer>/admin, for whoever has the admin key (default on)", onOff(&o.console))
	fs.Func("registration", "`open|token|closed`: dynamic client registration, for everybody, with an initial access token, or not at all (default open)", func(v string) error {
		mode, ok := registrationModes[v]
		if !ok {
			return errors.New(`must be "open", "token" or "closed"`)
		}
		o.registration = mode
		return nil
	})
	fs.IntVar(&o.registrationLimit, "registration-limit", 60, "dynamic registrations per address and `minute`; 0 for no limit")
	fs.Func("cimd", "`on|off`: clients whose client_id is the https URL of their metadata document; with -outbound-private http on loopback too (default on)", onOff(&o.cimd))
	fs.Func("migrate", "`on|off|status|sql`: bring the database's schema up to date at start, leave that to others, or only print which migrations are applied, or the SQL that is pending, and end (default on)", func(v string) error {
		if !slices.Contains([]string{"on", "off", "status", "sql"}, v) {
			return errors.New(`must be "on", "off", "status" or "sql"`)
		}
		o.migrate = v
		return nil
	})
	fs.StringVar(&o.backup, "backup", "", "copy the SQLite database, which a running server may have open, to a new `file`, and end; its key is not in the copy")
	fs.BoolVar(&o.reencrypt, "reencrypt", false, "encrypt everything stored with the last key of the key file, while servers that were started with it may run, and end")
	fs.DurationVar(&o.refreshGrace, "refresh-grace", 10*time.Second, "how long a refresh token that was used may be used again, so that lost answers do no harm; 0 for not at all, at most 5m")
	fs.BoolVar(&o.implicit, "implicit", false, "switch the implicit grant on for clients that registered it")

	fs.BoolVar(&o.certification, "certification", false, "be what the Dynamic OP certification profile of OpenID Connect tests: registered confidential clients may do without PKCE, request objects at registered addresses without a signature, and the logos of all clients are shown")

	c := &o.conformance
	fs.StringVar(&c.issuer, "conformance", "", "check the running server with this `issuer`, ours or any other, instead of serving; ends with status 1 when a check fails")
	fs.StringVar(&c.config, "conformance-config", "", "JSON `file` with the clients, the user and more to check with: see examples/standalone/conformance.go")
	fs.StringVar(&c.client, "conformance-client", "", "`id:secret` of a registered client to check with, or id alone for a public one; needs -conformance-redirect")
	fs.StringVar(&c.redirect, "conformance-redirect", "", "registered redirect `URI` of that client; nothing needs to listen there")
	fs.StringVar(&c.user, "conformance-user", "", "`name:password` to sign in with, on pages with the fields username and password")
	fs.BoolVar(&c.register, "conformance-register", false, "let the checks register clients of their own, which they delete afterwards")
	fs.BoolVar(&c.json, "conformance-json", false, "print the report as JSON")

	err := fs.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = fmt.Fprintln(help, "Usage: standalone [flags]\n\nA development authorization server on a SQLite file.\n\nFlags:")
		fs.SetOutput(help)
		fs.PrintDefaults()
		return o, flag.ErrHelp
	case err != nil:
		return o, &usageError{err}
	case fs.NArg() > 0:
		return o, &usageError{fmt.Errorf("unexpected argument %q", fs.Arg(0))}
	}
	if o.adminKey == "" {
		o.adminKey = getenv("OAUTHREG_ADMIN_KEY")
	}
	if err := o.check(); err != nil {
		return o, &usageError{err}
	}
	return o, nil
}

// check looks at what one flag alone cannot tell.
func (o *options) check() error {
	if _, _, err := net.SplitHostPort(o.addr); err != nil {
		return fmt.Errorf("-addr: %w", err)
	}
	if _, _, err := net.SplitHostPort(o.metrics); err != nil && o.metrics != "" {
		return fmt.Errorf("-metrics: %w", err)
	}
	if o.db == "" {
		return errors.New(`-db is empty: name a file, or ":memory:"`)
	}
	if o.refreshGrace < 0 || o.refreshGrace > 5*time.Minute {
		return errors.New("-refresh-grace is not between 0 and 5m")
	}
	if c := o.conformance; c.issuer == "" && c != (conformanceOptions{}) {
		return errors.New("the flags -conformance-... go with -conformance")
	}
	if o.registrationLimit < 0 {
		return errors.New("-registration-limit is negative")
	}
	if (o.tlsCert == "") != (o.tlsKey == "") {
		return errors.New("-tls-cert and -tls-key belong together")
	}
	if key := o.adminKey; key != strings.TrimSpace(key) || strings.ContainsFunc(key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errors.New("the admin key must be printable ASCII, without spaces around it: it travels in an Authorization header")
	}
	return nil
}

var registrationModes = map[string]handlers.RegistrationMode{
	"open": handlers.RegistrationOpen, "token": handlers.RegistrationByToken, "closed": handlers.RegistrationClosed,
}

// uuidFlag sets v to a UUID in its canonical spelling.
func uuidFlag(v *string) func(string) error {
	return func(s string) error {
		id, err := uuid.Parse(s)
		if err != nil || len(s) != 36 {
			return errors.New("not a UUID")
		}
		*v = id.String()
		return nil
	}
}

func onOff(v *bool) func(string) error {
	return func(s string) error {
		switch s {
		case "on", "off":
			*v = s == "on"
			return nil
		}
		return errors.New(`must be "on" or "off"`)
	}
}

// checkIssuer finds what is plainly wrong before anything is stored;
// handlers.New has the last word.
func checkIssuer(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || strings.ContainsAny(s, "?#") || (u.Scheme != "http" && u.Scheme != "https"):
		return errors.New("must be an http or https URL without user, query or fragment")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return errors.New("must be https; http is for localhost, 127.0.0.1 and [::1] only")
	case strings.HasSuffix(s, "/"):
		return errors.New("must not end with a slash")
	}
	return nil
}

// checkResource does the same for a resource (RFC 8707 §2).
func checkResource(s string) error {
	u, err := url.Parse(s)
	if err != nil || !u.IsAbs() || strings.Contains(s, "#") {
		return errors.New("must be an absolute URL without fragment")
	}
	return nil
}

func isLoopback(host string) bool {
	return host == "localhost" || host == "127.0.0.1" || host == "::1"
}

// issuerFor is the issuer once the listener's address is known: the one asked
// for, with a port 0 replaced, or the origin of the listener itself.
func issuerFor(o options, bound *net.TCPAddr) string {
	if o.issuer != "" {
		u, err := url.Parse(o.issuer)
		if err == nil && u.Port() == "0" {
			u.Host = net.JoinHostPort(u.Hostname(), fmt.Sprint(bound.Port))
			return u.String()
		}
		return o.issuer
	}
	scheme := "http"
	if o.tlsCert != "" {
		scheme = "https"
	}
	// The host as it was written: a name stays a name. A wildcard is no host.
	host, _, _ := net.SplitHostPort(o.addr) // checked by check
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	return scheme + "://" + net.JoinHostPort(host, fmt.Sprint(bound.Port))
}

package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
)

const (
	drainTimeout    = 10 * time.Second // for requests that run when the server is told to stop
	janitorInterval = time.Minute
)

// run is main without the process: it serves until ctx ends and returns the
// exit status. Everything it has to say goes to stdout, logs and the one line
// of an error to stderr.
func run(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	err := start(ctx, args, getenv, stdout, stderr)
	var usage *usageError
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled): // told to stop while starting
		return 0
	}
	_, _ = fmt.Fprintln(stderr, "standalone: "+oneLine(err))
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

// oneLine is the text of err without line breaks: joined errors have one each.
func oneLine(err error) string {
	return strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r < ' ' }), "; ")
}

func start(ctx context.Context, args []string, getenv func(string) string, stdout, stderr io.Writer) error {
	o, err := parseFlags(args, getenv, stdout)
	if err != nil {
		return err
	}
	if o.migrate == "status" || o.migrate == "sql" {
		return printMigrations(ctx, o, stdout)
	}
	if o.backup != "" {
		return backup(ctx, o)
	}
	if o.reencrypt {
		return reencrypt(ctx, o, stdout)
	}
	f, err := readFiles(o)
	if err != nil {
		return err
	}
	if o.conformance.issuer != "" {
		return checkDeployment(ctx, o, f, stdout)
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.addr)
	if err != nil {
		return err
	}
	defer ln.Close() // again, unless the start fails
	issuer := issuerFor(o, ln.Addr().(*net.TCPAddr))
	if err := checkIssuer(issuer); err != nil {
		return &usageError{fmt.Errorf("the issuer %s %w", issuer, err)}
	}
	lines := &logWriter{to: stderr}
	defer func() { _ = lines.Flush() }() // nobody is there to tell
	log := slog.New(slog.NewTextHandler(lines, &slog.HandlerOptions{Level: o.log}))
	m, err := newMetrics(ctx, o.metrics, log)
	if err != nil {
		return err
	}
	defer m.close() // again, unless the start fails
	a, err := newApp(ctx, o, f, issuer, log, m)
	if err != nil {
		return err
	}
	beforeServing()
	return errors.Join(a.serve(ctx, ln, f.tls, stdout), a.store.Close())
}

// files is what the files named on the command line say.
type files struct {
	clients []oauthreg.Declaration // nil: none named
	users   *directory             // nil: none named
	tls     *tls.Config            // nil: http
	cas     *x509.CertPool         // nil: the system's
}

// readFiles reads all of them before anything is opened or stored.
func readFiles(o options) (f files, err error) {
	if o.clients != "" {
		data, err := os.ReadFile(o.clients)
		if err != nil {
			return f, err
		}
		if f.clients, err = oauthreg.ParseDeclarations(data); err != nil {
			return f, fmt.Errorf("%s: %w", o.clients, err)
		}
	}
	if o.users != "" {
		if f.users, err = readUsers(o.users); err != nil {
			return f, err
		}
	}
	if o.tlsCert != "" {
		pair, err := tls.LoadX509KeyPair(o.tlsCert, o.tlsKey)
		if err != nil {
			return f, fmt.Errorf("%s and %s: %w", o.tlsCert, o.tlsKey, err)
		}
		f.tls = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	if o.outboundCA != "" {
		pem, err := os.ReadFile(o.outboundCA)
		if err != nil {
			return f, err
		}
		if f.cas, err = x509.SystemCertPool(); err != nil {
			return f, fmt.Errorf("read the system's CAs: %w", err)
		}
		if !f.cas.AppendCertsFromPEM(pem) {
			return f, fmt.Errorf("%s has no certificate in PEM", o.outboundCA)
		}
	}
	return f, nil
}

// app is the authorization server with all that it stands on.
type app struct {
	store    *storage.Store
	registry *oauthreg.Registry
	keys     *oauthreg.KeyRing
	server   *handlers.Server
	handler  http.Handler
	log      *slog.Logger
	issuer   string
	adminKey string
	metrics  *metrics // nil: none

	before string // printed before connections are accepted
	after  string // printed after
}

// newApp opens the database and wires everything on it. The store is open
// exactly when there is no error.
func newApp(ctx context.Context, o options, f files, issuer string, log *slog.Logger, m *metrics) (_ *app, err error) {
	master := newMasterKey()
	encryption := [][]byte{master.derive("storage encryption")}
	if o.db != ":memory:" {
		var made bool
		if master, made, err = openMasterKey(o.db, o.key); err != nil {
			return nil, err
		}
		if made {
			defer func() { err = forgetMasterKey(err, o.db, o.key) }()
		}
		if encryption, err = encryptionKeys(keyFile(o.db, o.key)); err != nil {
			return nil, err
		}
	}
	store, err := storage.Open(o.db, storage.Config{
		EncryptionKeys: encryption,
		NewSession:     handlers.NewSession,
		RefreshGrace:   cmp.Or(o.refreshGrace, -1), // none
		MeterProvider:  m.meter(),
	})
	if err != nil {
		return nil, err // names the file
	}
	defer func() {
		if err != nil {
			_ = store.Close() // what failed first is what to tell
		}
	}()
	if o.migrate == "on" {
		err = store.Migrate(ctx)
	} else {
		err = migrated(ctx, store)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", databaseName(o.db), err)
	}
	a := &app{store: store, log: log, issuer: issuer, metrics: m}
	if m != nil {
		a.before = "metrics on " + m.url() + "\n"
	}
	known := scopes()
	names := make([]string, len(known))
	for i, s := range known {
		names[i] = s.Name
	}
	a.registry, err = oauthreg.NewRegistry(oauthreg.Config{
		Store: store, SecretKey: master.derive("registry"), Scopes: names, Implicit: o.implicit,
		SigningAlgs: []string{"RS256", "ES256"}, // those of the key ring
	})
	if err != nil {
		return nil, err
	}
	if a.keys, err = oauthreg.OpenKeyRing(ctx, oauthreg.KeyRingConfig{Store: store}); err != nil {
		return nil, fmt.Errorf("signing keys of %s, with the keys in %s: %w", databaseName(o.db), keyFile(o.db, o.key), err)
	}

	users, err := a.introduce(ctx, o, f, issuer, master)
	if err != nil {
		return nil, err
	}
	limits := handlers.NoLimits
	if o.limits {
		limits = handlers.NewLimiter(handlers.LimiterConfig{Rates: map[handlers.LimitKind]handlers.Rate{
			handlers.LimitRegistration: {Burst: o.registrationLimit, PerMinute: float64(o.registrationLimit)},
		}})
	}
	registration, err := a.registration(ctx, o, master)
	if err != nil {
		return nil, err
	}
	var figures *handlers.Figures
	var events oauthreg.EventFunc
	if o.console {
		figures = handlers.NewFigures(nil)
		events = figures.Hear
		a.before += "admin console " + issuer + "/admin (sign in with the admin key)\n"
	}
	server, err := handlers.New(handlers.Config{
		Issuer: issuer, Registry: a.registry, Store: store, Keys: a.keys,
		Secrets: [][]byte{master.derive("handlers")},
		Users:   users, Claims: users, UserActive: users.active,
		Scopes: known, Resources: append([]string{issuer + "/api", handlers.ManagementResource(issuer)}, o.resources...),
		Registration:            registration,
		UnsignedRequestURIs:     o.certification,
		SelfRegisteredLogos:     o.certification,
		ClientMetadataDocuments: handlers.ClientMetadataDocumentConfig{Enabled: o.cimd, Loopback: o.outboundPrivate},
		Implicit:                o.implicit, Limits: limits,
		Outbound: handlers.NewOutbound(handlers.OutboundConfig{Private: o.outboundPrivate, HTTP: o.outboundPrivate, CAs: f.cas}),
		Logger:   log, MeterProvider: m.meter(), Events: events,
	})
	if err != nil {
		return nil, err
	}
	a.server = server
	a.handler, err = mount(server, issuer, a.adminKey, handlers.Principal{
		UserID: o.user, OrgID: o.org, ProjectID: o.project, AllOrgs: true, Actor: oauthreg.Actor{Kind: "admin", ID: o.user},
	}, figures, log)
	return a, err
}

// registration sets dynamic registration up. By token, one that works a hundred
// times within a day is made and printed.
func (a *app) registration(ctx context.Context, o options, master masterKey) (handlers.RegistrationConfig, error) {
	cfg := handlers.RegistrationConfig{Mode: o.registration, OrgID: o.org, ProjectID: o.project, UserID: o.user}
	if o.certification {
		cfg.Policy = func(_ context.Context, c *oauthreg.Client, _ handlers.RegistrationRequest) error {
			c.RequirePKCE = c.IsPublic()
			return nil
		}
	}
	tokens, err := handlers.NewInitialAccessTokens(handlers.InitialAccessTokensConfig{Key: master.derive("initial access tokens"), Store: a.store})
	if err != nil {
		return cfg, err
	}
	cfg.InitialTokens = tokens
	if o.registration == handlers.RegistrationByToken {
		token, info, err := tokens.Issue(ctx, handlers.InitialAccessTokenOptions{
			Ceiling: handlers.RegistrationCeiling{Name: "printed at start"}, Uses: 100, Lifetime: 24 * time.Hour,
		})
		if err != nil {
			return cfg, err
		}
		a.before += fmt.Sprintf("initial access token %s (until %s)\n", token, info.ExpiresAt.Format(time.RFC3339))
	}
	return cfg, nil
}

// introduce ensures the clients, finds the users, and writes down what the
// person who started the server has to know.
func (a *app) introduce(ctx context.Context, o options, f files, issuer string, master masterKey) (*directory, error) {
	var before strings.Builder
	line := func(format string, args ...any) { _, _ = fmt.Fprintf(&before, format+"\n", args...) }
	line("org %s", o.org)
	line("project %s", o.project)
	line("user %s", o.user)
	a.adminKey = o.adminKey
	if a.adminKey == "" {
		a.adminKey = "oak_" + master.text("admin key", 43)
		line("admin key %s", a.adminKey)
	}

	clients := f.clients
	var secret string
	if o.clients == "" {
		demo := demoClient(master)
		clients, secret = []oauthreg.Declaration{demo}, demo.Secret
		line("demo client %s secret %s", demo.Client.ClientID, demo.Secret)
	}
	if err := a.own(ctx, clients, o); err != nil {
		return nil, err
	}
	results, err := a.registry.Ensure(ctx, clients, oauthreg.EnsureApply)
	if err != nil {
		if o.clients != "" {
			err = fmt.Errorf("%s: %w", o.clients, err)
		}
		return nil, err
	}
	var made []oauthreg.Client
	for _, r := range results {
		made = append(made, r.Client)
		if r.Outcome == oauthreg.EnsureUnchanged {
			continue
		}
		line("client %s %s", r.Client.ClientID, r.Outcome)
		for _, d := range r.Drift {
			if d.Before == nil && d.After == nil { // a secret
				line("client %s %s: changed", r.Client.ClientID, d.Field)
				continue
			}
			line("client %s %s: %s -> %s", r.Client.ClientID, d.Field, jsonText(d.Before), jsonText(d.After))
		}
		if r.Secret != "" && o.clients != "" {
			line("client %s secret %s", r.Client.ClientID, r.Secret)
		}
	}

	users, signInAs := f.users, "sign in as a user of "+o.users
	if users == nil {
		u, password := demoUser(master, o.user)
		if users, err = newDirectory([]user{u}); err != nil {
			return nil, err
		}
		line("demo user %s password %s", u.Username, password)
		signInAs = fmt.Sprintf("sign in as %s with the password %s", u.Username, password)
	}
	a.before, a.after = a.before+before.String(), firstFlow(issuer, made, secret, signInAs)
	return users, nil
}

// own gives new clients that are declared without an owner the one of the
// command line. Those that exist keep theirs.
func (a *app) own(ctx context.Context, clients []oauthreg.Declaration, o options) error {
	for i := range clients {
		c := &clients[i].Client
		if c.OrgID != "" || c.ClientID == "" {
			continue
		}
		_, err := a.registry.Get(ctx, oauthreg.ByClientID(c.ClientID))
		switch {
		case errors.Is(err, oauthreg.ErrNotFound):
			c.OrgID, c.ProjectID, c.UserID = o.org, cmp.Or(c.ProjectID, o.project), cmp.Or(c.UserID, o.user)
		case err != nil:
			return err
		}
	}
	return nil
}

// jsonText is a JSON value for a line of text; nothing is null.
func jsonText(v []byte) string {
	if len(v) == 0 {
		return "null"
	}
	return string(v)
}

// serve accepts connections until ctx ends, then lets requests that run finish,
// and stops what it started. It leaves the store open.
func (a *app) serve(ctx context.Context, ln net.Listener, tlsConfig *tls.Config, stdout io.Writer) error {
	srv := &http.Server{
		Handler:           a.handler,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       120 * time.Second,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(a.log.Handler(), slog.LevelWarn),
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var work sync.WaitGroup
	work.Go(func() {
		if err := a.store.RunJanitor(background, janitorInterval, a.log); err != nil && background.Err() == nil {
			a.log.Error("janitor stopped", "err", err)
		}
	})
	work.Go(func() { _ = a.server.Run(background) }) // ends without an error
	if a.metrics != nil {
		work.Go(func() { a.metrics.serve(background, a.log) })
	}

	_, _ = io.WriteString(stdout, a.before)
	served := make(chan error, 1)
	go func() {
		if tlsConfig != nil {
			served <- srv.ServeTLS(ln, "", "")
			return
		}
		served <- srv.Serve(ln)
	}()
	_, _ = fmt.Fprintf(stdout, "listening on %s\n%s", a.issuer, a.after)

	var err error
	select {
	case err = <-served: // the listener broke
	case <-ctx.Done():
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTimeout)
		defer cancel()
		if srv.Shutdown(drain) != nil {
			a.log.Warn("requests still running were cut off", "after", drainTimeout)
			_ = srv.Close() // nothing more can be done for them
		}
	}
	stop()
	work.Wait()
	return err
}

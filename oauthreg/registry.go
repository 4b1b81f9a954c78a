package oauthreg

import (
	"context"
	"crypto/hmac"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Config is what a [Registry] is made of.
type Config struct {
	// Store keeps the clients. Required.
	Store Store
	// SecretKey keys the digests of client secrets and registration tokens, and
	// signs cursors, and makes pairwise subjects: at least 32 random bytes, the
	// same in every process on one database. Who changes it invalidates all
	// secrets, and clients with pairwise subjects no longer recognize their
	// users. Required.
	SecretKey []byte

	// GrantTypes are offered beside authorization_code, client_credentials and
	// refresh_token. A client with one of them may have refresh_token too.
	GrantTypes []GrantType
	// Implicit offers the implicit grant (RFC 6749 §4.2) to clients that
	// register it. Off by default, as RFC 9700 §2.1.2 asks.
	Implicit bool
	// PrivateUseSchemes are redirect schemes without a dot that are registered
	// even where [Rules.RequireDottedSchemes] holds, in lower case: "cursor".
	PrivateUseSchemes []string
	// Scopes are what [Rules.KnownScopesOnly] compares with; empty means that
	// every well-formed scope is known.
	Scopes []string
	// SigningAlgs are the JWS algorithms the server signs ID tokens with, for
	// id_token_signed_response_alg; empty means every asymmetric one.
	SigningAlgs []string
	// Events hears of every change of a client; nil means nobody.
	Events EventFunc
	// Logger gets a line when Events panics; nil discards.
	Logger *slog.Logger
	// Now is the clock; nil means [time.Now].
	Now func() time.Time
}

// Registry is the one way to change a client, and the place that knows which
// clients are legal and how they prove themselves. It is safe for concurrent
// use; several registries, also in several processes, may share a store.
type Registry struct {
	store             Store
	grantTypes        []GrantType
	implicit          bool
	privateUseSchemes []string
	scopes            []string
	idTokenAlgs       []string
	events            EventFunc
	log               *slog.Logger
	clock             func() time.Time

	hasher     *secretHasher
	tokenKey   []byte
	cursorKey  []byte
	subjectKey []byte
	uses       *secretUses
}

// NewRegistry checks cfg, names everything wrong with it at once, and returns a
// registry. It does no I/O.
func NewRegistry(cfg Config) (*Registry, error) {
	var errs []error
	if cfg.Store == nil {
		errs = append(errs, errors.New("oauthreg: Config.Store is nil"))
	}
	if len(cfg.SecretKey) < 32 {
		errs = append(errs, errors.New("oauthreg: Config.SecretKey must be at least 32 bytes"))
	}
	for _, g := range cfg.GrantTypes {
		if g == "" || strings.ContainsFunc(g, func(c rune) bool { return c <= ' ' || c > 0x7e }) {
			errs = append(errs, fmt.Errorf("oauthreg: Config.GrantTypes: %q is not a grant type", g))
		}
		if g == GrantImplicit {
			errs = append(errs, errors.New("oauthreg: Config.GrantTypes: implicit is switched on by Config.Implicit"))
		}
	}
	for _, s := range cfg.PrivateUseSchemes {
		err := ValidateRedirectURI(s+":/", RedirectRules{})
		if err != nil || s == "https" || s != strings.ToLower(s) {
			errs = append(errs, fmt.Errorf("oauthreg: Config.PrivateUseSchemes: %q is not a private-use scheme in lower case", s))
		}
	}
	for _, s := range cfg.Scopes {
		if !ValidScopeToken(s) {
			errs = append(errs, fmt.Errorf("oauthreg: Config.Scopes: %q is not a scope (RFC 6749 §3.3)", s))
		}
	}
	for _, a := range cfg.SigningAlgs {
		if !slices.Contains(signingAlgs, a) {
			errs = append(errs, fmt.Errorf("oauthreg: Config.SigningAlgs: %q is not an asymmetric JWS algorithm", a))
		}
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}

	r := &Registry{
		store:             cfg.Store,
		grantTypes:        slices.Clone(cfg.GrantTypes),
		implicit:          cfg.Implicit,
		privateUseSchemes: slices.Clone(cfg.PrivateUseSchemes),
		scopes:            slices.Clone(cfg.Scopes),
		idTokenAlgs:       slices.Clone(cfg.SigningAlgs),
		events:            cfg.Events,
		log:               cfg.Logger,
		clock:             cfg.Now,
		hasher:            newSecretHasher(cfg.SecretKey),
		tokenKey:          DeriveKey(cfg.SecretKey, "registration token"),
		cursorKey:         DeriveKey(cfg.SecretKey, "list cursor"),
		subjectKey:        DeriveKey(cfg.SecretKey, "pairwise subject"),
		uses:              new(secretUses),
	}
	if len(r.idTokenAlgs) == 0 {
		r.idTokenAlgs = signingAlgs
	}
	if r.clock == nil {
		r.clock = time.Now
	}
	return r, nil
}

// On returns a registry that is r in everything but its store: for one whose
// writes are part of a transaction of the host's, so that a client and what the
// host keeps of it are registered together or not at all:
//
//	db.Transaction(func(tx *gorm.DB) error {
//		reg, err := registry.On(store.WithTx(tx)).Register(ctx, client, opts)
//		...
//	})
func (r *Registry) On(store Store) *Registry {
	on := *r
	on.store = store
	return &on
}

// GrantTypes are those that the server offers and a client may register.
func (r *Registry) GrantTypes() []GrantType {
	out := []GrantType{GrantAuthorizationCode, GrantClientCredentials, GrantRefreshToken}
	if r.implicit {
		out = append(out, GrantImplicit)
	}
	return append(out, r.grantTypes...)
}

// now is the time as it is kept: UTC, to the millisecond.
func (r *Registry) now() time.Time { return r.clock().UTC().Truncate(time.Millisecond) }

// newID returns a time-ordered UUID.
func newID() (string, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make id: %w", err)
	}
	return id.String(), nil
}

// RegisterOptions are what [Registry.Register] takes beside the client. The
// zero value is a client under the strictest rules whose secret, if it needs
// one, is generated.
type RegisterOptions struct {
	Rules Rules
	// Secret is a client secret brought from outside: 1 to 1024 printable ASCII
	// characters (RFC 6749 Appendix A.2). SecretHash is the hash of one, by
	// bcrypt, argon2id or PBKDF2; see [Secret]. At most one may be set; when
	// neither is, and the client authenticates by secret, one is generated.
	Secret     string
	SecretHash string
	// SecretLabel is the label of the secret.
	SecretLabel string
	// RegistrationToken asks for a registration access token (RFC 7592 §3).
	RegistrationToken bool
	// Suspended registers the client switched off.
	Suspended bool
}

// Registration is a client that was just registered, with what is shown once
// and never again.
type Registration struct {
	Client Client
	// Secret is the client's secret; empty if it has none or only its hash was
	// given. SecretInfo is what is kept of it, without the digest.
	Secret     string
	SecretInfo Secret
	// RegistrationToken is the registration access token (RFC 7592 §3), empty
	// unless asked for.
	RegistrationToken string
}

// Register adds a client. It fills in what c leaves open: ID (a time-ordered
// UUID) and ClientID (a random one), Type from TokenEndpointAuthMethod or the
// method none for Public, ApplicationType, ResponseTypes, RequirePKCE for
// public clients, and the times. SuspendedAt and Version are ignored.
//
// The error is an [InvalidError] that lists everything wrong with c and opts,
// or [ErrConflict] when the ID or ClientID is taken.
func (r *Registry) Register(ctx context.Context, c Client, opts RegisterOptions) (Registration, error) {
	c = c.Clone()
	if err := assignIDs(&c); err != nil {
		return Registration{}, err
	}
	r.prepare(&c, opts)
	problems := r.validate(&c, opts.Rules)
	problems = append(problems, secretProblems(&c, opts.Secret, opts.SecretHash, opts.SecretLabel)...)
	if err := invalid(problems); err != nil {
		return Registration{}, err
	}

	now := r.now()
	c.CreatedAt, c.UpdatedAt, c.Version = now, now, 1
	if opts.Suspended {
		c.SuspendedAt = now
	}
	reg := Registration{Client: c.Clone()}
	rec := Record{Client: c}
	if usesSecret(c.TokenEndpointAuthMethod) {
		secret, kept, err := r.newSecret(opts.Secret, opts.SecretHash, opts.SecretLabel, now)
		if err != nil {
			return Registration{}, err
		}
		rec.Secrets = []Secret{kept}
		reg.Secret, reg.SecretInfo = secret, kept.public()
	}
	if opts.RegistrationToken {
		reg.RegistrationToken = randomToken(registrationTokenPrefix)
		rec.RegistrationToken = keyedDigest(r.tokenKey, reg.RegistrationToken)
	}
	audit, err := r.audit(ctx, "client.registered", nil, &c)
	if err != nil {
		return Registration{}, err
	}
	if err := r.store.InsertClient(ctx, rec, audit); err != nil {
		return Registration{}, err
	}
	r.report(ctx, &audit, &c)
	return reg, nil
}

func assignIDs(c *Client) error {
	if c.ID == "" {
		id, err := newID()
		if err != nil {
			return err
		}
		c.ID = id
	}
	if c.ClientID == "" {
		id, err := uuid.NewRandom()
		if err != nil {
			return fmt.Errorf("make client_id: %w", err)
		}
		c.ClientID = id.String()
	}
	return nil
}

// prepare gives a new client its defaults and takes away what only the registry
// sets.
func (r *Registry) prepare(c *Client, opts RegisterOptions) {
	c.SuspendedAt, c.CreatedAt, c.UpdatedAt, c.Version = time.Time{}, time.Time{}, time.Time{}, 0
	if c.Name == "" && opts.Rules.NameOptional {
		c.Name = c.ClientID
	}
	c.complete()
}

// check refuses a Ref that cannot name a client of any store.
func (ref Ref) check() error {
	if ref.ID != "" && ref.ClientID != "" {
		return errors.New("oauthreg: a Ref has either ID or ClientID")
	}
	if ref.ID == "" && ref.ClientID == "" {
		return ErrNotFound
	}
	for _, s := range []string{ref.ID, ref.ClientID, ref.OrgID, ref.ProjectID} {
		// Not every database takes every string.
		if len(s) > maxClientID || !printable(s) {
			return ErrNotFound
		}
	}
	return nil
}

// Get returns the client that ref names, suspended or not; [ErrNotFound] when
// there is none.
func (r *Registry) Get(ctx context.Context, ref Ref) (Client, error) {
	rec, err := r.Record(ctx, ref)
	return rec.Client, err
}

// Record returns the client with the digests that prove it, for
// [Registry.CheckSecret] and [Registry.CheckRegistrationToken]. Errors as
// [Registry.Get].
func (r *Registry) Record(ctx context.Context, ref Ref) (Record, error) {
	if err := ref.check(); err != nil {
		return Record{}, err
	}
	return r.store.Client(ctx, ref)
}

// UpdateOptions are what [Registry.Update] takes beside the change. The zero
// value changes whatever version there is, under the strictest rules.
type UpdateOptions struct {
	Rules Rules
	// IfVersion refuses with [ErrConflict] unless the client has that version;
	// 0 means any.
	IfVersion int64
}

// updateAttempts is how often a change is tried that nobody bound to a version.
const updateAttempts = 8

// Update lets change edit the client, validates the whole, and stores it. change
// may run more than once and must have no other effect; its error is returned
// as is. A change that leaves the client as it was makes no new version.
//
// ID, ClientID, OrgID, ProjectID, UserID, Type, SelfRegistered, SuspendedAt,
// the times and Version keep their values whatever change does. A public client
// therefore cannot be given a method other than none, nor a confidential one
// the method none. ResponseTypes that change leaves alone follow GrantTypes, as
// a derived ApplicationType follows RedirectURIs. A client that no longer
// authenticates by secret loses its secrets.
//
// Errors: [InvalidError] with the problems that the change brought; what was
// wrong before, say under older rules, and is left alone is not reported.
// [ErrNotFound]; [ErrConflict] when the version is not IfVersion, or, without
// one, when others changed the client each time it was tried.
func (r *Registry) Update(ctx context.Context, ref Ref, opts UpdateOptions, change func(*Client) error) (Client, error) {
	var result Client
	err := r.update(ctx, ref, opts.IfVersion, func(rec *Record) (*AuditRecord, error) {
		audit, err := r.edit(ctx, rec, opts.Rules, change)
		result = rec.Client.Clone()
		return audit, err
	})
	if err != nil {
		return Client{}, err
	}
	return result, nil
}

// edit is [Registry.Update] of a record that was read. There is no audit record
// when nothing changed.
func (r *Registry) edit(ctx context.Context, rec *Record, rules Rules, change func(*Client) error) (*AuditRecord, error) {
	before := rec.Client
	after, err := changedClient(&before, change)
	if err != nil {
		return nil, err
	}
	if same, err := sameMembers(&before, &after); same || err != nil {
		return nil, err
	}
	if err := invalid(newProblems(r.validate(&before, rules), r.validate(&after, rules))); err != nil {
		return nil, err
	}
	r.touch(&after)
	audit, err := r.audit(ctx, "client.updated", &before, &after)
	if err != nil {
		return nil, err
	}
	if !usesSecret(after.TokenEndpointAuthMethod) {
		rec.Secrets = nil
	}
	rec.Client = after
	return &audit, nil
}

// changedClient is before with the change, and with what follows from it.
func changedClient(before *Client, change func(*Client) error) (Client, error) {
	after := before.Clone()
	if err := change(&after); err != nil {
		return Client{}, err
	}
	keepImmutable(&after, before)
	after.follow(before)
	after.complete()
	return after, nil
}

// update runs change in the store, again when someone else was faster and the
// caller did not ask for a certain version.
func (r *Registry) update(ctx context.Context, ref Ref, ifVersion int64, change func(*Record) (*AuditRecord, error)) error {
	if err := ref.check(); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		var audit *AuditRecord // of the run that counted
		var changed Client
		err := r.store.UpdateClient(ctx, ref, func(rec *Record) (_ *AuditRecord, err error) {
			audit = nil
			if ifVersion != 0 && rec.Client.Version != ifVersion {
				return nil, versionConflict(rec.Client.Version, ifVersion)
			}
			audit, err = change(rec)
			changed = rec.Client
			return audit, err
		})
		if err == nil && audit != nil {
			r.report(ctx, audit, &changed)
		}
		if !errors.Is(err, ErrConflict) || ifVersion != 0 || attempt == updateAttempts || ctx.Err() != nil {
			return err
		}
	}
}

func versionConflict(have, want int64) error {
	return fmt.Errorf("%w: the client has version %d, not %d", ErrConflict, have, want)
}

// touch marks c as changed now.
func (r *Registry) touch(c *Client) {
	c.UpdatedAt = r.now()
	c.Version++
}

// keepImmutable gives after the values of before that never change.
func keepImmutable(after, before *Client) {
	after.ID, after.ClientID = before.ID, before.ClientID
	after.OrgID, after.ProjectID, after.UserID = before.OrgID, before.ProjectID, before.UserID
	after.Type, after.SelfRegistered = before.Type, before.SelfRegistered
	after.SuspendedAt = before.SuspendedAt
	after.CreatedAt, after.UpdatedAt, after.Version = before.CreatedAt, before.UpdatedAt, before.Version
}

// follow empties what is derived from something that changed since before, and
// did not change itself.
func (c *Client) follow(before *Client) {
	if !slices.Equal(c.GrantTypes, before.GrantTypes) && slices.Equal(c.ResponseTypes, before.ResponseTypes) {
		c.ResponseTypes = nil
	}
	if c.ApplicationType == before.ApplicationType && before.ApplicationType == before.derivedApplicationType() {
		c.ApplicationType = ""
	}
}

// newProblems returns those of after that before does not have.
func newProblems(before, after []problem) []problem {
	known := map[string]bool{}
	for _, p := range before {
		known[p.key()] = true
	}
	return slices.DeleteFunc(after, func(p problem) bool { return known[p.key()] })
}

// Suspend switches the client off: from then on it gets nothing, and its tokens
// are inactive. Nothing happens if it is off already.
func (r *Registry) Suspend(ctx context.Context, ref Ref) (Client, error) {
	return r.SuspendIfVersion(ctx, ref, 0)
}

// SuspendIfVersion is [Registry.Suspend] for a client of that version;
// [ErrConflict] when it has another, also when it is off already. 0 means any.
func (r *Registry) SuspendIfVersion(ctx context.Context, ref Ref, version int64) (Client, error) {
	return r.setSuspended(ctx, ref, version, true)
}

// Resume switches the client on again, with those of its tokens that neither
// expired nor were revoked. Nothing happens if it is on already.
func (r *Registry) Resume(ctx context.Context, ref Ref) (Client, error) {
	return r.ResumeIfVersion(ctx, ref, 0)
}

// ResumeIfVersion is [Registry.Resume] for a client of that version;
// [ErrConflict] when it has another, also when it is on already. 0 means any.
func (r *Registry) ResumeIfVersion(ctx context.Context, ref Ref, version int64) (Client, error) {
	return r.setSuspended(ctx, ref, version, false)
}

func (r *Registry) setSuspended(ctx context.Context, ref Ref, version int64, suspended bool) (Client, error) {
	var result Client
	err := r.update(ctx, ref, version, func(rec *Record) (*AuditRecord, error) {
		before := rec.Client.Clone()
		result = before
		if before.Suspended() == suspended {
			return nil, nil
		}
		action := "client.resumed"
		rec.Client.SuspendedAt = time.Time{}
		if suspended {
			action = "client.suspended"
			rec.Client.SuspendedAt = r.now()
		}
		r.touch(&rec.Client)
		audit, err := r.audit(ctx, action, &before, &rec.Client)
		if err != nil {
			return nil, err
		}
		result = rec.Client.Clone()
		return &audit, nil
	})
	if err != nil {
		return Client{}, err
	}
	return result, nil
}

// Delete removes the client for ever, with its secrets, grants, consents and
// tokens. [ErrNotFound] when there is none.
func (r *Registry) Delete(ctx context.Context, ref Ref) error {
	return r.DeleteIfVersion(ctx, ref, 0)
}

// DeleteIfVersion is [Registry.Delete] for a client of that version;
// [ErrConflict] when it has another. 0 means any.
func (r *Registry) DeleteIfVersion(ctx context.Context, ref Ref, version int64) error {
	if err := ref.check(); err != nil {
		return err
	}
	var audit AuditRecord
	var gone Client
	err := r.store.DeleteClient(ctx, ref, func(rec Record) (_ AuditRecord, err error) {
		if version != 0 && rec.Client.Version != version {
			return AuditRecord{}, versionConflict(rec.Client.Version, version)
		}
		gone = rec.Client
		audit, err = r.audit(ctx, "client.deleted", &rec.Client, nil)
		return audit, err
	})
	if err != nil {
		return err
	}
	r.report(ctx, &audit, &gone)
	return nil
}

// registrationTokenPrefix begins every registration access token.
const registrationTokenPrefix = "oar_"

// RotateRegistrationToken gives the client a registration access token (RFC
// 7592 §3) and returns it; the one before is worth nothing any more.
func (r *Registry) RotateRegistrationToken(ctx context.Context, ref Ref) (string, error) {
	token := randomToken(registrationTokenPrefix)
	err := r.update(ctx, ref, 0, func(rec *Record) (*AuditRecord, error) {
		rec.RegistrationToken = keyedDigest(r.tokenKey, token)
		before := rec.Client.Clone()
		r.touch(&rec.Client)
		audit, err := r.audit(ctx, "registration_token.rotated", &before, &rec.Client)
		return &audit, err
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// CheckRegistrationToken reports, in constant time, whether token is the
// client's registration access token. A client without one has no valid token.
func (r *Registry) CheckRegistrationToken(rec Record, token string) bool {
	if token == "" || len(token) > maxSecret || len(rec.RegistrationToken) == 0 {
		return false
	}
	return hmac.Equal(rec.RegistrationToken, keyedDigest(r.tokenKey, token))
}

// InvalidQueryError is a query outside its limits. Its text is safe to show to
// whoever asked.
type InvalidQueryError struct {
	// Field is the field of [ListQuery] or [AuditQuery], in lower case with
	// underscores.
	Field string
	// Message says what is wrong, in a sentence without the field's name.
	Message string
}

// Error names field and problem.
func (e *InvalidQueryError) Error() string { return "invalid query: " + e.Field + ": " + e.Message }

// Audit returns what was changed, newest first. [InvalidQueryError] when q is
// outside its limits.
func (r *Registry) Audit(ctx context.Context, q AuditQuery) ([]AuditRecord, error) {
	switch {
	case q.Limit == 0:
		q.Limit = 100
	case q.Limit < 0 || q.Limit > 1000:
		return nil, &InvalidQueryError{"limit", "must be from 1 to 1000"}
	}
	if id, err := uuid.Parse(q.BeforeID); q.BeforeID != "" && (err != nil || id.String() != q.BeforeID) {
		return nil, &InvalidQueryError{"before_id", "must be the id of an audit record"}
	}
	if err := checkFilters(
		filter{"client_id", q.ClientID}, filter{"org_id", q.OrgID},
		filter{"project_id", q.ProjectID}, filter{"action", q.Action},
	); err != nil {
		return nil, err
	}
	return r.store.AuditRecords(ctx, q)
}

type filter struct{ field, value string }

// checkFilters refuses strings that no client has, and that not every database
// takes.
func checkFilters(filters ...filter) error {
	for _, f := range filters {
		if utf8.RuneCountInString(f.value) > maxClientID || !printable(f.value) {
			return &InvalidQueryError{f.field, "must be at most 255 characters without control characters"}
		}
	}
	return nil
}

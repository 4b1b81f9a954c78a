package oauthreg

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Declaration is a client as a file or a program says it should be.
type Declaration struct {
	// Client is declared whole: what it leaves open has its default, except
	// that an empty ID, OrgID, ProjectID or UserID is whatever the client has.
	// Its ClientID says which client it is, or, when that is empty, its ID.
	Client Client
	// Secret is the client secret, 1 to 1024 printable ASCII characters. Empty
	// for a client that authenticates by secret means that it has whatever
	// secrets it has; a new one is given a generated secret.
	Secret string
	// Suspended says whether the client is switched off.
	Suspended bool
}

// EnsureMode says what [Registry.Ensure] does with a client that differs from
// its declaration.
type EnsureMode int

// The modes. Both create clients that do not exist.
const (
	// EnsureReport changes nothing and reports the difference.
	EnsureReport EnsureMode = iota
	// EnsureApply makes the client what the declaration says.
	EnsureApply
)

// EnsureOutcome is what [Registry.Ensure] found or did.
type EnsureOutcome string

// The outcomes.
const (
	EnsureCreated   EnsureOutcome = "created"
	EnsureUnchanged EnsureOutcome = "unchanged"
	EnsureDrift     EnsureOutcome = "drift"   // differs, and was left so
	EnsureUpdated   EnsureOutcome = "updated" // differed
)

// Drift is a member of a client that differs from its declaration.
type Drift struct {
	// Field is the member's name in the JSON form of [Client], or client_secret.
	Field string
	// Before is the value of the client, After that of the declaration; nil
	// when the member is absent, and for client_secret.
	Before json.RawMessage
	After  json.RawMessage
}

// EnsureResult is the outcome for one declaration.
type EnsureResult struct {
	Outcome EnsureOutcome
	// Client is the client as it now is.
	Client Client
	// Drift is what differs or differed, in order of field names.
	Drift []Drift
	// Secret is set when one had to be generated; it is shown once.
	Secret string
}

// DeclarationError says which declaration is wrong, and how.
type DeclarationError struct {
	// Index counts from 0.
	Index int
	Err   error
}

// Error names the index and the problem.
func (e *DeclarationError) Error() string { return fmt.Sprintf("client %d: %v", e.Index, e.Err) }

// Unwrap returns the problem: an [InvalidError], [ErrConflict], or another.
func (e *DeclarationError) Unwrap() error { return e.Err }

// DeclarationErrors is every declaration that is wrong, in order.
type DeclarationErrors []*DeclarationError

// Error joins all into one line.
func (e DeclarationErrors) Error() string {
	lines := make([]string, len(e))
	for i, d := range e {
		lines[i] = d.Error()
	}
	return strings.Join(lines, "; ")
}

// Unwrap returns the single errors.
func (e DeclarationErrors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, d := range e {
		errs[i] = d
	}
	return errs
}

// add collects err under index, if it is one.
func (e *DeclarationErrors) add(index int, err error) {
	if err != nil {
		*e = append(*e, &DeclarationError{Index: index, Err: err})
	}
}

// err is e, or nil if it is empty.
func (e DeclarationErrors) err() error {
	if len(e) == 0 {
		return nil
	}
	return e
}

// Ensure makes sure that the declared clients exist, and reports or applies
// differences; see [EnsureMode]. Declarations are held to the strictest rules.
// When a declared secret is none of the client's, that is a difference too, and
// applying replaces all the client's secrets by it. Applying is the only way to
// change a client's owner and type. Clients that are not declared are left alone.
//
// The results are in order of decls. If a declaration is invalid or clashes
// with another or with a client of another id, the error is [DeclarationErrors]
// with all of them, and nothing was changed. Any other error stops where it
// occurred: the results so far are returned with a [DeclarationError]. Calling
// it again goes on; several processes may do so at once.
func (r *Registry) Ensure(ctx context.Context, decls []Declaration, mode EnsureMode) ([]EnsureResult, error) {
	want, err := r.checkDeclarations(decls)
	if err != nil {
		return nil, err
	}
	if err := r.checkIdentities(ctx, decls, want); err != nil {
		return nil, err
	}

	results := make([]EnsureResult, 0, len(decls))
	for i := range decls {
		res, err := r.ensure(ctx, decls[i], want[i], mode)
		if err != nil {
			return results, &DeclarationError{Index: i, Err: err}
		}
		results = append(results, res)
	}
	return results, nil
}

// checkDeclarations validates all declarations and completes their clients.
func (r *Registry) checkDeclarations(decls []Declaration) ([]Client, error) {
	var errs DeclarationErrors
	want := make([]Client, len(decls))
	clientIDs, ids := map[string]int{}, map[string]int{}
	for i, d := range decls {
		if d.Client.ClientID == "" && d.Client.ID == "" {
			errs.add(i, errors.New("client_id is required"))
			continue
		}
		c := d.Client.Clone()
		if err := assignIDs(&c); err != nil {
			return nil, err
		}
		c.SelfRegistered = false
		r.prepare(&c, RegisterOptions{})
		problems := append(r.validate(&c, Rules{}), secretProblems(&c, d.Secret, "", "")...)
		errs.add(i, invalid(problems))
		want[i] = c

		if first, ok := clientIDs[c.ClientID]; ok {
			errs.add(i, fmt.Errorf("client_id is that of client %d too", first))
		} else if first, ok := ids[c.ID]; ok {
			errs.add(i, fmt.Errorf("id is that of client %d too", first))
		}
		clientIDs[c.ClientID], ids[c.ID] = i, i
	}
	return want, errs.err()
}

// checkIdentities refuses declarations whose id and client_id are those of
// different clients.
func (r *Registry) checkIdentities(ctx context.Context, decls []Declaration, want []Client) error {
	var errs DeclarationErrors
	for i, d := range decls {
		if d.Client.ID == "" || d.Client.ClientID == "" {
			continue
		}
		byID, errID := r.store.Client(ctx, ByID(want[i].ID))
		byName, errName := r.store.Client(ctx, ByClientID(want[i].ClientID))
		switch {
		case errID != nil && !errors.Is(errID, ErrNotFound):
			return &DeclarationError{Index: i, Err: errID}
		case errName != nil && !errors.Is(errName, ErrNotFound):
			return &DeclarationError{Index: i, Err: errName}
		case errName == nil && byName.Client.ID != want[i].ID:
			errs.add(i, fmt.Errorf("%w: the client of that client_id has id %s", ErrConflict, byName.Client.ID))
		case errID == nil && byID.Client.ClientID != want[i].ClientID:
			errs.add(i, fmt.Errorf("%w: the client of that id has client_id %s", ErrConflict, byID.Client.ClientID))
		}
	}
	return errs.err()
}

// ensure does one declaration, whose completed client is want.
func (r *Registry) ensure(ctx context.Context, d Declaration, want Client, mode EnsureMode) (EnsureResult, error) {
	ref := ByClientID(want.ClientID)
	if d.Client.ClientID == "" {
		ref = ByID(want.ID)
	}
	_, err := r.store.Client(ctx, ref)
	if errors.Is(err, ErrNotFound) {
		reg, err := r.Register(ctx, want, RegisterOptions{Secret: d.Secret, Suspended: d.Suspended})
		if err == nil {
			if d.Secret != "" {
				reg.Secret = ""
			}
			return EnsureResult{Outcome: EnsureCreated, Client: reg.Client, Secret: reg.Secret}, nil
		}
		if !errors.Is(err, ErrConflict) {
			return EnsureResult{}, err
		}
		// Another process was faster.
	} else if err != nil {
		return EnsureResult{}, err
	}

	if mode == EnsureReport {
		rec, err := r.store.Client(ctx, ref)
		if err != nil {
			return EnsureResult{}, err
		}
		p, err := r.plan(&rec, d, want)
		if err != nil {
			return EnsureResult{}, err
		}
		res := EnsureResult{Outcome: EnsureUnchanged, Client: rec.Client, Drift: p.drift}
		if len(p.drift) > 0 {
			res.Outcome = EnsureDrift
		}
		return res, nil
	}
	return r.applyDeclaration(ctx, ref, d, want)
}

// ensurePlan is what a client has to become.
type ensurePlan struct {
	client    Client
	drift     []Drift
	newSecret bool
}

func (r *Registry) plan(rec *Record, d Declaration, want Client) (ensurePlan, error) {
	have := &rec.Client
	to := want.Clone()
	to.ID, to.ClientID, to.SelfRegistered = have.ID, have.ClientID, have.SelfRegistered
	to.CreatedAt, to.UpdatedAt, to.Version = have.CreatedAt, have.UpdatedAt, have.Version
	for _, owner := range []struct {
		to   *string
		have string
	}{
		{&to.OrgID, have.OrgID}, {&to.ProjectID, have.ProjectID}, {&to.UserID, have.UserID},
	} {
		if *owner.to == "" {
			*owner.to = owner.have
		}
	}
	to.SuspendedAt = time.Time{}
	if d.Suspended {
		to.SuspendedAt = have.SuspendedAt
		if !have.Suspended() {
			to.SuspendedAt = r.now()
		}
	}

	p := ensurePlan{client: to}
	was, err := encodeMembers(have)
	if err != nil {
		return p, err
	}
	is, err := encodeMembers(&to)
	if err != nil {
		return p, err
	}
	for name, value := range was {
		if other, ok := is[name]; !ok || !sameJSON(value, other) {
			p.drift = append(p.drift, Drift{Field: name, Before: value, After: is[name]})
		}
	}
	for name, value := range is {
		if _, ok := was[name]; !ok {
			p.drift = append(p.drift, Drift{Field: name, After: value})
		}
	}
	if usesSecret(to.TokenEndpointAuthMethod) {
		if p.newSecret = r.lacksSecret(rec, d.Secret); p.newSecret {
			p.drift = append(p.drift, Drift{Field: "client_secret"})
		}
	}
	slices.SortFunc(p.drift, func(a, b Drift) int { return strings.Compare(a.Field, b.Field) })
	return p, nil
}

// lacksSecret reports whether the client must be given a secret: the declared
// one, which is none of its own, or any, because it did not need one so far.
func (r *Registry) lacksSecret(rec *Record, declared string) bool {
	if declared == "" {
		return !usesSecret(rec.Client.TokenEndpointAuthMethod)
	}
	now := r.now()
	return !slices.ContainsFunc(rec.Secrets, func(s Secret) bool {
		return !s.Expired(now) && r.hasher.verify(s.Hash, declared)
	})
}

func (r *Registry) applyDeclaration(ctx context.Context, ref Ref, d Declaration, want Client) (EnsureResult, error) {
	var res EnsureResult
	err := r.update(ctx, ref, 0, func(rec *Record) (*AuditRecord, error) {
		p, err := r.plan(rec, d, want)
		if err != nil {
			return nil, err
		}
		res = EnsureResult{Outcome: EnsureUnchanged, Client: rec.Client.Clone()}
		if len(p.drift) == 0 {
			return nil, nil
		}
		before := rec.Client.Clone()
		rec.Client = p.client.Clone()
		r.touch(&rec.Client)
		audit, err := r.audit(ctx, ensureAction(p.drift, &rec.Client), &before, &rec.Client)
		if err != nil {
			return nil, err
		}

		res = EnsureResult{Outcome: EnsureUpdated, Client: rec.Client.Clone(), Drift: p.drift}
		switch {
		case p.newSecret:
			plain, kept, err := r.newSecret(d.Secret, "", "", rec.Client.UpdatedAt)
			if err != nil {
				return nil, err
			}
			if d.Secret == "" {
				res.Secret = plain
			}
			rec.Secrets = []Secret{kept}
			if audit.After, err = withMember(audit.After, "secret_id", kept.ID); err != nil {
				return nil, err
			}
		case !usesSecret(rec.Client.TokenEndpointAuthMethod):
			rec.Secrets = nil
		}
		return &audit, nil
	})
	if err != nil {
		return EnsureResult{}, err
	}
	return res, nil
}

// ensureAction names a change by what it is, where it is only that.
func ensureAction(drift []Drift, after *Client) string {
	if len(drift) == 1 {
		switch {
		case drift[0].Field == "client_secret":
			return "secret.created"
		case drift[0].Field == "suspended_at" && after.Suspended():
			return "client.suspended"
		case drift[0].Field == "suspended_at":
			return "client.resumed"
		}
	}
	return "client.updated"
}

// withMember adds a member to a JSON object.
func withMember(object json.RawMessage, name, value string) (json.RawMessage, error) {
	var m map[string]any
	if err := json.Unmarshal(object, &m); err != nil {
		return nil, fmt.Errorf("encode client: %w", err)
	}
	m[name] = value
	out, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode client: %w", err)
	}
	return out, nil
}

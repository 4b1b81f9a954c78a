package oauthreg

import "context"

// Validate says what [Registry.Register] would refuse about c and opts, without
// registering anything: an [InvalidError], or nil. That an ID or ClientID is
// taken only Register can tell.
func (r *Registry) Validate(c Client, opts RegisterOptions) error {
	c = c.Clone()
	if err := assignIDs(&c); err != nil {
		return err
	}
	r.prepare(&c, opts)
	problems := r.validate(&c, opts.Rules)
	return invalid(append(problems, secretProblems(&c, opts.Secret, opts.SecretHash, opts.SecretLabel)...))
}

// ValidateUpdate says what [Registry.Update] would refuse about a change of c, a
// client as it was read, without changing anything: an [InvalidError], the error
// of change, or nil.
func (r *Registry) ValidateUpdate(c Client, rules Rules, change func(*Client) error) error {
	after, err := changedClient(&c, change)
	if err != nil {
		return err
	}
	return invalid(newProblems(r.validate(&c, rules), r.validate(&after, rules)))
}

// UpdateRegistration is [Registry.Update] for whoever has the client's
// registration access token, and replaces that in the same transaction: of any
// number of concurrent calls with one token exactly one takes effect and gets a
// successor. A change that leaves the client as it was replaces the token too.
//
// Errors are those of Update, and [ErrNotFound] when token is not the client's.
func (r *Registry) UpdateRegistration(ctx context.Context, ref Ref, token string, opts UpdateOptions, change func(*Client) error) (c Client, successor string, err error) {
	successor = randomToken(registrationTokenPrefix)
	err = r.update(ctx, ref, opts.IfVersion, func(rec *Record) (*AuditRecord, error) {
		if !r.CheckRegistrationToken(*rec, token) {
			return nil, ErrNotFound
		}
		audit, err := r.edit(ctx, rec, opts.Rules, change)
		if err != nil {
			return nil, err
		}
		rec.RegistrationToken = keyedDigest(r.tokenKey, successor)
		if audit == nil {
			before := rec.Client.Clone()
			r.touch(&rec.Client)
			rotated, err := r.audit(ctx, "registration_token.rotated", &before, &rec.Client)
			if err != nil {
				return nil, err
			}
			audit = &rotated
		}
		c = rec.Client.Clone()
		return audit, nil
	})
	if err != nil {
		return Client{}, "", err
	}
	return c, successor, nil
}

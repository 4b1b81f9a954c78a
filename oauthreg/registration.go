package oauthreg

import (
	"context"
	"crypto/hmac"
)

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

// ReplaceRegistrationToken is [Registry.RotateRegistrationToken] for whoever
// has the token that is good now: of any number of concurrent calls with one
// token exactly one gets a successor. [ErrNotFound] for the others, and when
// there is no such client.
func (r *Registry) ReplaceRegistrationToken(ctx context.Context, ref Ref, current string) (string, error) {
	token := randomToken(registrationTokenPrefix)
	err := r.update(ctx, ref, 0, func(rec *Record) (*AuditRecord, error) {
		digest := keyedDigest(r.tokenKey, current)
		if len(rec.RegistrationToken) == 0 || !hmac.Equal(rec.RegistrationToken, digest) {
			return nil, ErrNotFound
		}
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

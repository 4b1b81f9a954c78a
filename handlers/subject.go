package handlers

// clientSubject is the user as the client knows them, in every message it gets:
// ID tokens, userinfo, introspection, JWT access tokens and logout tokens. It is
// settled when the grant is made, so that it stays the same for the grant
// whatever becomes of the registration (OpenID Connect Core §12.2).
func (s *Session) clientSubject() string {
	if s.PairwiseSubject != "" {
		return s.PairwiseSubject
	}
	return s.Subject
}

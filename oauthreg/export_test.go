package oauthreg

// UseBcryptCost makes hashes of short secrets cheap, for tests.
func (r *Registry) UseBcryptCost(cost int) { r.hasher.bcryptCost = cost }

// VerifiedSecrets is how many slow verifications are remembered.
func (r *Registry) VerifiedSecrets() int {
	r.hasher.mu.Lock()
	defer r.hasher.mu.Unlock()
	return len(r.hasher.verified)
}

// MaxVerified is what VerifiedSecrets stays below or at.
const MaxVerified = maxVerified

// CheckSecretHash says why a hash cannot be imported.
var CheckSecretHash = checkSecretHash

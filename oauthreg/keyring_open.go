package oauthreg

import "context"

// OpenKeyRing is [NewKeyRing] with a first [KeyRing.Maintain]: it makes the keys
// that are missing, so that the ring can be used.
func OpenKeyRing(ctx context.Context, cfg KeyRingConfig) (*KeyRing, error) {
	k, err := NewKeyRing(cfg)
	if err != nil {
		return nil, err
	}
	return k, k.Maintain(ctx)
}

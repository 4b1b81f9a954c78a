package handlers

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// secretKey is a key derived from one of the configured secrets for one purpose.
type secretKey struct {
	macs sync.Pool // of *keyedMAC under the key
}

// keyedMAC is an HMAC-SHA-256 with room for what it is over.
type keyedMAC struct {
	hash hash.Hash
	in   []byte
}

func newSecretKey(key []byte) *secretKey {
	return &secretKey{macs: sync.Pool{New: func() any { return &keyedMAC{hash: hmac.New(sha256.New, key)} }}}
}

// keysFor derives one key per configured secret for one purpose, of which there
// are a few: the first makes, all verify.
func (s *Server) keysFor(purpose string) []*secretKey {
	if keys, ok := s.derived.Load(purpose); ok {
		return keys.([]*secretKey)
	}
	out := make([]*secretKey, len(s.cfg.Secrets))
	for i, secret := range s.cfg.Secrets {
		out[i] = newSecretKey(oauthreg.DeriveKey(secret, purpose))
	}
	kept, _ := s.derived.LoadOrStore(purpose, out)
	return kept.([]*secretKey)
}

// mac is HMAC-SHA-256 over parts, each behind its length, so that two lists of
// parts never look alike.
func (k *secretKey) mac(parts ...string) [sha256.Size]byte {
	m := k.macs.Get().(*keyedMAC)
	defer k.macs.Put(m)
	for _, p := range parts {
		m.in = append(binary.BigEndian.AppendUint64(m.in, uint64(len(p))), p...)
	}
	return m.sum()
}

// macOf is HMAC-SHA-256 over parts as they are: their lengths are known.
func (k *secretKey) macOf(head string, tail []byte) [sha256.Size]byte {
	m := k.macs.Get().(*keyedMAC)
	defer k.macs.Put(m)
	m.in = append(append(m.in, head...), tail...)
	return m.sum()
}

// sum is the MAC over what is in m, which is then empty.
func (m *keyedMAC) sum() (out [sha256.Size]byte) {
	m.hash.Reset()
	m.hash.Write(m.in)
	copy(out[:], m.hash.Sum(m.in[:0]))
	m.in = m.in[:0]
	return out
}

// macText is mac in base64url.
func (k *secretKey) macText(parts ...string) string {
	sum := k.mac(parts...)
	return strictBase64.EncodeToString(sum[:])
}

// verifyMAC reports, in constant time, whether one of keys made mac.
func verifyMAC(keys []*secretKey, mac []byte, parts ...string) bool {
	ok := false
	for _, key := range keys {
		if sum := key.mac(parts...); hmac.Equal(mac, sum[:]) {
			ok = true
		}
	}
	return ok
}

package storage

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"strings"
	"sync"
)

// What is sealed, so that a value copied from one kind of row into another
// does not open.
const (
	sealCode        = "code"
	sealPKCE        = "pkce"
	sealOpenID      = "openid"
	sealAccess      = "access"
	sealRefresh     = "refresh"
	sealInteraction = "interaction"
	sealSigningKey  = "signing_key"
	sealUserAgent   = "user_agent"
	sealCheck       = "check"

	sealAMR                = "amr"
	sealACR                = "acr"
	sealInteractionSubject = "interaction_subject"
	sealMemberSubject      = "member_subject"
	sealMemberAlias        = "member_client_subject"
	sealNoticeSubject      = "notice_subject"
	sealNoticeAlias        = "notice_client_subject"
	sealActor              = "actor"
	sealAddress            = "address"

	// Of members of JSON: the member's name follows; see seal_members.go.
	sealClient     = "client"
	sealPermission = "permission"
	sealBefore     = "audit_before"
	sealAfter      = "audit_after"
)

const (
	sealKeySize   = 32
	sealNonceSize = 12
	sealOverhead  = 1 + sealNonceSize + 16 // key id, nonce, tag
)

// sealer encrypts what stands in rows, with AES-256-GCM. The form is
//
//	key id (1 byte) | nonce (12 bytes) | ciphertext and tag
//
// Each row has a key of its own, derived from the configured one by
// HMAC-SHA-256 over the kind and the row's key: so random nonces cannot run
// out (a GCM key is good for 2^32 of them, which a busy server reaches in
// weeks), and a value does not open in another row.
type sealer struct{ keys []sealKey }

type sealKey struct {
	id   byte
	macs *sync.Pool // of *sealMAC under the key
}

// sealMAC is an HMAC-SHA-256 with room for its result.
type sealMAC struct {
	hash hash.Hash
	sum  [sha256.Size]byte
}

func newSealer(keys [][]byte) *sealer {
	s := new(sealer)
	for _, k := range keys {
		sum := sha256.Sum256(append([]byte("oauthreg/storage key id\x00"), k...))
		secret := bytes.Clone(k)
		s.keys = append(s.keys, sealKey{id: sum[0], macs: &sync.Pool{New: func() any { return &sealMAC{hash: hmac.New(sha256.New, secret)} }}})
	}
	return s
}

var (
	sealContext = []byte("oauthreg/storage v1\x00")
	zeroByte    = []byte{0}
)

func (k sealKey) aead(kind string, row []byte) (cipher.AEAD, error) {
	mac := k.macs.Get().(*sealMAC)
	mac.hash.Reset()
	mac.hash.Write(sealContext)
	_, _ = io.WriteString(mac.hash, kind) // never fails
	mac.hash.Write(zeroByte)
	mac.hash.Write(row)
	block, err := aes.NewCipher(mac.hash.Sum(mac.sum[:0]))
	k.macs.Put(mac)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// seal encrypts plain for the row of that kind and key, with the first key.
func (s *sealer) seal(kind string, row, plain []byte) ([]byte, error) {
	k := s.keys[0]
	aead, err := k.aead(kind, row)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", kind, err)
	}
	out := make([]byte, 1+sealNonceSize, sealOverhead+len(plain))
	out[0] = k.id
	if _, err := rand.Read(out[1:]); err != nil {
		return nil, fmt.Errorf("seal %s: %w", kind, err)
	}
	return aead.Seal(out, out[1:], plain, row), nil
}

// errUnsealable is what open says whatever the reason, which the reader of an
// error has no use for and an attacker would like to know.
var errUnsealable = errors.New("a stored value does not open with any configured encryption key: a key was removed, or the row was altered")

// open decrypts what seal made for the same kind and row, with whichever key
// it was sealed.
func (s *sealer) open(kind string, row, sealed []byte) ([]byte, error) {
	if len(sealed) < sealOverhead {
		return nil, fmt.Errorf("open %s: %w", kind, errUnsealable)
	}
	for _, k := range s.keys {
		if k.id != sealed[0] { // two keys may share an id; the tag decides
			continue
		}
		aead, err := k.aead(kind, row)
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", kind, err)
		}
		if plain, err := aead.Open(nil, sealed[1:1+sealNonceSize], sealed[1+sealNonceSize:], row); err == nil {
			return plain, nil
		}
	}
	return nil, fmt.Errorf("open %s: %w", kind, errUnsealable)
}

// sealText is seal for a column of text, in base64; what is empty stays empty.
func (s *sealer) sealText(kind string, row []byte, plain string) (string, error) {
	if plain == "" {
		return "", nil
	}
	sealed, err := s.seal(kind, row, []byte(plain))
	return base64.RawStdEncoding.EncodeToString(sealed), err
}

// openText decrypts what sealText made.
func (s *sealer) openText(kind string, row []byte, sealed string) (string, error) {
	if sealed == "" {
		return "", nil
	}
	b, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", kind, errUnsealable)
	}
	plain, err := s.open(kind, row, b)
	return string(plain), err
}

// sealedMark begins what is sealed in columns that older releases wrote in clear,
// so that both are read. Who can write into the database can put there something
// in clear, as before: sealing it keeps it from readers.
const sealedMark = "sealed:"

// sealMarked is sealText for such columns.
func (s *sealer) sealMarked(kind string, row []byte, plain string) (string, error) {
	if plain == "" {
		return "", nil
	}
	sealed, err := s.seal(kind, row, []byte(plain))
	if err != nil {
		return "", err
	}
	out := make([]byte, 0, len(sealedMark)+base64.RawStdEncoding.EncodedLen(len(sealed)))
	return string(base64.RawStdEncoding.AppendEncode(append(out, sealedMark...), sealed)), nil
}

// openMarked reads what sealMarked made, or an older release stored.
func (s *sealer) openMarked(kind string, row []byte, stored string) (string, error) {
	sealed, ok := strings.CutPrefix(stored, sealedMark)
	if !ok {
		return stored, nil
	}
	return s.openText(kind, row, sealed)
}

// digest is the key under which a row is found by something that must not be
// stored: a signature, a handle, a browser value, an assertion id.
func digest(value string) []byte {
	sum := sha256.Sum256([]byte(value))
	return sum[:]
}

// orderSize is how many bytes of a key are an order.
const orderSize = 6

// rowKey is the digest of a signature or a handle. If that begins with eight
// characters of base64url and a dot, the six bytes of those stand in place of
// the first six of the digest: whoever makes signatures can let them begin with
// the time, which is no secret, so that rows made at about the same time have
// keys that lie together. Then a table of millions is written at its end and
// not all over it, and 208 bits of digest remain.
func rowKey(value string) []byte {
	key := digest(value)
	if len(value) > 8 && value[8] == '.' {
		var order [orderSize]byte
		if n, err := base64.RawURLEncoding.Decode(order[:], []byte(value[:8])); err == nil && n == orderSize {
			copy(key, order[:])
		}
	}
	return key
}

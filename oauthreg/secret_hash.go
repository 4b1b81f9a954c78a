package oauthreg

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

const (
	// fastHashPrefix begins the digest of a secret that is long enough to have
	// been generated.
	fastHashPrefix = "s1$"
	// fastHashMinimum is how long, in bytes, such a secret is at least.
	fastHashMinimum = 32
	// maxSecret is the longest secret that is looked at, in bytes.
	maxSecret = 1024
)

// Limits of imported hashes. Whoever can plant a hash must not be able to make
// every authentication of a client take seconds or gigabytes.
const (
	maxBcryptCost    = 14
	maxArgon2Memory  = 256 * 1024 // KiB
	maxArgon2Time    = 16
	maxArgon2Work    = 1024 * 1024 // KiB times passes
	maxArgon2Threads = 16
	maxPBKDF2Rounds  = 2_000_000
	maxHashLength    = 512
)

// DeriveKey derives the 32-byte key for the purpose that label names from
// master, by HKDF with SHA-256 (RFC 5869). Keys of different labels tell
// nothing about each other or about master. It panics if master is empty.
func DeriveKey(master []byte, label string) []byte {
	if len(master) == 0 {
		panic("oauthreg: DeriveKey needs a master key")
	}
	key, err := hkdf.Key(sha256.New, master, nil, "oauthreg/"+label, sha256.Size)
	if err != nil { // only for lengths beyond 255 hashes
		panic("oauthreg: " + err.Error())
	}
	return key
}

// randomToken is prefix and 256 random bits in 43 characters of base64url,
// which no client has to percent-encode.
func randomToken(prefix string) string {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

func keyedDigest(key []byte, parts ...string) []byte {
	m := hmac.New(sha256.New, key)
	for _, p := range parts {
		m.Write([]byte(p))
	}
	return m.Sum(nil)
}

// secretHasher hashes client secrets and verifies them. It is safe for
// concurrent use.
type secretHasher struct {
	fastMACs   *sync.Pool // of HMAC-SHA-256 under a key: the digest of every request
	memoryKey  []byte
	bcryptCost int

	// slow limits how many slow hashes are computed at once, so that wrong
	// guesses cannot take all processors and all memory.
	slow chan struct{}

	mu sync.Mutex
	// verified remembers successful slow verifications.
	verified map[[sha256.Size]byte]struct{}
}

// maxVerified bounds secretHasher.verified.
const maxVerified = 4096

func newSecretHasher(master []byte) *secretHasher {
	fastKey := DeriveKey(master, "client secret")
	return &secretHasher{
		fastMACs:   &sync.Pool{New: func() any { return hmac.New(sha256.New, fastKey) }},
		memoryKey:  DeriveKey(master, "verified client secret"),
		bcryptCost: bcrypt.DefaultCost,
		slow:       make(chan struct{}, runtime.GOMAXPROCS(0)),
		verified:   map[[sha256.Size]byte]struct{}{},
	}
}

// fast is the digest of a secret of enough entropy.
func (h *secretHasher) fast(secret string) string {
	m := h.fastMACs.Get().(hash.Hash)
	defer h.fastMACs.Put(m)
	m.Reset()
	m.Write([]byte(secret))
	var sum [sha256.Size]byte
	return fastHashPrefix + base64.RawURLEncoding.EncodeToString(m.Sum(sum[:0]))
}

// hash makes the digest to keep of secret.
func (h *secretHasher) hash(secret string) (string, error) {
	if len(secret) >= fastHashMinimum {
		return h.fast(secret), nil
	}
	b, err := bcrypt.GenerateFromPassword([]byte(secret), h.bcryptCost)
	if err != nil {
		return "", fmt.Errorf("hash secret: %w", err)
	}
	return string(b), nil
}

// verify reports whether presented is the secret of hash. An empty or unknown
// hash has no secret.
func (h *secretHasher) verify(hash, presented string) bool {
	if presented == "" || len(presented) > maxSecret {
		return false
	}
	if strings.HasPrefix(hash, fastHashPrefix) {
		return subtle.ConstantTimeCompare([]byte(hash), []byte(h.fast(presented))) == 1
	}

	slow, err := parseSlowHash(hash)
	if err != nil {
		return false
	}
	// Bound to the hash: when that changes, what is remembered is worthless.
	memory := [sha256.Size]byte(keyedDigest(h.memoryKey, hash, "\x00", presented))
	h.mu.Lock()
	_, known := h.verified[memory]
	h.mu.Unlock()
	if known {
		return true
	}

	h.slow <- struct{}{}
	ok := slow(presented)
	<-h.slow
	if ok {
		h.remember(memory)
	}
	return ok
}

func (h *secretHasher) remember(memory [sha256.Size]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for k := range h.verified { // any one makes room
		if len(h.verified) < maxVerified {
			break
		}
		delete(h.verified, k)
	}
	h.verified[memory] = struct{}{}
}

// checkSecretHash says why hash cannot be imported; nil if it can.
func checkSecretHash(hash string) error {
	if digest, ok := strings.CutPrefix(hash, fastHashPrefix); ok {
		if b, err := base64.RawURLEncoding.Strict().DecodeString(digest); err != nil || len(b) != sha256.Size {
			return errors.New("must be a valid digest")
		}
		return nil
	}
	_, err := parseSlowHash(hash)
	return err
}

// parseSlowHash reads a self-describing hash and returns its verification. It
// refuses unknown forms and parameters beyond the limits.
func parseSlowHash(hash string) (func(presented string) bool, error) {
	if len(hash) > maxHashLength {
		return nil, errors.New("must be at most 512 characters")
	}
	switch {
	case strings.HasPrefix(hash, "$2a$"), strings.HasPrefix(hash, "$2b$"), strings.HasPrefix(hash, "$2y$"):
		return parseBcrypt(hash)
	case strings.HasPrefix(hash, "$argon2id$"):
		return parseArgon2id(hash)
	case strings.HasPrefix(hash, "$pbkdf2-"):
		return parsePBKDF2(hash)
	default:
		return nil, errors.New("must be a bcrypt, argon2id or PBKDF2 hash")
	}
}

var errHashForm = errors.New("must be a well-formed hash")

func parseBcrypt(hash string) (func(string) bool, error) {
	cost, err := bcrypt.Cost([]byte(hash))
	if err != nil || len(hash) != 60 {
		return nil, errHashForm
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("must have a bcrypt cost of at most %d", maxBcryptCost)
	}
	return func(presented string) bool {
		// bcrypt sees 72 bytes; more would match any secret that begins alike.
		return len(presented) <= 72 && bcrypt.CompareHashAndPassword([]byte(hash), []byte(presented)) == nil
	}, nil
}

// parseArgon2id reads $argon2id$v=19$m=65536,t=3,p=4$salt$hash.
func parseArgon2id(hash string) (func(string) bool, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil, errHashForm
	}
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return nil, errHashForm
	}
	var n [3]uint64
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(params[i], name)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || v == 0 {
			return nil, errHashForm
		}
		n[i] = v
	}
	memory, passes, threads := n[0], n[1], n[2]
	if memory > maxArgon2Memory || passes > maxArgon2Time || threads > maxArgon2Threads || memory*passes > maxArgon2Work {
		return nil, errors.New("must have argon2 parameters of at most m=262144, t=16, p=16 and m*t=1048576")
	}
	salt, want, err := saltAndHash(parts[4], parts[5])
	if err != nil {
		return nil, err
	}
	return func(presented string) bool {
		got := argon2.IDKey([]byte(presented), salt, uint32(passes), uint32(memory), uint8(threads), uint32(len(want)))
		return subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

// parsePBKDF2 reads $pbkdf2-sha256$i=25000,l=32$salt$hash, and the form with
// the bare number of rounds.
func parsePBKDF2(hash string) (func(string) bool, error) {
	parts := strings.Split(hash, "$")
	if len(parts) != 5 {
		return nil, errHashForm
	}
	digits, length, hasLength := strings.Cut(strings.TrimPrefix(parts[2], "i="), ",l=")
	rounds, err := strconv.Atoi(digits)
	if err != nil || rounds < 1 {
		return nil, errHashForm
	}
	if rounds > maxPBKDF2Rounds {
		return nil, fmt.Errorf("must have at most %d PBKDF2 rounds", maxPBKDF2Rounds)
	}
	salt, want, err := saltAndHash(parts[3], parts[4])
	if err != nil {
		return nil, err
	}
	if hasLength && length != strconv.Itoa(len(want)) {
		return nil, errHashForm
	}
	newHash := sha256.New
	switch parts[1] {
	case "pbkdf2-sha256":
	case "pbkdf2-sha512":
		newHash = sha512.New
	default:
		return nil, errHashForm
	}
	return func(presented string) bool {
		got, err := pbkdf2.Key(newHash, presented, salt, rounds, len(want))
		return err == nil && subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

// saltAndHash decodes base64 without padding; some writers put '.' for '+'.
// A hash shorter than 16 bytes could be guessed.
func saltAndHash(salt64, hash64 string) (salt, hash []byte, err error) {
	decode := func(s string) ([]byte, error) {
		return base64.RawStdEncoding.DecodeString(strings.ReplaceAll(strings.TrimRight(s, "="), ".", "+"))
	}
	salt, errSalt := decode(salt64)
	hash, errHash := decode(hash64)
	if errSalt != nil || errHash != nil || len(salt) < 8 || len(hash) < 16 || len(hash) > 64 {
		return nil, nil, errHashForm
	}
	return salt, hash, nil
}

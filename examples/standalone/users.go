package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// user is one entry of the users file.
type user struct {
	Username string
	// Password is checked by verify; the file has it in clear or as a hash.
	Password passwordCheck
	// Subject is sub; Claims are the others, as JSON values.
	Subject string
	Claims  map[string]any
}

// directory answers for the users of one file. It does not change, so it is
// safe for concurrent use. It is handlers.Users and handlers.ClaimsSource.
type directory struct {
	users     []user
	byName    map[string]int
	bySubject map[string]int
	decoyKey  [32]byte
}

// newDirectory indexes users; names and subjects must be unique.
func newDirectory(users []user) (*directory, error) {
	d := &directory{users: users, byName: map[string]int{}, bySubject: map[string]int{}}
	_, _ = rand.Read(d.decoyKey[:]) // never fails (crypto/rand)
	for i, u := range users {
		if first, taken := d.byName[u.Username]; taken {
			return nil, fmt.Errorf("user %d: username is that of user %d", i, first)
		}
		if first, taken := d.bySubject[u.Subject]; taken {
			return nil, fmt.Errorf("user %d: sub is that of user %d", i, first)
		}
		d.byName[u.Username], d.bySubject[u.Subject] = i, i
	}
	return d, nil
}

// CheckPassword returns the subject of the user with that password. A name that
// nobody has is checked against some user's password, always the same for one
// name: the time tells which kind of password was compared, not whose.
func (d *directory) CheckPassword(_ context.Context, username, password string) (string, bool, error) {
	if len(d.users) == 0 {
		return "", false, nil
	}
	i, known := d.byName[username]
	if !known {
		mac := hmac.New(sha256.New, d.decoyKey[:])
		mac.Write([]byte(username))
		i = int(binary.BigEndian.Uint32(mac.Sum(nil)) % uint32(len(d.users))) //nolint:gosec // a users file has fewer than 2^32 entries
	}
	if ok := d.users[i].Password(password); !ok || !known {
		return "", false, nil
	}
	return d.users[i].Subject, true, nil
}

// Claims returns what the file says of the user, or [oauthreg.ErrNotFound].
func (d *directory) Claims(_ context.Context, subject string) (map[string]any, error) {
	i, ok := d.bySubject[subject]
	if !ok {
		return nil, oauthreg.ErrNotFound
	}
	return maps.Clone(d.users[i].Claims), nil
}

// active reports whether the subject is still in the file.
func (d *directory) active(_ context.Context, subject string) (bool, error) {
	_, ok := d.bySubject[subject]
	return ok, nil
}

// readUsers reads a users file. Its errors name file, index and problem.
func readUsers(name string) (*directory, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	users, err := parseUsers(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	d, err := newDirectory(users)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return d, nil
}

// parseUsers decodes a users file strictly: an unknown member is an error, and
// names are compared exactly.
func parseUsers(data []byte) ([]user, error) {
	var entries []json.RawMessage
	if err := decodeJSON(data, &entries); err != nil {
		return nil, fmt.Errorf("not a JSON array of users: %w", err)
	}
	if entries == nil {
		return nil, errors.New("not a JSON array of users")
	}
	users := make([]user, 0, len(entries))
	for i, e := range entries {
		u, err := parseUser(e)
		if err != nil {
			return nil, fmt.Errorf("user %d: %w", i, err)
		}
		users = append(users, u)
	}
	return users, nil
}

func parseUser(data []byte) (user, error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return user{}, errors.New("not a JSON object")
	}
	var u user
	var password string
	targets := map[string]any{"username": &u.Username, "password": &password, "sub": &u.Subject, "claims": &u.Claims}
	seen := map[string]bool{}
	for dec.More() { // by hand: a struct hides repeated members and folds case
		t, err := dec.Token()
		if err != nil {
			return user{}, err
		}
		name := t.(string) // JSON has no other names
		switch target, known := targets[name]; {
		case !known:
			return user{}, fmt.Errorf("unknown member %q", name)
		case seen[name]:
			return user{}, fmt.Errorf("member %q occurs twice", name)
		default:
			var value json.RawMessage
			if err := dec.Decode(&value); err != nil {
				return user{}, err
			}
			if err := decodeJSON(value, target); err != nil {
				return user{}, fmt.Errorf("member %q has the wrong type", name)
			}
			seen[name] = true
		}
	}
	switch {
	case u.Username == "":
		return user{}, errors.New("username is missing")
	case password == "":
		return user{}, errors.New("password is missing")
	case u.Subject == "":
		return user{}, errors.New("sub is missing")
	case len(u.Subject) > 255:
		return user{}, errors.New("sub has more than 255 characters")
	}
	if sub, ok := u.Claims["sub"]; ok && sub != u.Subject {
		return user{}, errors.New("claims.sub differs from sub")
	}
	var err error
	u.Password, err = parsePassword(password)
	return u, err
}

// decodeJSON decodes one value that is all of data; numbers keep their digits.
func decodeJSON(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	if err := dec.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return errors.New("the file is empty")
		}
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("data after the end")
	}
	return nil
}

// passwordCheck reports whether a password is the right one.
type passwordCheck func(presented string) bool

// parsePassword understands what a users file has as a password: a bcrypt or an
// argon2 hash, and anything else in clear.
func parsePassword(stored string) (passwordCheck, error) {
	switch {
	case strings.HasPrefix(stored, "$2a$"), strings.HasPrefix(stored, "$2b$"), strings.HasPrefix(stored, "$2y$"):
		if _, err := bcrypt.Cost([]byte(stored)); err != nil {
			return nil, errors.New("password looks like a bcrypt hash and is none")
		}
		return func(p string) bool { return bcrypt.CompareHashAndPassword([]byte(stored), []byte(p)) == nil }, nil
	case strings.HasPrefix(stored, "$argon2"):
		return parseArgon2(stored)
	default:
		return clearPassword(stored), nil
	}
}

// clearPassword compares digests, so neither content nor length shows in time.
func clearPassword(stored string) passwordCheck {
	want := sha256.Sum256([]byte(stored))
	return func(p string) bool {
		got := sha256.Sum256([]byte(p))
		return subtle.ConstantTimeCompare(got[:], want[:]) == 1
	}
}

// Bounds on the cost that a hash in the file may ask for.
const (
	maxArgon2Memory  = 1 << 20 // KiB
	maxArgon2Time    = 64
	maxArgon2Threads = 64
)

// parseArgon2 reads $argon2id$v=19$m=65536,t=3,p=4$salt$hash, and argon2i.
func parseArgon2(stored string) (passwordCheck, error) {
	bad := errors.New("password looks like an argon2 hash and is none that can be checked")
	part := strings.Split(stored, "$")
	if len(part) != 6 || part[2] != fmt.Sprintf("v=%d", argon2.Version) {
		return nil, bad
	}
	derive := argon2.IDKey
	switch part[1] {
	case "argon2id":
	case "argon2i":
		derive = argon2.Key
	default:
		return nil, bad
	}
	var memory, time uint32
	var threads uint8
	if _, err := fmt.Sscanf(part[3], "m=%d,t=%d,p=%d", &memory, &time, &threads); err != nil ||
		part[3] != fmt.Sprintf("m=%d,t=%d,p=%d", memory, time, threads) ||
		memory == 0 || memory > maxArgon2Memory || time == 0 || time > maxArgon2Time || threads == 0 || threads > maxArgon2Threads {
		return nil, bad
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(part[4])
	want, err2 := base64.RawStdEncoding.Strict().DecodeString(part[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(want) < 16 || len(want) > 128 {
		return nil, bad
	}
	return func(p string) bool {
		got := derive([]byte(p), salt, time, memory, threads, uint32(len(want))) //nolint:gosec // at most 128
		return subtle.ConstantTimeCompare(got, want) == 1
	}, nil
}

package oauthreg_test

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/oauthreg/oauthregtest"
)

// newStoreOf is a store with n planted clients.
func newStoreOf(n int) *oauthregtest.Memory {
	m := new(oauthregtest.Memory)
	for i := range n {
		m.Plant(oauthreg.Record{Client: oauthreg.Client{
			ID: fmt.Sprintf("0190a2c4-0000-7000-8000-%012d", i), ClientID: fmt.Sprint("c", i), CreatedAt: time.UnixMilli(int64(i)),
		}})
	}
	return m
}

func (f fixture) record(t *testing.T, id string) *oauthreg.Record {
	t.Helper()
	rec, err := f.Record(t.Context(), oauthreg.ByID(id))
	if err != nil {
		t.Fatal(err)
	}
	return &rec
}

// check reports whether the client's secret is presented, as of now.
func (f fixture) check(t *testing.T, id, presented string) bool {
	t.Helper()
	return f.CheckSecret(f.record(t, id), presented)
}

func TestSecretsFromOutside(t *testing.T) {
	tests := []struct {
		name   string
		secret string
		hash   string // how the stored hash begins
	}{
		{"short", "secret", "$2a$"},
		{"one character", "x", "$2a$"},
		{"with spaces and marks", `a b"c\d%+&`, "$2a$"},
		{"31 characters", strings.Repeat("a", 31), "$2a$"},
		{"32 characters", strings.Repeat("a", 32), "s1$"},
		{"1024 characters", strings.Repeat("a", 1024), "s1$"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newRegistry(t)
			reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{Secret: tt.secret})
			if reg.Secret != tt.secret {
				t.Errorf("got secret %q, want %q", reg.Secret, tt.secret)
			}
			rec := f.record(t, reg.Client.ID)
			if got := rec.Secrets[0].Hash; !strings.HasPrefix(got, tt.hash) || strings.Contains(got, tt.secret) && len(tt.secret) > 1 {
				t.Errorf("got hash %q, want %s", got, tt.hash)
			}
			if !f.CheckSecret(rec, tt.secret) {
				t.Error("the secret does not verify")
			}
			for _, wrong := range []string{"", tt.secret + "a", tt.secret[1:], "wrong", strings.ToUpper(tt.secret) + "!"} {
				if f.CheckSecret(rec, wrong) {
					t.Errorf("%q verifies", wrong)
				}
			}
		})
	}
}

func TestSecretsThatAreRefused(t *testing.T) {
	bcryptHash, err := bcrypt.GenerateFromPassword([]byte("x"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name   string
		method string
		opts   oauthreg.RegisterOptions
		want   string
	}{
		{"too long", "", oauthreg.RegisterOptions{Secret: strings.Repeat("a", 1025)}, "client_secret"},
		{"control character", "", oauthreg.RegisterOptions{Secret: "a\nb"}, "client_secret"},
		{"not ASCII", "", oauthreg.RegisterOptions{Secret: "sécret"}, "client_secret"},
		{"for a public client", "none", oauthreg.RegisterOptions{Secret: "hunter2"}, "client_secret"},
		{"hash for a public client", "none", oauthreg.RegisterOptions{SecretHash: string(bcryptHash)}, "client_secret"},
		{"with its hash", "", oauthreg.RegisterOptions{Secret: "hunter2", SecretHash: string(bcryptHash)}, "client_secret"},
		{"hash of unknown form", "", oauthreg.RegisterOptions{SecretHash: "{SHA}x"}, "client_secret"},
		{"label too long", "", oauthreg.RegisterOptions{SecretLabel: strings.Repeat("a", 65)}, "label"},
		{"label with control character", "", oauthreg.RegisterOptions{SecretLabel: "\x00"}, "label"},
	}
	f := newRegistry(t)
	for _, tt := range tests {
		c := webApp()
		c.TokenEndpointAuthMethod = tt.method
		_, err := f.Register(t.Context(), c, tt.opts)
		if got := problems(t, err); !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: got problems with %q, want %s", tt.name, got, tt.want)
		}
		if s := tt.opts.Secret; s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%s: the error repeats the secret: %v", tt.name, err)
		}
	}
}

func TestCheckSecret(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	other := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	public := webApp()
	public.Type = oauthreg.Public
	publicReg := f.mustRegister(t, public, oauthreg.RegisterOptions{})
	if publicReg.Secret != "" {
		t.Errorf("a public client got secret %q", publicReg.Secret)
	}

	rec := f.record(t, reg.Client.ID)
	noSecrets := oauthreg.Record{Client: rec.Client}
	emptyHash := oauthreg.Record{Client: rec.Client, Secrets: []oauthreg.Secret{{ID: "1"}}}
	unknownHash := oauthreg.Record{Client: rec.Client, Secrets: []oauthreg.Secret{{ID: "1", Hash: reg.Secret}}}
	bareHash := oauthreg.Record{Client: rec.Client, Secrets: []oauthreg.Secret{{ID: "1", Hash: "s1$"}}}
	keyClient := *rec
	keyClient.Client.TokenEndpointAuthMethod = oauthreg.AuthPrivateKeyJWT
	tests := []struct {
		name      string
		rec       *oauthreg.Record
		presented string
		want      bool
	}{
		{"its own", rec, reg.Secret, true},
		{"of another client", rec, other.Secret, false},
		{"cut", rec, reg.Secret[:len(reg.Secret)-1], false},
		{"longer", rec, reg.Secret + "x", false},
		{"empty", rec, "", false},
		{"very long", rec, strings.Repeat("a", 1<<20), false},
		{"its hash", rec, rec.Secrets[0].Hash, false},
		{"unknown client", nil, reg.Secret, false},
		{"unknown client and no secret", nil, "", false},
		{"public client", f.record(t, publicReg.Client.ID), reg.Secret, false},
		{"public client and no secret", f.record(t, publicReg.Client.ID), "", false},
		{"client without secrets", &noSecrets, reg.Secret, false},
		{"empty hash", &emptyHash, reg.Secret, false},
		{"empty hash and no secret", &emptyHash, "", false},
		{"hash of unknown form", &unknownHash, reg.Secret, false},
		{"hash without digest", &bareHash, "", false},
		{"client that authenticates by key", &keyClient, reg.Secret, false},
	}
	for _, tt := range tests {
		if got := f.CheckSecret(tt.rec, tt.presented); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}

	foreign := newRegistry(t, func(cfg *oauthreg.Config) { cfg.SecretKey = []byte(strings.Repeat("k", 32)) })
	if foreign.CheckSecret(rec, reg.Secret) {
		t.Error("the secret verifies under another key")
	}
}

func TestRotateSecretOverlaps(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	id := reg.Client.ID
	ref := oauthreg.ByID(id)
	valid := func(when string, want map[string]bool) {
		t.Helper()
		for secret, want := range want {
			if got := f.check(t, id, secret); got != want {
				t.Errorf("%s: secret %s: got %v, want %v", when, secret[:8], got, want)
			}
		}
	}

	second, err := f.RotateSecret(t.Context(), ref, oauthreg.RotateOptions{Overlap: time.Hour, Label: "second"})
	if err != nil {
		t.Fatal(err)
	}
	if second.Client.Version != 2 || second.Info.Label != "second" || second.Info.Hash != "" || !strings.HasPrefix(second.Secret, oauthreg.SecretPrefix) {
		t.Errorf("got %+v", second)
	}
	valid("in the overlap", map[string]bool{reg.Secret: true, second.Secret: true})

	f.clock.add(30 * time.Minute)
	third, err := f.RotateSecret(t.Context(), ref, oauthreg.RotateOptions{Overlap: time.Hour, Lifetime: 2 * time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	valid("with three", map[string]bool{reg.Secret: true, second.Secret: true, third.Secret: true})
	f.clock.add(30*time.Minute - time.Millisecond)
	valid("just before the first ends", map[string]bool{reg.Secret: true})
	f.clock.add(time.Millisecond)
	valid("the first kept its earlier end", map[string]bool{reg.Secret: false, second.Secret: true, third.Secret: true})
	f.clock.add(30 * time.Minute)
	valid("the second ends", map[string]bool{second.Secret: false, third.Secret: true})
	f.clock.add(time.Hour)
	valid("the third ends", map[string]bool{third.Secret: false})

	fourth, err := f.RotateSecret(t.Context(), ref, oauthreg.RotateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	fifth, err := f.RotateSecret(t.Context(), ref, oauthreg.RotateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	valid("without overlap", map[string]bool{fourth.Secret: false, fifth.Secret: true})
	if rec := f.record(t, id); len(rec.Secrets) != 1 {
		t.Errorf("got %d secrets, want the expired ones to be forgotten", len(rec.Secrets))
	}
}

func TestRotateSecretRefusals(t *testing.T) {
	f := newRegistry(t)
	id := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{}).Client.ID
	public := webApp()
	public.Type = oauthreg.Public
	publicID := f.mustRegister(t, public, oauthreg.RegisterOptions{}).Client.ID
	tests := []struct {
		name string
		id   string
		opts oauthreg.RotateOptions
		want []string
	}{
		{"negative overlap and lifetime", id, oauthreg.RotateOptions{Overlap: -1, Lifetime: -1}, []string{"overlap", "lifetime"}},
		{"overlap of more than 90 days", id, oauthreg.RotateOptions{Overlap: oauthreg.MaxSecretOverlap + 1}, []string{"overlap"}},
		{"label too long", id, oauthreg.RotateOptions{Label: strings.Repeat("a", 65)}, []string{"label"}},
		{"id that is none", id, oauthreg.RotateOptions{ID: "x"}, []string{"id"}},
		{"public client", publicID, oauthreg.RotateOptions{}, []string{"token_endpoint_auth_method"}},
	}
	for _, tt := range tests {
		_, err := f.RotateSecret(t.Context(), oauthreg.ByID(tt.id), tt.opts)
		if got := problems(t, err); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got problems with %q, want %q", tt.name, got, tt.want)
		}
	}
	if _, err := f.RotateSecret(t.Context(), oauthreg.ByID("nobody"), oauthreg.RotateOptions{}); !errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("unknown client: got %v, want ErrNotFound", err)
	}
	for range 15 {
		if _, err := f.RotateSecret(t.Context(), oauthreg.ByID(id), oauthreg.RotateOptions{Overlap: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := f.RotateSecret(t.Context(), oauthreg.ByID(id), oauthreg.RotateOptions{Overlap: time.Hour})
	if got := problems(t, err); !slices.Equal(got, []string{"overlap"}) {
		t.Errorf("17 secrets: got problems with %q, want overlap", got)
	}
}

// Whoever repeats a rotation under the same ID rotates once.
func TestRotateSecretID(t *testing.T) {
	f := newRegistry(t)
	made := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	ref := oauthreg.ByID(made.Client.ID)
	opts := oauthreg.RotateOptions{ID: "0198a000-0000-8000-8000-000000000001"}
	issued, err := f.RotateSecret(t.Context(), ref, opts)
	if err != nil || issued.Info.ID != opts.ID {
		t.Fatalf("got %+v, %v", issued.Info, err)
	}
	if _, err := f.RotateSecret(t.Context(), ref, opts); !errors.Is(err, oauthreg.ErrConflict) {
		t.Errorf("again: got %v, want ErrConflict", err)
	}
	rec, err := f.Record(t.Context(), ref)
	if err != nil || !f.CheckSecret(&rec, issued.Secret) || rec.Client.Version != issued.Client.Version {
		t.Errorf("the repetition changed version %d: %v", rec.Client.Version, err)
	}
}

func TestRevokeSecret(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	ref := oauthreg.ByID(reg.Client.ID)
	second, err := f.RotateSecret(t.Context(), ref, oauthreg.RotateOptions{Overlap: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	if err := f.RevokeSecret(t.Context(), ref, reg.SecretInfo.ID); err != nil {
		t.Fatal(err)
	}
	if f.check(t, reg.Client.ID, reg.Secret) || !f.check(t, reg.Client.ID, second.Secret) {
		t.Error("want the first secret refused and the second accepted")
	}
	if err := f.RevokeSecret(t.Context(), ref, reg.SecretInfo.ID); !errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("second time: got %v, want ErrNotFound", err)
	}
	if err := f.RevokeSecret(t.Context(), ref, second.Info.ID); err != nil {
		t.Errorf("the last one: got %v", err)
	}
	if f.check(t, reg.Client.ID, second.Secret) {
		t.Error("the last secret still verifies")
	}
}

func TestUpdateToKeysForgetsSecrets(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	ref := oauthreg.ByID(reg.Client.ID)
	for _, method := range []string{oauthreg.AuthPrivateKeyJWT, oauthreg.AuthClientSecretBasic} {
		_, err := f.Update(t.Context(), ref, oauthreg.UpdateOptions{}, func(c *oauthreg.Client) error {
			c.TokenEndpointAuthMethod, c.JWKSURI = method, "https://app.example/jwks"
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if f.check(t, reg.Client.ID, reg.Secret) {
		t.Error("the secret from before the keys verifies again")
	}
}

func TestSecretsTellLastUse(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{SecretLabel: "a"})
	ref := oauthreg.ByID(reg.Client.ID)
	f.clock.add(time.Hour)
	second, err := f.RotateSecret(t.Context(), ref, oauthreg.RotateOptions{Overlap: time.Hour, Label: "b"})
	if err != nil {
		t.Fatal(err)
	}
	list := func() []oauthreg.Secret {
		t.Helper()
		secrets, err := f.Secrets(t.Context(), ref)
		if err != nil {
			t.Fatal(err)
		}
		if len(secrets) != 2 || secrets[0].Label != "b" || secrets[1].Label != "a" || secrets[0].Hash != "" || secrets[1].Hash != "" {
			t.Fatalf("got %+v, want b and a without hashes", secrets)
		}
		return secrets
	}
	if s := list(); !s[0].LastUsedAt.IsZero() || !s[1].LastUsedAt.IsZero() {
		t.Errorf("got %+v, want no uses", s)
	}

	first := f.clock.now().UTC().Truncate(time.Millisecond)
	f.check(t, reg.Client.ID, second.Secret)
	f.check(t, reg.Client.ID, "wrong")
	if s := list(); !s[0].LastUsedAt.Equal(first) || !s[1].LastUsedAt.IsZero() {
		t.Errorf("before the flush: got %v and %v, want %v and none", s[0].LastUsedAt, s[1].LastUsedAt, first)
	}
	uses := func() map[string]time.Time {
		t.Helper()
		m, err := f.store.SecretUses(t.Context(), reg.Client.ID)
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	if got := uses(); len(got) != 0 {
		t.Errorf("got %v stored before the flush", got)
	}

	// A failing store loses nothing.
	f.store.Fail(oauthreg.ErrUnavailable)
	if err := f.FlushSecretUses(t.Context()); !errors.Is(err, oauthreg.ErrUnavailable) {
		t.Errorf("got %v, want ErrUnavailable", err)
	}
	f.store.Fail(nil)
	f.clock.add(30 * time.Second)
	f.check(t, reg.Client.ID, second.Secret) // within the minute: not noted
	if err := f.FlushSecretUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := uses(); len(got) != 1 || !got[second.Info.ID].Equal(first) {
		t.Errorf("got %v, want the use at %v", got, first)
	}

	f.clock.add(31 * time.Second)
	later := f.clock.now().UTC().Truncate(time.Millisecond)
	f.check(t, reg.Client.ID, second.Secret)
	if err := f.FlushSecretUses(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s := list(); !s[0].LastUsedAt.Equal(later) {
		t.Errorf("got %v, want %v", s[0].LastUsedAt, later)
	}
}

func raw64(b []byte) string { return base64.RawStdEncoding.EncodeToString(b) }

// importedHashes are hashes of secret by other servers.
func importedHashes(t *testing.T, secret string) map[string]string {
	t.Helper()
	salt := []byte("0123456789abcdef")
	bc, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	p256, err := pbkdf2.Key(sha256.New, secret, salt, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	p512, err := pbkdf2.Key(sha512.New, secret, salt, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		"bcrypt 2a":            string(bc),
		"bcrypt 2b":            "$2b$" + string(bc[4:]),
		"bcrypt 2y":            "$2y$" + string(bc[4:]),
		"argon2id":             "$argon2id$v=19$m=64,t=1,p=2$" + raw64(salt) + "$" + raw64(argon2.IDKey([]byte(secret), salt, 1, 64, 2, 32)),
		"pbkdf2 with length":   "$pbkdf2-sha256$i=10,l=32$" + raw64(salt) + "$" + raw64(p256),
		"pbkdf2 bare rounds":   "$pbkdf2-sha256$10$" + strings.ReplaceAll(raw64(salt)+"$"+raw64(p256), "+", "."),
		"pbkdf2 of SHA-512":    "$pbkdf2-sha512$i=10,l=64$" + raw64(salt) + "$" + raw64(p512),
		"pbkdf2 with padding":  "$pbkdf2-sha256$i=10$" + raw64(salt) + "==$" + raw64(p256) + "=",
		"a digest of our form": "", // filled in by the caller
	}
}

func TestImportedHashes(t *testing.T) {
	for _, secret := range []string{"short", strings.Repeat("long-secret-", 4)} {
		for name, hash := range importedHashes(t, secret) {
			t.Run(fmt.Sprint(name, " of ", len(secret)), func(t *testing.T) {
				f := newRegistry(t)
				if hash == "" {
					own := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{Secret: secret})
					hash = f.record(t, own.Client.ID).Secrets[0].Hash
				}
				reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{SecretHash: hash})
				if reg.Secret != "" || reg.SecretInfo.ID == "" {
					t.Errorf("got secret %q, want none but its id", reg.Secret)
				}
				id := reg.Client.ID
				if f.check(t, id, "wrong") || f.check(t, id, secret+"x") || f.check(t, id, hash) || f.check(t, id, "") {
					t.Error("a wrong secret verifies")
				}
				for range 2 {
					if !f.check(t, id, secret) {
						t.Fatal("the secret does not verify")
					}
				}

				// Long enough to have been generated: the slow hash gives way.
				if err := f.FlushSecretUses(t.Context()); err != nil {
					t.Fatal(err)
				}
				want := hash
				if len(secret) >= 32 {
					want = "s1$"
				}
				after := f.record(t, id)
				if got := after.Secrets[0]; !strings.HasPrefix(got.Hash, want) || got.ID != reg.SecretInfo.ID {
					t.Errorf("got hash %q after the flush, want %s", got.Hash, want)
				}
				if !f.CheckSecret(after, secret) || f.CheckSecret(after, "wrong") {
					t.Error("want the secret and only it to verify after the flush")
				}
				upgraded := slices.Contains(f.actions(t, id), "secret.rehashed")
				if want := len(secret) >= 32 && !strings.HasPrefix(hash, "s1$"); upgraded != want {
					t.Errorf("got upgraded %v, want %v", upgraded, want)
				}
			})
		}
	}
}

// bcrypt reads 72 bytes: a longer secret must not match by its beginning.
func TestImportedBcryptReadsNoMoreThanItHashes(t *testing.T) {
	f := newRegistry(t)
	secret := strings.Repeat("a", 72)
	hash, err := bcrypt.GenerateFromPassword([]byte(secret), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	id := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{SecretHash: string(hash)}).Client.ID
	if f.check(t, id, secret+"b") {
		t.Error("a longer secret verifies")
	}
	if !f.check(t, id, secret) {
		t.Error("the secret does not verify")
	}
}

func TestHashesThatAreNotTaken(t *testing.T) {
	salt, sum := raw64([]byte("0123456789abcdef")), raw64(make([]byte, 32))
	const bcryptTail = "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy"
	tests := []struct{ name, hash string }{
		{"empty", ""},
		{"clear text", "secret"},
		{"MD5 crypt", "$1$abc$def"},
		{"argon2i", "$argon2i$v=19$m=64,t=1,p=1$" + salt + "$" + sum},
		{"scrypt", "$scrypt$ln=4,r=8,p=1$" + salt + "$" + sum},
		{"bcrypt of unknown version", "$2x$10$" + bcryptTail},
		{"bcrypt that is cut", "$2a$10$" + bcryptTail[:20]},
		{"bcrypt that is longer", "$2a$10$" + bcryptTail + "x"},
		{"bcrypt of cost 15", "$2a$15$" + bcryptTail},
		{"bcrypt of cost 31", "$2a$31$" + bcryptTail},
		{"argon2 of too much memory", "$argon2id$v=19$m=262145,t=1,p=1$" + salt + "$" + sum},
		{"argon2 of too many passes", "$argon2id$v=19$m=64,t=17,p=1$" + salt + "$" + sum},
		{"argon2 of too much of both", "$argon2id$v=19$m=262144,t=5,p=1$" + salt + "$" + sum},
		{"argon2 of too many threads", "$argon2id$v=19$m=64,t=1,p=17$" + salt + "$" + sum},
		{"argon2 of no passes", "$argon2id$v=19$m=64,t=0,p=1$" + salt + "$" + sum},
		{"argon2 of no threads", "$argon2id$v=19$m=64,t=1,p=0$" + salt + "$" + sum},
		{"argon2 of the old version", "$argon2id$v=16$m=64,t=1,p=1$" + salt + "$" + sum},
		{"argon2 with parameters in another order", "$argon2id$v=19$t=1,m=64,p=1$" + salt + "$" + sum},
		{"argon2 with a missing parameter", "$argon2id$v=19$m=64,t=1$" + salt + "$" + sum},
		{"argon2 with an empty hash", "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$"},
		{"argon2 with a short hash", "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + raw64(make([]byte, 8))},
		{"argon2 with a short salt", "$argon2id$v=19$m=64,t=1,p=1$AAAA$" + sum},
		{"argon2 with a long hash", "$argon2id$v=19$m=64,t=1,p=1$" + salt + "$" + raw64(make([]byte, 65))},
		{"PBKDF2 of too many rounds", "$pbkdf2-sha256$i=2000001,l=32$" + salt + "$" + sum},
		{"PBKDF2 of no rounds", "$pbkdf2-sha256$i=0,l=32$" + salt + "$" + sum},
		{"PBKDF2 of negative rounds", "$pbkdf2-sha256$i=-1,l=32$" + salt + "$" + sum},
		{"PBKDF2 of another length", "$pbkdf2-sha256$i=10,l=16$" + salt + "$" + sum},
		{"PBKDF2 of SHA-1", "$pbkdf2-sha1$i=10,l=32$" + salt + "$" + sum},
		{"PBKDF2 that is cut", "$pbkdf2-sha256$i=10,l=32$" + salt},
		{"PBKDF2 with a hash that is not base64", "$pbkdf2-sha256$i=10,l=32$" + salt + "$!!"},
		{"digest that is cut", "s1$AAAA"},
		{"digest that is not base64", "s1$" + strings.Repeat("!", 43)},
		{"very long", "$2a$" + strings.Repeat("a", 1000)},
	}
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	for _, tt := range tests {
		if tt.hash != "" && oauthreg.CheckSecretHash(tt.hash) == nil {
			t.Errorf("%s: may be imported", tt.name)
		}
		// Planted, it is refused without slow work.
		rec := oauthreg.Record{Client: reg.Client, Secrets: []oauthreg.Secret{{ID: "1", Hash: tt.hash}}}
		begin := time.Now()
		for _, presented := range []string{"", "secret", tt.hash} {
			if f.CheckSecret(&rec, presented) {
				t.Errorf("%s: %q verifies", tt.name, presented)
			}
		}
		if d := time.Since(begin); d > time.Second {
			t.Errorf("%s: took %v", tt.name, d)
		}
	}
}

func TestSlowVerificationIsPaidOnce(t *testing.T) {
	f := newRegistry(t)
	reg := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{Secret: "short"})
	rec := f.record(t, reg.Client.ID)
	for range 3 {
		f.CheckSecret(rec, "wrong")
		if n := f.VerifiedSecrets(); n != 0 {
			t.Errorf("got %d remembered after a wrong secret", n)
		}
	}
	for range 3 {
		if !f.CheckSecret(rec, "short") {
			t.Error("the secret does not verify")
		}
		if n := f.VerifiedSecrets(); n != 1 {
			t.Errorf("got %d remembered, want 1", n)
		}
	}
	// What is remembered belongs to the hash, not to the client.
	other, err := bcrypt.GenerateFromPassword([]byte("other"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	rec.Secrets[0].Hash = string(other)
	if f.CheckSecret(rec, "short") {
		t.Error("the old secret verifies against a new hash")
	}
}

func TestCheckSecretConcurrently(t *testing.T) {
	f := newRegistry(t)
	slow := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{Secret: "short"})
	fast := f.mustRegister(t, webApp(), oauthreg.RegisterOptions{})
	slowRec, fastRec := f.record(t, slow.Client.ID), f.record(t, fast.Client.ID)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 5 {
				if !f.CheckSecret(slowRec, "short") || f.CheckSecret(slowRec, "wrong") ||
					!f.CheckSecret(fastRec, fast.Secret) || f.CheckSecret(fastRec, slow.Secret) {
					t.Error("a concurrent check went wrong")
				}
				if err := f.FlushSecretUses(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestDeriveKey(t *testing.T) {
	a, b := oauthreg.DeriveKey(testKey, "a"), oauthreg.DeriveKey(testKey, "b")
	if len(a) != 32 || slices.Equal(a, b) || slices.Equal(a, testKey) || !slices.Equal(a, oauthreg.DeriveKey(testKey, "a")) {
		t.Error("want 32 bytes, the same for the same label and different ones for another")
	}
	if slices.Equal(a, oauthreg.DeriveKey([]byte("other"), "a")) {
		t.Error("another master gives the same key")
	}
	defer func() {
		if recover() == nil {
			t.Error("an empty master does not panic")
		}
	}()
	oauthreg.DeriveKey(nil, "a")
}

package main

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// masterKey is the one secret of an installation. Everything that has to stay
// the same over restarts is derived from it, each under its own label.
type masterKey []byte

const (
	masterKeySize = 32
	serverKeyFile = "oauthreg.key" // in the working directory
)

func (m masterKey) derive(label string) []byte { return oauthreg.DeriveKey(m, "standalone "+label) }

// text is a derived secret for people to copy: n characters of [A-Za-z0-9_-].
func (m masterKey) text(label string, n int) string {
	return base64.RawURLEncoding.EncodeToString(m.derive(label))[:n]
}

// newMasterKey makes a key that lives as long as the process.
func newMasterKey() masterKey {
	m := make([]byte, masterKeySize)
	_, _ = rand.Read(m) // never fails (crypto/rand)
	return m
}

// openMasterKey reads the key of the database file db, and makes it when
// neither exists yet. A database without its key stops the start: what is
// encrypted in it could not be read with a new one. A database server's key is
// in serverKeyFile.
func openMasterKey(db string) (masterKey, error) {
	name := db + ".key"
	if strings.Contains(db, "://") {
		name = serverKeyFile
	}
	m, err := readMasterKey(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return m, err
	}
	if st, err := os.Stat(db); err == nil && st.Size() > 0 {
		return nil, fmt.Errorf("%s exists but its key %s does not: restore the key, or remove the database", db, name)
	}
	if err := createMasterKey(name); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return readMasterKey(name) // ours, or that of a process that was faster
}

func readMasterKey(name string) (masterKey, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	switch {
	case !st.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file", name)
	case runtime.GOOS != "windows" && st.Mode().Perm()&0o077 != 0:
		return nil, fmt.Errorf("%s can be read by others (mode %04o): make it 0600", name, st.Mode().Perm())
	case st.Size() > 1024:
		return nil, fmt.Errorf("%s is not a key file", name)
	}
	text := make([]byte, st.Size())
	if _, err := f.ReadAt(text, 0); err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	m, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(m) != masterKeySize {
		return nil, fmt.Errorf("%s is not a key file: it must have %d bytes in base64", name, masterKeySize)
	}
	return m, nil
}

// createMasterKey writes a new key. The file appears under its name complete or
// not at all, whenever the process dies, and never replaces one that is there:
// that is [fs.ErrExist].
func createMasterKey(name string) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*") // O_EXCL, 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // its second name is what counts
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(newMasterKey()) + "\n")
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return os.Link(f.Name(), name)
}

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
	"slices"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
	"github.com/oauthreg/oauthreg/storage"
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

// keyFile is the name of the file with the key of the database db, unless it is
// given.
func keyFile(db, name string) string {
	switch {
	case name != "":
		return name
	case strings.Contains(db, "://"):
		return serverKeyFile
	default:
		return db + ".key"
	}
}

// openMasterKey reads the key of the database file db, and makes it when
// neither exists yet. A database without its key stops the start: what is
// encrypted in it could not be read with a new one. It is in the file name, or
// when that is empty beside db; a database server's key is in serverKeyFile. Whether
// a database server has data shows later: made says that the file may have to go
// again, see forgetMasterKey.
func openMasterKey(db, name string) (m masterKey, made bool, err error) {
	name = keyFile(db, name)
	m, err = readMasterKey(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return m, false, err
	}
	if st, err := os.Stat(db); err == nil && st.Size() > 0 {
		return nil, false, fmt.Errorf("%s exists but its key %s does not: restore the key, or remove the database", db, name)
	}
	err = createMasterKey(name)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, false, err
	}
	made = err == nil
	m, err = readMasterKey(name) // ours, or that of a process that was faster
	return m, made, err
}

// forgetMasterKey removes a key that was made for a database which turned out to have
// another: nothing is encrypted with it, and it would stand in the way of the right
// one. Any other error of a start is returned as it is.
func forgetMasterKey(err error, db, name string) error {
	if !errors.Is(err, storage.ErrEncryptionKeys) {
		return err
	}
	name = keyFile(db, name)
	err = fmt.Errorf("%s has data but its key %s does not exist: restore the key, or name its file with -key", databaseName(db), name)
	return errors.Join(err, os.Remove(name))
}

// readMasterKey reads the first line of a key file.
func readMasterKey(name string) (masterKey, error) {
	keys, err := readKeys(name)
	if err != nil {
		return nil, err
	}
	return keys[0], nil
}

// encryptionKeys are the keys of the store, the one that encrypts first. Without
// further lines in the key file that is one derived from the first. Each further
// line is a key that encrypts in place of those before it, which are needed until
// -reencrypt was run.
func encryptionKeys(name string) ([][]byte, error) {
	keys, err := readKeys(name)
	if err != nil {
		return nil, err
	}
	all := [][]byte{keys[0].derive("storage encryption")}
	for _, k := range keys[1:] {
		all = append(all, k)
	}
	slices.Reverse(all)
	return all, nil
}

// readKeys reads a key file: at least one line of a key in base64.
func readKeys(name string) ([]masterKey, error) {
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
	var keys []masterKey
	for line := range strings.Lines(strings.TrimSpace(string(text))) {
		m, err := base64.StdEncoding.DecodeString(strings.TrimSpace(line))
		if err != nil || len(m) != masterKeySize {
			return nil, fmt.Errorf("%s is not a key file: each line must have %d bytes in base64", name, masterKeySize)
		}
		keys = append(keys, m)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%s is not a key file: it is empty", name)
	}
	return keys, nil
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
	if err := os.Link(f.Name(), name); err != nil {
		return err
	}
	// The name is to survive a power cut too, where the platform can promise that.
	if dir, err := os.Open(filepath.Dir(name)); err == nil {
		_ = dir.Sync()
		_ = dir.Close()
	}
	return nil
}

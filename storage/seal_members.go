package storage

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Clients, permissions to register, and what the audit log tells of changes are
// stored as JSON objects. Most of their members describe programs and are no
// secret; those that tell of persons are sealed each by itself: the member's value
// is a text then, sealedMark and the sealed JSON of what it was. All else stands as
// it was, byte for byte.

// personalMembers are the members that tell of persons: e-mail addresses, mostly,
// and the user who registered a client.
var personalMembers = []string{"contacts", "user_id"}

// sealMembers seals the personal members of a JSON object for that row.
func (s *sealer) sealMembers(kind string, row, doc []byte) ([]byte, error) {
	return changeMembers(kind, doc, `"`, func(name string, value []byte) ([]byte, error) {
		return s.sealMember(kind, row, name, value)
	})
}

// openMembers reads what sealMembers made, or an older release stored.
func (s *sealer) openMembers(kind string, row, doc []byte) ([]byte, error) {
	return changeMembers(kind, doc, `"`+sealedMark, func(name string, value []byte) ([]byte, error) {
		sealed, ok := sealedMember(value)
		if !ok {
			return value, nil
		}
		plain, err := s.openText(memberKind(kind, name), row, sealed)
		return []byte(plain), err
	})
}

func memberKind(kind, name string) string { return kind + "." + name }

// sealMember leaves alone what tells nothing: null, "" and [].
func (s *sealer) sealMember(kind string, row []byte, name string, value []byte) ([]byte, error) {
	if len(value) <= 2 || string(value) == "null" {
		return value, nil
	}
	sealed, err := s.sealMarked(memberKind(kind, name), row, string(value))
	return []byte(`"` + sealed + `"`), err // base64, which needs no escaping
}

// sealedMember is what openText opens, if a member's value is sealed.
func sealedMember(value []byte) (string, bool) {
	sealed, ok := bytes.CutPrefix(value, []byte(`"`+sealedMark))
	return strings.TrimSuffix(string(sealed), `"`), ok
}

// changeMembers puts what change makes of the values of an object's personal
// members in their place. It looks at objects only in which such a member may have
// a value that begins with start, and leaves everything else as it is.
func changeMembers(kind string, doc []byte, start string, change func(name string, value []byte) ([]byte, error)) ([]byte, error) {
	if !bytes.Contains(doc, []byte(start)) || !slices.ContainsFunc(personalMembers, func(name string) bool {
		return bytes.Contains(doc, []byte(`"`+name+`"`))
	}) {
		return doc, nil
	}
	var out []byte
	copied := 0
	err := eachMember(doc, func(name string, start, end int) error {
		if !slices.Contains(personalMembers, name) {
			return nil
		}
		changed, err := change(name, doc[start:end])
		out = append(append(out, doc[copied:start]...), changed...)
		copied = end
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read the JSON of %s: %w", kind, err)
	}
	return append(out, doc[copied:]...), nil
}

var errNoJSON = errors.New("it is damaged")

// eachMember calls f with where the value of each member of a JSON object begins
// and ends. It is for what encoding/json wrote, whose names have no escapes, and
// takes a twentieth of that package's time; anything but an object has no members.
func eachMember(doc []byte, f func(name string, start, end int) error) error {
	space := func(i int) int {
		for i < len(doc) && (doc[i] == ' ' || doc[i] == '\n' || doc[i] == '\t' || doc[i] == '\r') {
			i++
		}
		return i
	}
	is := func(i int, c byte) bool { return i < len(doc) && doc[i] == c }
	i := space(0)
	if !is(i, '{') {
		return nil
	}
	for i = space(i + 1); !is(i, '}'); {
		name := i
		i = textEnd(doc, name)
		if i < 0 {
			return errNoJSON
		}
		start := space(i)
		if !is(start, ':') {
			return errNoJSON
		}
		start = space(start + 1)
		end := valueEnd(doc, start)
		if end < 0 {
			return errNoJSON
		}
		if err := f(string(doc[name+1:i-1]), start, end); err != nil {
			return err
		}
		if i = space(end); is(i, ',') {
			i = space(i + 1)
		} else if !is(i, '}') {
			return errNoJSON
		}
	}
	return nil
}

// textEnd is behind the JSON string that begins at i, or -1.
func textEnd(doc []byte, i int) int {
	if i >= len(doc) || doc[i] != '"' {
		return -1
	}
	for i++; i < len(doc); i++ {
		switch doc[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// valueEnd is behind the JSON value that begins at i, or -1.
func valueEnd(doc []byte, i int) int {
	depth := 0
	for begin := i; i < len(doc); i++ {
		switch doc[i] {
		case '"':
			if i = textEnd(doc, i); i < 0 {
				return -1
			}
			i--
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 && i > begin {
				return i // of a number, true, false or null
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\n', '\t', '\r':
			if depth == 0 && i > begin {
				return i
			}
		}
		if depth < 0 {
			return -1
		}
	}
	return -1
}

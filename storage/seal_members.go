package storage

import (
	"bytes"
	"encoding/json"
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
	in := json.NewDecoder(bytes.NewReader(doc))
	if open, err := in.Token(); err != nil || open != json.Delim('{') {
		return doc, nil // no object has members
	}
	var out []byte
	copied := 0
	for in.More() {
		name, err := in.Token()
		var value json.RawMessage
		if err == nil {
			err = in.Decode(&value)
		}
		if err != nil {
			return nil, fmt.Errorf("read the JSON of %s: %w", kind, err)
		}
		text, _ := name.(string)
		if !slices.Contains(personalMembers, text) {
			continue
		}
		changed, err := change(text, value)
		if err != nil {
			return nil, err
		}
		end := int(in.InputOffset())
		out = append(append(out, doc[copied:end-len(value)]...), changed...)
		copied = end
	}
	return append(out, doc[copied:]...), nil
}

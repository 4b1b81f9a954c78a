package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// maxJSONDepth is how deep JSON from strangers may nest: a JWK set, the deepest
// thing anybody has to send, takes four levels.
const maxJSONDepth = 16

// errRepeatedMember: two readers of the same JSON could see different values.
var errRepeatedMember = errors.New("a member stands more than once")

// readObject reads a JSON object (RFC 8259) strictly: UTF-8, nothing behind it,
// no repeated member at any level, at most maxJSONDepth levels. Member names
// are compared exactly. The errors are sentences without a capital, safe to
// show.
func readObject(raw []byte) (map[string]json.RawMessage, error) {
	if !utf8.Valid(raw) {
		return nil, errors.New("the JSON is not valid UTF-8")
	}
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, errors.New("it is not a JSON object")
	}
	if err := checkJSON(raw); err != nil {
		return nil, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, errors.New("it is not a JSON object")
	}
	return members, nil
}

// checkJSON walks all of raw, before anything of it is kept.
func checkJSON(raw []byte) error {
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	// One set of names for each open object; nil for an array.
	var open []map[string]bool
	name := false // a name is next
	for {
		token, err := dec.Token()
		if err != nil {
			return errors.New("it is not a JSON object")
		}
		switch t := token.(type) {
		case json.Delim:
			switch t {
			case '{':
				open, name = append(open, map[string]bool{}), true
			case '[':
				open, name = append(open, nil), false
			default:
				if open = open[:len(open)-1]; len(open) == 0 {
					return nil // what follows is Unmarshal's business
				}
				name = open[len(open)-1] != nil
			}
			if len(open) > maxJSONDepth {
				return fmt.Errorf("the JSON nests deeper than %d levels", maxJSONDepth)
			}
			continue
		case string:
			if name {
				names := open[len(open)-1]
				if names[t] {
					return errRepeatedMember
				}
				names[t], name = true, false
				continue
			}
		}
		name = len(open) > 0 && open[len(open)-1] != nil
	}
}

// isNull reports whether a member is there in name only.
func isNull(raw json.RawMessage) bool { return string(bytes.TrimSpace(raw)) == "null" }

// jsonString reads a JSON string and nothing else.
func jsonString(raw json.RawMessage) (string, bool) {
	var s string
	if raw = bytes.TrimSpace(raw); len(raw) == 0 || raw[0] != '"' {
		return "", false
	}
	return s, json.Unmarshal(raw, &s) == nil
}

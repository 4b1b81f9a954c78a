package handlers

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// jsonBody is the object in the body of a management request. It remembers what
// was asked of it: members that nobody read are unknown ones.
type jsonBody struct {
	raw      []byte
	members  map[string]json.RawMessage
	read     map[string]bool
	problems []bodyProblem
}

// problemKind says what is wrong with a member.
type problemKind string

const (
	problemMissing problemKind = "missing"
	problemType    problemKind = "type"
	problemUnknown problemKind = "unknown"
	problemValue   problemKind = "value"
)

// bodyProblem is one thing wrong with a member of a body.
type bodyProblem struct {
	// Field is the member's name, for list items with an index:
	// "redirect_uris[1]".
	Field   string
	Kind    problemKind
	Message string
}

// invalidBodyError is a body that is JSON but not what the endpoint takes.
type invalidBodyError struct{ problems []bodyProblem }

func (e *invalidBodyError) Error() string {
	var b strings.Builder
	for i, p := range e.problems {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.Field + ": " + p.Message)
	}
	return b.String()
}

// readBody reads a JSON object of at most 64 KB. No body at all is an empty
// object. What is not strict JSON is 400; JSON that is not an object is 422.
func readBody(w http.ResponseWriter, r *http.Request) (*jsonBody, error) {
	if r.ContentLength > maxBody {
		return nil, tooLarge()
	}
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var big *http.MaxBytesError
		if errors.As(err, &big) {
			return nil, tooLarge()
		}
		return nil, invalidRequest("The request body could not be read.").because(err)
	}
	b := &jsonBody{raw: raw, read: map[string]bool{}}
	if len(bytes.TrimSpace(raw)) == 0 {
		return b, nil
	}
	if !isJSON(r.Header.Get("Content-Type")) {
		return nil, oauthError(http.StatusUnsupportedMediaType, "invalid_request", "The content type must be application/json.")
	}
	b.members, err = readObject(raw)
	switch {
	case err == nil:
		return b, nil
	case json.Valid(raw) && bytes.TrimSpace(raw)[0] != '{':
		return nil, unprocessable("The body must be a JSON object.")
	default:
		return nil, invalidRequest("The body cannot be read: " + plainText(err.Error()) + ".")
	}
}

// isJSON reports whether a content type is application/json or one of its kind.
func isJSON(contentType string) bool {
	mt, _, err := mime.ParseMediaType(contentType)
	return err == nil && (mt == "application/json" || strings.HasPrefix(mt, "application/") && strings.HasSuffix(mt, "+json"))
}

func (b *jsonBody) problem(field string, kind problemKind, message string) {
	b.problems = append(b.problems, bodyProblem{field, kind, message})
}

// has reports whether the member is there, null included, and marks it known.
func (b *jsonBody) has(name string) bool {
	b.read[name] = true
	_, ok := b.members[name]
	return ok
}

// isNull reports whether the member is null.
func (b *jsonBody) isNull(name string) bool {
	return b.has(name) && isNull(b.members[name])
}

// need notes a problem if one of the members is not there.
func (b *jsonBody) need(names ...string) {
	for _, name := range names {
		if !b.has(name) {
			b.problem(name, problemMissing, "is required")
		}
	}
}

// text reads a string into to; false when the member is not there or is none.
func (b *jsonBody) text(name string, to *string) bool {
	if !b.has(name) {
		return false
	}
	s, ok := jsonString(b.members[name])
	if !ok {
		b.problem(name, problemType, "must be a string")
		return false
	}
	*to = s
	return true
}

// texts reads an array of strings into to; never nil when it returns true.
func (b *jsonBody) texts(name string, to *[]string) bool {
	if !b.has(name) {
		return false
	}
	var items []json.RawMessage
	raw := b.members[name]
	if raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		b.problem(name, problemType, "must be an array of strings")
		return false
	}
	out := make([]string, 0, len(items))
	good := true
	for i, item := range items {
		s, ok := jsonString(item)
		if !ok {
			b.problem(name+"["+strconv.Itoa(i)+"]", problemType, "must be a string")
			good = false
			continue
		}
		out = append(out, s)
	}
	if good {
		*to = out
	}
	return good
}

// boolean reads true or false into to.
func (b *jsonBody) boolean(name string, to *bool) bool {
	if !b.has(name) {
		return false
	}
	switch string(b.members[name]) {
	case "true":
		*to = true
	case "false":
		*to = false
	default:
		b.problem(name, problemType, "must be true or false")
		return false
	}
	return true
}

// number reads a whole number from least to most into to.
func (b *jsonBody) number(name string, to *int64, least, most int64) bool {
	if !b.has(name) {
		return false
	}
	n, err := strconv.ParseInt(string(b.members[name]), 10, 64)
	if err != nil || n < least || n > most {
		b.problem(name, problemType, "must be a whole number from "+strconv.FormatInt(least, 10)+" to "+strconv.FormatInt(most, 10))
		return false
	}
	*to = n
	return true
}

// oneOf reads one of the allowed strings into to.
func (b *jsonBody) oneOf(name string, to *string, allowed ...string) bool {
	var s string
	if !b.text(name, &s) {
		return false
	}
	if !slices.Contains(allowed, s) {
		b.problem(name, problemValue, "must be "+strings.Join(allowed, " or "))
		return false
	}
	*to = s
	return true
}

// refuseUnknown notes a problem for every member that nobody asked for.
func (b *jsonBody) refuseUnknown() {
	var names []string
	for name := range b.members {
		if !b.read[name] {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if len(name) > 64 {
			name = name[:64]
		}
		b.problem(name, problemUnknown, "is not a member of this request")
	}
}

// err is a 422 that lists the problems; its cause is an [invalidBodyError].
func (b *jsonBody) err() error {
	if len(b.problems) == 0 {
		return nil
	}
	e := &invalidBodyError{problems: b.problems}
	return unprocessable(plainText(e.Error())).because(e)
}

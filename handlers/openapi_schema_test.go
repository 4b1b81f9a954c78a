package handlers_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"mime"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/oauthreg/oauthreg/handlers"
)

// apiDescription reads the OpenAPI document as far as it is used here.
type apiDescription struct {
	root map[string]any

	mu sync.Mutex
	// seen are the described members that a response had, as "Schema.member".
	seen map[string]bool
	// answered are the operations that were called, as "GET /path".
	answered map[string]bool
}

var theDescription = sync.OnceValue(func() *apiDescription {
	d := &apiDescription{seen: map[string]bool{}, answered: map[string]bool{}}
	if err := json.Unmarshal(handlers.OpenAPIDocument(), &d.root); err != nil {
		panic(err)
	}
	return d
})

// at follows a reference such as #/components/schemas/Error.
func (d *apiDescription) at(ref string) map[string]any {
	var v any = d.root
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := v.(map[string]any)
		v = m[strings.NewReplacer("~1", "/", "~0", "~").Replace(part)]
	}
	m, ok := v.(map[string]any)
	if !ok {
		panic("the OpenAPI document has no " + ref)
	}
	return m
}

func (d *apiDescription) resolve(v any) map[string]any {
	m, _ := v.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		return d.at(ref)
	}
	return m
}

func (d *apiDescription) paths() map[string]any { return d.root["paths"].(map[string]any) }

// match finds the described path that a request's escaped path is one of.
func (d *apiDescription) match(path string) string {
	parts := strings.Split(path, "/")
	best, literal := "", -1
	for template := range d.paths() {
		names := strings.Split(template, "/")
		if len(names) != len(parts) {
			continue
		}
		same, fits := 0, true
		for i := range names {
			switch {
			case names[i] == parts[i]:
				same++
			case !strings.HasPrefix(names[i], "{") || parts[i] == "":
				fits = false
			}
		}
		if fits && same > literal {
			best, literal = template, same
		}
	}
	return best
}

// methods are those that are described for a path.
func (d *apiDescription) methods(path string) map[string]map[string]any {
	out := map[string]map[string]any{}
	for name, v := range d.resolve(d.paths()[path]) {
		if name != "parameters" {
			out[strings.ToUpper(name)] = d.resolve(v)
		}
	}
	return out
}

// check says what a response has that is not described, or the other way round.
func (d *apiDescription) check(method, path string, resp *http.Response, body []byte) []string {
	template := d.match(path)
	operation := d.methods(template)[method]
	if template == "" || operation == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answered[method+" "+template] = true
	if resp.StatusCode >= 500 && resp.StatusCode != 503 {
		return nil
	}
	where := fmt.Sprintf("%s %s %d", method, template, resp.StatusCode)
	described := d.resolve(operation["responses"].(map[string]any)[fmt.Sprint(resp.StatusCode)])
	if described == nil {
		return []string{where + " is not described: " + string(body)}
	}
	content, _ := described["content"].(map[string]any)
	if content == nil {
		if len(body) > 0 {
			return []string{where + " is described without a body: " + string(body)}
		}
		return nil
	}
	mt, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || content[mt] == nil {
		return []string{where + ": content type " + resp.Header.Get("Content-Type") + " is not described"}
	}
	if !strings.HasSuffix(mt, "json") {
		return nil
	}
	var v any
	if err := json.Unmarshal(body, &v); err != nil {
		return []string{where + ": " + err.Error()}
	}
	var problems []string
	for _, p := range d.validate(content[mt].(map[string]any)["schema"], v, "", "") {
		problems = append(problems, where+p+" in "+string(body))
	}
	return problems
}

// validate compares a value with a schema: types, members both ways, constants,
// formats. name is the schema that members count as seen of.
func (d *apiDescription) validate(schema any, v any, at, name string) []string {
	m, _ := schema.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		return d.validate(d.at(ref), v, at, ref[strings.LastIndexByte(ref, '/')+1:])
	}
	if choices, ok := m["oneOf"].([]any); ok {
		var all []string
		for _, c := range choices {
			problems := d.validate(c, v, at, name)
			if len(problems) == 0 {
				return nil
			}
			all = append(all, problems...)
		}
		return all
	}
	var problems []string
	fail := func(format string, args ...any) { problems = append(problems, at+": "+fmt.Sprintf(format, args...)) }
	if want, ok := m["const"]; ok && v != want {
		fail("is %v, not %v", v, want)
	}
	if allowed, ok := m["enum"].([]any); ok && !slices.Contains(allowed, v) {
		fail("is %v, not one of %v", v, allowed)
	}
	if !d.isType(m["type"], v) {
		fail("is %T, not %v", v, m["type"])
		return problems
	}
	switch v := v.(type) {
	case string:
		switch m["format"] {
		case "date-time":
			if _, err := time.Parse(time.RFC3339, v); err != nil {
				fail("%v", err)
			}
		case "uuid":
			if _, err := uuid.Parse(v); err != nil {
				fail("%q: %v", v, err)
			}
		case "uri":
			if u, err := url.Parse(v); err != nil || !u.IsAbs() {
				fail("%q is not a URI", v)
			}
		}
	case []any:
		for i, item := range v {
			problems = append(problems, d.validate(m["items"], item, fmt.Sprintf("%s[%d]", at, i), name)...)
		}
	case map[string]any:
		properties, _ := m["properties"].(map[string]any)
		for _, member := range slices.Sorted(maps.Keys(v)) {
			p, ok := properties[member]
			if !ok {
				switch more := m["additionalProperties"].(type) {
				case bool:
					if !more {
						fail("has the member %s, which is not described", member)
					}
				case map[string]any:
					problems = append(problems, d.validate(more, v[member], at+"."+member, name)...)
				}
				continue
			}
			d.seen[name+"."+member] = true
			problems = append(problems, d.validate(p, v[member], at+"."+member, name+"."+member)...)
		}
		required, _ := m["required"].([]any)
		for _, member := range required {
			if _, ok := v[member.(string)]; !ok {
				fail("does not have the member %v", member)
			}
		}
	}
	return problems
}

func (d *apiDescription) isType(want, v any) bool {
	if list, ok := want.([]any); ok {
		return slices.ContainsFunc(list, func(w any) bool { return d.isType(w, v) })
	}
	switch v := v.(type) {
	case nil:
		return want == "null"
	case string:
		return want == "string"
	case bool:
		return want == "boolean"
	case float64:
		return want == "number" || want == "integer" && v == float64(int64(v))
	case []any:
		return want == "array"
	case map[string]any:
		return want == "object"
	}
	return false
}

// members are the described members of a schema and what is in it, as
// "Schema.member".
func (d *apiDescription) members(schema any, name string, into map[string]bool) {
	m, _ := schema.(map[string]any)
	if ref, ok := m["$ref"].(string); ok {
		d.members(d.at(ref), ref[strings.LastIndexByte(ref, '/')+1:], into)
		return
	}
	if choices, ok := m["oneOf"].([]any); ok {
		for _, c := range choices {
			d.members(c, name, into)
		}
	}
	d.membersOf(m, name, into)
}

func (d *apiDescription) membersOf(m map[string]any, name string, into map[string]bool) {
	if items, ok := m["items"]; ok {
		d.members(items, name, into)
	}
	properties, _ := m["properties"].(map[string]any)
	for member, p := range properties {
		key := name + "." + member
		if !into[key] {
			into[key] = true
			d.members(p, key, into)
		}
	}
}

// described lets h answer, and fails the test when an answer is not as the
// OpenAPI document says. base is the issuer's path.
func described(t testing.TB, base string, h http.Handler) http.Handler {
	d := theDescription()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path, ok := strings.CutPrefix(r.URL.EscapedPath(), base)
		if !ok || d.match(path) == "" {
			h.ServeHTTP(w, r)
			return
		}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, r)
		resp := rec.Result()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		for _, problem := range d.check(r.Method, path, resp, body) {
			t.Errorf("OpenAPI: %s", problem)
		}
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		_, _ = io.Copy(w, bytes.NewReader(body))
	})
}

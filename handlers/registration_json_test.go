package handlers

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4/json" // refuses repeated members
)

func TestReadObject(t *testing.T) {
	deep := func(n int) string { return `{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + `}` }
	for _, tt := range []struct {
		name, in string
		ok       bool
	}{
		{"an empty object", `{}`, true},
		{"white space around it", " \t\r\n{ } \n", true},
		{"one name at different places", `{"a":{"a":[{"a":1},{"a":"a"}]},"b":"a"}`, true},
		{"as deep as may be", deep(maxJSONDepth), true},
		{"too deep", deep(maxJSONDepth + 1), false},
		{"a repeated member", `{"a":1,"a":1}`, false},
		{"a repeated member behind a nested object", `{"a":{"b":[]},"c":[{}],"a":1}`, false},
		{"a repeated member in an object in an array", `{"a":[0,{"b":1,"b":2}]}`, false},
		{"a repeated member in another spelling", `{"a":1,"\u0061":1}`, false},
		{"names that differ in case", `{"a":1,"A":1}`, true},
		{"nothing", ``, false},
		{"null", `null`, false},
		{"an array", `[{}]`, false},
		{"a string", `"{}"`, false},
		{"two objects", `{}{}`, false},
		{"a comma behind it", `{},`, false},
		{"a comma too many", `{"a":1,}`, false},
		{"a comment", `{/**/}`, false},
		{"a name without quotation marks", `{a:1}`, false},
		{"cut short", `{"a":[1,2`, false},
		{"a byte order mark", "\ufeff{}", false},
		{"not UTF-8", "{\"a\":\"\xff\"}", false},
		{"an escaped control character", `{"a":"\u0000"}`, true},
		{"a control character", "{\"a\":\"\n\"}", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			members, err := readObject([]byte(tt.in))
			if (err == nil) != tt.ok || (err == nil) != (members != nil) {
				t.Errorf("got %v, %v, want ok %t", members, err, tt.ok)
			}
		})
	}
}

// No two readers see different values in what is let through: a parser that
// refuses repeated members takes it as well.
func FuzzReadObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":[{"b":null},1e9,"\ud800"]}`, `{"a":1,"\u0061":2}`, `{"a":{"a":{}},"a":[]}`, "{\"\x00\":0}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		members, err := readObject(raw)
		if err != nil {
			return
		}
		var strict map[string]any
		d := json.NewDecoder(bytes.NewReader(raw))
		d.SetNumberType(json.UnmarshalJSONNumber) // 1e700 is JSON, and no float64
		if err := d.Decode(&strict); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if len(strict) != len(members) {
			t.Fatalf("%q: %d members, another reader sees %d", raw, len(members), len(strict))
		}
	})
}

package storage

import (
	"bytes"
	"encoding/json"
	"slices"
	"testing"
)

// The members of an object are those that encoding/json finds, value for value.
func FuzzEachMember(f *testing.F) {
	for _, doc := range []string{
		`{"contacts":["a@mail.example"],"user_id":"u"}`, ` { "a" : -1.5e3 , "b":[{"c":"]}"},"\\\""],"d":null , "e":{} } `,
		`{"":"","a":"\"","b":true}`, `{}`, `[]`, `{"a":}`, `{"a":,"b":1}`, `{"a":]}`, `{"a"1}`, `{"a":"`, `{"a":1,}`,
	} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		type member struct{ name, value string }
		var got []member
		err := eachMember(doc, func(name string, start, end int) error {
			got = append(got, member{name, string(doc[start:end])})
			return nil
		})
		if !json.Valid(doc) || bytes.TrimSpace(doc)[0] != '{' {
			return // whatever it finds, it ends
		}
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		var want []member
		in := json.NewDecoder(bytes.NewReader(doc))
		_, _ = in.Token()
		for in.More() {
			name, _ := in.Token()
			var value json.RawMessage
			if err := in.Decode(&value); err != nil {
				t.Fatal(err)
			}
			want = append(want, member{name.(string), string(value)})
		}
		if !slices.EqualFunc(got, want, func(a, b member) bool {
			escaped := bytes.ContainsAny([]byte(a.name), `\`) || a.name != string([]rune(a.name)) // not decoded
			return a.value == b.value && (escaped || a.name == b.name)
		}) {
			t.Errorf("%s: got %q, want %q", doc, got, want)
		}
	})
}

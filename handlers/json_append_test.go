package handlers

import (
	"encoding/json"
	"reflect"
	"testing"
)

// What writes itself is what encoding/json would write, whatever its members are.
func TestAppendJSON(t *testing.T) {
	texts := []string{"", "a", `"`, `\`, "<&>", "\x00\n\u2028", "ü", "\xff", "a b"}
	values := func(f reflect.Type) (out []reflect.Value) {
		switch f.Kind() {
		case reflect.String:
			for _, v := range texts {
				out = append(out, reflect.ValueOf(v))
			}
		case reflect.Int64:
			out = append(out, reflect.ValueOf(int64(0)), reflect.ValueOf(int64(1)), reflect.ValueOf(int64(-1<<63)))
		case reflect.Bool:
			out = append(out, reflect.ValueOf(false), reflect.ValueOf(true))
		case reflect.Interface: // aud: what [audience] returns
			for _, v := range texts[1:] {
				out = append(out, reflect.ValueOf(any(v)), reflect.ValueOf(any([]string{"x", v})))
			}
		default:
			t.Fatalf("a member is a %s", f)
		}
		return out
	}
	for _, answer := range []jsonAppender{&tokenResponse{}, &introspectionResponse{}} {
		v := reflect.ValueOf(answer).Elem()
		check := func() {
			want, err := json.Marshal(answer)
			if err != nil {
				t.Fatal(err)
			}
			if got := answer.appendJSON([]byte("x")); string(got) != "x"+string(want) {
				t.Errorf("got  %s\nwant x%s", got, want)
			}
		}
		check()
		for i := range v.NumField() {
			for _, set := range values(v.Type().Field(i).Type) {
				v.Field(i).Set(set)
				check() // beside the last values of the members before it
			}
		}
	}
}

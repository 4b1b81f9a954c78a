package handlers

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"
	"time"
)

// What writes itself is what encoding/json would write, whatever its members are.
func TestAppendJSON(t *testing.T) {
	texts := []string{"", "a", `"`, `\`, "<&>", "\x00\n\u2028", "ü", "\xff", "a b"}
	var values func(f reflect.Type) []reflect.Value
	values = func(f reflect.Type) (out []reflect.Value) {
		switch f {
		case reflect.TypeFor[time.Time]():
			for _, v := range []time.Time{{}, time.Unix(1, 0), time.UnixMicro(1_234_567_890).UTC(), time.Unix(2e9, 5).In(time.FixedZone("", 5400))} {
				out = append(out, reflect.ValueOf(v))
			}
			return out
		case reflect.TypeFor[[]string]():
			for _, v := range append([][]string{nil, {}}, slices.Collect(slices.Chunk(texts, 4))...) {
				out = append(out, reflect.ValueOf(v))
			}
			return out
		}
		switch f.Kind() {
		case reflect.String:
			for _, v := range texts {
				out = append(out, reflect.ValueOf(v).Convert(f))
			}
		case reflect.Int, reflect.Int64:
			for _, v := range []int64{0, 1, -1 << 63} {
				out = append(out, reflect.ValueOf(v).Convert(f))
			}
		case reflect.Bool:
			out = append(out, reflect.ValueOf(false), reflect.ValueOf(true))
		case reflect.Interface: // aud: what [audience] returns
			for _, v := range texts[1:] {
				out = append(out, reflect.ValueOf(any(v)), reflect.ValueOf(any([]string{"x", v})))
			}
		case reflect.Pointer:
			out = append(out, reflect.Zero(f))
			for _, v := range values(f.Elem()) {
				to := reflect.New(f.Elem())
				to.Elem().Set(v)
				out = append(out, to)
			}
		case reflect.Struct: // one member after the other has another value than zero
			for i := range f.NumField() {
				for _, v := range values(f.Field(i).Type) {
					of := reflect.New(f).Elem()
					of.Field(i).Set(v)
					out = append(out, of)
				}
			}
		case reflect.Slice: // never nil
			all := reflect.MakeSlice(f, 0, 0)
			out = append(out, all)
			for _, v := range values(f.Elem()) {
				all = reflect.Append(all, v)
				out = append(out, all)
			}
		default:
			t.Fatalf("a member is a %s", f)
		}
		return out
	}
	for _, answer := range []jsonAppender{
		&tokenResponse{}, &introspectionResponse{}, &clientV2{}, &pageMeta{},
		&clientEnvelopeV2{}, &clientListV2{Data: []clientV2{}},
	} {
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

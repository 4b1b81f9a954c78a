package handlers

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"github.com/ory/fosite"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// setAll sets every member of a struct, so that a new one is noticed here.
func setAll(t *testing.T, v reflect.Value) {
	t.Helper()
	at := time.Date(2030, 1, 2, 3, 4, 5, 678901234, time.UTC)
	for i := range v.NumField() {
		f := v.Field(i)
		name := v.Type().Field(i).Name
		switch f.Interface().(type) {
		case string:
			f.SetString("value of " + name)
		case []string:
			f.Set(reflect.ValueOf([]string{name, "", "b"}))
		case time.Time:
			f.Set(reflect.ValueOf(at.Add(time.Duration(i) * time.Hour)))
		case bool:
			f.SetBool(true)
		case []TokenEnd:
			f.Set(reflect.ValueOf([]TokenEnd{{fosite.AccessToken, at}, {fosite.RefreshToken, at.Add(time.Hour)}}))
		case *claimsRequest:
			f.Set(reflect.ValueOf(&claimsRequest{
				IDToken:  map[string]*claimRequest{"acr": {Essential: true, Values: []json.RawMessage{json.RawMessage(`"a"`)}}},
				Userinfo: map[string]*claimRequest{"name": nil},
			}))
		case *int64:
			f.Set(reflect.ValueOf(new(int64)))
		case authorizeParams:
			setAll(t, f)
		case []byte:
			f.SetBytes([]byte(name))
		case *oauthreg.Interaction:
			f.Set(reflect.ValueOf(new(oauthreg.Interaction)))
			setAll(t, f.Elem())
		default:
			t.Fatalf("%s has a type this test does not know", name)
		}
	}
}

func TestSessionCodec(t *testing.T) {
	full := new(Session)
	setAll(t, reflect.ValueOf(full).Elem())
	for name, want := range map[string]*Session{"full": full, "empty": {}, "client": {Subject: "c", ForClient: true}} {
		b, err := want.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := &Session{Subject: "something else", AMR: []string{"x"}}
		if err := got.UnmarshalBinary(b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
		for n := range b { // cut short anywhere, or a later version
			_ = new(Session).UnmarshalBinary(b[:n]) // must not panic
		}
		b[0]++
		if new(Session).UnmarshalBinary(b) == nil {
			t.Error("another version is accepted")
		}
	}
	// A member that a later program adds is passed over.
	b, err := full.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	got := new(Session)
	if err := got.UnmarshalBinary(append(b, 200, 2, 'x', 'y')); err != nil || !reflect.DeepEqual(got, full) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestSignInStepCodec(t *testing.T) {
	full := new(signInStep)
	setAll(t, reflect.ValueOf(full).Elem())
	// The browser's is where it comes back from, and nobody has signed in.
	full.Request.Browser, full.Request.Subject, full.Request.SessionID, full.Request.ExpiresAt = "", "", "", full.Expires
	for name, want := range map[string]*signInStep{"full": full, "empty": {}} {
		b := want.appendBinary(nil)
		got := new(signInStep)
		if err := got.readBinary(b); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, %v, want %+v", name, got, err, want)
		}
		for n := range b {
			_ = new(signInStep).readBinary(b[:n]) // must not panic
		}
		b[0]++
		if new(signInStep).readBinary(b) == nil {
			t.Error("another version is accepted")
		}
	}
}

func TestPendingCodec(t *testing.T) {
	full := new(pending)
	setAll(t, reflect.ValueOf(full).Elem())
	full.Params.IDTokenHint = "" // is not kept
	for name, want := range map[string]*pending{"full": full, "empty": {}} {
		b, err := want.appendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		got := &pending{ACR: "something else", AMR: []string{"x"}}
		if err := got.readBinary(b); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
		}
		for n := range b {
			_ = new(pending).readBinary(b[:n]) // must not panic
		}
		if err := got.readBinary(append(b, 200, 1, 'x')); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s, and a tag of a later program: got %+v, %v", name, got, err)
		}
		b[0]++
		if new(pending).readBinary(b) == nil {
			t.Error("another version is accepted")
		}
	}
	if new(pending).readBinary(nil) == nil {
		t.Error("nothing is accepted")
	}
}

func BenchmarkSessionCodec(b *testing.B) {
	at := time.Now()
	s := &Session{Subject: "alice", Expires: []TokenEnd{{fosite.AccessToken, at}}, SessionID: "sid", AuthTime: at, AMR: []string{"pwd"}, GrantedAt: at, RefreshUntil: at}
	stored, err := s.AppendBinary(nil)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("append", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := s.AppendBinary(make([]byte, 0, 256)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("unmarshal", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := new(Session).UnmarshalBinary(stored); err != nil {
				b.Fatal(err)
			}
		}
	})
}

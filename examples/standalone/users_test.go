package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/oauthreg"
)

func TestCheckPassword(t *testing.T) {
	d, err := readUsers("../../testdata/users.json")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, username, password string
		want                     string // subject; empty: refused
	}{
		{"in clear", "alice", "alice-password", "10000000-0000-4000-8000-000000000001"},
		{"in clear, wrong", "alice", "alice-passwore", ""},
		{"in clear, a part of it", "alice", "alice-passwor", ""},
		{"in clear, empty", "alice", "", ""},
		{"bcrypt", "bob", "bob-password", "10000000-0000-4000-8000-000000000002"},
		{"bcrypt, wrong", "bob", "alice-password", ""},
		{"bcrypt, the hash itself", "bob", "$2a$10$uj2Ow4ktLtek6wvGwHxSUurYFmdnsDW7IVtOMbLHNiDXhIWgcp9YW", ""},
		{"argon2id", "carol", "carol-password", "10000000-0000-4000-8000-000000000003"},
		{"argon2id, wrong", "carol", "Carol-password", ""},
		{"another case of the name", "Alice", "alice-password", ""},
		{"nobody", "mallory", "alice-password", ""},
		{"no name", "", "alice-password", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			sub, ok, err := d.CheckPassword(t.Context(), tt.username, tt.password)
			if err != nil || sub != tt.want || ok != (tt.want != "") {
				t.Errorf("got %q, %v, %v, want %q", sub, ok, err, tt.want)
			}
		})
	}
}

// A name that nobody has costs what a wrong password costs, whatever the mix of
// hashes in the file: some password is compared, the same one for the same name,
// and even a right guess of that one does not sign in.
func TestUnknownNamesArePaidFor(t *testing.T) {
	var compared []int
	users := make([]user, 3)
	for i := range users {
		users[i] = user{Username: string(rune('a' + i)), Subject: string(rune('A' + i)), Password: func(string) bool {
			compared = append(compared, i)
			return true
		}}
	}
	d, err := newDirectory(users)
	if err != nil {
		t.Fatal(err)
	}
	used := map[int]bool{}
	for _, name := range strings.Split("mallory eve trent oscar peggy victor walter wendy craig dave faythe grace", " ") {
		compared = nil
		for range 3 {
			if sub, ok, err := d.CheckPassword(t.Context(), name, "x"); ok || sub != "" || err != nil {
				t.Fatalf("%s: got %q, %v, %v, want nobody", name, sub, ok, err)
			}
		}
		if len(compared) != 3 || compared[0] != compared[1] || compared[1] != compared[2] {
			t.Errorf("%s: passwords compared %v, want one, three times", name, compared)
		}
		used[compared[0]] = true
	}
	if len(used) < 2 {
		t.Errorf("all unknown names compare with one user: %v", used)
	}
}

func TestClaims(t *testing.T) {
	d, err := readUsers("../../testdata/users.json")
	if err != nil {
		t.Fatal(err)
	}
	const alice = "10000000-0000-4000-8000-000000000001"
	claims, err := d.Claims(t.Context(), alice)
	if err != nil || claims["email"] != "alice@example.com" || claims["email_verified"] != true {
		t.Errorf("got %v, %v", claims, err)
	}
	claims["email"] = "changed"
	if again, _ := d.Claims(t.Context(), alice); again["email"] != "alice@example.com" {
		t.Error("a caller can change the directory's claims")
	}
	if _, err := d.Claims(t.Context(), "nobody"); !errors.Is(err, oauthreg.ErrNotFound) {
		t.Errorf("got %v, want ErrNotFound", err)
	}
	for sub, want := range map[string]bool{alice: true, "nobody": false} {
		if ok, err := d.active(t.Context(), sub); ok != want || err != nil {
			t.Errorf("%s: active %v, %v, want %v", sub, ok, err, want)
		}
	}
}

func TestUsersFileErrors(t *testing.T) {
	const ok = `{"username":"a","password":"p","sub":"1"}`
	tests := []struct {
		name, file, want string
	}{
		{"empty", ``, "not a JSON array of users: the file is empty"},
		{"not an array", ok, "not a JSON array of users"},
		{"null", `null`, "not a JSON array of users"},
		{"cut off", `[` + ok, "not a JSON array of users"},
		{"something after it", `[` + ok + `] x`, "not a JSON array of users"},
		{"not an object", `[` + ok + `,7]`, "user 1: not a JSON object"},
		{"unknown member", `[` + ok + `,{"username":"b","password":"p","sub":"2","groups":[]}]`, `user 1: unknown member "groups"`},
		{"member in another case", `[{"Username":"b","password":"p","sub":"2"}]`, `user 0: unknown member "Username"`},
		{"repeated member", `[{"username":"b","password":"p","sub":"2","password":"q"}]`, `user 0: member "password" occurs twice`},
		{"wrong type", `[{"username":"b","password":7,"sub":"2"}]`, `user 0: member "password" has the wrong type`},
		{"claims not an object", `[{"username":"b","password":"p","sub":"2","claims":[]}]`, `user 0: member "claims" has the wrong type`},
		{"no username", `[{"password":"p","sub":"2"}]`, "user 0: username is missing"},
		{"no password", `[{"username":"b","sub":"2"}]`, "user 0: password is missing"},
		{"no sub", `[{"username":"b","password":"p"}]`, "user 0: sub is missing"},
		{"long sub", `[{"username":"b","password":"p","sub":"` + strings.Repeat("x", 256) + `"}]`, "user 0: sub has more than 255 characters"},
		{"another sub among the claims", `[{"username":"b","password":"p","sub":"2","claims":{"sub":"3"}}]`, "user 0: claims.sub differs from sub"},
		{"broken bcrypt", `[{"username":"b","password":"$2b$10$short","sub":"2"}]`, "user 0: password looks like a bcrypt hash and is none"},
		{"broken argon2", `[{"username":"b","password":"$argon2id$v=19$m=1,t=1$x$y","sub":"2"}]`, "user 0: password looks like an argon2 hash"},
		{"argon2 beyond reason", `[{"username":"b","password":"$argon2id$v=19$m=4000000000,t=1,p=1$ZGV2ZWxvcG1lbnQtc2FsdA$GHjza5orO9dIrQ97MIrtwBq5LhKzc01goIklJwYZuL4","sub":"2"}]`, "user 0: password looks like an argon2 hash"},
		{"username taken", `[` + ok + `,{"username":"a","password":"p","sub":"2"}]`, "user 1: username is that of user 0"},
		{"sub taken", `[` + ok + `,{"username":"b","password":"p","sub":"1"}]`, "user 1: sub is that of user 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			name := filepath.Join(t.TempDir(), "users.json")
			if err := os.WriteFile(name, []byte(tt.file), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := readUsers(name)
			if err == nil || !strings.HasPrefix(err.Error(), name+": "+tt.want) {
				t.Errorf("got %v, want %s: %s", err, name, tt.want)
			}
		})
	}
	t.Run("no users at all", func(t *testing.T) {
		users, err := parseUsers([]byte(`[]`))
		if err != nil || len(users) != 0 {
			t.Fatalf("got %v, %v", users, err)
		}
		d, err := newDirectory(users)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok, err := d.CheckPassword(t.Context(), "a", "p"); ok || err != nil {
			t.Errorf("got %v, %v, want nobody", ok, err)
		}
	})
}

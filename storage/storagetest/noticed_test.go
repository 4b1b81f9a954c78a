package storagetest

import (
	"context"
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// mayDoNothing are the methods of which a store may keep its promises without
// doing anything: nothing has to be lost with an OpenID Connect session or a
// challenge, a database that is part of the process answers, and what was never
// written need not be rolled back.
var mayDoNothing = []string{"DeleteOpenIDConnectSession", "DeletePKCERequestSession", "Ping", "Rollback"}

// Every method that a store has is called by a rule, which looks at what it did:
// a store of which it does nothing breaks a rule, and so does one of which it
// fails. A method that is added to an interface has its rule, or this fails.
func TestEveryMethodIsNoticed(t *testing.T) {
	methods := reflect.TypeFor[Store]()
	for i := range methods.NumMethod() {
		name := methods.Method(i).Name
		t.Run(name, func(t *testing.T) {
			if !noticed(t, rules, instead(name, errors.New("it fails"))) {
				t.Error("no rule notices that it fails")
			}
			if slices.Contains(mayDoNothing, name) {
				return
			}
			if !noticed(t, rules, instead(name, nil)) {
				t.Error("no rule notices that it does nothing")
			}
		})
	}
}

// noticed reports whether a store breaks one of the rules.
func noticed(t *testing.T, rules []rule, wrap func(Store) Store) bool {
	return slices.ContainsFunc(rules, func(r rule) bool { return len(breaks(t, r, wrap)) > 0 })
}

// Every write that takes part in transactions is known by WritesTakePart not to.
func TestEveryWriteOutsideIsNoticed(t *testing.T) {
	for _, w := range writes(t, newMemory()) {
		texts := breaks(t, ruleNamed(t, "WritesTakePart"), outside(w.name))
		if !slices.ContainsFunc(texts, func(text string) bool { return strings.HasPrefix(text, w.name+": the rollback") }) {
			t.Errorf("%s takes no part, of which WritesTakePart says %q", w.name, texts)
		}
	}
}

func ruleNamed(t *testing.T, name string) rule {
	i := slices.IndexFunc(rules, func(r rule) bool { return r.name == name })
	if i < 0 {
		t.Fatalf("there is no rule %s", name)
	}
	return rules[i]
}

// Every field of what a store returns is compared by a rule, those of its structs
// too. A field that is added is, because [filled] fills it, or this fails.
func TestEveryFieldIsNoticed(t *testing.T) {
	empty := map[string][]string{
		"Client":            {"Secrets.LastUsedAt"},
		"Consent":           {"LastIssuedAt"},
		"Grant":             {"RevokedAt"},
		"ListGrants":        {"RevokedAt"},
		"ListLoginSessions": {"Handle"},
		"Interaction":       {"Browser"},
		"ClaimLogouts":      {"SessionMember.ExpiresAt"},
	}
	methods := reflect.TypeFor[Store]()
	seen := 0
	for i := range methods.NumMethod() {
		m := methods.Method(i)
		for _, path := range paths(m.Type.Out(0)) {
			if slices.Contains(empty[m.Name], strings.Join(path, ".")) {
				continue
			}
			seen++
			forgets := func(s Store) Store {
				return hooked{s: s, method: m.Name, after: func(result any) { forget(reflect.ValueOf(result).Elem(), path) }}
			}
			if !noticed(t, rulesOfValues, forgets) {
				t.Errorf("no rule notices that %s forgets %s", m.Name, strings.Join(path, "."))
			}
		}
	}
	if seen < 150 {
		t.Errorf("got %d fields: they are not found any more", seen)
	}
}

// rulesOfValues are those that compare what comes back with what was written.
var rulesOfValues = slices.DeleteFunc(slices.Clone(rules), func(r rule) bool {
	return !strings.Contains(r.name, "Kept") && !strings.Contains(r.name, "Whole") && !strings.HasSuffix(r.name, "Selected") &&
		!strings.Contains(r.name, "Listed") && r.name != "FailedLogoutIsTriedAgain"
})

// paths are the fields of a struct of package oauthreg, or of a list of them.
func paths(t reflect.Type) (list [][]string) {
	if t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		return nil
	}
	for i := range t.NumField() {
		f := t.Field(i)
		below := paths(f.Type)
		if below == nil {
			list = append(list, []string{f.Name})
		}
		for _, path := range below {
			list = append(list, append([]string{f.Name}, path...))
		}
	}
	return list
}

// forget empties the field of v, or of each in a list.
func forget(v reflect.Value, path []string) {
	switch {
	case len(path) == 0:
		v.SetZero()
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			forget(v.Index(i), path)
		}
	default:
		forget(v.FieldByName(path[0]), path[1:])
	}
}

// Stores of which one argument is not what the caller said.
type (
	listing struct {
		Store
		edit func(*oauthreg.ListQuery)
	}
	auditing struct {
		Store
		edit func(*oauthreg.AuditQuery)
	}
	filtering struct {
		Store
		method string
		edit   func(*oauthreg.GrantFilter)
	}
	inserting struct {
		Store
		edit func(*oauthreg.Record)
	}
)

func (s listing) ListClients(ctx context.Context, q oauthreg.ListQuery) ([]oauthreg.Client, int, error) {
	s.edit(&q)
	return s.Store.ListClients(ctx, q)
}

func (s auditing) AuditRecords(ctx context.Context, q oauthreg.AuditQuery) ([]oauthreg.AuditRecord, error) {
	s.edit(&q)
	return s.Store.AuditRecords(ctx, q)
}

func (s inserting) InsertClient(ctx context.Context, rec oauthreg.Record, audit oauthreg.AuditRecord) error {
	s.edit(&rec)
	return s.Store.InsertClient(ctx, rec, audit)
}

func (s filtering) filter(method string, f oauthreg.GrantFilter) oauthreg.GrantFilter {
	if method == s.method && f != (oauthreg.GrantFilter{}) {
		s.edit(&f)
		if f == (oauthreg.GrantFilter{}) {
			f.OrgID = "o" // of all in the rules
		}
	}
	return f
}

func (s filtering) ListGrants(ctx context.Context, f oauthreg.GrantFilter, offset, limit int) ([]oauthreg.Grant, int, error) {
	return s.Store.ListGrants(ctx, s.filter("ListGrants", f), offset, limit)
}

func (s filtering) RevokeGrants(ctx context.Context, f oauthreg.GrantFilter) (int, error) {
	return s.Store.RevokeGrants(ctx, s.filter("RevokeGrants", f))
}

func (s filtering) ListConsents(ctx context.Context, f oauthreg.GrantFilter, offset, limit int) ([]oauthreg.Consent, int, error) {
	return s.Store.ListConsents(ctx, s.filter("ListConsents", f), offset, limit)
}

func (s filtering) RevokeConsents(ctx context.Context, f oauthreg.GrantFilter) (int, error) {
	return s.Store.RevokeConsents(ctx, s.filter("RevokeConsents", f))
}

// Every field of every filter is obeyed, or the rule of that filter notices.
func TestEveryFilterIsNoticed(t *testing.T) {
	each := func(rule string, of reflect.Type, wrap func(Store, func(reflect.Value)) Store, but ...string) {
		r := ruleNamed(t, rule)
		for i := range of.NumField() {
			name := of.Field(i).Name
			if slices.Contains(but, name) {
				continue
			}
			blind := func(s Store) Store {
				return wrap(s, func(q reflect.Value) { q.Elem().Field(i).SetZero() })
			}
			if len(breaks(t, r, blind)) == 0 {
				t.Errorf("%s does not notice that %s is ignored", rule, name)
			}
		}
	}
	clients := func(s Store, edit func(reflect.Value)) Store {
		return listing{s, func(q *oauthreg.ListQuery) { edit(reflect.ValueOf(q)) }}
	}
	// Cursor is the registry's; pages and names have rules of their own.
	pages := []string{"NameContains", "Limit", "Offset", "AfterCreatedAt", "AfterID", "Cursor"}
	each("ClientsAreSelected", reflect.TypeFor[oauthreg.ListQuery](), clients, pages...)
	each("ClientsAreListedNewestFirst", reflect.TypeFor[oauthreg.ListQuery](), clients,
		"OrgID", "ProjectID", "ClientID", "Name", "NameContains", "Type", "GrantType", "Verified", "SelfRegistered", "Suspended", "Cursor")
	each("AuditRecordsAreSelected", reflect.TypeFor[oauthreg.AuditQuery](), func(s Store, edit func(reflect.Value)) Store {
		return auditing{s, func(q *oauthreg.AuditQuery) { edit(reflect.ValueOf(q)) }}
	})
	for method, rule := range map[string]string{
		"ListGrants": "FiltersSelect", "RevokeGrants": "FiltersRevoke", "ListConsents": "ConsentsAreSelected", "RevokeConsents": "ConsentsAreSelected",
	} {
		but := []string{}
		if rule == "ConsentsAreSelected" { // which belong to no session
			but = append(but, "SessionID")
		}
		each(rule, reflect.TypeFor[oauthreg.GrantFilter](), func(s Store, edit func(reflect.Value)) Store {
			return filtering{s, method, func(f *oauthreg.GrantFilter) { edit(reflect.ValueOf(f)) }}
		}, but...)
	}
}

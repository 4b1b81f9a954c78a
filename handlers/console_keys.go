package handlers

import (
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

type keysPage struct {
	Keys       []oauthreg.ListedKey
	Algorithms []string
}

// Ends reports whether a key can be withdrawn here.
func (keysPage) Ends(k oauthreg.ListedKey) bool {
	return !k.External && k.State != oauthreg.KeyExpired
}

// listKeys serves the signing keys, ended ones too.
func (c *console) listKeys(w http.ResponseWriter, r *http.Request, v *visit) error {
	keys, err := c.s.keys.List(r.Context())
	if err != nil {
		return err
	}
	return c.show(w, r, http.StatusOK, v.session, "keys", consoleView{Title: "Signing keys", Here: "keys", Data: keysPage{Keys: keys, Algorithms: c.s.keys.Algorithms()}})
}

// rotateKey makes a new key that signs from now on.
func (c *console) rotateKey(w http.ResponseWriter, r *http.Request, v *visit) error {
	alg := v.form.Get("alg")
	if !slices.Contains(c.s.keys.Algorithms(), alg) {
		return unprocessable("The algorithm is none of this server's.")
	}
	err := once(v, func() error {
		_, err := c.s.keys.Rotate(r.Context(), alg)
		return err
	})
	if err != nil {
		return keyError(err)
	}
	return c.to(w, "/keys?done=rotated")
}

// withdrawKey asks, and then ends a key that got into wrong hands.
func (c *console) withdrawKey(w http.ResponseWriter, r *http.Request, v *visit) error {
	if v.form != nil {
		if err := c.s.keys.Withdraw(r.Context(), v.form.Get("kid")); err != nil {
			return keyError(err)
		}
		return c.to(w, "/keys?done=withdrawn")
	}
	kid := r.URL.Query().Get("kid")
	keys, err := c.s.keys.List(r.Context())
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(k oauthreg.ListedKey) bool { return k.KeyID == kid }) {
		return notFound()
	}
	return c.confirm(w, r, v, "keys", "Withdraw this key?", confirmation{
		Action: c.path + "/keys/withdraw", Cancel: c.path + "/keys", Button: "Withdraw the key", Fields: map[string]string{"kid": kid},
		Lines: []string{
			"The key " + kid + " leaves the published set at once, and everything that it signed is refused: this is for a key that got into wrong hands.",
			"If it signs, a new one takes its place. To change keys in good order, rotate instead.",
		},
	})
}

// auditRow is a record with what it changed, member by member.
type auditRow struct {
	oauthreg.AuditRecord
	Client  *oauthreg.Client // nil: gone, or of no client
	Name    string           // client_id, or what is known of it
	Changes []change
}

type change struct{ Member, Before, After string }

type auditPage struct {
	Client, Action string // the filter
	Actions        []string
	Rows           []auditRow
	Filtered       bool
	Unknown        bool
	First, Older   string // links
}

// auditActions are what can be looked for.
var auditActions = []string{
	"client.registered", "client.updated", "client.suspended", "client.resumed", "client.deleted",
	"secret.created", "secret.revoked", "secret.rehashed", "registration_token.rotated",
	"signing_key.created", "signing_key.scheduled", "signing_key.retired", "signing_key.withdrawn",
}

// audit serves the audit log, newest first.
func (c *console) audit(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	data := auditPage{Client: strings.TrimSpace(q.Get("client")), Action: q.Get("action"), Actions: auditActions}
	data.Filtered = data.Client+data.Action != ""
	query := oauthreg.AuditQuery{Action: data.Action, BeforeID: q.Get("before"), Limit: consolePageSize + 1}
	link := func(before string) string {
		return c.path + "/audit?" + url.Values{"client": {data.Client}, "action": {data.Action}, "before": {before}}.Encode()
	}
	if data.Client != "" {
		client, err := c.s.reg.Get(r.Context(), oauthreg.ByClientID(data.Client))
		switch {
		case err == nil:
			query.ClientID = client.ID
		case errors.Is(err, oauthreg.ErrNotFound): // perhaps a deleted one, by its internal id
			query.ClientID = data.Client
			data.Unknown = true
		default:
			return err
		}
	}
	records, err := c.s.reg.Audit(r.Context(), query)
	if err != nil {
		return err
	}
	if len(records) > consolePageSize {
		records = records[:consolePageSize]
		data.Older = link(records[consolePageSize-1].ID)
	}
	if query.BeforeID != "" {
		data.First = link("")
	}
	clients := named{}
	for i := range records {
		row := auditRow{AuditRecord: records[i], Name: recordedName(&records[i]), Changes: changesOf(&records[i])}
		if row.ClientID != "" {
			if row.Client, err = clients.of(r.Context(), c.s.reg, row.ClientID); err != nil {
				return err
			}
			if row.Client != nil {
				row.Name = row.Client.ClientID
			} else if row.Name == "" {
				row.Name = row.ClientID
			}
		}
		data.Rows = append(data.Rows, row)
	}
	data.Unknown = data.Unknown && len(data.Rows) == 0
	return c.show(w, r, http.StatusOK, v.session, "audit", consoleView{Title: "Audit log", Here: "audit", Data: data})
}

// changesOf are the members of a record, before and after.
func changesOf(rec *oauthreg.AuditRecord) []change {
	var before, after map[string]json.RawMessage
	_ = json.Unmarshal(rec.Before, &before) // null, or not there: no members
	_ = json.Unmarshal(rec.After, &after)
	all := map[string]change{}
	for member, value := range before {
		all[member] = change{Member: member, Before: string(value)}
	}
	for member, value := range after {
		both := all[member]
		both.Member, both.After = member, string(value)
		all[member] = both
	}
	var out []change
	for _, member := range slices.Sorted(maps.Keys(all)) {
		out = append(out, all[member])
	}
	return out
}

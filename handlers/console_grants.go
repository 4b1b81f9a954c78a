package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// consoleGrant is a live grant, or a remembered consent.
type consoleGrant struct {
	ID, Subject                      string
	Client                           *oauthreg.Client
	Scopes, Resources                []string
	CreatedAt, LastUsedAt, ExpiresAt time.Time
}

type grantsPage struct {
	Client, Subject string // the filter
	Remembered      bool   // consents; otherwise live grants
	Grants          []consoleGrant
	Filtered        bool
	Unknown         bool // there is no such client
	Pager           pager
	Live, Consents  string // links
	RevokeAll       string // link; empty without a filter or without grants
}

// grantFilter is what a form or query selects; [oauthreg.ErrNotFound] for an
// unknown client.
func (c *console) grantFilter(ctx context.Context, q url.Values) (f oauthreg.GrantFilter, client, subject string, err error) {
	client, subject = strings.TrimSpace(q.Get("client")), strings.TrimSpace(q.Get("subject"))
	if !isPlain(subject) {
		return f, client, "", oauthreg.ErrNotFound
	}
	f.Subject = subject
	if client != "" {
		found, err := c.s.reg.Get(ctx, oauthreg.ByClientID(client))
		if err != nil {
			return f, client, subject, err
		}
		infoOf(ctx).isClient(&found)
		f.ClientID = found.ID
	}
	return f, client, subject, nil
}

// listGrants serves what users allowed: grants that live, which codes and tokens
// stand on, or consents that are remembered.
func (c *console) listGrants(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	data := grantsPage{Remembered: q.Get("show") == "consents"}
	f, client, subject, err := c.grantFilter(r.Context(), q)
	data.Client, data.Subject, data.Filtered = client, subject, client+subject != ""
	show := func() error {
		link := func(show string) string {
			return c.path + "/grants?" + url.Values{"show": {show}, "client": {data.Client}, "subject": {data.Subject}}.Encode()
		}
		data.Live, data.Consents = link("live"), link("consents")
		return c.show(w, r, http.StatusOK, v.session, "grants", consoleView{Title: "Grants", Here: "grants", Data: data})
	}
	if errors.Is(err, oauthreg.ErrNotFound) { // no such client: it has no grants
		data.Unknown, data.Pager = true, c.pager("/grants", q, 1, 0)
		return show()
	}
	if err != nil {
		return err
	}
	number := pageNumber(q)
	var total int
	data.Grants, total, err = c.grants(r.Context(), f, data.Remembered, (number-1)*consolePageSize)
	if err != nil {
		return err
	}
	data.Pager = c.pager("/grants", q, number, total)
	if data.Filtered && total > 0 {
		data.RevokeAll = c.path + "/grants/revoke?" + url.Values{"client": {client}, "subject": {subject}}.Encode()
	}
	return show()
}

func (c *console) grants(ctx context.Context, f oauthreg.GrantFilter, remembered bool, offset int) (out []consoleGrant, total int, err error) {
	clients := named{}
	add := func(clientID string, g consoleGrant) (err error) {
		g.Client, err = clients.of(ctx, c.s.reg, clientID)
		out = append(out, g)
		return err
	}
	if remembered {
		found, total, err := c.s.store.ListConsents(ctx, f, offset, consolePageSize)
		for i := range found {
			x := &found[i]
			err = errors.Join(err, add(x.ClientID, consoleGrant{
				ID: x.ID, Subject: x.Subject, Scopes: x.Scopes, Resources: x.Resources, CreatedAt: x.CreatedAt, LastUsedAt: x.LastIssuedAt,
			}))
		}
		return out, total, err
	}
	found, total, err := c.s.store.ListGrants(ctx, f, offset, consolePageSize)
	for i := range found {
		x := &found[i]
		err = errors.Join(err, add(x.ClientID, consoleGrant{
			ID: x.ID, Subject: x.Subject, Scopes: x.Scopes, Resources: x.Resources, CreatedAt: x.CreatedAt, LastUsedAt: x.LastUsedAt, ExpiresAt: x.ExpiresAt,
		}))
	}
	return out, total, err
}

// revokeGrants asks, and then revokes one grant, one consent with the grants
// beneath it, or everything of a client, a user, or both.
func (c *console) revokeGrants(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := v.form
	if q == nil {
		q = r.URL.Query()
	}
	ctx := r.Context()
	f, client, subject, err := c.grantFilter(ctx, q)
	if err != nil {
		return err
	}
	grant, consent := q.Get("grant"), q.Get("consent")
	switch {
	case client+subject+grant+consent == "":
		return invalidRequest("A client, a user or a grant is needed: nobody revokes everything by mistake.")
	case grant+consent != "" && client+subject != "", grant != "" && consent != "":
		return invalidRequest("One grant, or a client and a user: not both.")
	}
	back := url.Values{"client": {client}, "subject": {subject}}
	if grant+consent != "" { // whose is it?
		if !isPlain(grant + consent) {
			return notFound()
		}
		f.ID = grant + consent
		found, _, err := c.grants(ctx, f, consent != "", 0)
		if err != nil {
			return err
		}
		if len(found) == 0 && v.form == nil {
			return notFound()
		}
		if len(found) > 0 {
			subject = found[0].Subject
			if owner := found[0].Client; owner != nil {
				infoOf(ctx).isClient(owner)
				client = owner.ClientID
			}
		}
	}
	if v.form == nil {
		fields := map[string]string{}
		for name, values := range q {
			if slices.Contains([]string{"client", "subject", "grant", "consent"}, name) && values[0] != "" {
				fields[name] = values[0]
			}
		}
		return c.confirm(w, r, v, "grants", "Revoke access?", confirmation{
			Action: c.path + "/grants/revoke", Cancel: c.path + "/grants", Button: "Revoke", Fields: fields, Lines: revocationText(client, subject, grant, consent),
		})
	}
	e := oauthreg.Event{ClientID: client, Subject: subject, GrantID: grant}
	var done Revoked
	switch {
	case grant != "":
		done.Grants, err = c.s.revokeGrants(ctx, f, e)
	case consent != "":
		done.Consents, err = c.s.revokeConsents(ctx, f, e)
	default:
		done, err = c.s.RevokeConsents(ctx, f)
	}
	if err != nil {
		return err
	}
	if consent != "" {
		back.Set("show", "consents")
	}
	if back.Set("done", "revoked"); done == (Revoked{}) {
		back.Set("done", "nothing")
	}
	return c.to(w, "/grants?"+back.Encode())
}

func revocationText(client, subject, grant, consent string) []string {
	const end = "All codes, access tokens and refresh tokens that stand on it are worth nothing any more."
	client, subject = displayText(client, maxShown), displayText(subject, maxShown)
	switch {
	case grant != "" && subject == "":
		return []string{"This is a grant of the client " + client + " for itself.", end}
	case grant != "":
		return []string{"This is a grant of the user " + subject + " to the client " + client + ".", end, "That the user once allowed it stays remembered."}
	case consent != "":
		return []string{"The user " + subject + " is asked again before the client " + client + " gets anything.", end}
	}
	who, whom := "users", ""
	if subject != "" {
		who = "the user " + subject
	}
	if client != "" {
		whom = " the client " + client
	}
	return []string{"Everything that " + who + " allowed" + whom + " is forgotten.", end}
}

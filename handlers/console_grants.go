package handlers

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
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
				ID: x.ID, Subject: x.Subject, Scopes: x.Scopes, Resources: x.Resources, CreatedAt: x.CreatedAt, LastUsedAt: x.LastUsedAt,
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
	f, client, subject, err := c.grantFilter(r.Context(), q)
	if err != nil {
		return err
	}
	grant, consent := q.Get("grant"), q.Get("consent")
	if !isPlain(grant) || !isPlain(consent) {
		return notFound()
	}
	if client+subject+grant+consent == "" {
		return invalidRequest("A client, a user or a grant is needed: nobody revokes everything by mistake.")
	}
	if v.form == nil {
		fields := map[string]string{}
		for name, value := range map[string]string{"client": client, "subject": subject, "grant": grant, "consent": consent} {
			if value != "" {
				fields[name] = value
			}
		}
		return c.confirm(w, r, v, "grants", "Revoke access?", confirmation{
			Action: c.path + "/grants/revoke", Cancel: c.path + "/grants", Button: "Revoke", Fields: fields, Lines: revocationText(client, subject, grant, consent),
		})
	}
	ctx, total := r.Context(), 0
	e := oauthreg.Event{Type: oauthreg.EventConsentRevoked, ClientID: client, Subject: subject}
	if grant == "" {
		consents := f
		consents.ID = consent
		if e.Count, err = c.s.store.RevokeConsents(ctx, consents); err != nil {
			return err
		}
		if total += e.Count; e.Count > 0 {
			c.s.emit(ctx, e)
		}
	}
	if consent == "" { // those of first-party clients too, which ask for no consent
		grants := f
		grants.ID = grant
		if e.Count, err = c.s.store.RevokeGrants(ctx, grants); err != nil {
			return err
		}
		e.Type, e.GrantID = oauthreg.EventGrantRevoked, grant
		if total += e.Count; e.Count > 0 {
			c.s.emit(ctx, e)
		}
	}
	if c.s.log != nil {
		c.s.log.InfoContext(ctx, "grants revoked", "by", c.cfg.Actor.ID, "count", strconv.Itoa(total), "request_id", requestID(ctx))
	}
	back := url.Values{"done": {"revoked"}, "client": {client}, "subject": {subject}}
	if total == 0 {
		back.Set("done", "nothing")
	}
	if consent != "" {
		back.Set("show", "consents")
	}
	return c.to(w, "/grants?"+back.Encode())
}

func revocationText(client, subject, grant, consent string) []string {
	end := "All codes, access tokens and refresh tokens that stand on it are worth nothing any more."
	switch {
	case grant != "":
		return []string{"The grant " + displayText(grant, maxShown) + " ends.", end, "What the user allowed stays remembered."}
	case consent != "":
		return []string{"The user is asked again before the client gets anything.", end}
	}
	of := "Everything"
	if subject != "" {
		of += " that the user " + displayText(subject, maxShown) + " allowed"
	} else {
		of += " that users allowed"
	}
	if client != "" {
		of += " the client " + displayText(client, maxShown)
	}
	return []string{of + " is forgotten.", "All codes, access tokens and refresh tokens that stand on it are worth nothing any more."}
}

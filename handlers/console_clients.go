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

type overviewPage struct {
	Clients, Grants int
	Figures         *figuresPage // nil: none
}

// overview serves the first page: how many there are, and the last hour.
func (c *console) overview(w http.ResponseWriter, r *http.Request, v *visit) error {
	page, err := c.s.reg.List(r.Context(), oauthreg.ListQuery{Limit: 1, Count: true})
	if err != nil {
		return err
	}
	_, grants, err := c.s.store.ListGrants(r.Context(), oauthreg.GrantFilter{}, 0, 1)
	if err != nil {
		return err
	}
	data := overviewPage{Clients: page.Total, Grants: grants}
	if c.cfg.Figures != nil {
		hour := c.cfg.Figures.lastHour()
		data.Figures = &hour
	}
	return c.show(w, r, http.StatusOK, v.session, "overview", consoleView{Title: "Overview", Here: "overview", Data: data})
}

type clientsPage struct {
	Query, Type, Grant, State string
	GrantTypes                []string
	Clients                   []oauthreg.Client
	Filtered                  bool
	Pager                     pager
}

// listClients serves the search. What is searched for is a part of the name, or
// the whole client_id.
func (c *console) listClients(w http.ResponseWriter, r *http.Request, v *visit) error {
	q := r.URL.Query()
	data := clientsPage{
		Query: strings.TrimSpace(q.Get("q")), Type: q.Get("type"), Grant: q.Get("grant"), State: q.Get("state"),
		GrantTypes: []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken, oauthreg.GrantClientCredentials, oauthreg.GrantImplicit},
	}
	data.Filtered = data.Query+data.Type+data.Grant+data.State != ""
	number := pageNumber(q)
	query := oauthreg.ListQuery{
		NameContains: data.Query, Type: oauthreg.ClientType(data.Type), GrantType: data.Grant,
		Limit: consolePageSize, Offset: (number - 1) * consolePageSize, Count: true,
	}
	yes, no := true, false
	switch data.State {
	case "suspended":
		query.Suspended = &yes
	case "active":
		query.Suspended = &no
	case "verified":
		query.Verified = &yes
	case "self-registered":
		query.SelfRegistered = &yes
	}
	if data.Query != "" {
		byID := query
		byID.NameContains, byID.ClientID, byID.Offset = "", data.Query, 0
		page, err := c.s.reg.List(r.Context(), byID)
		if err != nil {
			return err
		}
		if len(page.Clients) > 0 { // client_id is unique: nothing else was meant
			data.Clients, data.Pager = page.Clients, c.pager("/clients", q, 1, page.Total)
		}
	}
	if data.Clients == nil {
		page, err := c.s.reg.List(r.Context(), query)
		if err != nil {
			return err
		}
		data.Clients, data.Pager = page.Clients, c.pager("/clients", q, number, page.Total)
	}
	return c.show(w, r, http.StatusOK, v.session, "clients", consoleView{Title: "Clients", Here: "clients", Data: data})
}

type clientPage struct {
	Client   *oauthreg.Client
	Sections []formSection // without what is empty
	Secrets  []oauthreg.Secret
	BySecret bool
	Grants   int
	Problem  string
	Days     int // the longest overlap
}

// showClient serves one client with what it has.
func (c *console) showClient(w http.ResponseWriter, r *http.Request, v *visit) error {
	return c.clientPage(w, r, v, http.StatusOK, "")
}

func (c *console) clientPage(w http.ResponseWriter, r *http.Request, v *visit, status int, problem string) error {
	client, err := c.clientOf(r)
	if err != nil {
		return err
	}
	data := clientPage{Client: &client, BySecret: bySecret(&client), Problem: problem, Days: int(oauthreg.MaxSecretOverlap / (24 * time.Hour))}
	if data.Secrets, err = c.s.reg.Secrets(r.Context(), oauthreg.ByID(client.ID)); err != nil {
		return err
	}
	if _, data.Grants, err = c.s.store.ListGrants(r.Context(), oauthreg.GrantFilter{ClientID: client.ID}, 0, 1); err != nil {
		return err
	}
	for _, s := range filled(c.consoleSections(&client, false), &client, nil, nil) {
		kept := formSection{Title: s.Title}
		for _, f := range s.Fields {
			if strings.TrimSpace(f.Value) != "" {
				kept.Fields = append(kept.Fields, f)
			}
		}
		if len(kept.Fields) > 0 {
			data.Sections = append(data.Sections, kept)
		}
	}
	return c.show(w, r, status, v.session, "client", consoleView{Title: displayText(client.Name, maxShown), Here: "clients", Failed: problem != "", Data: data})
}

// bySecret reports whether the client authenticates by secret.
func bySecret(client *oauthreg.Client) bool {
	return client.AllowsAuthMethod(oauthreg.AuthClientSecretBasic) || client.AllowsAuthMethod(oauthreg.AuthClientSecretPost)
}

// newClient shows the form of a new client, and registers it. Its secret is in the
// answer, once: the form does not work a second time.
func (c *console) newClient(w http.ResponseWriter, r *http.Request, v *visit) error {
	client := oauthreg.Client{
		Type: oauthreg.Confidential, TokenEndpointAuthMethod: oauthreg.AuthClientSecretBasic, RequirePKCE: true, AccessTokenFormat: oauthreg.Opaque,
		GrantTypes: []string{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken},
	}
	sections := c.consoleSections(&client, true)
	page := clientForm{Action: c.path + "/clients/new", Cancel: c.path + "/clients", Submit: "Register", Fresh: true}
	page.ClientID.consoleField = consoleField{Name: "client_id", Label: "client_id", Help: "Empty for a random one. It cannot be changed later.", Kind: "text"}
	show := func(status int) error {
		page.Sections = filled(sections, &client, v.form, page.Problems)
		for _, p := range page.Problems {
			if p.Field == "client_id" {
				page.ClientID.Problems = append(page.ClientID.Problems, p.Message)
			}
		}
		return c.show(w, r, status, v.session, "edit", consoleView{Title: "New client", Here: "clients", Failed: status != http.StatusOK, Data: page})
	}
	if v.form == nil {
		return show(http.StatusOK)
	}
	own := oauthreg.Client{OrgID: c.cfg.Home.OrgID, ProjectID: c.cfg.Home.ProjectID, UserID: c.cfg.Home.UserID, ClientID: first(v.form["client_id"])}
	page.ClientID.Value = own.ClientID
	page.Problems = apply(sections, &own, v.form)
	own.Type = oauthreg.Confidential
	if own.TokenEndpointAuthMethod == oauthreg.AuthNone {
		own.Type = oauthreg.Public
	}
	var invalid *oauthreg.InvalidError
	if len(page.Problems) > 0 { // with what else is wrong
		if err := c.s.reg.Validate(own, oauthreg.RegisterOptions{}); errors.As(err, &invalid) {
			page.Problems = append(page.Problems, invalid.Problems...)
		}
		return show(http.StatusUnprocessableEntity)
	}
	var reg oauthreg.Registration
	err := once(v, func() (err error) {
		reg, err = c.s.reg.Register(r.Context(), own, oauthreg.RegisterOptions{})
		return err
	})
	switch {
	case errors.As(err, &invalid):
		page.Problems = invalid.Problems
		return show(http.StatusUnprocessableEntity)
	case errors.Is(err, oauthreg.ErrConflict):
		page.Problems = []oauthreg.Problem{{Field: "client_id", Message: "is taken by another client"}}
		return show(http.StatusConflict)
	case err != nil:
		return err
	}
	return c.show(w, r, http.StatusCreated, v.session, "secret", consoleView{
		Title: "Registered", Here: "clients", Data: secretPage{Client: &reg.Client, Secret: reg.Secret, Fresh: true},
	})
}

// secretPage is the dot of the page that shows a secret, once.
type secretPage struct {
	Client *oauthreg.Client
	Secret string    // empty: it has none
	Fresh  bool      // the client is new
	Until  time.Time // the end of the secrets before it; zero: they have ended
}

// once does what a form asks for unless that form was sent before: a page that
// is loaded again makes no second client and no second secret.
func once(v *visit, do func() error) error {
	token := v.form.Get("csrf_token")
	if !v.session.spend(token) {
		return oauthError(http.StatusConflict, "invalid_request", "This form was sent before. What it made is there; the secret is not shown again.")
	}
	err := do()
	if err != nil {
		v.session.giveBack(token)
	}
	return err
}

// editClient shows what a client has in a form, and changes it: as a whole or not
// at all, and only the version that was shown.
func (c *console) editClient(w http.ResponseWriter, r *http.Request, v *visit) error {
	client, err := c.clientOf(r)
	if err != nil {
		return err
	}
	sections := c.consoleSections(&client, false)
	here := "/clients/" + url.PathEscape(client.ID)
	page := clientForm{
		Action: c.path + here + "/edit", Cancel: c.path + here, Submit: "Save", Client: &client, Version: client.Version,
	}
	show := func(status int) error {
		page.Sections = filled(sections, &client, v.form, page.Problems)
		return c.show(w, r, status, v.session, "edit", consoleView{Title: "Edit " + displayText(client.Name, maxShown), Here: "clients", Failed: status != http.StatusOK, Data: page})
	}
	if v.form == nil {
		return show(http.StatusOK)
	}
	if page.Version, err = strconv.ParseInt(v.form.Get("version"), 10, 64); err != nil || page.Version < 1 {
		return invalidRequest("The form does not say which version it is about.")
	}
	var invalid *oauthreg.InvalidError
	changed := client.Clone()
	if page.Problems = apply(sections, &changed, v.form); len(page.Problems) > 0 {
		if err := c.s.reg.Validate(changed, oauthreg.RegisterOptions{}); errors.As(err, &invalid) {
			page.Problems = append(page.Problems, invalid.Problems...)
		}
		return show(http.StatusUnprocessableEntity)
	}
	after, err := c.s.reg.Update(r.Context(), oauthreg.ByID(client.ID), oauthreg.UpdateOptions{IfVersion: page.Version}, func(client *oauthreg.Client) error {
		apply(sections, client, v.form)
		return nil
	})
	switch {
	case errors.As(err, &invalid):
		page.Problems = invalid.Problems
		return show(http.StatusUnprocessableEntity)
	case errors.Is(err, oauthreg.ErrConflict):
		page.Changed = true
		return show(http.StatusConflict)
	case err != nil:
		return err
	}
	if after.Version == page.Version {
		return c.to(w, here+"?done=unchanged")
	}
	return c.to(w, here+"?done=saved")
}

// switchClient suspends a client, or lets it work again.
func (c *console) switchClient(change func(context.Context, oauthreg.Ref) (oauthreg.Client, error), done string) consoleEndpoint {
	return func(w http.ResponseWriter, r *http.Request, _ *visit) error {
		client, err := change(r.Context(), oauthreg.ByID(r.PathValue("id")))
		if err != nil {
			return err
		}
		return c.to(w, "/clients/"+url.PathEscape(client.ID)+"?done="+done)
	}
}

// deleteClient asks, and then deletes the version that was shown.
func (c *console) deleteClient(w http.ResponseWriter, r *http.Request, v *visit) error {
	client, err := c.clientOf(r)
	if err != nil {
		return err
	}
	here := "/clients/" + url.PathEscape(client.ID)
	if v.form == nil {
		return c.confirm(w, r, v, "clients", "Delete "+displayText(client.Name, maxShown)+"?", confirmation{
			Action: c.path + here + "/delete", Cancel: c.path + here, Button: "Delete for ever",
			Fields: map[string]string{"version": strconv.FormatInt(client.Version, 10)},
			Lines: []string{
				"The client " + client.ClientID + " is gone for ever, with its secrets, grants, remembered consents and tokens.",
				"To switch it off and keep everything, suspend it instead.",
			},
		})
	}
	version, err := strconv.ParseInt(v.form.Get("version"), 10, 64)
	if err != nil || version < 1 {
		return invalidRequest("The form does not say which version it is about.")
	}
	err = c.s.reg.DeleteIfVersion(r.Context(), oauthreg.ByID(client.ID), version)
	if errors.Is(err, oauthreg.ErrConflict) {
		return oauthError(http.StatusConflict, "invalid_request", "The client was changed since you were asked. Look at it again; nothing was deleted.")
	}
	if err != nil {
		return err
	}
	return c.to(w, "/clients?done=deleted")
}

// rotateSecret gives a client another secret, and shows it once.
func (c *console) rotateSecret(w http.ResponseWriter, r *http.Request, v *visit) error {
	client, err := c.clientOf(r)
	if err != nil {
		return err
	}
	opts := oauthreg.RotateOptions{Label: first(v.form["label"])}
	for _, f := range []struct {
		name string
		unit time.Duration
		most int
		to   *time.Duration
	}{
		{"overlap_hours", time.Hour, int(oauthreg.MaxSecretOverlap / time.Hour), &opts.Overlap},
		{"lifetime_days", 24 * time.Hour, 3653, &opts.Lifetime},
	} {
		text := first(v.form[f.name])
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil || n < 0 || n > f.most {
			return c.clientPage(w, r, v, http.StatusUnprocessableEntity, f.name+" must be a whole number from 0 to "+strconv.Itoa(f.most)+".")
		}
		*f.to = time.Duration(n) * f.unit
	}
	var issued oauthreg.IssuedSecret
	err = once(v, func() (err error) {
		issued, err = c.s.reg.RotateSecret(r.Context(), oauthreg.ByID(client.ID), opts)
		return err
	})
	var invalid *oauthreg.InvalidError
	if errors.As(err, &invalid) {
		return c.clientPage(w, r, v, http.StatusUnprocessableEntity, plainText(invalid.Error()))
	}
	if err != nil {
		return err
	}
	page := secretPage{Client: &client, Secret: issued.Secret}
	if opts.Overlap > 0 {
		page.Until = issued.Info.CreatedAt.Add(opts.Overlap)
	}
	return c.show(w, r, http.StatusCreated, v.session, "secret", consoleView{Title: "New secret", Here: "clients", Data: page})
}

// revokeSecret asks, and then ends one secret at once.
func (c *console) revokeSecret(w http.ResponseWriter, r *http.Request, v *visit) error {
	client, err := c.clientOf(r)
	if err != nil {
		return err
	}
	here, id := "/clients/"+url.PathEscape(client.ID), r.PathValue("secret")
	if v.form != nil {
		if err := c.s.reg.RevokeSecret(r.Context(), oauthreg.ByID(client.ID), id); err != nil {
			return err
		}
		return c.to(w, here+"?done=secret")
	}
	secrets, err := c.s.reg.Secrets(r.Context(), oauthreg.ByID(client.ID))
	if err != nil {
		return err
	}
	valid, known := 0, false
	for i := range secrets {
		known = known || secrets[i].ID == id
		if !secrets[i].Expired(c.s.now()) {
			valid++
		}
	}
	if !known {
		return notFound()
	}
	ask := confirmation{
		Action: c.path + here + "/secrets/" + url.PathEscape(id) + "/revoke", Cancel: c.path + here, Button: "Revoke the secret",
		Lines: []string{"Whoever uses this secret of " + displayText(client.Name, maxShown) + " cannot authenticate any more, at once."},
	}
	if valid <= 1 {
		ask.Lines = append(ask.Lines, "It is the only one that works: the client cannot authenticate until it has another.")
	}
	return c.confirm(w, r, v, "clients", "Revoke this secret?", ask)
}

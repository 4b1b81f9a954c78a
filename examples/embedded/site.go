package main

import (
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"golang.org/x/oauth2"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/handlers/bearer"
	"github.com/oauthreg/oauthreg/oauthreg"
)

//go:embed pages
var pages embed.FS

var templates = template.Must(template.ParseFS(pages, "pages/*.html"))

// page is what a page of the app shows.
type page struct {
	User    *user
	Problem string
	// Of single pages.
	Name, For, ReturnTo string
	Notes               []note
	Apps                []handlers.AuthorizedApp
	Programs            []program
	Made                *firstFlow
}

// firstFlow is a program that was just registered, with its secret, which is
// shown this once, and how to try it.
type firstFlow struct {
	ClientID, Secret, Authorize, Token, API, RedirectURI, Verifier string
}

// show writes a page.
func (a *app) show(w http.ResponseWriter, status int, name string, p page) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, p); err != nil {
		http.Error(w, "The page cannot be shown.", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src data:; form-action 'self' http: https:; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// site is the application without its API: pages and forms. Forms of other sites
// are refused.
func (a *app) site() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, pages, "pages/style.css") })
	mux.HandleFunc("GET /signup", a.entry("signup.html"))
	mux.HandleFunc("GET /login", a.entry("login.html"))
	mux.HandleFunc("POST /signup", a.enter("signup.html", a.signUp))
	mux.HandleFunc("POST /login", a.enter("login.html", a.checkPassword))
	mux.HandleFunc("POST /logout", func(w http.ResponseWriter, r *http.Request) {
		if err := a.SignOut(w, r); err != nil {
			http.Error(w, "Try again.", http.StatusInternalServerError)
			return
		}
		http.Redirect(w, r, "/", http.StatusSeeOther)
	})
	mux.HandleFunc("GET /{$}", a.signedIn(a.home))
	mux.HandleFunc("POST /notes", a.signedIn(a.addNote))
	mux.HandleFunc("GET /apps", a.signedIn(a.apps))
	mux.HandleFunc("POST /apps/revoke", a.signedIn(a.revoke))
	mux.HandleFunc("GET /programs", a.signedIn(a.programs))
	mux.HandleFunc("POST /programs", a.signedIn(a.addProgram))
	return http.NewCrossOriginProtection().Handler(mux)
}

// entry shows one of the two ways in.
func (a *app) entry(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		a.show(w, http.StatusOK, name, page{For: r.FormValue("for"), ReturnTo: returnTo(r.FormValue("return_to"))})
	}
}

// enter signs a browser in as whom find finds.
func (a *app) enter(name string, find func(r *http.Request, username, password string) (user, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		next := returnTo(r.FormValue("return_to"))
		u, err := find(r, r.PostFormValue("username"), r.PostFormValue("password"))
		if err == nil {
			err = a.startSession(w, r, u)
		}
		switch {
		case errors.Is(err, errWrongPassword), errors.Is(err, errUserTaken), errors.Is(err, errUserRules):
			a.show(w, http.StatusUnprocessableEntity, name, page{Problem: err.Error(), Name: r.PostFormValue("username"), For: r.FormValue("for"), ReturnTo: next})
		case err != nil:
			http.Error(w, "Try again.", http.StatusInternalServerError)
		default:
			http.Redirect(w, r, next, http.StatusSeeOther)
		}
	}
}

// signedIn sends whoever is not to the sign-in page.
func (a *app) signedIn(h func(w http.ResponseWriter, r *http.Request, u *user) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
		s, err := a.session(r)
		if err == nil && s == nil {
			http.Redirect(w, r, "/login", http.StatusSeeOther)
			return
		}
		if err == nil {
			err = h(w, r, &s.User)
		}
		if err != nil {
			http.Error(w, "Try again.", http.StatusInternalServerError)
		}
	}
}

func (a *app) home(w http.ResponseWriter, r *http.Request, u *user) error {
	p := page{User: u}
	err := a.db.WithContext(r.Context()).Where("user_id = ?", u.ID).Order("id DESC").Limit(100).Find(&p.Notes).Error
	if err == nil {
		a.show(w, http.StatusOK, "home.html", p)
	}
	return err
}

func (a *app) addNote(w http.ResponseWriter, r *http.Request, u *user) error {
	if text := strings.TrimSpace(r.PostFormValue("text")); text != "" {
		if err := a.db.WithContext(r.Context()).Create(&note{UserID: u.ID, Text: text}).Error; err != nil {
			return err
		}
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// apps lists the authorized apps: the programs that the user let in.
func (a *app) apps(w http.ResponseWriter, r *http.Request, u *user) error {
	list, err := a.server.AuthorizedApps(r.Context(), u.ID)
	if err == nil {
		a.show(w, http.StatusOK, "apps.html", page{User: u, Apps: list})
	}
	return err
}

// revoke takes back what the user allowed a program.
func (a *app) revoke(w http.ResponseWriter, r *http.Request, u *user) error {
	if id := r.PostFormValue("app"); id != "" {
		if err := a.server.RevokeApp(r.Context(), u.ID, id); err != nil {
			return err
		}
	}
	http.Redirect(w, r, "/apps", http.StatusSeeOther)
	return nil
}

func (a *app) programs(w http.ResponseWriter, r *http.Request, u *user) error {
	return a.showPrograms(w, r, http.StatusOK, page{User: u})
}

func (a *app) showPrograms(w http.ResponseWriter, r *http.Request, status int, p page) error {
	err := a.db.WithContext(r.Context()).Where("owner_id = ?", p.User.ID).Order("id DESC").Find(&p.Programs).Error
	if err == nil {
		a.show(w, status, "programs.html", p)
	}
	return err
}

func (a *app) addProgram(w http.ResponseWriter, r *http.Request, u *user) error {
	name, redirectURI := strings.TrimSpace(r.PostFormValue("name")), strings.TrimSpace(r.PostFormValue("redirect_uri"))
	reg, err := a.register(r.Context(), u.ID, name, redirectURI)
	var invalid *oauthreg.InvalidError
	if errors.Is(err, errNameTaken) || errors.As(err, &invalid) {
		return a.showPrograms(w, r, http.StatusUnprocessableEntity, page{User: u, Problem: err.Error()})
	}
	if err != nil {
		return err
	}
	verifier := oauth2.GenerateVerifier()
	q := url.Values{
		"response_type": {"code"}, "client_id": {reg.Client.ClientID}, "redirect_uri": {redirectURI}, "scope": {"notes"}, "state": {"hello"},
		"code_challenge": {oauth2.S256ChallengeFromVerifier(verifier)}, "code_challenge_method": {"S256"},
	}
	return a.showPrograms(w, r, http.StatusCreated, page{User: u, Made: &firstFlow{
		ClientID: reg.Client.ClientID, Secret: reg.Secret, RedirectURI: redirectURI, Verifier: verifier,
		Authorize: a.origin + "/auth/oauth/authorize?" + q.Encode(), Token: a.origin + "/auth/oauth/token", API: a.origin + "/api/notes",
	}})
}

// api is what programs may ask for. The middleware in front of it has checked the
// token; whose notes they are is the token's subject.
func (a *app) api() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /api/notes", func(w http.ResponseWriter, r *http.Request) {
		token, _ := bearer.FromContext(r.Context())
		var found []note
		if err := a.db.WithContext(r.Context()).Where("user_id = ?", token.Subject).Order("id").Find(&found).Error; err != nil {
			http.Error(w, "Try again.", http.StatusInternalServerError)
			return
		}
		texts := make([]string, len(found))
		for i, n := range found {
			texts[i] = n.Text
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"notes": texts}) // the program went away
	})
	return mux
}

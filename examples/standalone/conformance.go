package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/handlers/conformance"
)

// conformanceOptions are the flags -conformance and -conformance-*.
type conformanceOptions struct {
	issuer   string // empty: serve
	config   string // file
	client   string // id or id:secret
	redirect string
	user     string // name:password
	register bool
	json     bool
}

// conformanceFile is the file of -conformance-config: what [conformance.Config]
// has, with the names of RFC 7591 for clients.
type conformanceFile struct {
	Client   conformanceClient `json:"client"`
	Other    conformanceClient `json:"other"`
	Machine  conformanceClient `json:"machine"`
	Form     map[string]string `json:"form"`    // what to type, by the name of the field
	Buttons  []string          `json:"buttons"` // name=value
	Register *struct {
		InitialAccessToken string `json:"initial_access_token"`
		RedirectURI        string `json:"redirect_uri"`
		Scope              string `json:"scope"`
	} `json:"register"`
	Resource    string   `json:"resource"`
	ReplayAfter int      `json:"replay_after"` // seconds; negative: do not wait
	Only        []string `json:"only"`
	Skip        []string `json:"skip"`
	Strict      bool     `json:"strict"`
}

type conformanceClient struct {
	ClientID              string `json:"client_id"`
	ClientSecret          string `json:"client_secret"`
	AuthMethod            string `json:"token_endpoint_auth_method"`
	RedirectURI           string `json:"redirect_uri"`
	PostLogoutRedirectURI string `json:"post_logout_redirect_uri"`
	Scope                 string `json:"scope"`
	RequirePKCE           bool   `json:"require_pkce"`
}

func (c conformanceClient) client() conformance.Client {
	return conformance.Client{
		ID: c.ClientID, Secret: c.ClientSecret, AuthMethod: c.AuthMethod, RedirectURI: c.RedirectURI,
		PostLogoutRedirectURI: c.PostLogoutRedirectURI, Scopes: strings.Fields(c.Scope), RequirePKCE: c.RequirePKCE,
	}
}

// conformanceConfig puts together what the file and the flags say; a flag goes
// before the file.
func conformanceConfig(o options, f files) (conformance.Config, error) {
	var file conformanceFile
	c := o.conformance
	if c.config != "" {
		data, err := os.ReadFile(c.config)
		if err != nil {
			return conformance.Config{}, err
		}
		d := json.NewDecoder(bytes.NewReader(data))
		d.DisallowUnknownFields()
		if err := d.Decode(&file); err != nil {
			return conformance.Config{}, fmt.Errorf("%s: %w", c.config, err)
		}
	}
	if c.client != "" {
		file.Client.ClientID, file.Client.ClientSecret, _ = strings.Cut(c.client, ":")
	}
	file.Client.RedirectURI = cmp.Or(c.redirect, file.Client.RedirectURI)
	if c.user != "" {
		name, password, _ := strings.Cut(c.user, ":")
		file.Form = map[string]string{"username": name, "password": password}
	}
	if len(o.resources) > 0 {
		file.Resource = o.resources[0]
	}

	cfg := conformance.Config{
		Issuer: c.issuer, Client: file.Client.client(), Other: file.Other.client(), Machine: file.Machine.client(),
		Resource: file.Resource, ReplayAfter: time.Duration(file.ReplayAfter) * time.Second,
		Only: file.Only, Skip: file.Skip, Strict: file.Strict,
	}
	if r := file.Register; r != nil {
		cfg.Register = &conformance.Registration{InitialAccessToken: r.InitialAccessToken, RedirectURI: r.RedirectURI, Scopes: strings.Fields(r.Scope)}
	} else if c.register {
		cfg.Register = new(conformance.Registration)
	}
	var transport http.RoundTripper // nil: the default one
	if f.cas != nil {
		own := http.DefaultTransport.(*http.Transport).Clone()
		own.TLSClientConfig = &tls.Config{RootCAs: f.cas, MinVersion: tls.VersionTLS12}
		transport = own
	}
	cfg.Transport = transport
	if len(file.Form) > 0 {
		cfg.Browser = conformance.FormBrowser{Fields: file.Form, Buttons: file.Buttons, Transport: transport}.Browse
	}
	return cfg, nil
}

// checkDeployment checks a server and prints the report. Checks that fail are an
// error.
func checkDeployment(ctx context.Context, o options, f files, out io.Writer) error {
	cfg, err := conformanceConfig(o, f)
	if err != nil {
		return err
	}
	report, err := conformance.Run(ctx, cfg)
	if err != nil {
		return &usageError{err}
	}
	write := report.WriteText
	if o.conformance.json {
		write = report.WriteJSON
	}
	if err := write(out); err != nil {
		return err
	}
	switch n := len(report.Failed()); {
	case ctx.Err() != nil:
		return errors.New("the checks were interrupted")
	case n > 0:
		return fmt.Errorf("%d checks of %s failed", n, o.conformance.issuer)
	case !report.OK():
		return fmt.Errorf("nothing of %s was checked", o.conformance.issuer)
	}
	return nil
}

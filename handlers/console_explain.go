package handlers

import (
	"errors"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/oauthreg/oauthreg/oauthreg"
)

type explainPage struct {
	Client     *oauthreg.Client
	Endpoint   string
	Method     string
	Methods    []string
	Parameters string
	Problem    string
	Answer     *Explanation
	// Deciding is the label of the member that decides, Anchor its place in the
	// form; empty when there is none.
	Deciding, Anchor string
}

// notEchoed are parameters that a page does not show again.
var notEchoed = []string{"client_secret", "client_assertion", "code_verifier", "code", "refresh_token"}

// explain serves "why would this be refused?": the form takes a request as it is
// found in a log or an address bar, and [Server.Explain] says what would become
// of it. Nothing is executed, nothing is used up.
func (c *console) explain(w http.ResponseWriter, r *http.Request, v *visit) error {
	client, err := c.clientOf(r)
	if err != nil {
		return err
	}
	page := explainPage{
		Client: &client, Endpoint: string(ExplainAuthorize), Parameters: exampleRequest(&client),
		Methods: []string{oauthreg.AuthNone, oauthreg.AuthClientSecretBasic, oauthreg.AuthClientSecretPost, oauthreg.AuthPrivateKeyJWT},
	}
	status := http.StatusOK
	if v.form != nil {
		page.Endpoint, page.Method = v.form.Get("endpoint"), v.form.Get("auth_method")
		parameters, problem := pastedParameters(v.form.Get("parameters"))
		page.Parameters, page.Problem = linesOf(parameters), problem
		if problem != "" {
			page.Parameters = v.form.Get("parameters")
		} else if page.Problem, err = c.explained(r, &page, parameters); err != nil {
			return err
		}
		if page.Problem != "" {
			status = http.StatusUnprocessableEntity
		}
	}
	return c.show(w, r, status, v.session, "explain", consoleView{
		Title: "Explain a request of " + displayText(client.Name, maxShown), Here: "clients", Failed: page.Problem != "", Data: page,
	})
}

// explained fills in the answer, or says what is wrong with the question.
func (c *console) explained(r *http.Request, page *explainPage, parameters url.Values) (problem string, err error) {
	req := ExplainRequest{Endpoint: ExplainEndpoint(page.Endpoint), Parameters: parameters}
	if slices.Contains(page.Methods, page.Method) {
		req.AuthMethod = &page.Method
	}
	answer, err := c.s.Explain(r.Context(), oauthreg.ByID(page.Client.ID), req)
	var own *Error
	if errors.As(err, &own) && own.Status < http.StatusInternalServerError {
		return own.Description, nil
	}
	if err != nil {
		return "", err
	}
	page.Answer = &answer
	page.Deciding = answer.Field
	for _, s := range c.consoleSections(page.Client, false) {
		for _, f := range s.Fields {
			if f.Name == answer.Field {
				page.Deciding, page.Anchor = f.Label, "f-"+f.Name
			}
		}
	}
	return "", nil
}

// exampleRequest is an authorization request that the client may send, to begin
// with.
func exampleRequest(client *oauthreg.Client) string {
	out := []string{"response_type=code"}
	if len(client.RedirectURIs) > 0 {
		out = append(out, "redirect_uri="+client.RedirectURIs[0])
	}
	if scopes := client.ScopesWhenNoneAsked(); len(scopes) > 0 {
		out = append(out, "scope="+strings.Join(scopes, " "))
	}
	return strings.Join(append(out, "code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", "code_challenge_method=S256"), "\n")
}

// pastedParameters reads a whole URL, a query or form body, or one name=value a
// line, which is then not decoded.
func pastedParameters(text string) (parameters url.Values, problem string) {
	text = strings.TrimSpace(text)
	if !strings.ContainsAny(text, "\r\n") && (strings.Contains(text, "&") || strings.Contains(text, "://") && strings.Contains(text, "?")) {
		if before, query, found := strings.Cut(text, "?"); found && !strings.Contains(before, "=") {
			text, _, _ = strings.Cut(query, "#")
		}
		parameters, err := url.ParseQuery(text)
		if err != nil {
			return nil, "The parameters are not form-encoded."
		}
		return parameters, ""
	}
	parameters = url.Values{}
	for _, line := range lines([]string{text}) {
		name, value, found := strings.Cut(line, "=")
		if name = strings.TrimSpace(name); !found || name == "" {
			return nil, "Each line must be name=value."
		}
		parameters.Add(name, strings.TrimSpace(value))
	}
	return parameters, ""
}

// linesOf writes parameters one a line, without what need not be shown again.
func linesOf(parameters url.Values) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(parameters)) {
		for _, value := range parameters[name] {
			if slices.Contains(notEchoed, name) && value != "" {
				value = "…"
			}
			b.WriteString(name + "=" + value + "\n")
		}
	}
	return b.String()
}

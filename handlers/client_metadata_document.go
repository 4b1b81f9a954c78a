package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// ClientMetadataDocumentConfig says whether a client_id may be the URL of a
// document with the client's metadata (draft-ietf-oauth-client-id-metadata-
// document). The zero value is off.
//
// The document is fetched by [Config.Outbound] when an authorization request
// names it, and then kept for as long as its Cache-Control says, between a minute
// and a day. What it may say is what an open registration may, with the owner,
// the scopes, the software statements and the policy of [Config.Registration],
// whatever its Mode: PKCE always, authentication by none or private_key_jwt, the
// grants authorization_code and refresh_token. Grants, scopes and response types
// that are not to be had here are passed over, because a document is written for
// all servers; everything else that is wrong refuses it.
//
// Such a client comes into the registry when the first user lets it in, marked
// by [oauthreg.Client.MetadataDocumentSince] and as self-registered; from then on
// it is listed, audited and reaped like others. What the document says replaces
// what was registered; a change that sends users to another host asks them for
// consent again, and one from public to confidential or back begins anew. To shut
// a client out, suspend it, or register its client_id beforehand: a client that
// the operator registered is never fetched.
type ClientMetadataDocumentConfig struct {
	// Enabled switches it on, and advertises it
	// (client_id_metadata_document_supported).
	Enabled bool
	// Loopback also takes URLs on localhost, 127.0.0.1 and [::1], by http as
	// well, for development. Outbound has to reach them: [OutboundConfig.Private]
	// and [OutboundConfig.HTTP]. With it, whoever can reach this server can have
	// it send GET requests to programs on its machine.
	Loopback bool
}

// clientRecord finds the client that calls an endpoint by its client_id: every
// lookup of such a client goes through here. One that follows a metadata document
// has what the document says now. One that nobody let in yet is not known: there
// is nothing it could do. Errors: [oauthreg.ErrNotFound] when it is unknown or
// its document is worth nothing any more; any other means that it cannot be told.
func (s *Server) clientRecord(ctx context.Context, clientID string) (*oauthreg.Record, error) {
	found, err := s.reg.Record(ctx, oauthreg.ByClientID(clientID))
	if err != nil {
		return nil, err
	}
	rec := &found
	if !rec.Client.HasMetadataDocument() || rec.Client.Suspended() {
		return rec, nil
	}
	if s.documents == nil {
		return nil, oauthreg.ErrNotFound
	}
	doc, err := s.fetchClient(ctx, clientID, "", true)
	if err == nil {
		var client *oauthreg.Client
		if client, err = s.followDocument(ctx, &rec.Client, doc); err == nil {
			rec.Client = *client
			return rec, nil
		}
	}
	if refused := (*Error)(nil); errors.As(err, &refused) && refused.Code == "invalid_client" {
		err = fmt.Errorf("%w: %s", oauthreg.ErrNotFound, refused.Description)
	}
	return nil, err
}

// requestingClient finds the client of an authorization request, which may be one
// that only its metadata document knows; its Version is 0 then. address is where
// the request comes from, empty for one that was let in before: that is not lost
// because the document's host cannot be reached meanwhile.
func (s *Server) requestingClient(ctx context.Context, clientID, address string) (*oauthreg.Client, error) {
	client, err := s.reg.Get(ctx, oauthreg.ByClientID(clientID))
	unknown := errors.Is(err, oauthreg.ErrNotFound)
	switch {
	case err != nil && (!unknown || !isURLClientID(clientID)):
		return nil, err
	case err == nil && (!client.HasMetadataDocument() || client.Suspended()):
		return &client, nil
	case s.documents == nil:
		return nil, oauthreg.ErrNotFound
	}
	doc, err := s.fetchClient(ctx, clientID, address, address == "")
	if err != nil {
		return nil, err
	}
	if !unknown {
		followed, err := s.followDocument(ctx, &client, doc)
		if !errors.Is(err, oauthreg.ErrNotFound) {
			return followed, err
		}
	}
	found := doc.client.Clone()
	return &found, nil
}

// interactingClient finds the client of a stored request as it is now.
func (s *Server) interactingClient(ctx context.Context, in *interaction) (*oauthreg.Client, error) {
	if !isURLClientID(in.Params.ClientID) {
		client, err := s.reg.Get(ctx, oauthreg.ByID(in.ClientID))
		return &client, err
	}
	client, err := s.requestingClient(ctx, in.Params.ClientID, "")
	if err == nil && client.ID != in.ClientID { // somebody registered another of that name meanwhile
		return nil, oauthreg.ErrNotFound
	}
	return client, err
}

func isURLClientID(id string) bool {
	return strings.HasPrefix(id, "https://") || strings.HasPrefix(id, "http://")
}

// fetchClient gets the metadata document of a client, from memory if it is fresh.
// Its errors are for showing.
func (s *Server) fetchClient(ctx context.Context, clientID, address string, stale bool) (*documentCopy, error) {
	u, err := s.checkDocumentURL(clientID)
	if err != nil {
		return nil, invalidDocument("The client_id cannot be the URL of a metadata document: it " + err.Error() + ".")
	}
	doc, err := s.documents.get(ctx, clientID, stale, func() error {
		keys := []string{"host " + u.Hostname()}
		if address != "" {
			keys = append(keys, "address "+address)
		}
		for _, key := range keys {
			if after, ok := s.allow(ctx, LimitClientDocument, key); !ok {
				return slowDown(after)
			}
		}
		for _, key := range keys {
			s.limits.Failed(ctx, LimitClientDocument, key) // every fetch counts
		}
		return nil
	})
	if err != nil {
		return nil, s.documentError(ctx, clientID, err)
	}
	return doc, nil
}

// documentError says what is wrong with a document so that whoever wrote it can
// repair it, or that it cannot be told now.
func (s *Server) documentError(ctx context.Context, clientID string, err error) error {
	s.log.InfoContext(ctx, "client metadata document not usable", "client_id", clientID, "err", err, "request_id", requestID(ctx))
	var own *Error
	var invalid *oauthreg.InvalidError
	if asInvalid(err, &invalid) {
		problems := toOAuth(registrationError(err)).Description
		return invalidDocument("The client's metadata document cannot be used: " + problems + ".").because(err)
	}
	switch {
	case errors.As(err, &own):
		if own.Status >= 400 && own.Status < 500 && own.Status != 429 { // a statement or a policy refuses
			return invalidDocument("The client's metadata document is refused: " + own.Description).because(err)
		}
		return own
	case errors.Is(err, errDocument):
		return invalidDocument("The client's metadata document cannot be used: it must be a JSON object of at most 5 kilobytes, served from a public host with status 200, without redirect, as application/json.").because(err)
	case errors.Is(err, errUnreachable):
		e := unavailable(err)
		e.Description = "The client's metadata document cannot be fetched now; try again."
		e.RetryAfter = retryClientDocument
		return e
	}
	return err
}

func invalidDocument(description string) *Error {
	return oauthError(400, "invalid_client", plainText(description))
}

// checkDocumentURL checks a client identifier URL (§3 of the draft), before
// anything is looked up. Beyond what the draft asks, it refuses queries, other
// hosts than public names in their one spelling, and ports of other services. The
// error completes a sentence.
func (s *Server) checkDocumentURL(id string) (*url.URL, error) {
	if len(id) > 255 {
		return nil, errors.New("is longer than 255 characters")
	}
	for i := range len(id) {
		if c := id[i]; c <= ' ' || c > '~' || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
			return nil, errors.New("has a character that URLs do not have")
		}
	}
	u, err := url.Parse(id)
	if err != nil || u.Host == "" || u.Opaque != "" {
		return nil, errors.New("is not a URL")
	}
	loopback := s.cfg.ClientMetadataDocuments.Loopback && isLoopbackHost(u.Hostname())
	path := strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", ";", "/").Replace(u.EscapedPath())
	segments := strings.Split(path, "/")
	switch {
	case u.Scheme != "https" && !(loopback && u.Scheme == "http"):
		return nil, errors.New("must be https")
	case u.User != nil || strings.Contains(u.Host, "@"):
		return nil, errors.New("must not have user information")
	case strings.Contains(id, "#"):
		return nil, errors.New("must not have a fragment")
	case strings.Contains(id, "?"):
		return nil, errors.New("must not have a query")
	case u.Path == "":
		return nil, errors.New("must have a path")
	case slices.Contains(segments, ".") || slices.Contains(segments, ".."):
		return nil, errors.New("must not have dot segments")
	case !loopback && !isPublicName(u.Hostname()):
		return nil, errors.New("must have a public host name, in lower case")
	}
	if port := u.Port(); port != "" || strings.HasSuffix(u.Host, ":") {
		if n, err := strconv.Atoi(port); err != nil || port != strconv.Itoa(n) || n != 443 && n < 1024 || n > 65535 {
			return nil, errors.New("must have port 443 or one from 1024 on")
		}
	}
	return u, nil
}

// isPublicName reports whether host can be a name in the public DNS, written in
// its one way: not an address in any notation, and none of the names that are
// answered locally (RFC 6761, RFC 6762, RFC 8375). Where it leads, whoever
// connects has to check.
func isPublicName(host string) bool {
	for i := range len(host) {
		if c := host[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	if _, err := netip.ParseAddr(host); err == nil || len(labels) < 2 || slices.Contains(labels, "") {
		return false
	}
	if last[0] >= '0' && last[0] <= '9' { // an IPv4 address in one of its odd forms; no top-level domain begins so
		return false
	}
	if slices.Contains([]string{"localhost", "local", "internal", "lan", "localdomain", "test", "invalid", "onion", "alt"}, last) {
		return false
	}
	return !strings.HasSuffix("."+host, ".home.arpa")
}

// documentRules are what the registry refuses to clients with a document.
func (s *Server) documentRules() oauthreg.Rules {
	rules := registrationRules
	rules.NoClientCredentials = true
	rules.PublicHostsOnly = !s.cfg.ClientMetadataDocuments.Loopback
	return rules
}

// documentedClient makes of base what a document says; nil is a client that is
// not registered. What the operator decides about base stays. The error is an
// [oauthreg.InvalidError], an [Error], errDocument, or why it cannot be told.
func (s *Server) documentedClient(ctx context.Context, clientID string, members map[string]json.RawMessage, base *oauthreg.Client) (*oauthreg.Client, error) {
	m := &metadataReader{members: maps.Clone(members)}
	if m.text("client_id") != clientID { // byte for byte
		m.add("client_id", "must be the URL that the document lies at")
	}
	for _, name := range []string{"client_secret", "client_secret_expires_at"} {
		if m.has(name) {
			m.add(name, "must be left out: a document is no place for secrets")
		}
	}
	switch method := m.text("token_endpoint_auth_method"); method {
	case "": // the default of RFC 7591 is a secret, which cannot be
		m.members["token_endpoint_auth_method"] = json.RawMessage(`"none"`)
	case oauthreg.AuthNone, oauthreg.AuthPrivateKeyJWT:
	default:
		m.add("token_endpoint_auth_method", "must be none or private_key_jwt")
	}
	if err := m.invalid(nil); err != nil {
		return nil, err
	}
	claims, _, err := s.softwareStatement(ctx, m)
	if err != nil {
		return nil, err
	}

	own := &s.cfg.Registration
	var c oauthreg.Client
	if base != nil {
		c = base.Clone()
	} else {
		c = oauthreg.Client{
			// The same at every node, before it is registered anywhere.
			ID: uuid.NewSHA1(uuid.NameSpaceURL, []byte(clientID)).String(), ClientID: clientID,
			OrgID: own.OrgID, ProjectID: own.ProjectID, UserID: own.UserID,
			SelfRegistered: true, MetadataDocumentSince: s.now().UTC().Truncate(time.Millisecond),
		}
	}
	terms := s.openTerms()
	terms.grants = []oauthreg.GrantType{oauthreg.GrantAuthorizationCode, oauthreg.GrantRefreshToken}
	m.apply(&c, &terms)
	c.RequirePKCE = true
	c.Type = oauthreg.Confidential
	if c.TokenEndpointAuthMethod == oauthreg.AuthNone {
		c.Type = oauthreg.Public
	}
	c.GrantTypes = kept(c.GrantTypes, terms.grants)
	if !c.AllowsGrantType(oauthreg.GrantAuthorizationCode) {
		m.add("grant_types", "must have authorization_code")
	}
	c.ResponseTypes = kept(c.ResponseTypes, []string{"code"})
	if c.Scopes = kept(c.Scopes, terms.scopes); len(c.Scopes) == 0 {
		c.Scopes = sensibleScopes(terms.scopes, c.GrantTypes)
	}
	narrowDefaults(&c)
	s.permitRegistration(m, &c, &terms, nil)
	opts := oauthreg.RegisterOptions{Rules: s.documentRules()}
	validate := func() error {
		if base != nil {
			return s.reg.Validate(ownMetadata(c), opts)
		}
		return s.reg.Validate(c, opts)
	}
	if err := m.invalid(validate()); err != nil {
		return nil, err
	}
	if err := s.checkSector(ctx, &c); err != nil {
		return nil, err
	}
	if own.Policy != nil {
		req := RegistrationRequest{Metadata: m.members, SoftwareStatement: claims, Previous: base, Document: clientID}
		if err := refusal(own.Policy(ctx, &c, req)); err != nil {
			return nil, err
		}
		if err := validate(); err != nil {
			return nil, err
		}
	}
	if base == nil {
		c = c.Completed()
	} else if sendsElsewhere(base, &c) {
		c.MetadataDocumentSince = s.now().UTC().Truncate(time.Millisecond)
	}
	return &c, nil
}

// kept is list without what known does not have, and without repetitions.
func kept(list, known []string) []string {
	return slices.DeleteFunc(unique(list), func(v string) bool { return !slices.Contains(known, v) })
}

// sendsElsewhere reports whether after can send users to a host or an
// application that before could not.
func sendsElsewhere(before, after *oauthreg.Client) bool {
	host := func(uri string) string {
		place := redirectHost(uri)
		if u, err := url.Parse("//" + place); err == nil && u.Hostname() != "" {
			return u.Hostname()
		}
		return place
	}
	known := map[string]bool{}
	for _, uri := range before.RedirectURIs {
		known[host(uri)] = true
	}
	return slices.ContainsFunc(after.RedirectURIs, func(uri string) bool { return !known[host(uri)] })
}

// followDocument brings a registered client in step with its document, unless it
// was changed since that was fetched. It returns what is registered then;
// [oauthreg.ErrNotFound] when nothing is any more.
func (s *Server) followDocument(ctx context.Context, have *oauthreg.Client, doc *documentCopy) (*oauthreg.Client, error) {
	if doc.inStep.Load() == have.Version || !have.UpdatedAt.Before(doc.fetched) {
		return have, nil
	}
	ctx = s.asDocument(ctx, have.ClientID)
	if doc.client.Type != have.Type {
		// A public client has no proof that it is the confidential one, nor the
		// other way round: what was granted to it does not pass on.
		err := s.reg.DeleteIfVersion(ctx, oauthreg.ByID(have.ID), have.Version)
		if err != nil && !errors.Is(err, oauthreg.ErrConflict) {
			return nil, err
		}
		return nil, oauthreg.ErrNotFound
	}
	described, err := s.documentedClient(ctx, have.ClientID, doc.members, have)
	if err != nil {
		return nil, s.documentError(ctx, have.ClientID, err)
	}
	opts := oauthreg.UpdateOptions{Rules: s.documentRules(), IfVersion: have.Version}
	updated, err := s.reg.Update(ctx, oauthreg.ByID(have.ID), opts, func(to *oauthreg.Client) error {
		*to = described.Clone()
		return nil
	})
	switch {
	case errors.Is(err, oauthreg.ErrConflict): // another node was faster, or the operator
		updated, err = s.reg.Get(ctx, oauthreg.ByID(have.ID))
	case err == nil:
		doc.inStep.Store(updated.Version)
	}
	var invalid *oauthreg.InvalidError
	switch {
	case asInvalid(err, &invalid):
		return nil, s.documentError(ctx, have.ClientID, err)
	case err != nil:
		return nil, err
	}
	return &updated, nil
}

// keepDocumentedClient registers a client that only its metadata document knows,
// now that it gets something. Others it returns as they are.
func (s *Server) keepDocumentedClient(ctx context.Context, c *oauthreg.Client) (*oauthreg.Client, error) {
	if !c.HasMetadataDocument() || c.Version > 0 {
		return c, nil
	}
	reg, err := s.reg.Register(s.asDocument(ctx, c.ClientID), *c, oauthreg.RegisterOptions{Rules: s.documentRules()})
	if err == nil {
		return &reg.Client, nil
	}
	if !errors.Is(err, oauthreg.ErrConflict) {
		return nil, err
	}
	have, err := s.reg.Get(ctx, oauthreg.ByClientID(c.ClientID)) // another browser was faster
	switch {
	case err != nil:
		return nil, err
	case have.ID != c.ID || have.Suspended():
		return nil, expiredInteraction()
	}
	return &have, nil
}

// asDocument names the document as who makes a change, for the audit log.
func (s *Server) asDocument(ctx context.Context, clientID string) context.Context {
	return oauthreg.WithActor(ctx, oauthreg.Actor{Kind: "client", ID: clientID, RequestID: requestID(ctx)})
}

// documentHost is the host that a client with a metadata document is known by.
func documentHost(c *oauthreg.Client) string {
	if !c.HasMetadataDocument() {
		return ""
	}
	u, err := url.Parse(c.ClientID)
	if err != nil {
		return ""
	}
	return u.Host
}

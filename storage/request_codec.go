package storage

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/ory/fosite"
)

// storedRequest is the first line of a request's column, before it is sealed;
// the second is the session's JSON. Changing a tag is a schema change: raise V,
// and keep reading every older V that may be in a database.
//
// What the row itself has in columns is not repeated: the request's id (the
// grant's), the client and the key.
type storedRequest struct {
	V           int                 `json:"v"`
	RequestedAt time.Time           `json:"at"`
	Scope       []string            `json:"scope,omitempty"`
	Granted     []string            `json:"granted,omitempty"`
	Audience    []string            `json:"aud,omitempty"`
	GrantedAud  []string            `json:"granted_aud,omitempty"`
	Form        map[string][]string `json:"form,omitempty"`
}

const storedRequestVersion = 1

// neverStored are form parameters that are, or carry, a live credential.
var neverStored = map[string]bool{
	"access_token":     true,
	"actor_token":      true, // RFC 8693
	"assertion":        true, // RFC 7521
	"client_assertion": true,
	"client_secret":    true,
	"code":             true,
	"code_verifier":    true,
	"device_code":      true,
	"password":         true,
	"refresh_token":    true,
	"subject_token":    true,
	"token":            true,
	"user_code":        true,
}

// request is a fosite request in the form rows take it, made when the store is
// called: the caller may change the requester before the write happens.
type request struct {
	id       string // of the request and its grant
	clientID string // oauthreg.Client.ID
	subject  string
	scopes   []string // granted
	audience []string // granted
	session  fosite.Session
	plain    []byte
}

// encode reads r. The client is resolved to its internal id.
func (s *Store) encode(ctx context.Context, r fosite.Requester) (*request, error) {
	if r == nil {
		return nil, errors.New("the request is nil")
	}
	q := &request{
		id:       r.GetID(),
		scopes:   r.GetGrantedScopes(),
		audience: r.GetGrantedAudience(),
		session:  r.GetSession(),
	}
	if q.id == "" {
		return nil, errors.New("the request has no id")
	}
	var err error
	if q.clientID, err = s.clientIDOf(ctx, r.GetClient()); err != nil {
		return nil, err
	}
	form := make(map[string][]string, len(r.GetRequestForm()))
	for k, v := range r.GetRequestForm() {
		if !neverStored[k] {
			form[k] = v
		}
	}
	head, err := json.Marshal(storedRequest{
		V:           storedRequestVersion,
		RequestedAt: r.GetRequestedAt().UTC(),
		Scope:       r.GetRequestedScopes(),
		Granted:     q.scopes,
		Audience:    r.GetRequestedAudience(),
		GrantedAud:  q.audience,
		Form:        form,
	})
	if err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	session := []byte("null")
	if q.session != nil {
		q.subject = q.session.GetSubject()
		if session, err = json.Marshal(q.session); err != nil {
			return nil, fmt.Errorf("encode session: %w", err)
		}
	}
	// JSON of encoding/json has no line breaks of its own.
	q.plain = append(append(head, '\n'), session...)
	return q, nil
}

// expiresAt is the stored end of what the session says about a kind of token.
func (q *request) expiresAt(kind fosite.TokenType, none time.Time) int64 {
	if q.session != nil {
		if t := q.session.GetExpiresAt(kind); !t.IsZero() {
			return micros(t)
		}
	}
	return expiry(none)
}

// isClientCredentials reports whether a request is a client's own (RFC 6749
// §4.4), beneath which there is no grant. fosite stores requests without their
// grant types, which leaves the form; an authorization request whose form
// claims a grant type is recognized by its response type.
func isClientCredentials(r fosite.Requester) bool {
	if a, ok := r.(fosite.AccessRequester); ok {
		return a.GetGrantTypes().ExactOne("client_credentials")
	}
	form := r.GetRequestForm()
	g := form["grant_type"]
	return len(g) == 1 && g[0] == "client_credentials" && !form.Has("response_type")
}

// owner is what a query says about the client of a stored request.
type owner struct {
	id          string
	clientID    string
	incarnation int64
	revision    int64
}

// ownerColumns are scanned into owner; the query names the clients table c.
const ownerColumns = "c.id, c.client_id, c.incarnation, c.revision"

func (o *owner) dest() []any {
	return []any{&o.id, &o.clientID, &o.incarnation, &o.revision}
}

// decode makes a new request of what a row holds. The session goes into
// session if that may be written to: it is not nil and not the live session of
// a request that is being answered, which has an authorization code's end.
// Otherwise it goes into a new one.
func (s *Store) decode(ctx context.Context, kind string, key, sealed []byte, id string, o owner, session fosite.Session) (*fosite.Request, error) {
	plain, err := s.sealer.open(kind, key, sealed)
	if err != nil {
		return nil, err
	}
	head, body, ok := bytes.Cut(plain, []byte("\n"))
	if !ok {
		return nil, errors.New("decode request: no session")
	}
	var st storedRequest
	if err := json.Unmarshal(head, &st); err != nil {
		return nil, fmt.Errorf("decode request: %w", err)
	}
	if st.V != storedRequestVersion {
		return nil, fmt.Errorf("decode request: version %d is not known to this program", st.V)
	}
	if session == nil || !session.GetExpiresAt(fosite.AuthorizeCode).IsZero() {
		session = s.cfg.NewSession()
	}
	if err := json.Unmarshal(body, session); err != nil {
		return nil, fmt.Errorf("decode session: %w", err)
	}
	client, err := s.ownerClient(ctx, o)
	if err != nil {
		return nil, err
	}
	form := url.Values(st.Form)
	if form == nil {
		form = url.Values{}
	}
	return &fosite.Request{
		ID:                id,
		RequestedAt:       st.RequestedAt,
		Client:            client,
		RequestedScope:    st.Scope,
		GrantedScope:      st.Granted,
		RequestedAudience: st.Audience,
		GrantedAudience:   st.GrantedAud,
		Form:              form,
		Session:           session,
	}, nil
}

package storage

import (
	"context"
	"encoding"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/ory/fosite"
)

// A request's column, before it is sealed, is a version, the request, and the
// session. Texts and lists are preceded by their lengths. Whoever changes the
// form raises the version, and keeps reading every older one that a released
// program wrote.
//
// What the row itself has in columns is not repeated: the request's id (the
// grant's), the client and the key. The subject is in the session alone, not in a
// column: nothing is found by it but the grant.
const storedRequestVersion = 2

// How a session is stored: not at all, as the JSON of it, or in the form it has
// itself ([encoding.BinaryAppender] and [encoding.BinaryUnmarshaler]), which
// takes a tenth of the time.
const (
	sessionNone = iota
	sessionJSON
	sessionBinary
)

// ownForm is a session that has its own stored form.
type ownForm interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

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
	id       string   // of the request and its grant
	clientID string   // oauthreg.Client.ID
	subject  string   // of a grant that is made for it
	scopes   []string // granted
	audience []string // granted
	session  fosite.Session
	plain    []byte
	key      []byte // of its row
	sealed   []byte // plain, for that row
}

// sealRequest reads r for the row of that kind that signature names.
func (s *Store) sealRequest(ctx context.Context, doing, kind, signature string, r fosite.Requester) (*request, error) {
	if signature == "" {
		return nil, fosite.ErrNotFound
	}
	q, err := s.encode(ctx, r)
	if err != nil {
		return nil, explain(doing, err)
	}
	q.key = rowKey(signature)
	if q.sealed, err = s.sealer.seal(kind, q.key, q.plain); err != nil {
		return nil, explain(doing, err)
	}
	return q, nil
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
	b := make([]byte, 0, 256)
	b = append(b, storedRequestVersion)
	if b, err = r.GetRequestedAt().UTC().AppendBinary(b); err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	for _, list := range [...][]string{r.GetRequestedScopes(), q.scopes, r.GetRequestedAudience(), q.audience} {
		b = appendList(b, list)
	}
	b = appendForm(b, r.GetRequestForm())
	switch session := q.session.(type) {
	case nil:
		b = append(b, sessionNone)
	case ownForm:
		b, err = session.AppendBinary(append(b, sessionBinary))
	default:
		var text []byte
		text, err = json.Marshal(session)
		b = append(append(b, sessionJSON), text...)
	}
	if err != nil {
		return nil, fmt.Errorf("encode session: %w", err)
	}
	if q.session != nil {
		q.subject = q.session.GetSubject()
	}
	q.plain = b
	return q, nil
}

func appendText(b []byte, v string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(v))), v...)
}

func appendList(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, v := range list {
		b = appendText(b, v)
	}
	return b
}

// appendForm leaves out what is never stored.
func appendForm(b []byte, form url.Values) []byte {
	n := 0
	for name := range form {
		if !neverStored[name] {
			n++
		}
	}
	b = binary.AppendUvarint(b, uint64(n))
	for name, values := range form {
		if !neverStored[name] {
			b = appendList(appendText(b, name), values)
		}
	}
	return b
}

// reader reads what the functions above append. After the first mistake it
// reads nothing more.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if r.bad || n > uint64(len(r.b)) {
		r.bad = true
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// count reads a number of things that follow, each at least one byte long.
func (r *reader) count() uint64 {
	v, n := binary.Uvarint(r.b)
	if r.bad || n <= 0 || v > uint64(len(r.b)-n) {
		r.bad = true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) text() string { return string(r.take(r.count())) }

// list is nil for an empty one.
func (r *reader) list() []string {
	n := r.count()
	if n == 0 {
		return nil
	}
	list := make([]string, 0, n)
	for range n {
		list = append(list, r.text())
	}
	return list
}

func (r *reader) form() url.Values {
	form := url.Values{}
	for range r.count() {
		name := r.text()
		form[name] = r.list()
	}
	return form
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

// decode makes a new request of what a row holds. The session goes into
// session if that may be written to: it is not nil and not the live session of
// a request that is being answered, which has an authorization code's end.
// Otherwise it goes into a new one.
func (s *Store) decode(ctx context.Context, kind string, key, sealed []byte, id string, holder *knownClient, session fosite.Session) (*fosite.Request, error) {
	plain, err := s.sealer.open(kind, key, sealed)
	if err != nil {
		return nil, err
	}
	in := reader{b: plain}
	if version := in.take(1); in.bad || version[0] != storedRequestVersion {
		return nil, errors.New("decode request: the stored form is not known to this program")
	}
	r := &fosite.Request{ID: id}
	if err := r.RequestedAt.UnmarshalBinary(in.take(15)); err != nil { // the length of UTC
		return nil, fmt.Errorf("decode request: %w", err)
	}
	r.RequestedScope, r.GrantedScope = in.list(), in.list()
	r.RequestedAudience, r.GrantedAudience = in.list(), in.list()
	r.Form = in.form()
	how := in.take(1)
	if in.bad {
		return nil, errors.New("decode request: the stored form is damaged")
	}
	if session == nil || !session.GetExpiresAt(fosite.AuthorizeCode).IsZero() {
		session = s.cfg.NewSession()
	}
	if err := decodeSession(how[0], in.b, session); err != nil {
		return nil, fmt.Errorf("decode session: %w", err)
	}
	r.Session = session
	r.Client = holder.asFosite(ctx)
	return r, nil
}

func decodeSession(kind byte, b []byte, session fosite.Session) error {
	switch own, ok := session.(ownForm); {
	case kind == sessionNone:
		return nil
	case kind == sessionJSON:
		return json.Unmarshal(b, session)
	case kind == sessionBinary && ok:
		return own.UnmarshalBinary(b)
	}
	return errors.New("it was stored by another type of session")
}

package handlers

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	// idempotencyLifetime is how long the answer to an Idempotency-Key is kept:
	// a day, and the time a request may take.
	idempotencyLifetime = 24*time.Hour + 10*time.Minute
	// maxIdempotent is how many answers are kept; the oldest go first.
	maxIdempotent = 20_000
	// maxIdempotencyKey is the longest key, in bytes.
	maxIdempotencyKey = 255
)

// answer is a response before it is written.
type answer struct {
	Status int               `json:"status"`
	Header map[string]string `json:"header,omitempty"`
	Body   json.RawMessage   `json:"body"`
}

// newAnswer makes an answer with a JSON body.
func newAnswer(status int, body any) (*answer, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	return &answer{Status: status, Header: map[string]string{}, Body: b}, nil
}

func (a *answer) write(w http.ResponseWriter) {
	for name, value := range a.Header {
		w.Header().Set(name, value)
	}
	writeJSON(w, a.Status, a.Body)
}

// idempotency remembers the answers to requests that carried an Idempotency-Key,
// so that a repetition gets the same answer and does nothing. An answer may hold
// a client secret: it is kept in memory only, sealed under a key that only the
// Idempotency-Key of the request yields. Another process does not have it; see
// [management.register] for what happens there.
type idempotency struct {
	now    func() time.Time
	secret [32]byte // of this process

	mu      sync.Mutex
	entries map[[32]byte]*idempotent
	order   []*idempotent // by when they were begun
}

// idempotent is one remembered request. Until done is closed it is being carried
// out; afterwards sealed is its answer, nil when it failed.
type idempotent struct {
	name   [32]byte
	body   [32]byte
	begun  time.Time
	done   chan struct{}
	sealed []byte
}

func newIdempotency(now func() time.Time) *idempotency {
	i := &idempotency{now: now, entries: map[[32]byte]*idempotent{}}
	_, _ = rand.Read(i.secret[:]) // never fails (crypto/rand)
	return i
}

func (i *idempotency) derive(purpose, scope, key string) (sum [32]byte) {
	h := hmac.New(sha256.New, i.secret[:])
	for _, part := range []string{purpose, scope, key} {
		n := sha256.Sum256([]byte(part))
		h.Write(n[:])
	}
	h.Sum(sum[:0])
	return sum
}

// begin returns the entry of a request and whether the caller has to carry it
// out.
func (i *idempotency) begin(name, body [32]byte) (e *idempotent, first bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	now := i.now()
	for len(i.order) > 0 && (len(i.order) >= maxIdempotent || now.Sub(i.order[0].begun) > idempotencyLifetime) {
		i.drop(i.order[0])
		i.order[0] = nil
		i.order = i.order[1:]
	}
	if e = i.entries[name]; e != nil {
		return e, false
	}
	e = &idempotent{name: name, body: body, begun: now, done: make(chan struct{})}
	i.entries[name] = e
	i.order = append(i.order, e)
	return e, true
}

// end makes the answer known; none means that a repetition tries again.
func (i *idempotency) end(e *idempotent, sealed []byte) {
	i.mu.Lock()
	defer i.mu.Unlock()
	e.sealed = sealed
	if sealed == nil {
		i.drop(e)
	}
	close(e.done)
}

func (i *idempotency) drop(e *idempotent) {
	if i.entries[e.name] == e {
		delete(i.entries, e.name)
	}
}

// newIDs are the ids of what a request creates. With an Idempotency-Key they
// follow from it, so that a repetition in another process, or after a restart,
// finds what is there.
type newIDs struct {
	// ID follows from the key alone, of a client or a secret; ClientID from key
	// and body. Both are empty without a key.
	ID       string
	ClientID string
}

// once carries out create and writes its answer. If the request has an
// Idempotency-Key, its repetition with the same body gets the same answer, one
// that comes meanwhile waits for it, and another body under the key is 422. Only
// successes are remembered. resource is what the request is sent to, by the one
// of its paths below the API that stands for all.
func (m *management) once(w http.ResponseWriter, r *http.Request, p *Principal, resource string, body []byte, create func(ctx context.Context, ids newIDs) (*answer, error)) error {
	ctx := r.Context()
	headers := r.Header.Values("Idempotency-Key")
	if len(headers) == 0 {
		a, err := create(ctx, newIDs{})
		if err != nil {
			return err
		}
		a.write(w)
		return nil
	}
	key := headers[0]
	if len(headers) > 1 || key == "" || len(key) > maxIdempotencyKey || !isPrintable(key) {
		return invalidRequest("Idempotency-Key must be 1 to 255 printable ASCII characters, once.")
	}
	scope := p.key() + "\x00" + r.Method + " " + m.path + resource
	i := m.seen
	name, digest := i.derive("name", scope, key), sha256.Sum256(body)
	for {
		e, first := i.begin(name, digest)
		if e.body != digest {
			return unprocessable("The Idempotency-Key was used with another body.")
		}
		if !first {
			select {
			case <-e.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if e.sealed == nil {
				continue // it failed: try again
			}
			a, err := unseal(i.derive("seal", scope, key), e.sealed)
			if err != nil {
				return serverError(err)
			}
			w.Header().Set("Idempotency-Replayed", "true")
			a.write(w)
			return nil
		}
		a, err := m.carryOut(ctx, e, scope, key, body, create)
		if err != nil {
			return err
		}
		a.write(w)
		return nil
	}
}

// carryOut is the first time of [management.once]. Whatever happens, those who
// wait are let go.
func (m *management) carryOut(ctx context.Context, e *idempotent, scope, key string, body []byte, create func(ctx context.Context, ids newIDs) (*answer, error)) (*answer, error) {
	var sealed []byte
	defer func() { m.seen.end(e, sealed) }()
	a, err := create(ctx, m.idsFor(scope, key, body))
	if err != nil {
		return nil, err
	}
	sealed, err = seal(m.seen.derive("seal", scope, key), a)
	if err != nil {
		m.s.log.ErrorContext(ctx, "idempotent answer not kept", "err", err, "request_id", requestID(ctx))
	}
	return a, nil
}

// idsFor are the ids that follow from an Idempotency-Key, the same in every
// process of the server.
func (m *management) idsFor(scope, key string, body []byte) newIDs {
	derive := func(parts ...string) string {
		sum := m.s.keysFor("idempotency key")[0].mac(parts...)
		id := uuid.UUID(sum[:16])
		id[6] = id[6]&0x0f | 0x80 // version 8 (RFC 9562 §5.8)
		id[8] = id[8]&0x3f | 0x80
		return id.String()
	}
	asked := sha256.Sum256(body)
	return newIDs{ID: derive("id", scope, key), ClientID: derive("client_id", scope, key, string(asked[:]))}
}

// register registers c under the ids of the request. When they are taken, the
// same Idempotency-Key was answered by another process, or before a restart: a
// client without secret is answered again, with the one that is there; of
// another, the secret is gone, and 409 says so. After a day the key is free.
func (m *management) register(ctx context.Context, c oauthreg.Client, opts oauthreg.RegisterOptions, ids newIDs) (oauthreg.Registration, error) {
	c.ID, c.ClientID = ids.ID, ids.ClientID
	reg, err := m.s.reg.Register(ctx, c, opts)
	if ids.ID == "" || !errors.Is(err, oauthreg.ErrConflict) {
		return reg, err
	}
	there, gerr := m.s.reg.Get(ctx, oauthreg.ByID(ids.ID))
	switch {
	case errors.Is(gerr, oauthreg.ErrNotFound): // deleted meanwhile
		return reg, err
	case gerr != nil:
		return reg, gerr
	case m.s.now().Sub(there.CreatedAt) > idempotencyLifetime:
		c.ID, c.ClientID = "", ""
		return m.s.reg.Register(ctx, c, opts)
	case there.ClientID != ids.ClientID:
		return reg, unprocessable("The Idempotency-Key was used with another body.")
	case there.IsPublic():
		return oauthreg.Registration{Client: there}, nil
	default:
		return reg, oauthError(http.StatusConflict, "conflict",
			"The request was carried out before, as client "+there.ClientID+"; its secret cannot be shown again.")
	}
}

// rotate gives the client that r names a new secret under the id of the request.
// When that id was given to a secret before, by another process or before a
// restart, the one that was shown then stays the client's secret, and 409 says
// so. After a day the key is free.
func (m *management) rotate(ctx context.Context, r *http.Request, c *oauthreg.Client, opts oauthreg.RotateOptions, ids newIDs) (_ oauthreg.IssuedSecret, err error) {
	opts.ID = ids.ID
	if err := m.rotatedBefore(ctx, c, opts.ID); err != nil {
		return oauthreg.IssuedSecret{}, err
	}
	// Not before: a repetition brings the ETag of the first time.
	if opts.IfVersion, err = m.ifMatch(r, c); err != nil {
		return oauthreg.IssuedSecret{}, err
	}
	issued, err := m.s.reg.RotateSecret(ctx, owned(c), opts)
	if opts.ID == "" || !errors.Is(err, oauthreg.ErrConflict) {
		return issued, unlessChanged(opts.IfVersion, err)
	}
	if err := m.rotatedBefore(ctx, c, opts.ID); err != nil { // just now
		return oauthreg.IssuedSecret{}, err
	}
	opts.ID = "" // a secret that has it is from an earlier use of the key
	issued, err = m.s.reg.RotateSecret(ctx, owned(c), opts)
	return issued, unlessChanged(opts.IfVersion, err)
}

// rotatedBefore is 409 if the client was given a secret of that id while the key
// that it follows from is kept. The audit log knows those too that were revoked
// or replaced meanwhile.
func (m *management) rotatedBefore(ctx context.Context, c *oauthreg.Client, id string) error {
	if id == "" {
		return nil
	}
	since := m.s.now().Add(-idempotencyLifetime)
	q := oauthreg.AuditQuery{ClientID: c.ID, Action: "secret.created", Limit: 100}
	for {
		records, err := m.s.reg.Audit(ctx, q)
		if err != nil {
			return err
		}
		for i := range records {
			var made struct {
				ID string `json:"secret_id"`
			}
			switch {
			case records[i].Time.Before(since):
				return nil
			case json.Unmarshal(records[i].After, &made) == nil && made.ID == id:
				return oauthError(http.StatusConflict, "conflict", "The request was carried out before, as secret "+id+"; it cannot be shown again.")
			}
		}
		if len(records) < q.Limit {
			return nil
		}
		q.BeforeID = records[len(records)-1].ID
	}
}

// isPrintable reports whether s is printable ASCII, space included.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

func sealer(key [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}

func seal(key [32]byte, a *answer) ([]byte, error) {
	plain, err := json.Marshal(a)
	if err != nil {
		return nil, err
	}
	aead, err := sealer(key)
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, nil, plain, nil), nil
}

func unseal(key [32]byte, sealed []byte) (*answer, error) {
	aead, err := sealer(key)
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, nil, sealed, nil)
	if err != nil {
		return nil, err
	}
	a := new(answer)
	return a, json.Unmarshal(plain, a)
}

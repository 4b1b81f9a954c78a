package handlers

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// keyV2 is a signing key of the server in this API. It has no private part.
type keyV2 struct {
	RecordType string            `json:"record_type"`
	KeyID      string            `json:"kid"`
	Alg        string            `json:"alg"`
	State      oauthreg.KeyState `json:"state"`
	External   bool              `json:"external"`
	CreatedAt  *time.Time        `json:"created_at"`
	ActiveAt   *time.Time        `json:"active_at"`
	RetiredAt  *time.Time        `json:"retired_at"`
	ExpiresAt  *time.Time        `json:"expires_at"`
}

func v2Key(k *oauthreg.ListedKey) keyV2 {
	return keyV2{
		RecordType: "signing_key", KeyID: k.KeyID, Alg: k.Alg, State: k.State, External: k.External,
		CreatedAt: optionalTime(k.CreatedAt), ActiveAt: optionalTime(k.ActiveAt),
		RetiredAt: optionalTime(k.RetiredAt), ExpiresAt: optionalTime(k.ExpiresAt),
	}
}

// overKeys refuses callers without rights over everything: the keys sign for all
// organizations.
func overKeys(p *Principal) error {
	if !p.AllOrgs {
		return forbidden("The signing keys belong to no organization.")
	}
	return nil
}

// listKeys serves GET /signing_keys: those that are elsewhere, then the stored
// ones, newest first, ended ones too.
func (v *managementV2) listKeys(w http.ResponseWriter, r *http.Request, p *Principal) error {
	if err := overKeys(p); err != nil {
		return err
	}
	q, err := parseList(r, "page[number]", "page[size]")
	if err != nil {
		return err
	}
	keys, err := v.s.keys.List(r.Context())
	if err != nil {
		return err
	}
	data := []keyV2{}
	for i := q.offset(); i < len(keys) && len(data) < q.size; i++ {
		data = append(data, v2Key(&keys[i]))
	}
	writeJSON(w, http.StatusOK, list{data, q.meta(len(keys))})
	return nil
}

// rotateKey serves POST /signing_keys: a new key signs by alg from now on, and
// the one before it is only published.
func (v *managementV2) rotateKey(w http.ResponseWriter, r *http.Request, p *Principal) error {
	if err := overKeys(p); err != nil {
		return err
	}
	body, err := readBody(w, r)
	if err != nil {
		return err
	}
	var alg string
	body.need("alg")
	if known := v.s.keys.Algorithms(); body.text("alg", &alg) && !slices.Contains(known, alg) {
		body.problem("alg", problemValue, "must be one of "+strings.Join(known, ", "))
	}
	body.refuseUnknown()
	if err := body.err(); err != nil {
		return err
	}
	kid, err := v.s.keys.Rotate(r.Context(), alg)
	if err != nil {
		return keyError(err)
	}
	keys, err := v.s.keys.List(r.Context())
	if err != nil {
		return err
	}
	at := slices.IndexFunc(keys, func(k oauthreg.ListedKey) bool { return k.KeyID == kid && !k.External })
	if at < 0 {
		return serverError(errors.New("the store lost the new signing key"))
	}
	writeJSON(w, http.StatusCreated, envelope{v2Key(&keys[at])})
	return nil
}

// withdrawKey serves DELETE /signing_keys/{kid}: the key has ended, for one that
// got into wrong hands.
func (v *managementV2) withdrawKey(w http.ResponseWriter, r *http.Request, p *Principal) error {
	if err := overKeys(p); err != nil {
		return err
	}
	if err := v.s.keys.Withdraw(r.Context(), r.PathValue("kid")); err != nil {
		return keyError(err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func keyError(err error) error {
	if errors.Is(err, oauthreg.ErrExternalKey) {
		return oauthError(http.StatusConflict, "invalid_request", "The private key is not kept here: change it where it is, and the configuration of the server.")
	}
	return err
}

// keysAudit serves GET /signing_keys/audit: what was changed about the keys, on
// schedule too, newest first.
func (v *managementV2) keysAudit(w http.ResponseWriter, r *http.Request, p *Principal) error {
	if err := overKeys(p); err != nil {
		return err
	}
	q, err := parseList(r, "page[before]", "page[size]", "filter[action]")
	if err != nil {
		return err
	}
	return v.writeAudit(w, r, q, oauthreg.AuditQuery{NoClient: true}, nil)
}

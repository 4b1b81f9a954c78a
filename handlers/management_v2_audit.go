package handlers

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// auditV2 is an audit record in this API.
type auditV2 struct {
	RecordType string    `json:"record_type"`
	ID         string    `json:"id"`
	CreatedAt  time.Time `json:"created_at"`
	Action     string    `json:"action"`
	Actor      actorV2   `json:"actor"`
	// OAuthClientID is the client's internal id, null for a signing key;
	// ClientID is its client_id, null when the record does not tell it and the
	// client is gone.
	OAuthClientID *string `json:"oauth_client_id"`
	ClientID      *string `json:"client_id"`
	OrgID         string  `json:"org_id"`
	ProjectID     string  `json:"project_id"`
	// Before and After are the changed members; null where the client did not
	// exist.
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

type actorV2 struct {
	Kind      string  `json:"kind"`
	ID        string  `json:"id"`
	RequestID *string `json:"request_id"`
	Address   *string `json:"address"`
}

// auditMeta tells how to go on: with page[before].
type auditMeta struct {
	PageSize int     `json:"page_size"`
	Next     *string `json:"next"`
}

// clientAudit serves GET /oauth_clients/{id}/audit: what was changed about one
// client, newest first.
func (v *managementV2) clientAudit(w http.ResponseWriter, r *http.Request, p *Principal) error {
	q, err := parseList(r, "page[before]", "page[size]", "filter[action]")
	if err != nil {
		return err
	}
	c, err := v.client(r, p)
	if err != nil {
		return err
	}
	query := oauthreg.AuditQuery{ClientID: c.ID, OrgID: c.OrgID, ProjectID: c.ProjectID}
	return v.writeAudit(w, r, q, query, clientNames{c.ID: c.ClientID})
}

// listAudit serves GET /audit: what was changed about the clients at the caller's
// home, deleted ones too, newest first.
func (v *managementV2) listAudit(w http.ResponseWriter, r *http.Request, p *Principal) error {
	q, err := parseList(r, "page[before]", "page[size]", "filter[action]", "filter[oauth_client_id]")
	if err != nil {
		return err
	}
	query := oauthreg.AuditQuery{ClientID: q.Get("filter[oauth_client_id]")}
	query.OrgID, query.ProjectID = p.home()
	return v.writeAudit(w, r, q, query, clientNames{})
}

func (v *managementV2) writeAudit(w http.ResponseWriter, r *http.Request, q *listQuery, query oauthreg.AuditQuery, names clientNames) error {
	query.Action, query.BeforeID, query.Limit = q.Get("filter[action]"), q.Get("page[before]"), q.size+1
	records, err := v.s.reg.Audit(r.Context(), query)
	if err != nil {
		return queryError(err, map[string]string{
			"client_id": "filter[oauth_client_id]", "action": "filter[action]", "before_id": "page[before]",
		})
	}
	meta := auditMeta{PageSize: q.size}
	if len(records) > q.size {
		records = records[:q.size]
		meta.Next = &records[q.size-1].ID
	}
	data := make([]auditV2, len(records))
	for i := range records {
		if records[i].ClientID == "" {
			data[i] = v2Audit(&records[i], "")
			continue
		}
		name, err := names.of(r.Context(), v.s.reg, records[i].ClientID)
		if err != nil && !errors.Is(err, oauthreg.ErrNotFound) {
			return err
		}
		if name == "" {
			name = recordedName(&records[i])
		}
		data[i] = v2Audit(&records[i], name)
	}
	writeJSON(w, http.StatusOK, list{data, meta})
	return nil
}

// recordedName is the client_id that a record of a client's beginning or end
// tells.
func recordedName(rec *oauthreg.AuditRecord) string {
	for _, side := range []json.RawMessage{rec.Before, rec.After} {
		var c struct {
			ClientID string `json:"client_id"`
		}
		if json.Unmarshal(side, &c) == nil && c.ClientID != "" {
			return c.ClientID
		}
	}
	return ""
}

func v2Audit(rec *oauthreg.AuditRecord, name string) auditV2 {
	return auditV2{
		RecordType: "oauth_audit_record", ID: rec.ID, CreatedAt: rec.Time, Action: rec.Action,
		Actor:         actorV2{rec.Actor.Kind, rec.Actor.ID, optional(rec.Actor.RequestID), optional(rec.Actor.Address)},
		OAuthClientID: optional(rec.ClientID), ClientID: optional(name), OrgID: rec.OrgID, ProjectID: rec.ProjectID,
		Before: rec.Before, After: rec.After,
	}
}

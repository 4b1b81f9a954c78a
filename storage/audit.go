package storage

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// auditInsert is the write that adds a record, which belongs into the
// transaction of the change that it tells. A record without an id or a time is
// given them.
func (s *Store) auditInsert(a oauthreg.AuditRecord) (func(context.Context, conn) error, error) {
	if a.Time.IsZero() {
		a.Time = s.now()
	}
	if a.ID == "" {
		var err error
		if a.ID, err = uuid7(a.Time); err != nil {
			return nil, err
		}
	}
	row := []byte(a.ID)
	actor, err := s.sealer.sealMarked(sealActor, row, a.Actor.ID)
	if err != nil {
		return nil, err
	}
	address, err := s.sealer.sealMarked(sealAddress, row, a.Actor.Address)
	if err != nil {
		return nil, err
	}
	before, err := s.sealer.sealMembers(sealBefore, row, a.Before)
	if err != nil {
		return nil, err
	}
	after, err := s.sealer.sealMembers(sealAfter, row, a.After)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, `INSERT INTO oauthreg_audit_log
			(id, at, action, actor_kind, actor_id, actor_request_id, actor_address, client_id, org_id, project_id, before_json, after_json)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
			a.ID, micros(a.Time), a.Action, a.Actor.Kind, actor, a.Actor.RequestID, address,
			a.ClientID, a.OrgID, a.ProjectID, jsonColumn(before), jsonColumn(after))
		return err
	}, nil
}

// jsonColumn is NULL for a JSON null.
func jsonColumn(v json.RawMessage) any {
	if len(v) == 0 || string(v) == "null" {
		return nil
	}
	return string(v)
}

// uuid7 is a UUID of version 7 (RFC 9562 §5.7): ids are in order of time.
func uuid7(t time.Time) (string, error) {
	var b [16]byte
	if _, err := rand.Read(b[:]); err != nil {
		return "", err
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(t.UnixMilli()))
	copy(b[:6], ms[2:])
	return formatUUID(b[:], 7), nil
}

// AuditRecords returns records of changes; see [oauthreg.Store]. A limit above
// 1000 counts as 1000. Records are never deleted by the store.
func (s *Store) AuditRecords(ctx context.Context, q oauthreg.AuditQuery) ([]oauthreg.AuditRecord, error) {
	var w where
	w.is("client_id", q.ClientID)
	if q.NoClient {
		w.and("client_id = ''")
	}
	w.is("org_id", q.OrgID)
	w.is("project_id", q.ProjectID)
	w.is("action", q.Action)
	if q.BeforeID != "" {
		w.and("id < ?", q.BeforeID)
	}
	var records []oauthreg.AuditRecord
	err := s.read(ctx, "list audit records", func(ctx context.Context, c conn) error {
		records = nil
		return c.each(ctx, `SELECT id, at, action, actor_kind, actor_id, actor_request_id, actor_address, client_id, org_id, project_id, before_json, after_json
			FROM oauthreg_audit_log`+w.sql()+" ORDER BY id DESC LIMIT ?", append(w.args, page(q.Limit)), func(scan func(...any) error) error {
			var a oauthreg.AuditRecord
			var at int64
			var before, after []byte
			err := scan(&a.ID, &at, &a.Action, &a.Actor.Kind, &a.Actor.ID, &a.Actor.RequestID, &a.Actor.Address,
				&a.ClientID, &a.OrgID, &a.ProjectID, &before, &after)
			if err != nil {
				return err
			}
			a.Time = fromMicros(at)
			row := []byte(a.ID)
			if a.Actor.ID, err = s.sealer.openMarked(sealActor, row, a.Actor.ID); err != nil {
				return err
			}
			if a.Actor.Address, err = s.sealer.openMarked(sealAddress, row, a.Actor.Address); err != nil {
				return err
			}
			if a.Before, err = s.sealer.openMembers(sealBefore, row, before); err != nil {
				return err
			}
			if a.After, err = s.sealer.openMembers(sealAfter, row, after); err != nil {
				return err
			}
			records = append(records, a)
			return nil
		})
	})
	return records, err
}

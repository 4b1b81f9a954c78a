package oauthreg

import (
	"context"
	"time"
)

// Ref names one client: by ID (internal) or by ClientID, exactly one of them
// set. OrgID and ProjectID, when set, hide clients of other owners, as if they
// did not exist.
type Ref struct {
	ID        string
	ClientID  string
	OrgID     string
	ProjectID string
}

// ByID refers to a client by its internal id.
func ByID(id string) Ref { return Ref{ID: id} }

// ByClientID refers to a client by its client_id.
func ByClientID(id string) Ref { return Ref{ClientID: id} }

// In restricts r to one organization and project; empty strings do not restrict.
func (r Ref) In(orgID, projectID string) Ref {
	r.OrgID, r.ProjectID = orgID, projectID
	return r
}

// Record is a client with what proves it: the unit in which stores read and
// write.
type Record struct {
	Client  Client
	Secrets []Secret
	// RegistrationToken is the digest of the client's registration access token
	// (RFC 7592 §3); empty when it has none.
	RegistrationToken []byte
}

// ListQuery selects and orders clients. All set filters must hold (AND). The
// order is newest first: by CreatedAt, then ID, both descending.
type ListQuery struct {
	OrgID     string
	ProjectID string
	ClientID  string
	Name      string // exact
	// NameContains is a literal substring; ASCII letters match in either case.
	NameContains string
	Type         ClientType
	GrantType    GrantType
	Verified     *bool
	// SelfRegistered and Suspended restrict when set.
	SelfRegistered *bool
	Suspended      *bool

	// Limit is the page's size, 1..1000; zero means 100.
	Limit int
	// Offset skips that many; for page numbers. Not together with After.
	Offset int
	// AfterCreatedAt and AfterID start the page behind that client; for
	// cursors. A client deleted meanwhile does no harm.
	AfterCreatedAt time.Time
	AfterID        string
	// Cursor is the Next of the page before, in place of Offset and After. Only
	// [Registry.List] reads it: stores get AfterCreatedAt and AfterID.
	Cursor string
	// Count asks for the total of all pages as well.
	Count bool
}

// Store persists clients for a [Registry]. Implementations must be safe for
// concurrent use, return values that share nothing with later ones, and pass
// storage/storagetest. Errors other than the ones named mean that the store
// failed; nothing was changed then.
type Store interface {
	// InsertClient adds rec and audit in one transaction. [ErrConflict] if the
	// ID or ClientID is taken.
	InsertClient(ctx context.Context, rec Record, audit AuditRecord) error

	// Client returns [ErrNotFound] for an unknown one. A suspended client is
	// found: only the caller knows whether that matters.
	Client(ctx context.Context, ref Ref) (Record, error)

	// ListClients returns a page and, if q.Count, the total (otherwise -1).
	ListClients(ctx context.Context, q ListQuery) ([]Client, int, error)

	// UpdateClient reads the record, lets change edit it, and writes it back
	// with change's audit record in one transaction. change may run more than
	// once and must have no other effect; it returns no audit record when
	// there is nothing to write. [ErrNotFound], [ErrConflict] when someone else
	// changed the client meanwhile, or change's error as is. RegistrationToken
	// is written too.
	UpdateClient(ctx context.Context, ref Ref, change func(*Record) (*AuditRecord, error)) error

	// DeleteClient removes the client, its secrets, grants, consents and
	// tokens, and writes audit, in one transaction. The audit record is made by
	// describe from what is deleted; describe may refuse with an error.
	DeleteClient(ctx context.Context, ref Ref, describe func(Record) (AuditRecord, error)) error

	// SecretsUsed notes the last use of secrets, by id. It is best effort and
	// never slows a flow: callers batch it.
	SecretsUsed(ctx context.Context, used map[string]time.Time) error

	// SecretUses returns the last use of the client's secrets, by secret id.
	SecretUses(ctx context.Context, clientID string) (map[string]time.Time, error)

	// AuditRecords returns records, newest first; see [AuditQuery].
	AuditRecords(ctx context.Context, q AuditQuery) ([]AuditRecord, error)
}

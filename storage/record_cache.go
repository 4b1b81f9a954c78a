package storage

import (
	"context"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// recordCache remembers clients' records, so that a request which authenticates
// costs no query and no decoding. What this Store writes is forgotten here
// before the write is answered. What others write, other processes for example,
// shows in a count of changes that is looked at once in age; nothing is answered
// from memory when that look failed.
type recordCache struct {
	age     time.Duration
	looking chan struct{} // held by who reads the count

	mu sync.RWMutex
	// looked is when the count was last read, and seen what it was.
	looked time.Time
	seen   int64
	// cleared counts what was forgotten: a record that was read before may be
	// older than what was forgotten, and is not remembered.
	cleared uint64
	clients map[string]*knownClient // by client_id
	ids     map[string]string       // client_id by id
	// unsettled are the ids of clients that a transaction of the host changed,
	// and since when. Nobody says when the host commits, so these are not
	// answered from memory for a while.
	unsettled map[string]time.Time
}

// knownClient is a client as it was read. It is shared, and never changed.
type knownClient struct {
	storedClient
	client *Client // as fosite sees it
}

func newKnown(k storedClient) *knownClient {
	return &knownClient{storedClient: k, client: newClient(k.Client)} // neither changes it
}

// maxCachedClients bounds the memory of a cache; a client is a few kilobytes.
const maxCachedClients = 1024

// settled is after what time a host's transaction is taken to be over.
const settled = 10 * time.Minute

// clientChanges is the name of the row in oauthreg_counters that counts updates
// and deletions of clients.
const clientChanges = "clients"

func newRecordCache(age time.Duration) *recordCache {
	if age < 0 {
		return nil
	}
	k := &recordCache{age: age, looking: make(chan struct{}, 1)}
	k.clear()
	return k
}

func (k *recordCache) clear() {
	k.cleared++
	k.clients, k.ids = make(map[string]*knownClient), make(map[string]string)
}

// get returns what is remembered of the client that ref names; nil when that is
// nothing, and the database has to tell whether there is one.
func (k *recordCache) get(ref oauthreg.Ref) *knownClient {
	k.mu.RLock()
	defer k.mu.RUnlock()
	clientID := ref.ClientID
	if clientID == "" {
		clientID = k.ids[ref.ID]
	}
	known := k.clients[clientID]
	if known == nil || ref.ID != "" && known.Client.ID != ref.ID ||
		ref.OrgID != "" && known.Client.OrgID != ref.OrgID || ref.ProjectID != "" && known.Client.ProjectID != ref.ProjectID {
		return nil
	}
	return known
}

// current returns what is remembered of the client with that id if it is as little
// out of date as an answer may be.
func (k *recordCache) current(id string) *knownClient {
	if k == nil {
		return nil
	}
	if _, due := k.due(); due {
		return nil
	}
	return k.get(oauthreg.ByID(id))
}

// at returns what is remembered of a client if it is in that state.
func (k *recordCache) at(ref clientRef) *knownClient {
	if k == nil {
		return nil
	}
	known := k.get(oauthreg.ByID(ref.id))
	if known == nil || known.incarnation != ref.incarnation || known.revision != ref.revision {
		return nil
	}
	return known
}

// mark is how often was forgotten, for put.
func (k *recordCache) mark() uint64 {
	if k == nil {
		return 0
	}
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.cleared
}

// look reads the count of changes when that is due, and forgets everything when
// it is another. It returns how often was forgotten. One caller at a time reads;
// the others wait for him no longer than their ctx lasts.
func (k *recordCache) look(ctx context.Context, read func(context.Context) (int64, error)) (cleared uint64, err error) {
	if cleared, due := k.due(); !due {
		return cleared, nil
	}
	select {
	case k.looking <- struct{}{}:
		defer func() { <-k.looking }()
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	if cleared, due := k.due(); !due { // someone else did
		return cleared, nil
	}
	now := time.Now()
	n, err := read(ctx)
	if err != nil {
		return 0, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if n != k.seen {
		k.clear()
	}
	k.looked, k.seen = now, n
	return k.cleared, nil
}

func (k *recordCache) due() (cleared uint64, due bool) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	return k.cleared, k.looked.IsZero() || time.Since(k.looked) > k.age
}

// put remembers a client that was read after cleared was what it is.
func (k *recordCache) put(cleared uint64, known *knownClient) {
	if k == nil {
		return
	}
	id, clientID := known.Client.ID, known.Client.ClientID
	k.mu.Lock()
	defer k.mu.Unlock()
	if cleared != k.cleared {
		return
	}
	if since, ok := k.unsettled[id]; ok && time.Since(since) <= settled {
		return
	}
	if _, ok := k.clients[clientID]; !ok && len(k.clients) >= maxCachedClients {
		for other, c := range k.clients { // any one
			delete(k.clients, other)
			delete(k.ids, c.Client.ID)
			break
		}
	}
	k.clients[clientID], k.ids[id] = known, clientID
}

// forget drops the client with that id.
func (k *recordCache) forget(id string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(id)
}

func (k *recordCache) drop(id string) {
	k.cleared++
	delete(k.clients, k.ids[id])
	delete(k.ids, id)
}

// unsettle is forget for a change that is not committed yet.
func (k *recordCache) unsettle(id string) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.drop(id)
	if k.unsettled == nil {
		k.unsettled = make(map[string]time.Time)
	}
	for id, since := range k.unsettled {
		if time.Since(since) > settled {
			delete(k.unsettled, id)
		}
	}
	k.unsettled[id] = time.Now()
}

// cloneRecord shares nothing with rec.
func cloneRecord(rec oauthreg.Record) oauthreg.Record {
	rec.Client = rec.Client.Clone()
	rec.Secrets = append([]oauthreg.Secret(nil), rec.Secrets...)
	rec.RegistrationToken = append([]byte(nil), rec.RegistrationToken...)
	return rec
}

// Client returns a client's record; see [oauthreg.Store]. It may come from
// memory: see [Config.ClientCacheAge].
func (s *Store) Client(ctx context.Context, ref oauthreg.Ref) (oauthreg.Record, error) {
	known, err := s.known(ctx, "get client", ref)
	if err != nil {
		return oauthreg.Record{}, err
	}
	return cloneRecord(known.Record), nil
}

// known finds a client in memory or in the database: [oauthreg.ErrNotFound]
// when there is none.
func (s *Store) known(ctx context.Context, doing string, ref oauthreg.Ref) (*knownClient, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var cleared uint64
	if s.records != nil {
		var err error
		cleared, err = s.records.look(ctx, func(ctx context.Context) (n int64, err error) {
			err = s.read(ctx, doing, func(ctx context.Context, c conn) error {
				_, err := c.one(ctx, "SELECT n FROM oauthreg_counters WHERE name = ?", []any{clientChanges}, &n)
				return err
			})
			return n, err
		})
		if err != nil {
			return nil, err
		}
		if known := s.records.get(ref); known != nil {
			return known, nil
		}
	}
	stored, err := s.client(ctx, doing, ref)
	if err != nil {
		return nil, err
	}
	known := newKnown(stored)
	s.records.put(cleared, known)
	return known, nil
}

// countClientChange is the first statement of every transaction that changes or
// deletes a client, or has to do with the blocks of names: who has the count is
// the only one who locks clients, so nobody waits for him with a client that he
// needs.
func countClientChange(ctx context.Context, c conn) error {
	_, err := c.exec(ctx, "UPDATE oauthreg_counters SET n = n + 1 WHERE name = ?", clientChanges)
	return err
}

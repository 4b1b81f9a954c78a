package storage

import (
	"cmp"
	"context"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// A part of a name is found without a look at every client. Clients that follow
// each other by id are a block: a row of oauthreg_client_name_blocks with the ids
// at its ends, and a filter that has bits set for the parts of three and of four
// bytes that names in it have. A search looks at the clients of those blocks that
// have all bits of what is searched for, and at those behind the last block.
//
// The janitor makes blocks of clients whose ids are ten minutes old: they are UUIDs
// of version 7, in order of time, so that none comes in between any more, and all
// that a registration does is to look whether a block reaches that far. What does change the names of a block
// (a rename, a deletion, a client that comes with an old id) takes its filter away,
// and the janitor makes it anew. All of this begins with countClientChange, so that
// one comes after the other. The last block's end only ever moves forward.

// nameBlocks are the sizes of blocks and searches, which tests make smaller.
type nameBlocks struct {
	// clients is how many clients a new block has. Made anew it has fewer than
	// twice as many, or is united with the next one if they are less than half.
	clients int
	// most is how many blocks' clients a search looks at: more than one of many are
	// not faster than a look at the names of all.
	most, many int
}

var defaultNameBlocks = nameBlocks{clients: 256, most: 16, many: 16}

const (
	// filterBytes is the size of a filter. Two rows fit a page of SQLite, and
	// PostgreSQL does not move it out of its row.
	filterBytes = 1792
	// maxFilterBits is how many bits a search asks for at most.
	maxFilterBits = 64
	// blocksAtOnce is how many blocks are made in a transaction.
	blocksAtOnce = 4
	// freshID is how old an id may be when its client is inserted without waiting for
	// who makes blocks. The rest of the ten minutes, see settled, is for the
	// transaction and for the difference of clocks.
	freshID = time.Minute
)

// idsUntil is behind the UUIDs of version 7 that were made before t, and before the
// later ones.
func idsUntil(t time.Time) string {
	ms := max(t.UnixMilli(), 0)
	return fmt.Sprintf("%08x-%04x", ms>>16, ms&0xffff)
}

// filterBits are the bits of a filter that a text sets, those of four bytes first.
// They are stored: another choice needs a migration that takes all filters away.
func filterBits(text string) (set []int) {
	for size := 4; size >= 3; size-- {
		for i := range max(len(text)-size+1, 0) {
			var part uint32
			for _, b := range []byte(text[i : i+size]) {
				part = part<<8 | uint32(b)
			}
			set = append(set, int(uint64(part*2654435761)*(8*filterBytes)>>32))
		}
	}
	return set
}

// nameBlock are the clients with ids behind after, up to last.
type nameBlock struct {
	after, last string
	open        int // 1: there is no filter
}

const blockColumns = "after_id, last_id, CASE WHEN filter IS NULL THEN 1 ELSE 0 END FROM oauthreg_client_name_blocks"

// oneBlock reads the block that a condition finds first.
func oneBlock(ctx context.Context, c conn, condition string, arg any) (b nameBlock, found bool, err error) {
	found, err = c.one(ctx, "SELECT "+blockColumns+" WHERE "+condition, []any{arg}, &b.after, &b.last, &b.open)
	return b, found, err
}

// mayBeInBlock reports whether a client with that id may come into a block that is
// there, or is just being made: by our clock, or, when that is behind the clock of
// whoever makes blocks, because one reaches so far.
func (s *Store) mayBeInBlock(ctx context.Context, c conn, id string) (bool, error) {
	if id <= idsUntil(s.now().Add(-freshID)) {
		return true, nil
	}
	_, found, err := oneBlock(ctx, c, "last_id >= ? ORDER BY last_id LIMIT 1", id)
	return found, err
}

// openNameBlock takes the filter from the block with that id in it, if there is one.
func openNameBlock(ctx context.Context, c conn, id string) error {
	// The lock makes it the newest state, in a host's transaction as well.
	b, found, err := oneBlock(ctx, c, "last_id >= ? ORDER BY last_id LIMIT 1"+c.sql.d.forUpdate, id)
	if err == nil && found && b.open == 0 {
		_, err = c.exec(ctx, "UPDATE oauthreg_client_name_blocks SET filter = NULL WHERE last_id = ?", b.last)
	}
	return err
}

// inHostTx reports whether the store is in a transaction of the host, which may not
// see what others have committed.
func (s *Store) inHostTx() bool {
	_, ok := s.db.(*hostTx)
	return ok
}

// makeNameBlocks makes some of the blocks that are missing, in one transaction, and
// reports whether it did.
func (s *Store) makeNameBlocks(ctx context.Context) (made bool, err error) {
	const doing = "make blocks of names"
	if s.inHostTx() {
		return false, nil
	}
	until := idsUntil(s.now().Add(-settled))
	var after string
	missing := false
	err = s.read(ctx, doing, func(ctx context.Context, c conn) error {
		if missing, err = c.one(ctx, "SELECT after_id FROM oauthreg_client_name_blocks WHERE filter IS NULL ORDER BY last_id LIMIT 1", nil, &after); err != nil || missing {
			return err
		}
		if _, err := c.one(ctx, "SELECT COALESCE(MAX(last_id), '') FROM oauthreg_client_name_blocks", nil, &after); err != nil {
			return err
		}
		var id string
		missing, err = c.one(ctx, "SELECT id FROM oauthreg_clients WHERE id > ? AND id <= ? ORDER BY id LIMIT 1 OFFSET "+strconv.Itoa(s.blocks.clients-1), []any{after, until}, &id)
		return err
	})
	if err != nil || !missing {
		return false, err
	}
	err = s.write(ctx, doing, func(ctx context.Context, c conn) (err error) {
		made = false
		if err := countClientChange(ctx, c); err != nil {
			return err
		}
		from, ok := after, true
		for range blocksAtOnce {
			if from, ok, err = s.blocks.makeOne(ctx, c, from, until); err != nil || !ok {
				return err
			}
			made = true
		}
		return nil
	})
	return made && err == nil, err
}

// makeOne makes the block that begins at after, and returns its end; not when there
// is one with a filter, or too few clients up to until are behind the last.
func (n nameBlocks) makeOne(ctx context.Context, c conn, after, until string) (last string, made bool, err error) {
	b, found, err := oneBlock(ctx, c, "last_id > ? ORDER BY last_id LIMIT 1", after)
	if err != nil {
		return "", false, err
	}
	if !found {
		ids, filter, err := n.read(ctx, c, nameBlock{after: after, last: until}, n.clients)
		if err != nil || len(ids) < n.clients {
			return "", false, err
		}
		last = ids[len(ids)-1]
		_, err = c.exec(ctx, "INSERT INTO oauthreg_client_name_blocks (after_id, last_id, filter) VALUES (?, ?, ?)", after, last, filter)
		return last, true, err
	}
	if b.after != after || b.open == 0 {
		return "", false, nil
	}
	for {
		ids, filter, err := n.read(ctx, c, b, 2*n.clients)
		if err != nil {
			return "", false, err
		}
		if len(ids) == 2*n.clients {
			last = ids[n.clients-1]
			if _, filter, err = n.read(ctx, c, b, n.clients); err != nil {
				return "", false, err
			}
			if _, err := c.exec(ctx, "UPDATE oauthreg_client_name_blocks SET after_id = ? WHERE last_id = ?", last, b.last); err != nil {
				return "", false, err
			}
			_, err = c.exec(ctx, "INSERT INTO oauthreg_client_name_blocks (after_id, last_id, filter) VALUES (?, ?, ?)", b.after, last, filter)
			return last, true, err
		}
		other := nameBlock{}
		united := false
		if len(ids) < n.clients/2 {
			if other, united, err = oneBlock(ctx, c, "last_id > ? ORDER BY last_id LIMIT 1", b.last); err == nil && !united {
				other, united, err = oneBlock(ctx, c, "last_id = ?", b.after)
			}
			if err != nil {
				return "", false, err
			}
		}
		if !united {
			_, err := c.exec(ctx, "UPDATE oauthreg_client_name_blocks SET filter = ? WHERE last_id = ?", filter, b.last)
			return b.last, true, err
		}
		gone := min(b.last, other.last)
		b = nameBlock{after: min(b.after, other.after), last: max(b.last, other.last)}
		if _, err := c.exec(ctx, "DELETE FROM oauthreg_client_name_blocks WHERE last_id = ?", gone); err != nil {
			return "", false, err
		}
		if _, err := c.exec(ctx, "UPDATE oauthreg_client_name_blocks SET after_id = ?, filter = NULL WHERE last_id = ?", b.after, b.last); err != nil {
			return "", false, err
		}
	}
}

// read reads the first clients of a block, and makes the filter of their names.
func (nameBlocks) read(ctx context.Context, c conn, b nameBlock, limit int) (ids []string, filter []byte, err error) {
	filter = make([]byte, filterBytes)
	err = c.each(ctx, "SELECT id, name_folded FROM oauthreg_clients WHERE id > ? AND id <= ? ORDER BY id LIMIT "+strconv.Itoa(limit), []any{b.after, b.last}, func(scan func(...any) error) error {
		var id, name string
		err := scan(&id, &name)
		ids = append(ids, id)
		for _, bit := range filterBits(name) {
			filter[bit/8] |= 1 << (bit % 8)
		}
		return err
	})
	return ids, filter, err
}

// foundClient is one that a search found.
type foundClient struct {
	clientRef
	createdAt int64
}

// searchNames finds all clients that a query selects, with the conditions w and
// whatever its page is, newest first. ok is false when that is not faster than a
// look at the names of all.
func (s *Store) searchNames(ctx context.Context, c conn, q oauthreg.ListQuery, w where) (found []foundClient, ok bool, err error) {
	part := foldASCII(q.NameContains)
	if len(part) < 3 || q.ClientID != "" || q.Name != "" || s.inHostTx() {
		return nil, false, nil
	}
	blocks, last := 0, ""
	if _, err := c.one(ctx, "SELECT COUNT(*), COALESCE(MAX(last_id), '') FROM oauthreg_client_name_blocks", nil, &blocks, &last); err != nil || blocks < s.blocks.many {
		return nil, false, err
	}
	if q.OrgID != "" { // whose clients are found by an index, and may be few
		var owner where
		owner.is("org_id", q.OrgID)
		owner.is("project_id", q.ProjectID)
		few := 1 << bits.Len(uint(2*blocks)) // there are not many different statements
		var id string
		many, err := c.one(ctx, "SELECT id FROM oauthreg_clients"+owner.sql()+" ORDER BY created_at DESC, id DESC LIMIT 1 OFFSET "+strconv.Itoa(few), owner.args, &id)
		if err != nil || !many {
			return nil, false, err
		}
	}
	ranges, ok, err := s.blocks.withPart(ctx, c, part, last, min(blocks/s.blocks.many, s.blocks.most))
	if err != nil || !ok {
		return nil, false, err
	}
	// A part of the statement per range, or the database might prefer to read all.
	// The conditions are none that it could use an index for.
	only := " AND CASE WHEN " + strings.Join(w.conditions, " AND ") + " THEN 1 ELSE 0 END = 1"
	const list = "SELECT id, incarnation, revision, created_at FROM oauthreg_clients WHERE id > ?"
	query, args := list+only, append([]any{last}, w.args...)
	for _, r := range ranges {
		query += " UNION ALL " + list + " AND id <= ?" + only
		args = append(append(args, r.after, r.last), w.args...)
	}
	err = c.each(ctx, query, args, func(scan func(...any) error) error {
		var k foundClient
		err := scan(&k.id, &k.incarnation, &k.revision, &k.createdAt)
		found = append(found, k)
		return err
	})
	slices.SortFunc(found, func(a, b foundClient) int {
		return cmp.Or(cmp.Compare(b.createdAt, a.createdAt), strings.Compare(b.id, a.id))
	})
	return found, true, err
}

// withPart are the blocks up to last in which a name may have a part, unless these,
// or the clients in blocks without a filter and behind last, are too many.
func (n nameBlocks) withPart(ctx context.Context, c conn, part, last string, most int) (blocks []nameBlock, ok bool, err error) {
	wanted := filterBits(part)
	var filter where
	asked := min(len(wanted), maxFilterBits)
	for i := range asked { // from everywhere: what is rare may stand at the end
		condition, args := c.sql.d.hasBit("filter", wanted[i*len(wanted)/asked])
		filter.and(condition, args...)
	}
	limit := 2*n.most + 1
	err = c.each(ctx, "SELECT "+blockColumns+" WHERE filter IS NULL OR "+strings.Join(filter.conditions, " AND ")+" LIMIT "+strconv.Itoa(limit), filter.args, func(scan func(...any) error) error {
		var b nameBlock
		err := scan(&b.after, &b.last, &b.open)
		blocks = append(blocks, b)
		return err
	})
	if err != nil || len(blocks) > 2*most {
		return nil, false, err
	}
	// The filters tell how many clients these are at most, but for the others.
	clients := 0
	count := func(behind string, args ...any) error {
		n, got := n.most*n.clients+1, 0
		_, err := c.one(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM oauthreg_clients WHERE id > ?"+behind+" ORDER BY id LIMIT "+strconv.Itoa(n)+") AS few", args, &got)
		clients += got
		return err
	}
	err = count("", last)
	blocks = slices.DeleteFunc(blocks, func(b nameBlock) bool { return b.after >= last }) // made since last was read
	for i, b := range blocks {
		blocks[i].last = min(b.last, last)
		if b.open == 0 {
			clients += n.clients
		} else if err == nil && clients <= 2*most*n.clients {
			err = count(" AND id <= ?", b.after, b.last)
		}
	}
	if err != nil || clients > 2*most*n.clients {
		return nil, false, err
	}
	// Filled up with one that is empty, so that there are few different statements.
	for len(blocks)&(len(blocks)-1) != 0 {
		blocks = append(blocks, nameBlock{})
	}
	return blocks, true, nil
}

// pageOf is the page of a query, of all that it selects.
func pageOf(found []foundClient, q oauthreg.ListQuery, limit, offset int) []foundClient {
	if !q.AfterCreatedAt.IsZero() || q.AfterID != "" {
		at := micros(q.AfterCreatedAt)
		found = slices.DeleteFunc(found, func(k foundClient) bool {
			return k.createdAt > at || k.createdAt == at && k.id >= q.AfterID
		})
	}
	found = found[min(offset, len(found)):]
	return found[:min(limit, len(found))]
}

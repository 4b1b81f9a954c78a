package storage

import (
	"context"
	"strconv"
	"sync"
	"testing"
)

// While somebody always writes, and reads, the log is folded into the file and
// begins anew; without the checkpointer it would have all that was written.
func TestWriteAheadLogStaysShort(t *testing.T) {
	s := openTest(t, "file", Config{EncryptionKeys: [][]byte{testKey}})
	k := addClient(t, s)
	must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
		_, err := c.exec(ctx, "CREATE TABLE filler (n INTEGER PRIMARY KEY, data BLOB)")
		return err
	}))
	reading, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for reading.Err() == nil {
				if _, err := s.GetClient(t.Context(), k.GetID()); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	const page, perWrite = 4096, 40
	data := make([]byte, perWrite*page)
	for n := range 3 * foldAt / perWrite {
		must(t, s.db.write(t.Context(), func(ctx context.Context, c conn) error {
			_, err := c.exec(ctx, "INSERT INTO filler VALUES ("+strconv.Itoa(n)+", ?)", data)
			return err
		}))
	}
	stop()
	readers.Wait()
	var locked, pages, copied int64
	must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
		_, err := c.one(ctx, logLength, nil, &locked, &pages, &copied)
		return err
	}))
	if pages >= 2*foldAt {
		t.Errorf("the log has %d pages", pages)
	}
	must(t, s.Close()) // also while one is folding
}

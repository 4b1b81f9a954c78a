package handlers_test

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
)

// counts are what the races and faults of this package's tests came to. CI adds
// them up with those of package storage.
var counts struct{ races, callers, faults atomic.Int64 }

// raced notes a race of n callers.
func raced(n int) {
	counts.races.Add(1)
	counts.callers.Add(int64(n))
}

func TestMain(m *testing.M) {
	status := m.Run()
	if races, faults := counts.races.Load(), counts.faults.Load(); status == 0 && races+faults > 0 {
		fmt.Printf("note: %d races, %d callers, %d faults\n", races, counts.callers.Load(), faults)
	}
	os.Exit(status)
}

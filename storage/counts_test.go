package storage

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"
)

// counts are what the races of this package's tests came to. CI adds them up with
// those of package handlers.
var counts struct{ races, callers atomic.Int64 }

func TestMain(m *testing.M) {
	status := m.Run()
	if races := counts.races.Load(); status == 0 && races > 0 {
		fmt.Printf("note: %d races, %d callers, 0 faults\n", races, counts.callers.Load())
	}
	os.Exit(status)
}

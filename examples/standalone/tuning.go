package main

import (
	"os"
	"runtime"
	"runtime/debug"
)

const (
	// gcPercent lets the heap, which is some megabytes, grow further than usual
	// before it is collected: every request costs less for it.
	gcPercent = 300
	// heapRoom is how far, in bytes, beyond twice what it is at the start the heap
	// grows before it is collected more often. The caches are bounded below that.
	heapRoom = 26 << 20
)

// beforeServing is called when the server is ready. Tests, which start many of
// them in one process, leave the runtime alone.
var beforeServing = func() {}

// tune sets the runtime up for serving, unless the environment says how: it trades
// memory for time within bounds, and runs one thread of Go more than there are
// processors. One is mostly in SQLite, and while all are busy, nobody looks for new
// requests: the slowest come sooner for it.
func tune() {
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		runtime.GC()
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		debug.SetMemoryLimit(int64(2*now.HeapAlloc) + heapRoom)
	}
}

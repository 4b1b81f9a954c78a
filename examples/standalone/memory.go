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
	heapRoom = 32 << 20
)

// beforeServing is called when the server is ready. Tests, which start many of
// them in one process, leave the heap alone.
var beforeServing = func() {}

// boundHeap trades memory for time within bounds, after the start, unless the
// environment says how.
func boundHeap() {
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

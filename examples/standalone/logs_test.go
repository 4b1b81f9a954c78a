package main

import (
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
)

type lockedText struct {
	mu sync.Mutex
	strings.Builder
	writes int
}

func (l *lockedText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.writes++
	return l.Builder.Write(p)
}

func (l *lockedText) get() (text string, writes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.String(), l.writes
}

// Lines about requests wait for each other, but not for long; a warning brings
// what came before it along.
func TestLogWriter(t *testing.T) {
	to := new(lockedText)
	w := &logWriter{to: to}
	log := slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for range 10 {
		log.Debug("request", "n", 1)
	}
	log.Warn("careful")
	text, writes := to.get()
	if strings.Count(text, "\n") != 11 || !strings.HasSuffix(text, "level=WARN msg=careful\n") || writes != 1 {
		t.Errorf("got %d writes of %q", writes, text)
	}
	log.Info("last")
	deadline := time.Now().Add(5 * time.Second)
	for {
		if text, _ := to.get(); strings.HasSuffix(text, "msg=last\n") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the last line is not written")
		}
		time.Sleep(logDelay / 10)
	}
	log.Info("at the end")
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if text, _ := to.get(); !strings.HasSuffix(text, "msg=\"at the end\"\n") {
		t.Errorf("got %q", text)
	}
}

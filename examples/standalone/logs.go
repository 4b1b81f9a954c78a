package main

import (
	"bytes"
	"io"
	"sync"
	"time"
)

// logDelay is how long a line about a request may wait for others.
const logDelay = 100 * time.Millisecond

// logWriter writes the lines of many requests at once. What is more than
// information is written immediately, with what came before it. It is safe for
// concurrent use.
type logWriter struct {
	to io.Writer

	mu     sync.Mutex
	lines  []byte
	waking bool // a flush is due
}

// Write takes one line of a [slog.TextHandler].
func (l *logWriter) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line...)
	head := line[:min(len(line), 80)]
	ordinary := bytes.Contains(head, []byte("level=INFO")) || bytes.Contains(head, []byte("level=DEBUG"))
	if !ordinary || len(l.lines) > 32<<10 {
		return len(line), l.flush()
	}
	if !l.waking {
		l.waking = true
		time.AfterFunc(logDelay, func() { _ = l.Flush() }) // nobody is there to tell
	}
	return len(line), nil
}

// Flush writes what waits.
func (l *logWriter) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waking = false
	return l.flush()
}

func (l *logWriter) flush() error {
	if len(l.lines) == 0 {
		return nil
	}
	_, err := l.to.Write(l.lines)
	l.lines = l.lines[:0]
	return err
}

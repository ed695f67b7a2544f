package main

import (
	"bytes"
	"sync"
)

// A logTail keeps the latest lines that were written to it, whole ones, up to a number of bytes in all.
type logTail struct {
	mu    sync.Mutex
	most  int
	lines [][]byte
	size  int
}

// Write takes a line, as handlers of slog write them.
func (t *logTail) Write(line []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, bytes.Clone(line))
	t.size += len(line)
	gone := 0
	for ; t.size > t.most && gone < len(t.lines)-1; gone++ {
		t.size -= len(t.lines[gone])
	}
	t.lines = append(t.lines[:0], t.lines[gone:]...)
	return len(line), nil
}

func (t *logTail) bytes() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Join(t.lines, nil)
}

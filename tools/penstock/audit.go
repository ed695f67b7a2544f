package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gopkg.in/natefinch/lumberjack.v2"

	"penstock/fastapi"
)

// The audit log says of every request who did what, from where, and how it ended: a line of JSON each, apart from the server's log. Lines go to a file that is
// rotated, or to a webhook, or both. Requests never wait for it: what it cannot take any more is counted, and said in the server's log.

const (
	// auditQueueLen bounds the entries that wait for each sink, some hundred bytes each: seconds of a busy node.
	auditQueueLen = 1 << 16
	// auditWriteLen is when lines are written to the file although more wait.
	auditWriteLen = 64 << 10
	// auditBatchLen bounds the entries of one call of the webhook.
	auditBatchLen = 1000
	// auditCallLimit is how long one call of the webhook may take.
	auditCallLimit = 10 * time.Second
	// auditLinger is how long a webhook waits for more entries, and longest how long between tries of one that fails.
	auditLinger  = time.Second
	auditLongest = 30 * time.Second
	// auditCloseLimit is how long closing waits for what is queued; the node promises to stop within 5 s.
	auditCloseLimit = 500 * time.Millisecond
)

// An auditSink takes entries from its queue until that is closed.
type auditSink struct {
	name    string
	queue   chan *fastapi.AuditEntry
	dropped atomic.Uint64
	done    chan struct{}
}

// An audit hands entries to its sinks.
type audit struct {
	sinks  []*auditSink
	cancel context.CancelFunc
	logger *slog.Logger

	mu     sync.RWMutex // Guards closed, so that nothing is sent to a closed queue.
	closed bool
}

// newAudit starts the audit log that the settings ask for; nil means that they ask for none.
func newAudit(s *settings, logger *slog.Logger) (*audit, error) {
	if s.auditLog == "" && s.auditWebhook == "" {
		return nil, nil
	}
	if s.auditLog != "" {
		// A file that cannot be written is found out now, not by the first request.
		file, err := os.OpenFile(s.auditLog, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, fmt.Errorf("--audit-log: %w", err)
		}
		file.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	a := &audit{cancel: cancel, logger: logger}
	if s.auditLog != "" {
		a.start(ctx, "file", func(_ context.Context, queue <-chan *fastapi.AuditEntry) {
			file := &lumberjack.Logger{Filename: s.auditLog, MaxSize: int(s.auditLogSize >> 20), MaxBackups: max(s.auditLogFiles, 0)}
			defer file.Close()
			auditToFile(file, queue, logger)
		})
	}
	if s.auditWebhook != "" {
		hook := &auditWebhook{url: s.auditWebhook, token: s.auditToken, client: &http.Client{Timeout: auditCallLimit}, logger: logger, wait: sleep}
		a.start(ctx, "webhook", hook.run)
	}
	return a, nil
}

func (a *audit) start(ctx context.Context, name string, run func(context.Context, <-chan *fastapi.AuditEntry)) {
	sink := &auditSink{name: name, queue: make(chan *fastapi.AuditEntry, auditQueueLen), done: make(chan struct{})}
	a.sinks = append(a.sinks, sink)
	go func() {
		defer close(sink.done)
		run(ctx, sink.queue)
	}()
}

// record takes an entry. It does not block.
func (a *audit) record(e *fastapi.AuditEntry) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if a.closed {
		return
	}
	for _, sink := range a.sinks {
		select {
		case sink.queue <- e:
		default:
			// Said at 1, 2, 4, … lost entries: once a request would be a flood of its own.
			if n := sink.dropped.Add(1); n&(n-1) == 0 {
				a.logger.Error("entries of the audit log are lost: it cannot be written fast enough", "to", sink.name, "lost", n)
			}
		}
	}
}

// close writes what is queued, as far as that goes in time.
func (a *audit) close() {
	a.mu.Lock()
	a.closed = true
	for _, sink := range a.sinks {
		close(sink.queue)
	}
	a.mu.Unlock()
	defer a.cancel()
	limit := time.After(auditCloseLimit)
	for _, sink := range a.sinks {
		select {
		case <-sink.done:
		case <-limit:
			a.logger.Error("the end of the audit log is lost: it could not be written in time", "to", sink.name, "lost", len(sink.queue))
			return
		}
	}
}

// auditToFile writes entries, many at once when many wait. Each write is of whole lines: the file is rotated between two writes.
func auditToFile(w io.Writer, queue <-chan *fastapi.AuditEntry, logger *slog.Logger) {
	var buffer bytes.Buffer
	lines := json.NewEncoder(&buffer)
	lines.SetEscapeHTML(false)
	var failed time.Time // When that was last said.
	for e := range queue {
		err := lines.Encode(e)
		if len(queue) == 0 || buffer.Len() >= auditWriteLen {
			_, writeErr := w.Write(buffer.Bytes())
			err = errors.Join(err, writeErr)
			buffer.Reset()
		}
		if err != nil && time.Since(failed) > time.Minute {
			failed = time.Now()
			logger.Error("the audit log cannot be written; entries are lost", "err", err)
		}
	}
}

// An auditWebhook posts batches of entries as lines of JSON.
type auditWebhook struct {
	url, token string
	client     *http.Client
	logger     *slog.Logger
	wait       func(context.Context, time.Duration) error
}

func (h *auditWebhook) run(ctx context.Context, queue <-chan *fastapi.AuditEntry) {
	for {
		batch, more := gather(queue)
		if len(batch) > 0 {
			h.deliver(ctx, batch)
		}
		if !more || ctx.Err() != nil {
			return
		}
	}
}

// gather waits for an entry, then takes what comes within auditLinger, a batch at most.
func gather(queue <-chan *fastapi.AuditEntry) (batch []*fastapi.AuditEntry, more bool) {
	e, ok := <-queue
	if !ok {
		return nil, false
	}
	batch = append(batch, e)
	linger := time.NewTimer(auditLinger)
	defer linger.Stop()
	for len(batch) < auditBatchLen {
		select {
		case e, ok := <-queue:
			if !ok {
				return batch, false
			}
			batch = append(batch, e)
		case <-linger.C:
			return batch, true
		}
	}
	return batch, true
}

// deliver posts a batch until it is taken or ctx ends. Meanwhile the queue fills, and then entries are lost: the newest, so that what was delivered has no holes.
func (h *auditWebhook) deliver(ctx context.Context, batch []*fastapi.AuditEntry) {
	var body bytes.Buffer
	lines := json.NewEncoder(&body)
	lines.SetEscapeHTML(false)
	for _, e := range batch {
		if err := lines.Encode(e); err != nil {
			h.logger.Error("an entry of the audit log cannot be encoded", "request", e.RequestID, "err", err)
		}
	}
	pause := auditLinger
	for {
		err := h.post(ctx, body.Bytes())
		if err == nil || ctx.Err() != nil {
			return
		}
		h.logger.Warn("the audit webhook fails; trying again", "err", err, "in", pause.String())
		if h.wait(ctx, pause) != nil {
			return
		}
		pause = min(2*pause, auditLongest)
	}
}

func (h *auditWebhook) post(ctx context.Context, body []byte) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/x-ndjson")
	if h.token != "" {
		request.Header.Set("Authorization", "Bearer "+h.token)
	}
	response, err := h.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	io.Copy(io.Discard, io.LimitReader(response.Body, 64<<10)) // So that the connection can be used again.
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("it answers %s", response.Status)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

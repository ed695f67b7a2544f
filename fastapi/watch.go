package fastapi

import (
	"context"
	"sync"
	"sync/atomic"

	"penstock/fastapi/admin"
)

// watchBacklog is how many requests a watcher may lag behind. What comes on top is lost to it: requests do not wait for those who look on.
const watchBacklog = 4096

// watchers are those who follow the requests live.
type watchers struct {
	count atomic.Int32 // Of all: requests look here first.

	mu  sync.Mutex
	all map[*watcher]struct{}
}

type watcher struct {
	filter   admin.Filter
	requests chan *admin.Request
}

// Watch implements admin.Front: the requests that the filter takes, as they end, until ctx does.
func (s *Server) Watch(ctx context.Context, filter admin.Filter) <-chan *admin.Request {
	w := &watcher{filter: filter, requests: make(chan *admin.Request, watchBacklog)}
	s.watchers.mu.Lock()
	if s.watchers.all == nil {
		s.watchers.all = make(map[*watcher]struct{})
	}
	s.watchers.all[w] = struct{}{}
	s.watchers.count.Add(1)
	s.watchers.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.watchers.mu.Lock()
		defer s.watchers.mu.Unlock()
		delete(s.watchers.all, w)
		s.watchers.count.Add(-1)
	})
	return w.requests
}

// told reports whether anybody listens to what becomes of requests.
func (s *Server) told() bool { return s.opts.Audit != nil || s.watchers.count.Load() > 0 }

// tell passes on what became of a request.
func (s *Server) tell(e *AuditEntry) {
	if s.opts.Audit != nil {
		s.opts.Audit(e)
	}
	if s.watchers.count.Load() == 0 {
		return
	}
	s.watchers.mu.Lock()
	defer s.watchers.mu.Unlock()
	for w := range s.watchers.all {
		if w.filter.Takes(e) {
			select {
			case w.requests <- e:
			default:
			}
		}
	}
}

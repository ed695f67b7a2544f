package main

import (
	"context"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestSignals plays what may follow the first signal.
func TestSignals(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(send chan<- os.Signal, s *signals)
		want string // Why the process is ended at once; "" = it is not.
	}{
		{"an orderly end", func(_ chan<- os.Signal, s *signals) {
			time.Sleep(stopLimit - time.Millisecond)
			s.stop()
		}, ""},
		{"a second signal", func(send chan<- os.Signal, _ *signals) {
			time.Sleep(time.Second)
			send <- syscall.SIGINT
		}, "a second signal, interrupt"},
		{"no end", func(chan<- os.Signal, *signals) {}, "stopping took longer than 5s"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				s := &signals{ctx: ctx, hup: make(chan os.Signal, 1), done: make(chan struct{})}
				send := make(chan os.Signal)
				why := ""
				watched := make(chan struct{})
				go func() {
					s.watch(cancel, send, time.After, func(w string) { why = w })
					close(watched)
				}()
				synctest.Wait()
				if ctx.Err() != nil || s.cause() != "" {
					t.Fatal("stopping before any signal")
				}
				send <- syscall.SIGTERM
				<-ctx.Done()
				if s.cause() != "terminated" {
					t.Errorf("cause is %q; want terminated", s.cause())
				}
				c.then(send, s)
				<-watched
				if why != c.want {
					t.Errorf("ended at once because of %q; want %q", why, c.want)
				}
			})
		})
	}
}

// TestSignalsEndByThemselves holds that the watcher goes with a process that ends without a signal.
func TestSignalsEndByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &signals{hup: make(chan os.Signal, 1), done: make(chan struct{})}
		go s.watch(func() { t.Error("stopping without a signal") }, nil, time.After, func(why string) { t.Error(why) })
		s.stop()
		synctest.Wait()
	})
}

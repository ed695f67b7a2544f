package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// signals turns what the operating system sends into what serve understands. The first SIGTERM or SIGINT ends ctx; a
// second one, or stopLimit without an end, ends the process where it stands.
type signals struct {
	ctx  context.Context
	hup  chan os.Signal // SIGHUP, when there is something to load again.
	ends chan os.Signal // SIGTERM, SIGINT, and what end sends.
	done chan struct{}
	got  atomic.Value // What ended ctx.
}

// asked stands for a signal that a call sent.
type asked string

func (a asked) Signal()        {}
func (a asked) String() string { return string(a) }

// end begins to stop as SIGTERM does, on behalf of whoever is named.
func (s *signals) end(who string) {
	select {
	case s.ends <- asked(who):
	default: // Two others have asked already.
	}
}

// watchSignals begins to watch. With reload, SIGHUP arrives on hup; without, it means what it means to a program in a
// terminal that closes: stop.
func watchSignals(ctx context.Context, reload bool, logger *slog.Logger) *signals {
	ctx, cancel := context.WithCancel(ctx)
	s := &signals{ctx: ctx, hup: make(chan os.Signal, 1), done: make(chan struct{}), ends: make(chan os.Signal, 2)}
	stop := s.ends
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	if reload {
		signal.Notify(s.hup, syscall.SIGHUP)
	} else {
		signal.Notify(stop, syscall.SIGHUP)
	}
	go func() {
		defer cancel()
		defer signal.Stop(stop)
		s.watch(cancel, stop, time.After, func(why string) {
			logger.Error("ended at once; nothing acknowledged is lost", "why", why)
			os.Exit(exitFailure)
		})
	}()
	return s
}

// watch is the loop of watchSignals, with the clock and the end of the process as arguments.
func (s *signals) watch(cancel func(), stop <-chan os.Signal, after func(time.Duration) <-chan time.Time, exit func(why string)) {
	select {
	case <-s.done:
		return
	case got := <-stop:
		s.got.Store(got.String())
		cancel()
	}
	select {
	case <-s.done:
	case got := <-stop:
		exit("a second signal, " + got.String())
	case <-after(stopLimit):
		exit("stopping took longer than " + stopLimit.String())
	}
}

// stop ends the watching: the process is about to end by itself.
func (s *signals) stop() {
	close(s.done)
	signal.Stop(s.hup)
}

// cause names the signal that ended ctx, or is "" when none did.
func (s *signals) cause() string {
	name, _ := s.got.Load().(string)
	return name
}

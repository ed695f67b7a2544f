package main

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// A supervisor is who started the node, when it asks to be told how the node does: systemd, with Type=notify and WatchdogSec (sd_notify(3)). Without one
// every method does nothing.
type supervisor struct {
	endpoint string
	logger   *slog.Logger
	interval time.Duration // Of the watchdog; 0 is none.
	client   *http.Client
}

// newSupervisor looks for a supervisor in the environment.
func newSupervisor(endpoint string, logger *slog.Logger) *supervisor {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		logger.Warn("the supervisor's watchdog is not served", "err", err)
	}
	return &supervisor{
		endpoint: endpoint, logger: logger, interval: interval,
		client: &http.Client{
			Timeout: max(interval/2, time.Second),
			Transport: &http.Transport{
				// The node asks itself: the certificate names other hosts, and nothing secret is sent.
				TLSClientConfig:   &tls.Config{InsecureSkipVerify: true},
				DisableKeepAlives: true, // A new connection proves that new clients are served.
			},
		},
	}
}

func (s *supervisor) tell(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		s.logger.Warn("the supervisor was not told", "state", state, "err", err)
	}
}

func (s *supervisor) ready() { s.tell(daemon.SdNotifyReady) }

func (s *supervisor) stopping() { s.tell(daemon.SdNotifyStopping) }

// watch tells the watchdog, until ctx ends, that the node still answers. It asks whether the process lives, not whether the drives do: another
// process would find the same drives.
func (s *supervisor) watch(ctx context.Context) {
	if s.interval == 0 {
		return
	}
	tick := time.NewTicker(s.interval / 3)
	defer tick.Stop()
	for {
		if err := s.ask(ctx); err == nil {
			s.tell(daemon.SdNotifyWatchdog)
		} else if ctx.Err() == nil {
			s.logger.Error("the node does not answer itself; the supervisor may end it", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (s *supervisor) ask(ctx context.Context) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.endpoint+livePath, nil)
	if err != nil {
		return err
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"os"
	"time"

	"penstock/engine"
	"penstock/fastapi"
	"penstock/fastapi/admin"
	"penstock/fastapi/iam"
	"penstock/numa"
)

// Stopping takes stopLimit at most, whatever hangs: the journal makes an abrupt end safe, and a supervisor that waits
// for ever is worse. Requests get drainLimit of it; what is left suffices to close the store.
const (
	stopLimit  = 5 * time.Second
	drainLimit = 3500 * time.Millisecond
)

// A store is what serve needs of engine.Store: what the front end calls, and what starts and ends it.
type store interface {
	fastapi.Store
	admin.Store
	iam.Store
	keeper
	Close(ctx context.Context) error
}

// A front is the S3 front end. Serve may be called for several listeners and returns when its listener is closed;
// Shutdown closes all of them and waits for the requests in flight until ctx ends.
type front interface {
	Serve(net.Listener) error      // With TLS, if the front end has a certificate,
	ServePlain(net.Listener) error // and without it.
	Shutdown(ctx context.Context) error
}

// errRestart is returned by serve after an orderly stop that was asked for in order to start again.
var errRestart = errors.New("the program is to be started again")

// serve runs the node until a signal ends it.
func serve(ctx context.Context, s *settings, p *process) error {
	started := time.Now()
	controls, logger := newControls(s, p.stderr)
	topology, node, err := placement(s.numaNode, logger)
	if err != nil {
		return err
	}
	s.setMemory(node)
	tuneRuntime(s.memory, p.getenv)

	signals := watchSignals(ctx, len(s.tlsCert) > 0, logger)
	defer signals.stop()
	controls.stop = signals.end
	ctx = signals.ctx

	tlsConfig, err := s.tlsConfig(signals, logger)
	if err != nil {
		return err
	}
	doors, err := s.openDoors(ctx, topology, tlsConfig, logger)
	if err != nil {
		return fail(err)
	}
	defer closeDoors(doors)
	starting := serveStarting(doors)

	n, err := openNode(ctx, s, p, topology, tlsConfig, controls, logger)
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		logger.Info("stopped before it was ready", "signal", signals.cause())
		return nil
	}
	if err != nil {
		return err
	}
	if err := starting.handOver(); err != nil {
		return errors.Join(fail(err), n.store.Close(context.WithoutCancel(ctx)))
	}
	served := make(chan error, len(doors))
	for _, d := range doors {
		serve := n.front.Serve
		if d.secure == nil {
			serve = n.front.ServePlain
		}
		go func() { served <- serve(d.Listener) }()
	}
	endpoint := doors[0].endpoint()
	logReady(logger, endpoint, doors, n.store.Info(), s, time.Since(started))
	if err := showStart(p, endpoint, s.announcedRegion(), n.root, n.fresh); err != nil {
		logger.Warn("start message not shown", "err", err)
	}

	boss := newSupervisor(endpoint, logger)
	boss.ready()
	go boss.watch(ctx)

	var broken error
	select {
	case <-ctx.Done():
		logger.Info("stopping: no new requests, those in flight finish", "signal", signals.cause())
	case broken = <-served:
		logger.Error("stopping: a listener broke", "err", broken)
	}
	if restart := controls.restart.Load(); !restart {
		boss.stopping()
	}
	if err := errors.Join(fail(broken), n.close(logger)); err != nil || !controls.restart.Load() {
		return err
	}
	return errRestart
}

// A node is an open store behind its front end.
type node struct {
	store store
	front front
	root  credentials
	fresh bool // The root pair is new.
}

// openNode opens the store, finds the root pair and puts the front end before it.
func openNode(ctx context.Context, s *settings, p *process, topology numa.Topology, tlsConfig *tls.Config, controls *controls, logger *slog.Logger) (*node, error) {
	store, err := openWhenThere(ctx, p, s.storeOptions(topology, logger), logger)
	if err != nil {
		return nil, err
	}
	n := &node{store: store}
	if n.root, n.fresh, err = rootCredentials(s.root, store); err == nil {
		n.front, err = p.newFront(s, store, n.root, tlsConfig, controls, logger)
	}
	if err != nil {
		return nil, errors.Join(err, store.Close(context.WithoutCancel(ctx)))
	}
	return n, nil
}

// openWhenThere opens the store. As long as drives are missing without which it cannot be, it waits for them: requests are answered with 503
// meanwhile, which is all that can be said of objects that nobody can look up.
func openWhenThere(ctx context.Context, p *process, options engine.Options, logger *slog.Logger) (store, error) {
	for said := ""; ; {
		store, err := p.openStore(ctx, options)
		missing, wait := errors.AsType[*engine.MissingError](err)
		if !wait {
			return store, err
		}
		if said != missing.Error() {
			said = missing.Error()
			logger.Error("too many drives are missing; every request is answered with 503 until they are there", "err", missing)
		}
		if err := missing.Wait(ctx); err != nil {
			return nil, err
		}
	}
}

// close drains the front end, then closes the store.
func (n *node) close(logger *slog.Logger) error {
	begun := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), drainLimit)
	defer cancel()
	if err := n.front.Shutdown(ctx); err != nil {
		logger.Warn("requests in flight were cut off", "err", err)
	}
	if err := n.store.Close(context.Background()); err != nil {
		return fail(err)
	}
	logger.Info("stopped", "took", time.Since(begun).Round(time.Millisecond).String())
	return nil
}

func (s *settings) storeOptions(topology numa.Topology, logger *slog.Logger) engine.Options {
	rung := s.io
	if rung == ioRungs[0] {
		rung = ""
	}
	return engine.Options{
		Drives:         s.drives,
		Parity:         s.parity,
		Memory:         s.memory,
		IndexDir:       s.indexDir,
		Format:         true,
		ReplaceEmpty:   s.replaceEmpty,
		Topology:       topology,
		IO:             rung,
		JournalSegment: s.journalSegment,
		BulkSegment:    s.bulkSegment,
		HealRate:       s.healRate,
		BalanceSpread:  float64(s.balance) / 100, // Negative when unset: never.
		ScrubRate:      s.scrubRate,
		ScrubPeriod:    time.Duration(s.scrubDays) * 24 * time.Hour, // Negative when unset: never.
		Day:            s.rulesDay,
		Logger:         logger,
	}
}

// announcedRegion is the region that the node says it is in.
func (s *settings) announcedRegion() string {
	if s.region == "" {
		return fastapi.DefaultRegion
	}
	return s.region
}

// setMemory chooses the ceiling that nobody set.
func (s *settings) setMemory(node numa.Node) {
	if s.memory == 0 {
		s.memory = defaultMemory(os.DirFS("/"), node)
	}
}

// tlsConfig is the configuration of HTTPS listeners, nil if there are none. Its certificates follow the files.
func (s *settings) tlsConfig(signals *signals, logger *slog.Logger) (*tls.Config, error) {
	if len(s.tlsCert) == 0 {
		return nil, nil
	}
	certificates, err := loadCertificates(s.tlsCert, s.tlsKey, s.adminClientCA)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(certificateCheck)
	go func() {
		defer tick.Stop()
		certificates.watch(signals.ctx.Done(), tick.C, signals.hup, logger)
	}()
	return certificates.config(), nil
}

// endpointOf is the URL to reach the node at from this machine.
func endpointOf(addr net.Addr, secure bool) string {
	scheme := "http"
	if secure {
		scheme = "https"
	}
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return scheme + "://" + addr.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + "://" + net.JoinHostPort(host, port)
}

// logReady is the one line that says that every request is served from here on, and by what.
func logReady(logger *slog.Logger, endpoint string, doors []door, info engine.Info, s *settings, took time.Duration) {
	var ok, missing []string
	for _, drive := range info.Drives {
		if drive.State == "ok" {
			ok = append(ok, drive.Path)
		} else {
			missing = append(missing, drive.Path)
		}
	}
	attrs := []any{
		"endpoint", endpoint, "drives", len(ok), "geometry", info.Geometry, "io", info.Rung, "direct", info.Direct,
		"cells", info.Cells, "memory", formatSize(s.memory), "cluster", info.Cluster, "simd", simdName(),
		"startup", took.Round(time.Millisecond).String(),
	}
	if other := doors[len(doors)-1].endpoint(); other != endpoint {
		attrs = append(attrs, "https", other)
	}
	if len(missing) > 0 {
		attrs = append(attrs, "missing", missing)
	}
	logger.Info("ready", attrs...)
}

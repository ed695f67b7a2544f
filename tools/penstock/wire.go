package main

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"

	"penstock/engine"
	"penstock/fastapi"
	"penstock/fastapi/iam"
)

// openStore opens the engine. What the operator gave wrong comes back as it is; everything else is a failure.
func openStore(ctx context.Context, o engine.Options) (store, error) {
	s, err := engine.Open(ctx, o)
	if _, mistake := errors.AsType[*engine.UsageError](err); mistake {
		return nil, err
	}
	if err != nil {
		return nil, fail(err)
	}
	return s, nil
}

// newFront puts the S3 front end before a store.
func newFront(s *settings, store store, root credentials, tlsConfig *tls.Config, controls *controls, logger *slog.Logger) (front, error) {
	keyring, err := sealingKeys(store)
	if err != nil {
		return nil, err
	}
	identities, err := iam.Open(iam.Options{
		Store: store, Keyring: keyring, RootAccessKey: root.AccessKey, RootSecret: root.SecretKey, Logger: logger,
	})
	if err != nil {
		return nil, err
	}
	audit, err := newAudit(s, logger)
	if err != nil {
		return nil, err
	}
	options := fastapi.Options{
		Store:      store,
		Admin:      store,
		Process:    controls,
		Metrics:    fastapi.Metrics{Open: s.metrics == "open", Token: s.metricsToken},
		Identities: identities,

		TrustedProxies:    s.trustedProxies,
		AdminCertificates: s.adminClientCA != "",
		OpenBuckets:       s.newBuckets == "open",
		OpaqueETags:       s.etags == "opaque",

		ZeroCopySend: s.zeroCopySend == "on",

		Day: s.rulesDay,

		Region:    s.region,
		Domains:   s.domains,
		TLSConfig: tlsConfig,
		Logger:    logger,
	}
	if audit != nil {
		options.Audit = audit.record
	}
	server, err := fastapi.New(options)
	if err != nil {
		return nil, err
	}
	if audit == nil {
		return server, nil
	}
	return &auditedFront{server, audit}, nil
}

// auditedFront is a front end with an audit log, which ends after it.
type auditedFront struct {
	*fastapi.Server
	audit *audit
}

func (f *auditedFront) Shutdown(ctx context.Context) error {
	err := f.Server.Shutdown(ctx)
	f.audit.close()
	return err
}

// rebuildIndex opens the store with its index made anew, and closes it again.
func rebuildIndex(ctx context.Context, s *settings, p *process) error {
	logger := newLogger(p.stderr, s.logLevel, s.logFormat)
	topology, node, err := placement(s.numaNode, logger)
	if err != nil {
		return err
	}
	s.setMemory(node)
	tuneRuntime(s.memory, p.getenv)
	signals := watchSignals(ctx, false, logger)
	defer signals.stop()
	o := s.storeOptions(topology, logger)
	o.Format, o.RebuildIndex = false, true // A blank drive has no index to rebuild: it is the wrong drive.
	store, err := p.openStore(signals.ctx, o)
	if err != nil {
		return err
	}
	return fail(store.Close(context.WithoutCancel(ctx)))
}

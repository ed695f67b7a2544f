package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"penstock/numa"
)

// A door is a listener, and what is spoken through it.
type door struct {
	net.Listener
	secure *tls.Config // nil is plain HTTP.
}

// endpoint is the URL to reach the node at from this machine.
func (d door) endpoint() string { return endpointOf(d.Addr(), d.secure != nil) }

// openDoors opens those of the settings: HTTPS at --tls-address and HTTP at --address, or where that is not given, one of them at --address.
func (s *settings) openDoors(ctx context.Context, topology numa.Topology, secure *tls.Config, logger *slog.Logger) ([]door, error) {
	var doors []door
	open := func(address string, secure *tls.Config) error {
		listeners, err := listen(ctx, address, topology)
		if steer, ok := errors.AsType[*notSteered](err); ok {
			logger.Warn("connections are spread over NUMA nodes by hash", "err", steer.err)
		} else if err != nil {
			return err
		}
		for _, l := range listeners {
			doors = append(doors, door{l, secure})
		}
		return nil
	}
	var err error
	if s.tlsAddress == "" {
		err = open(s.address, secure)
	} else if err = open(s.address, nil); err == nil {
		err = open(s.tlsAddress, secure)
	}
	if err != nil {
		closeDoors(doors)
		return nil, err
	}
	return doors, nil
}

func closeDoors(doors []door) {
	for _, d := range doors {
		d.Close()
	}
}

// listen opens the listeners for address: one, or on a machine with several NUMA nodes one for each that has CPUs, so that a
// connection is taken up where its packets arrive.
func listen(ctx context.Context, address string, topology numa.Topology) ([]net.Listener, error) {
	var nodes []int
	for _, node := range topology.Nodes {
		if len(node.CPUs) > 0 {
			nodes = append(nodes, node.ID)
		}
	}
	if len(nodes) < 2 {
		listener, err := listenOne(ctx, address, nil)
		if err != nil {
			return nil, err
		}
		return []net.Listener{listener}, nil
	}
	return listenSteered(ctx, address, nodes, topology.ListenersByNode(nodes))
}

// listenSteered opens one listener for each NUMA node on the same port. Sharing a port needs SO_REUSEPORT, which also
// lets a second process of the same user join in unnoticed; so a plain listener tries the port first.
func listenSteered(ctx context.Context, address string, nodes, cpuToListener []int) ([]net.Listener, error) {
	probe, err := listenOne(ctx, address, nil)
	if err != nil {
		return nil, err
	}
	address = probe.Addr().String() // Port 0 is a port by now.
	probe.Close()

	var listeners []net.Listener
	for range nodes {
		listener, err := listenOne(ctx, address, sharePort)
		if err != nil {
			closeAll(listeners)
			return nil, err
		}
		listeners = append(listeners, listener)
	}
	raw, err := listeners[0].(*net.TCPListener).SyscallConn()
	if err != nil {
		closeAll(listeners)
		return nil, err
	}
	// Without steering the kernel spreads connections by a hash: more traffic between NUMA nodes, nothing else.
	var steered error
	if err := raw.Control(func(fd uintptr) { steered = numa.SteerByCPU(int(fd), cpuToListener) }); err != nil {
		closeAll(listeners)
		return nil, err
	}
	if steered != nil {
		return listeners, &notSteered{steered}
	}
	return listeners, nil
}

// notSteered is returned beside listeners that work.
type notSteered struct{ err error }

func (e *notSteered) Error() string { return fmt.Sprintf("connections are not steered: %v", e.err) }
func (e *notSteered) Unwrap() error { return e.err }

func listenOne(ctx context.Context, address string, control func(string, string, syscall.RawConn) error) (net.Listener, error) {
	config := net.ListenConfig{Control: control}
	config.SetMultipathTCP(false) // Go turns it on for listeners; the kernel then copies every byte through a slower path.
	return config.Listen(ctx, "tcp", address)
}

func sharePort(_, _ string, conn syscall.RawConn) error {
	var set error
	err := conn.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
	if err != nil {
		return err
	}
	return set
}

func closeAll(listeners []net.Listener) {
	for _, listener := range listeners {
		listener.Close()
	}
}

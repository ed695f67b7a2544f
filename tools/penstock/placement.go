package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"syscall"

	"penstock/numa"
)

// boundEnv tells the program that it already runs on the NUMA node of that number. It does not begin with envPrefix:
// it is no setting.
const boundEnv = "_PENSTOCK_BOUND"

// placement reads the machine's topology and, when a NUMA node is chosen, puts the whole process on it. Threads of the Go
// runtime exist by now and would stay where they are, so the process executes itself again: affinity and memory policy
// carry over, and every thread is born with them. The call then does not return; the one in the new life does, with a
// topology of that NUMA node alone.
func placement(chosen int, logger *slog.Logger) (numa.Topology, numa.Node, error) {
	topology, err := numa.Read(os.DirFS("/sys"))
	if err != nil {
		if chosen != unset {
			return numa.Topology{}, numa.Node{}, fmt.Errorf("--numa-node %d: %w", chosen, err)
		}
		logger.Warn("topology is unknown: this machine is taken for one NUMA node", "err", err)
		return numa.Topology{}, numa.Node{}, nil
	}
	if chosen == unset {
		return topology, numa.Node{}, nil
	}
	node, err := findNode(topology, chosen)
	if err != nil {
		return numa.Topology{}, numa.Node{}, err
	}
	if os.Getenv(boundEnv) != strconv.Itoa(chosen) {
		if err := executeOn(node, logger); err != nil {
			return numa.Topology{}, numa.Node{}, fail(fmt.Errorf("--numa-node %d: %w", chosen, err))
		}
	}
	topology.Nodes = []numa.Node{node}
	return topology, node, nil
}

func findNode(topology numa.Topology, chosen int) (numa.Node, error) {
	node, ok := topology.Node(chosen)
	if !ok {
		var have []string
		for _, n := range topology.Nodes {
			have = append(have, strconv.Itoa(n.ID))
		}
		return numa.Node{}, fmt.Errorf("--numa-node %d: this machine has %s", chosen, strings.Join(have, ", "))
	}
	if len(node.CPUs) == 0 {
		return numa.Node{}, fmt.Errorf("--numa-node %d has memory but no CPUs", chosen)
	}
	return node, nil
}

// executeOn replaces the process with itself, bound to node. It returns only on failure.
func executeOn(node numa.Node, logger *slog.Logger) error {
	switch err := numa.BindProcess(node); {
	case errors.Is(err, numa.ErrPolicy):
		logger.Warn("memory may come from other NUMA nodes", "err", err)
	case err != nil:
		return err
	}
	return syscall.Exec("/proc/self/exe", os.Args, append(os.Environ(), fmt.Sprintf("%s=%d", boundEnv, node.ID)))
}

//go:build linux

package numa

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

// UnknownNode says that the machine does not tell: the file is missing or holds -1.
const UnknownNode = -1

// Node is one NUMA node.
type Node struct {
	ID          int   // As the kernel numbers it; numbers may have gaps.
	CPUs        []int // Online CPUs, ascending; empty for a node that has only memory.
	MemoryBytes int64 // Zero when the kernel does not say.
}

// Topology is what [Read] found. It stays valid as long as the file system it came from.
type Topology struct {
	Nodes []Node // Ascending by ID; never empty.

	sys fs.FS
}

// Read reads the topology from sys, which is /sys: os.DirFS("/sys") in production, a recorded tree in
// tests. A kernel built without NUMA has no nodes to list and is one node, 0, with every online CPU.
func Read(sys fs.FS) (Topology, error) {
	t := Topology{sys: sys}
	entries, err := fs.ReadDir(sys, "devices/system/node")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return Topology{}, err
	}
	for _, entry := range entries {
		id, ok := nodeID(entry.Name())
		if !ok {
			continue
		}
		node, err := readNode(sys, id)
		if err != nil {
			return Topology{}, err
		}
		t.Nodes = append(t.Nodes, node)
	}
	if len(t.Nodes) > 0 {
		slices.SortFunc(t.Nodes, func(a, b Node) int { return a.ID - b.ID })
		return t, nil
	}
	cpus, err := readCPUList(sys, "devices/system/cpu/online")
	if err != nil {
		return Topology{}, err
	}
	t.Nodes = []Node{{ID: 0, CPUs: cpus}}
	return t, nil
}

// Node returns the NUMA node with the given ID.
func (t Topology) Node(id int) (Node, bool) {
	for _, node := range t.Nodes {
		if node.ID == id {
			return node, true
		}
	}
	return Node{}, false
}

// NodeOfCPU returns the ID of the NUMA node that cpu belongs to, or UnknownNode.
func (t Topology) NodeOfCPU(cpu int) int {
	for _, node := range t.Nodes {
		if slices.Contains(node.CPUs, cpu) {
			return node.ID
		}
	}
	return UnknownNode
}

// nodeID takes the number out of a directory name such as "node12".
func nodeID(name string) (int, bool) {
	digits, ok := strings.CutPrefix(name, "node")
	if !ok {
		return 0, false
	}
	id, err := strconv.ParseUint(digits, 10, 16)
	return int(id), err == nil
}

func readNode(sys fs.FS, id int) (Node, error) {
	dir := fmt.Sprintf("devices/system/node/node%d", id)
	cpus, err := readCPUList(sys, dir+"/cpulist")
	if err != nil {
		return Node{}, err
	}
	memory, err := readMemTotal(sys, dir+"/meminfo")
	if err != nil {
		return Node{}, err
	}
	return Node{ID: id, CPUs: cpus, MemoryBytes: memory}, nil
}

func readCPUList(sys fs.FS, name string) ([]int, error) {
	text, err := fs.ReadFile(sys, name)
	if err != nil {
		return nil, err
	}
	cpus, err := ParseCPUList(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return cpus, nil
}

// readMemTotal finds the line "Node 0 MemTotal:  131072 kB". A missing file is a size of zero: nothing
// depends on it but reports.
func readMemTotal(sys fs.FS, name string) (int64, error) {
	text, err := fs.ReadFile(sys, name)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 5 && fields[2] == "MemTotal:" && fields[4] == "kB" {
			kib, err := strconv.ParseInt(fields[3], 10, 53)
			if err != nil {
				return 0, fmt.Errorf("%s: MemTotal: %w", name, err)
			}
			return kib << 10, nil
		}
	}
	return 0, nil
}

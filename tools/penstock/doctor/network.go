package doctor

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"penstock/numa"
)

// A fast link is one on which the settings of the network matter, in Mbit/s.
const fastLink = 25_000

func (e *examination) network() {
	e.interfaceNodes = make(map[string]int)
	names := e.o.Interfaces
	if len(names) == 0 {
		entries, _ := fs.ReadDir(e.sys.Sys, "class/net") // None is none.
		for _, entry := range entries {
			// Hardware has a device; bridges, tunnels and loopback have none.
			if _, err := fs.Stat(e.sys.Sys, "class/net/"+entry.Name()+"/device"); err == nil && read(e.sys.Sys, "class/net/"+entry.Name()+"/operstate") == "up" {
				names = append(names, entry.Name())
			}
		}
	}
	fastest := int64(0)
	mtus := make(map[int64][]string)
	for _, name := range names {
		state := read(e.sys.Sys, "class/net/"+name+"/operstate")
		if state == "" {
			e.found(Failure, name, "there is no such interface", "name one that ip link shows")
			continue
		}
		speed, _ := number(e.sys.Sys, "class/net/"+name+"/speed") // Virtual interfaces have none.
		mtu, _ := number(e.sys.Sys, "class/net/"+name+"/mtu")
		fastest = max(fastest, speed)
		mtus[mtu] = append(mtus[mtu], name)
		e.interfaceNodes[name] = e.topology.InterfaceNode(name)
		switch {
		case state != "up":
			e.found(Warning, name, "is "+state, "ip link set "+name+" up")
		case speed >= fastLink && mtu < 9000:
			e.found(Notice, name, fmt.Sprintf("%d Gbit/s with packets of %d bytes: each costs processor time", speed/1000, mtu), "an MTU of 9000 on every host and switch of this network")
		case speed > 0:
			e.good(name, "%d Mbit/s, MTU %d", speed, mtu)
		default:
			e.good(name, "MTU %d", mtu)
		}
	}
	if len(mtus) > 1 {
		var parts []string
		for _, mtu := range slices.Sorted(maps.Keys(mtus)) {
			parts = append(parts, fmt.Sprintf("%d on %s", mtu, strings.Join(mtus[mtu], " and ")))
		}
		e.found(Notice, "MTU", strings.Join(parts, ", "), "the same MTU on all interfaces of one network")
	}
	if backlog, ok := number(e.sys.Proc, "sys/net/core/somaxconn"); ok && backlog < 1024 {
		e.found(Notice, "backlog", fmt.Sprintf("net.core.somaxconn is %d: a burst of new connections is refused", backlog), "sysctl -w net.core.somaxconn=4096")
	}
	if fastest < fastLink {
		return
	}
	for _, name := range []string{"rmem_max", "wmem_max"} {
		if n, ok := number(e.sys.Proc, "sys/net/core/"+name); ok && n < 4<<20 {
			e.found(Notice, "socket buffers", fmt.Sprintf("net.core.%s is %d bytes: one connection cannot fill the link", name, n), "sysctl -w net.core."+name+"=16777216")
		}
	}
}

// placement compares the NUMA nodes of drives and network.
func (e *examination) placement() {
	if len(e.topology.Nodes) < 2 {
		e.good("placement", "one NUMA node")
		return
	}
	drives := nodesOf(e.driveNodes)
	links := nodesOf(e.interfaceNodes)
	switch {
	case len(drives) > 1:
		e.found(Notice, "placement", "the drives are on NUMA nodes "+join(drives)+": the store is one cell for each", "nothing, or one node process for each with --numa-node")
	case len(drives) == 1 && len(links) > 0 && !slices.Contains(links, drives[0]):
		e.found(Warning, "placement", fmt.Sprintf("the drives are on NUMA node %d, the network on %s: every byte crosses between the sockets", drives[0], join(links)),
			"move the drives or the interface to slots of the same socket")
	default:
		e.good("placement", "drives on NUMA node %s, network on %s", join(drives), join(links))
	}
}

// nodesOf returns the nodes that are known, ascending.
func nodesOf(of map[string]int) (nodes []int) {
	for _, node := range of {
		if node != numa.UnknownNode && !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	slices.Sort(nodes)
	return nodes
}

func join(nodes []int) string {
	if len(nodes) == 0 {
		return "one that the machine does not tell"
	}
	return strings.Trim(strings.Join(strings.Fields(fmt.Sprint(nodes)), ", "), "[]")
}

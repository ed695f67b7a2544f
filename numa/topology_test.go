//go:build linux

package numa_test

import (
	"io/fs"
	"os"
	"reflect"
	"strings"
	"testing"
	"testing/fstest"

	"penstock/numa"
)

// tree builds a sysfs from lines: "path = content" is a file, "path -> target" a symbolic link. The
// trees below are cut down from recorded ones to what the package reads.
func tree(lines string) fstest.MapFS {
	m := fstest.MapFS{}
	for line := range strings.Lines(lines) {
		line = strings.TrimSuffix(line, "\n") // An empty cpulist leaves a space at the end.
		if name, target, ok := strings.Cut(line, " -> "); ok {
			m[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
		} else if name, content, ok := strings.Cut(line, " = "); ok {
			m[name] = &fstest.MapFile{Data: []byte(strings.ReplaceAll(content, `\n`, "\n") + "\n"), Mode: 0o444}
		}
	}
	return m
}

// twoSockets is a server with two 32-core CPUs, an NVMe drive and a 100 GbE card on each, a multipath
// NVMe drive, software RAID, a bond, a SATA drive and a loop device.
const twoSockets = `
devices/system/node/online = 0-1
devices/system/node/possible = 0-1
devices/system/node/has_cpu = 0-1
devices/system/node/node0/cpulist = 0-31,64-95
devices/system/node/node0/meminfo = Node 0 MemTotal:       263572480 kB\nNode 0 MemFree:        201334412 kB
devices/system/node/node1/cpulist = 32-63,96-127
devices/system/node/node1/meminfo = Node 1 MemTotal:       264201216 kB\nNode 1 MemFree:        250334412 kB

devices/pci0000:16/0000:16:02.0/numa_node = 0
devices/pci0000:16/0000:16:02.0/0000:17:00.0/numa_node = 0
devices/pci0000:16/0000:16:02.0/0000:17:00.0/nvme/nvme0/nvme0n1/size = 7501476528
devices/pci0000:16/0000:16:02.0/0000:17:00.0/nvme/nvme0/nvme0n1/device -> ../../nvme0
devices/pci0000:16/0000:16:02.0/0000:17:00.0/nvme/nvme0/device -> ../../../0000:17:00.0
devices/pci0000:16/0000:16:02.0/0000:17:00.0/nvme/nvme0/nvme0n1/nvme0n1p1/partition = 1
devices/pci0000:97/0000:97:02.0/0000:98:00.0/numa_node = 1
devices/pci0000:97/0000:97:02.0/0000:98:00.0/nvme/nvme1/nvme1n1/size = 7501476528
devices/pci0000:97/0000:97:02.0/0000:98:00.0/nvme/nvme1/nvme1n1/nvme1n1p2/partition = 2
dev/block/259:0 -> ../../devices/pci0000:16/0000:16:02.0/0000:17:00.0/nvme/nvme0/nvme0n1
dev/block/259:1 -> ../../devices/pci0000:16/0000:16:02.0/0000:17:00.0/nvme/nvme0/nvme0n1/nvme0n1p1
dev/block/259:2 -> ../../devices/pci0000:97/0000:97:02.0/0000:98:00.0/nvme/nvme1/nvme1n1
dev/block/259:4 -> ../../devices/pci0000:97/0000:97:02.0/0000:98:00.0/nvme/nvme1/nvme1n1/nvme1n1p2

devices/pci0000:97/0000:97:04.0/numa_node = 1
devices/pci0000:97/0000:97:04.0/nvme/nvme2/transport = pcie
devices/virtual/nvme-subsystem/nvme-subsys2/nvme2 -> ../../../pci0000:97/0000:97:04.0/nvme/nvme2
devices/virtual/nvme-subsystem/nvme-subsys2/nvme2n1/nvme2n1p1/partition = 1
dev/block/259:7 -> ../../devices/virtual/nvme-subsystem/nvme-subsys2/nvme2n1/nvme2n1p1

devices/virtual/block/md0/slaves/nvme0n1 -> ../../../../pci0000:16/0000:16:02.0/0000:17:00.0/nvme/nvme0/nvme0n1
devices/virtual/block/md0/slaves/nvme1n1 -> ../../../../pci0000:97/0000:97:02.0/0000:98:00.0/nvme/nvme1/nvme1n1
devices/virtual/block/dm-0/slaves/nvme1n1p2 -> ../../../../pci0000:97/0000:97:02.0/0000:98:00.0/nvme/nvme1/nvme1n1/nvme1n1p2
devices/virtual/block/dm-1/slaves/dm-0 -> ../../dm-0
devices/virtual/block/md1/slaves/nvme0n1 -> ../../../../pci0000:16/0000:16:02.0/0000:17:00.0/nvme/nvme0/nvme0n1
devices/virtual/block/md1/md1p1/partition = 1
devices/virtual/block/dm-7/slaves/dm-8 -> ../../dm-8
devices/virtual/block/dm-8/slaves/dm-7 -> ../../dm-7
devices/virtual/block/loop0/size = 0
dev/block/9:0 -> ../../devices/virtual/block/md0
dev/block/259:9 -> ../../devices/virtual/block/md1/md1p1
dev/block/252:0 -> ../../devices/virtual/block/dm-0
dev/block/252:1 -> ../../devices/virtual/block/dm-1
dev/block/252:7 -> ../../devices/virtual/block/dm-7
dev/block/7:0 -> ../../devices/virtual/block/loop0

devices/pci0000:00/0000:00:17.0/numa_node = 0
devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1/partition = 1
dev/block/8:1 -> ../../devices/pci0000:00/0000:00:17.0/ata1/host0/target0:0:0/0:0:0:0/block/sda/sda1
dev/block/8:99 -> ../../devices/gone

devices/pci0000:97/0000:97:06.0/0000:99:00.0/numa_node = 1
devices/pci0000:97/0000:97:06.0/0000:99:00.0/net/eth1/speed = 100000
devices/pci0000:00/0000:00:1c.0/numa_node = -1
devices/pci0000:00/0000:00:1c.0/net/eth9/speed = 1000
devices/virtual/net/bond0/lower_eth1 -> ../../../pci0000:97/0000:97:06.0/0000:99:00.0/net/eth1
devices/virtual/net/lo/speed = 0
class/net/eth1 -> ../../devices/pci0000:97/0000:97:06.0/0000:99:00.0/net/eth1
class/net/eth9 -> ../../devices/pci0000:00/0000:00:1c.0/net/eth9
class/net/bond0 -> ../../devices/virtual/net/bond0
class/net/lo -> ../../devices/virtual/net/lo
class/net/loop0 -> loop1
class/net/loop1 -> loop0
`

// fourSockets is a server whose firmware leaves gaps in the numbers, with a memory-only NUMA node (a
// CXL expander) whose cpulist is empty.
const fourSockets = `
devices/system/node/online = 0,2,4,6,10
devices/system/node/power = not a node
devices/system/node/node10/cpulist = 
devices/system/node/node10/meminfo = Node 10 MemTotal:      536870912 kB
devices/system/node/node0/cpulist = 0-3,16-19
devices/system/node/node2/cpulist = 4-7,20-23
devices/system/node/node4/cpulist = 8,9,10-11,24-27
devices/system/node/node6/cpulist = 12-15,28-31
devices/system/node/node0/meminfo = Node 0 MemTotal:       131072 kB
devices/pci0000:e0/0000:e0:03.1/0000:e1:00.0/numa_node = 6
devices/pci0000:e0/0000:e0:03.1/0000:e1:00.0/nvme/nvme0/nvme0n1/size = 1
dev/block/259:0 -> ../../devices/pci0000:e0/0000:e0:03.1/0000:e1:00.0/nvme/nvme0/nvme0n1
`

// A virtual machine: one NUMA node, and no numa_node file for the drive or the card.
const virtualMachine = `
devices/system/node/node0/cpulist = 0-1
devices/pci0000:00/0000:00:02.0/virtio1/block/vda/vda1/partition = 1
devices/pci0000:00/0000:00:03.0/virtio2/net/eth0/speed = -1
dev/block/254:1 -> ../../devices/pci0000:00/0000:00:02.0/virtio1/block/vda/vda1
class/net/eth0 -> ../../devices/pci0000:00/0000:00:03.0/virtio2/net/eth0
`

func read(t *testing.T, lines string) numa.Topology {
	t.Helper()
	topology, err := numa.Read(tree(lines))
	if err != nil {
		t.Fatal(err)
	}
	return topology
}

func cpuRange(ranges ...int) []int {
	var cpus []int
	for i := 0; i < len(ranges); i += 2 {
		for cpu := ranges[i]; cpu <= ranges[i+1]; cpu++ {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}

func TestRead(t *testing.T) {
	for _, test := range []struct {
		name, tree string
		want       []numa.Node
	}{
		{"two sockets", twoSockets, []numa.Node{
			{ID: 0, CPUs: cpuRange(0, 31, 64, 95), MemoryBytes: 263572480 << 10},
			{ID: 1, CPUs: cpuRange(32, 63, 96, 127), MemoryBytes: 264201216 << 10},
		}},
		{"four sockets, gaps, memory-only", fourSockets, []numa.Node{
			{ID: 0, CPUs: cpuRange(0, 3, 16, 19), MemoryBytes: 131072 << 10},
			{ID: 2, CPUs: cpuRange(4, 7, 20, 23)},
			{ID: 4, CPUs: cpuRange(8, 11, 24, 27)},
			{ID: 6, CPUs: cpuRange(12, 15, 28, 31)},
			{ID: 10, MemoryBytes: 536870912 << 10},
		}},
		{"virtual machine", virtualMachine, []numa.Node{{ID: 0, CPUs: []int{0, 1}}}},
		{"kernel without NUMA", "devices/system/cpu/online = 0-3,8,10-11", []numa.Node{{ID: 0, CPUs: []int{0, 1, 2, 3, 8, 10, 11}}}},
	} {
		got := read(t, test.tree).Nodes
		if !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s: Read = %v, want %v", test.name, got, test.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for _, test := range []struct{ name, tree, want string }{
		{"nothing there", "a = b", "devices/system/cpu/online"},
		{"bad cpulist", "devices/system/node/node0/cpulist = 0-x", "node0/cpulist"},
		{"no cpulist", "devices/system/node/node3/distance = 10", "node3/cpulist"},
		{"bad meminfo", "devices/system/node/node0/cpulist = 0\ndevices/system/node/node0/meminfo = Node 0 MemTotal: lots kB", "node0/meminfo"},
	} {
		_, err := numa.Read(tree(test.tree))
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: Read error = %v, want one that names %s", test.name, err, test.want)
		}
	}
}

func TestBlockDeviceNode(t *testing.T) {
	two, four, vm := read(t, twoSockets), read(t, fourSockets), read(t, virtualMachine)
	for _, test := range []struct {
		name         string
		topology     numa.Topology
		major, minor uint32
		want         int
	}{
		{"NVMe drive", two, 259, 0, 0},
		{"NVMe partition", two, 259, 1, 0},
		{"NVMe drive, other socket", two, 259, 2, 1},
		{"NVMe partition, other socket", two, 259, 4, 1},
		{"multipath NVMe partition", two, 259, 7, 1},
		{"md over both sockets", two, 9, 0, numa.UnknownNode},
		{"partition of md on one socket", two, 259, 9, 0},
		{"dm on a partition", two, 252, 0, 1},
		{"dm on dm", two, 252, 1, 1},
		{"dm that holds itself", two, 252, 7, numa.UnknownNode},
		{"loop device", two, 7, 0, numa.UnknownNode},
		{"SATA partition", two, 8, 1, 0},
		{"link to nothing", two, 8, 99, numa.UnknownNode},
		{"no such device", two, 1, 1, numa.UnknownNode},
		{"sparse ids", four, 259, 0, 6},
		{"virtio, no numa_node", vm, 254, 1, numa.UnknownNode},
		{"zero Topology", numa.Topology{}, 8, 1, numa.UnknownNode},
	} {
		if got := test.topology.BlockDeviceNode(test.major, test.minor); got != test.want {
			t.Errorf("%s: BlockDeviceNode(%d, %d) = %d, want %d", test.name, test.major, test.minor, got, test.want)
		}
	}
}

func TestInterfaceNode(t *testing.T) {
	two, vm := read(t, twoSockets), read(t, virtualMachine)
	for _, test := range []struct {
		topology numa.Topology
		name     string
		want     int
	}{
		{two, "eth1", 1},
		{two, "eth9", numa.UnknownNode}, // Its PCI function says -1.
		{two, "bond0", 1},
		{two, "lo", numa.UnknownNode},
		{two, "loop0", numa.UnknownNode}, // Two links at each other.
		{two, "eth7", numa.UnknownNode},
		{two, "../net/eth1", numa.UnknownNode}, // A name, not a path.
		{two, "", numa.UnknownNode},
		{vm, "eth0", numa.UnknownNode},
	} {
		if got := test.topology.InterfaceNode(test.name); got != test.want {
			t.Errorf("InterfaceNode(%q) = %d, want %d", test.name, got, test.want)
		}
	}
}

// A recorded tree on a real file system goes through os.DirFS, whose links are the kernel's.
func TestDirFS(t *testing.T) {
	dir := t.TempDir()
	for name, file := range tree(twoSockets) {
		target := dir + "/" + name
		if err := os.MkdirAll(target[:strings.LastIndex(target, "/")], 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if file.Mode&fs.ModeSymlink != 0 {
			err = os.Symlink(string(file.Data), target)
		} else {
			err = os.WriteFile(target, file.Data, 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	topology, err := numa.Read(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if got := topology.BlockDeviceNode(259, 4); got != 1 {
		t.Errorf("BlockDeviceNode(259, 4) = %d, want 1", got)
	}
	if got := topology.BlockDeviceNode(259, 7); got != 1 {
		t.Errorf("BlockDeviceNode(259, 7) = %d, want 1", got)
	}
	if got := topology.InterfaceNode("bond0"); got != 1 {
		t.Errorf("InterfaceNode(bond0) = %d, want 1", got)
	}
}

func TestThisMachine(t *testing.T) {
	topology, err := numa.Read(os.DirFS("/sys"))
	if err != nil {
		t.Skipf("no sysfs to read: %v", err)
	}
	cpus, err := numa.ThreadAffinity()
	if err != nil {
		t.Fatal(err)
	}
	for _, cpu := range cpus {
		if topology.NodeOfCPU(cpu) == numa.UnknownNode {
			t.Errorf("NodeOfCPU(%d) is unknown, though this thread may run there", cpu)
		}
	}
	if got := topology.NodeOfCPU(1 << 20); got != numa.UnknownNode {
		t.Errorf("NodeOfCPU(1<<20) = %d, want unknown", got)
	}
	if _, ok := topology.Node(topology.Nodes[0].ID); !ok {
		t.Error("Node does not find the first node")
	}
}

func TestParseCPUList(t *testing.T) {
	for _, test := range []struct {
		in   string
		want []int
		ok   bool
	}{
		{"0-3,8,10-11\n", []int{0, 1, 2, 3, 8, 10, 11}, true},
		{"0", []int{0}, true},
		{"", nil, true},
		{"\n", nil, true},
		{"3-1", nil, false},
		{"1,1", nil, false}, // The kernel never repeats; a list that does was not its.
		{"5,2", nil, false},
		{"1,", nil, false},
		{"-1", nil, false},
		{"+1", nil, false},
		{"0-99999999", nil, false}, // Would be a lot of memory for a damaged file.
	} {
		got, err := numa.ParseCPUList(test.in)
		if !reflect.DeepEqual(got, test.want) || (err == nil) != test.ok {
			t.Errorf("ParseCPUList(%q) = %v, %v; want %v, ok %t", test.in, got, err, test.want, test.ok)
		}
	}
}

func FuzzParseCPUList(f *testing.F) {
	for _, seed := range []string{"0-3,8,10-11", "", "0", "1-1", "65535", "0,2,4"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		cpus, err := numa.ParseCPUList(in)
		if err != nil {
			return
		}
		again, err := numa.ParseCPUList(numa.FormatCPUList(cpus))
		if err != nil || !reflect.DeepEqual(again, cpus) {
			t.Errorf("ParseCPUList(%q) = %v, formatted %q, which parses to %v, %v", in, cpus, numa.FormatCPUList(cpus), again, err)
		}
	})
}

//go:build linux

package numa

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// A device's directory in sysfs lies inside that of the hardware that carries it, so the NUMA node of a
// partition, a drive or a network card is in the nearest directory above that has a numa_node file,
// which is the PCI function:
//
//	dev/block/259:1 -> devices/pci0000:00/0000:00:01.0/nvme/nvme0/nvme0n1/nvme0n1p1
//	                                      ^ numa_node
//
// Devices made of others have no hardware above them and are as near as their members, if the members
// agree: device mapper and md list them under "slaves", a multipath NVMe namespace lies under its
// subsystem beside links to its controllers, a bond or VLAN has "lower_…" links.

// stackDepth bounds how many devices may be stacked on one another (a partition on LVM on md on LUKS is
// four), in case links form a loop.
const stackDepth = 8

// BlockDeviceNode returns the NUMA node of a block device, a partition or a stack of them, by the
// numbers that stat(2) gives for a file system on it.
func (t Topology) BlockDeviceNode(major, minor uint32) int {
	return t.deviceNode(fmt.Sprintf("dev/block/%d:%d", major, minor), stackDepth)
}

// InterfaceNode returns the NUMA node of a network interface, such as "eth0".
func (t Topology) InterfaceNode(name string) int {
	if name == "" || strings.Contains(name, "/") || name == "." || name == ".." {
		return UnknownNode
	}
	return t.deviceNode("class/net/"+name, stackDepth)
}

func (t Topology) deviceNode(name string, depth int) int {
	if depth == 0 || t.sys == nil {
		return UnknownNode
	}
	dir, ok := resolve(t.sys, name)
	if !ok {
		return UnknownNode
	}
	for up := dir; up != "." && up != "/"; up = path.Dir(up) {
		for _, file := range []string{up + "/numa_node", up + "/device/numa_node"} {
			if node := readNodeFile(t.sys, file); node != UnknownNode {
				return node
			}
		}
	}
	return t.agreed(members(t.sys, dir), depth-1)
}

// agreed is the NUMA node that all of the devices share.
func (t Topology) agreed(devices []string, depth int) int {
	common := UnknownNode
	for i, device := range devices {
		node := t.deviceNode(device, depth)
		if node == UnknownNode || (i > 0 && node != common) {
			return UnknownNode
		}
		common = node
	}
	return common
}

// members lists the devices that the one at dir is made of.
func members(sys fs.FS, dir string) []string {
	var found []string
	slaves, _ := fs.ReadDir(sys, dir+"/slaves") // Missing for a device that has none.
	for _, entry := range slaves {
		found = append(found, dir+"/slaves/"+entry.Name())
	}
	siblings, _ := fs.ReadDir(sys, dir)
	for _, entry := range siblings {
		if strings.HasPrefix(entry.Name(), "lower_") {
			found = append(found, dir+"/"+entry.Name())
		}
	}
	if len(found) > 0 {
		return found
	}
	// A partition of a stack has no members itself; the device it is part of may.
	for up := dir; up != "." && up != "/"; up = path.Dir(up) {
		if strings.HasPrefix(path.Base(up), "nvme-subsys") && path.Base(up) != "nvme-subsystem" {
			return controllers(sys, up)
		}
		if up == dir {
			continue
		}
		if above, _ := fs.ReadDir(sys, up+"/slaves"); len(above) > 0 {
			return members(sys, up)
		}
	}
	return nil
}

// controllers lists the NVMe controllers of a subsystem: entries "nvme0", but not namespaces "nvme0n1".
func controllers(sys fs.FS, subsystem string) []string {
	var found []string
	entries, _ := fs.ReadDir(sys, subsystem)
	for _, entry := range entries {
		digits, ok := strings.CutPrefix(entry.Name(), "nvme")
		if _, err := strconv.ParseUint(digits, 10, 31); ok && err == nil {
			found = append(found, subsystem+"/"+entry.Name())
		}
	}
	return found
}

// resolve follows the symbolic links in name and returns the path without any. fs.FS follows links when
// it opens a file but keeps the name it was given, and the parents of a link's name are not the parents
// of what it points at.
func resolve(sys fs.FS, name string) (string, bool) {
	done, rest := ".", name
	for links := 0; rest != ""; {
		var part string
		part, rest, _ = strings.Cut(rest, "/")
		next := path.Join(done, part)
		if part == ".." {
			if done == "." {
				return "", false // Out of sysfs.
			}
			done = next
			continue
		}
		info, err := fs.Lstat(sys, next)
		if err != nil {
			return "", false
		}
		if info.Mode().Type() != fs.ModeSymlink {
			done = next
			continue
		}
		target, err := fs.ReadLink(sys, next)
		if links++; err != nil || links > 40 || path.IsAbs(target) {
			return "", false // The kernel's own limit on links; sysfs has none that are absolute.
		}
		if rest != "" {
			target += "/" + rest
		}
		rest = target
	}
	return done, true
}

func readNodeFile(sys fs.FS, name string) int {
	text, err := fs.ReadFile(sys, name)
	if err != nil {
		return UnknownNode
	}
	node, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || node < 0 {
		return UnknownNode
	}
	return node
}

package doctor

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/klauspost/cpuid/v2"
	"golang.org/x/sys/unix"

	"penstock/ioring"
)

// Least limits of a node: a descriptor for each connection and each segment.
const leastFiles = 65_536

func (e *examination) kernel() {
	release := read(e.sys.Proc, "sys/kernel/osrelease")
	rung, err := e.sys.Ring()
	switch forbidden := read(e.sys.Proc, "sys/kernel/io_uring_disabled"); {
	case err == nil && rung != string(ioring.RungThreads):
		e.good("io_uring", "kernel %s, best rung %s", release, rung)
	case forbidden == "1" || forbidden == "2":
		e.found(Warning, "io_uring", "kernel "+release+" forbids it: the node uses plain reads and writes, which cost more processor time", "sysctl -w kernel.io_uring_disabled=0")
	default:
		text := "kernel " + release + " has none that works here: the node uses plain reads and writes, which cost more processor time"
		if err != nil {
			text += " (" + err.Error() + ")"
		}
		e.found(Warning, "io_uring", text, "use Linux 5.11 or later, and a seccomp profile that lets io_uring through")
	}
}

func (e *examination) limits() {
	if files := e.sys.Limit(unix.RLIMIT_NOFILE); files < leastFiles {
		e.found(Warning, "open files", fmt.Sprintf("at most %d: connections will be refused under load", files), "LimitNOFILE=1048576 in the unit, or ulimit -n")
	} else {
		e.good("open files", "at most %s", limitText(files))
	}
	locked := e.sys.Limit(unix.RLIMIT_MEMLOCK)
	if need := uint64(e.o.Memory); locked != unix.RLIM_INFINITY && locked < need {
		e.found(Warning, "locked memory", fmt.Sprintf("at most %s, the buffers are %s: they cannot be registered with the ring", gib(int64(locked)), gib(e.o.Memory)),
			"LimitMEMLOCK=infinity in the unit, or /etc/security/limits.d")
	} else {
		e.good("locked memory", "at most %s", limitText(locked))
	}
}

func limitText(n uint64) string {
	if n == unix.RLIM_INFINITY {
		return "what there is"
	}
	return strconv.FormatUint(n, 10)
}

func (e *examination) clock() {
	switch good, err := e.sys.Synchronised(); {
	case err != nil:
		e.found(Notice, "clock", "whether it is synchronised cannot be found out: "+err.Error(), "see to it that chrony or systemd-timesyncd runs")
	case !good:
		e.found(Warning, "clock", "not synchronised: signatures are refused beyond 15 minutes of difference", "start chrony or systemd-timesyncd")
	default:
		e.good("clock", "synchronised")
	}
}

func (e *examination) memory() {
	info := make(map[string]int64) // Bytes.
	for line := range strings.Lines(read(e.sys.Proc, "meminfo")) {
		if fields := strings.Fields(line); len(fields) >= 2 {
			if n, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
				info[strings.TrimSuffix(fields[0], ":")] = n << 10
			}
		}
	}
	free, total := info["MemAvailable"], info["MemTotal"]
	switch {
	case total == 0:
		e.found(Notice, "memory", "the machine does not say how much it has", "mount /proc")
	case e.o.Memory > free:
		e.found(Warning, "memory", fmt.Sprintf("%s of %s are free, the node takes %s", gib(free), gib(total), gib(e.o.Memory)), "give the node less with --memory, or stop what else runs")
	default:
		e.good("memory", "%s of %s free, the node takes %s", gib(free), gib(total), gib(e.o.Memory))
	}
	if used := info["SwapTotal"] - info["SwapFree"]; used > 64<<20 {
		e.found(Warning, "swap", gib(used)+" of memory are on disk: whatever is read back stalls a request", "swapoff -a, or vm.swappiness=1")
	}
	switch mode := chosen(read(e.sys.Sys, "kernel/mm/transparent_hugepage/enabled")); mode {
	case "never":
		e.found(Notice, "huge pages", "transparent huge pages are off: buffers take more of the processor's page tables", "echo madvise > /sys/kernel/mm/transparent_hugepage/enabled")
	case "":
	default:
		e.good("huge pages", "transparent: %s; reserved: %d", mode, info["HugePages_Total"]>>10)
	}
}

func (e *examination) processor() {
	name := cpuid.CPU.BrandName
	switch {
	case cpuid.CPU.Supports(cpuid.GFNI, cpuid.AVX512F, cpuid.AVX512BW, cpuid.VPCLMULQDQ):
		e.good("processor", "%s: GFNI, AVX-512 and VPCLMULQDQ", name)
	case cpuid.CPU.Supports(cpuid.AVX2, cpuid.CLMUL), cpuid.CPU.Supports(cpuid.ASIMD, cpuid.PMULL):
		e.good("processor", "%s: vectors, without GFNI and AVX-512", name)
	default:
		e.found(Warning, "processor", name+" has neither AVX2 nor NEON: coding and checksums will be slow", "use another machine for more than trials")
	}
	if governor := read(e.sys.Sys, "devices/system/cpu/cpu0/cpufreq/scaling_governor"); governor == "powersave" && read(e.sys.Sys, "devices/system/cpu/intel_pstate/status") != "active" {
		e.found(Notice, "frequency", "the governor is powersave: the first requests after a pause wait for the clock", "cpupower frequency-set -g performance")
	}
}

func (e *examination) drives() {
	e.driveNodes = make(map[string]int)
	on := make(map[string]string)
	for _, dir := range e.o.Drives {
		d, err := e.sys.Drive(dir)
		if err != nil {
			e.found(Failure, dir, err.Error(), "create and mount it; the node starts without it, and heals it when it is back")
			continue
		}
		before := len(e.findings)
		device := fmt.Sprintf("%d:%d", d.Major, d.Minor)
		if other, ok := on[device]; ok {
			e.found(Warning, dir, "on the same device as "+other+": what takes one takes both", "use another device for each drive")
		}
		on[device] = dir
		if d.Root {
			e.found(Warning, dir, "on the root file system: a full drive stops the machine, and a lost mount looks like an empty drive", "mount a device of its own there")
		} else if !d.Mount {
			e.found(Notice, dir, "not a mount point itself: if the file system above it is missing, the directory is too", "mount the drive there")
		}
		switch d.FS {
		case "xfs", "ext4":
		case "tmpfs":
			e.found(Failure, dir, "on tmpfs: everything is gone when the machine is", "use XFS or ext4 on a drive")
		default:
			e.found(Warning, dir, "on "+fsName(d.FS)+", which was not tested", "use XFS or ext4")
		}
		if !d.Direct {
			e.found(Warning, dir, "cannot be read and written past the page cache: memory and processor time go into copies", "use XFS or ext4 on a block device")
		}
		if d.Total > 0 && d.Free < d.Total/20 {
			e.found(Warning, dir, fmt.Sprintf("%s of %s free", gib(d.Free), gib(d.Total)), "delete objects, or add a drive")
		}
		e.queue(dir, "dev/block/"+device)
		e.driveNodes[dir] = e.topology.BlockDeviceNode(d.Major, d.Minor)
		if len(e.findings) == before {
			e.good(dir, "%s, %s of %s free", fsName(d.FS), gib(d.Free), gib(d.Total))
		}
	}
}

func fsName(name string) string {
	if name == "" {
		return "a file system that has no name here"
	}
	return name
}

// queue looks at the block device: of a partition, the disk has the queue.
func (e *examination) queue(dir, device string) {
	queue := device + "/queue"
	if read(e.sys.Sys, queue+"/rotational") == "" {
		if link, err := fs.ReadLink(e.sys.Sys, device); err == nil {
			queue = path.Join(path.Dir(device), path.Dir(link), "queue")
		}
	}
	if read(e.sys.Sys, queue+"/rotational") == "1" {
		e.found(Notice, dir, "the kernel takes the drive for a spinning disk", "use NVMe where speed counts; behind a virtual disk this may be wrong")
	}
	if read(e.sys.Sys, queue+"/write_cache") == "write back" {
		e.found(Notice, dir, "has a volatile write cache: every durable write costs a flush", "drives with power-loss protection say write through")
	}
	switch s := chosen(read(e.sys.Sys, queue+"/scheduler")); s {
	case "", "none", "mq-deadline", "kyber":
	default:
		e.found(Notice, dir, "the I/O scheduler is "+s, "echo none > /sys/block/DRIVE/queue/scheduler")
	}
}

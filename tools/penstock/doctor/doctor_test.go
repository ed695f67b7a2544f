package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"
)

// files makes a tree of one-line files.
func files(content map[string]string) fstest.MapFS {
	tree := fstest.MapFS{}
	for name, text := range content {
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			tree[name] = &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o777}
			continue
		}
		tree[name] = &fstest.MapFile{Data: []byte(text + "\n")}
	}
	return tree
}

// machine is one with nothing to say against it: two drives, one fast link, one NUMA node.
func machine() (proc, sys map[string]string) {
	proc = map[string]string{
		"sys/kernel/osrelease": "6.12.1", "sys/kernel/io_uring_disabled": "0", "sys/net/core/somaxconn": "4096",
		"sys/net/core/rmem_max": "16777216", "sys/net/core/wmem_max": "16777216",
		"meminfo": "MemTotal: 67108864 kB\nMemAvailable: 60000000 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\nHugePages_Total: 0",
	}
	sys = map[string]string{
		"devices/system/node/node0/cpulist": "0-3", "devices/system/node/node0/meminfo": "Node 0 MemTotal: 67108864 kB",
		"kernel/mm/transparent_hugepage/enabled": "always [madvise] never",
		"class/net/lo/operstate":                 "unknown",
		"class/net/eth0/operstate":               "up", "class/net/eth0/speed": "100000", "class/net/eth0/mtu": "9000", "class/net/eth0/device/vendor": "0x15b3",
	}
	for i := range 2 {
		disk := fmt.Sprintf("devices/pci/nvme%d", i)
		sys[disk+"/queue/rotational"], sys[disk+"/queue/write_cache"], sys[disk+"/queue/scheduler"] = "0", "write through", "[none] mq-deadline"
		sys[disk+"/p1/partition"] = "1"
		sys[fmt.Sprintf("dev/block/259:%d", i)] = "-> ../../" + disk + "/p1" // The queue is the disk's.
	}
	return proc, sys
}

func TestExamine(t *testing.T) {
	type change struct {
		proc, sys map[string]string
		drive     func(*Drive)
		ring      error
		clock     bool // It is wrong.
		files     uint64
		locked    uint64
		memory    int64
	}
	const none = Good
	for _, test := range []struct {
		name     string
		change   change
		severity Severity
		check    string
		says     string
	}{
		{"all is well", change{}, none, "", ""},
		{"no ring", change{ring: errors.New("not here")}, Warning, "io_uring", "not here"},
		{"ring forbidden", change{ring: errors.New("no"), proc: map[string]string{"sys/kernel/io_uring_disabled": "2"}}, Warning, "io_uring", "kernel.io_uring_disabled=0"},
		{"few files", change{files: 1024}, Warning, "open files", "1024"},
		{"little locked memory", change{locked: 64 << 10}, Warning, "locked memory", "LimitMEMLOCK"},
		{"wrong clock", change{clock: true}, Warning, "clock", "not synchronised"},
		{"little memory", change{memory: 128 << 30}, Warning, "memory", "128.0 GiB"},
		{"swap", change{proc: map[string]string{"meminfo": "MemTotal: 67108864 kB\nMemAvailable: 60000000 kB\nSwapTotal: 1048576 kB\nSwapFree: 0 kB"}}, Warning, "swap", "1.0 GiB"},
		{"no huge pages", change{sys: map[string]string{"kernel/mm/transparent_hugepage/enabled": "always madvise [never]"}}, Notice, "huge pages", "madvise"},
		{"root file system", change{drive: func(d *Drive) { d.Root, d.Mount = true, false }}, Warning, "/a", "root file system"},
		{"tmpfs", change{drive: func(d *Drive) { d.FS = "tmpfs" }}, Failure, "/a", "everything is gone"},
		{"unknown file system", change{drive: func(d *Drive) { d.FS = "" }}, Warning, "/a", "not tested"},
		{"page cache", change{drive: func(d *Drive) { d.Direct = false }}, Warning, "/a", "page cache"},
		{"full", change{drive: func(d *Drive) { d.Free = 1 << 30 }}, Warning, "/a", "1.0 GiB of 1024.0 GiB free"},
		{"one device", change{drive: func(d *Drive) { d.Minor = 0 }}, Warning, "/b", "same device as /a"},
		{"volatile cache", change{sys: map[string]string{"devices/pci/nvme1/queue/write_cache": "write back"}}, Notice, "/b", "flush"},
		{"scheduler", change{sys: map[string]string{"devices/pci/nvme0/queue/scheduler": "none [bfq]"}}, Notice, "/a", "bfq"},
		{"spinning", change{sys: map[string]string{"devices/pci/nvme0/queue/rotational": "1"}}, Notice, "/a", "spinning"},
		{"small packets", change{sys: map[string]string{"class/net/eth0/mtu": "1500"}}, Notice, "eth0", "1500"},
		{"short backlog", change{proc: map[string]string{"sys/net/core/somaxconn": "128"}}, Notice, "backlog", "128"},
		{"small buffers", change{proc: map[string]string{"sys/net/core/rmem_max": "212992"}}, Notice, "socket buffers", "rmem_max"},
		{"far network", change{sys: map[string]string{
			"devices/system/node/node1/cpulist": "4-7", "devices/system/node/node1/meminfo": "Node 1 MemTotal: 67108864 kB",
			"class/net/eth0/device/numa_node": "1", "devices/pci/numa_node": "0", "class/net/eth0/numa_node": "1",
		}}, Warning, "placement", "every byte crosses"},
	} {
		t.Run(test.name, func(t *testing.T) {
			proc, sys := machine()
			for name, text := range test.change.proc {
				proc[name] = text
			}
			for name, text := range test.change.sys {
				sys[name] = text
			}
			c := test.change
			o := Options{Drives: []string{"/a", "/b"}, Memory: max(c.memory, 4<<30), System: System{
				Proc: files(proc), Sys: files(sys),
				Ring:         func() (string, error) { return "ring", c.ring },
				Synchronised: func() (bool, error) { return !c.clock, nil },
				Limit: func(resource int) uint64 {
					switch {
					case resource == unix.RLIMIT_NOFILE && c.files > 0:
						return c.files
					case resource == unix.RLIMIT_MEMLOCK && c.locked > 0:
						return c.locked
					}
					return unix.RLIM_INFINITY
				},
				Drive: func(dir string) (Drive, error) {
					d := Drive{Major: 259, Minor: uint32(dir[1] - 'a'), Mount: true, FS: "xfs", Total: 1 << 40, Free: 1 << 39, Direct: true}
					if c.drive != nil {
						c.drive(&d)
					}
					return d, nil
				},
			}}
			findings := Examine(o)
			seen := test.check == ""
			for _, f := range findings {
				if f.Check == "processor" { // The machine's own.
					continue
				}
				if f.Severity > Good && (f.Text == "" || f.Advice == "") {
					t.Errorf("%s says what is wrong, and not what would be right", f.Check)
				}
				if f.Severity > test.severity {
					t.Errorf("got %+v", f)
				}
				if f.Check == test.check && f.Severity == test.severity && strings.Contains(f.Text+f.Advice, test.says) {
					seen = true
				}
			}
			if !seen {
				t.Errorf("want %v of %s: %q; got %+v", test.severity, test.check, test.says, findings)
			}
		})
	}
}

// TestThisMachine asks the real one: whatever it finds, it is complete.
func TestThisMachine(t *testing.T) {
	dir := t.TempDir()
	findings := Examine(Options{Drives: []string{dir, dir + "/missing"}})
	seen := map[string]Severity{}
	for _, f := range findings {
		seen[f.Check] = max(seen[f.Check], f.Severity)
	}
	for _, check := range []string{"io_uring", "open files", "clock", "memory", "processor", "placement", dir} {
		if _, ok := seen[check]; !ok {
			t.Errorf("nothing is said of %s", check)
		}
	}
	if seen[dir+"/missing"] != Failure || Worst(findings) != Failure {
		t.Errorf("a missing drive: %v", seen[dir+"/missing"])
	}
}

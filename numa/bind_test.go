//go:build linux

package numa_test

import (
	"errors"
	"os"
	"os/exec"
	"reflect"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"penstock/numa"
)

// onLockedThread runs f on a thread that nothing else uses before or after, so that a failed restore
// cannot leak into other tests.
func onLockedThread(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // Never unlocked: the thread ends with the goroutine.
		f()
	}()
	<-done
}

func TestPinThread(t *testing.T) {
	onLockedThread(func() {
		before, err := numa.ThreadAffinity()
		if err != nil {
			t.Error(err)
			return
		}
		last := before[len(before)-1:]
		restore, err := numa.PinThread(last)
		if err != nil {
			t.Error(err)
			return
		}
		if got, _ := numa.ThreadAffinity(); !reflect.DeepEqual(got, last) {
			t.Errorf("ThreadAffinity after PinThread(%v) = %v", last, got)
		}
		if err := restore(); err != nil {
			t.Error(err)
		}
		if got, _ := numa.ThreadAffinity(); !reflect.DeepEqual(got, before) {
			t.Errorf("ThreadAffinity after restore = %v, want %v", got, before)
		}
	})
}

func TestPinThreadRefuses(t *testing.T) {
	onLockedThread(func() {
		before, _ := numa.ThreadAffinity()
		for _, cpus := range [][]int{nil, {}, {-1}, {1 << 20}, {60000}} { // No CPU 60000 is online.
			if _, err := numa.PinThread(cpus); err == nil {
				t.Errorf("PinThread(%v) succeeded", cpus)
			}
		}
		if after, _ := numa.ThreadAffinity(); !reflect.DeepEqual(after, before) {
			t.Errorf("refused PinThread changed the affinity from %v to %v", before, after)
		}
	})
}

func TestBindMemory(t *testing.T) {
	memory, err := unix.Mmap(-1, 0, 1<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(memory)
	if err := numa.BindMemory(memory, numa.UnknownNode); err != nil {
		t.Errorf("BindMemory to an unknown node = %v, want nil", err)
	}
	if err := numa.BindMemory(nil, 0); err != nil {
		t.Errorf("BindMemory of nothing = %v, want nil", err)
	}
	for _, node := range []int{500, 60000, 1 << 30, -7} {
		if err := numa.BindMemory(memory, node); !errors.Is(err, numa.ErrPolicy) {
			t.Errorf("BindMemory to node %d, which is not there = %v, want ErrPolicy", node, err)
		}
	}
	topology, err := numa.Read(os.DirFS("/sys"))
	if err != nil {
		t.Skipf("no sysfs to read: %v", err)
	}
	err = numa.BindMemory(memory, topology.Nodes[0].ID)
	if errors.Is(err, numa.ErrPolicy) {
		t.Skipf("memory policies are refused here: %v", err)
	}
	if err != nil {
		t.Error(err)
	}
	for i := 0; i < len(memory); i += os.Getpagesize() {
		memory[i] = 1 // Bound memory is usable.
	}
}

// TestBindProcess binds this test's binary to one CPU and executes it again; the child, which is this
// same test, reports what every one of its threads inherits.
func TestBindProcess(t *testing.T) {
	if stage := os.Getenv("NUMA_TEST_STAGE"); stage == "launcher" {
		cpus, _ := numa.ThreadAffinity()
		err := numa.BindProcess(numa.Node{ID: 0, CPUs: cpus[len(cpus)-1:]})
		if err != nil && !errors.Is(err, numa.ErrPolicy) {
			os.Stdout.WriteString("bind failed: " + err.Error())
			os.Exit(3)
		}
		os.Setenv("NUMA_TEST_STAGE", "bound")
		err = syscall.Exec("/proc/self/exe", os.Args, os.Environ())
		os.Stdout.WriteString("exec failed: " + err.Error())
		os.Exit(3)
	} else if stage == "bound" {
		var seen string
		onLockedThread(func() { // Another thread than the one that started the process.
			cpus, _ := numa.ThreadAffinity()
			seen = numa.FormatCPUList(cpus)
		})
		os.Stdout.WriteString("bound to " + seen + "\n")
		os.Exit(0)
	}
	cpus, err := numa.ThreadAffinity()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	command := exec.Command(self, "-test.run=^TestBindProcess$")
	command.Env = append(os.Environ(), "NUMA_TEST_STAGE=launcher")
	out, err := command.CombinedOutput()
	want := "bound to " + numa.FormatCPUList(cpus[len(cpus)-1:])
	if err != nil || !strings.Contains(string(out), want) {
		t.Errorf("child printed %q, %v; want %q", out, err, want)
	}
}

func TestBindProcessNeedsCPUs(t *testing.T) {
	onLockedThread(func() {
		err := numa.BindProcess(numa.Node{ID: 7})
		if err == nil || !strings.Contains(err.Error(), "NUMA node 7") {
			t.Errorf("BindProcess to a memory-only node = %v, want an error that names it", err)
		}
	})
}

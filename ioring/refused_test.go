//go:build linux

package ioring_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"penstock/ioring"
)

// TestRefusedRungs runs this test's binary again in surroundings that refuse part of io_uring, and looks
// at the rung it settles on.
func TestRefusedRungs(t *testing.T) {
	if surroundings := os.Getenv("IORING_TEST_REFUSE"); surroundings != "" {
		settle(surroundings)
		os.Exit(0)
	}
	all, err := ioring.Open(ioring.Options{})
	if err != nil {
		t.Fatal(err)
	}
	best := all.Rung()
	all.Close()
	if best == ioring.RungThreads {
		t.Skip("this machine refuses io_uring without our help")
	}
	for _, test := range []struct {
		surroundings string
		want         ioring.Rung
		reason       string // Part of what the log says.
	}{
		{"seccomp", ioring.RungThreads, "io_uring_setup: operation not permitted"},
		{"memlock", ioring.RungNoFixed, "io_uring_register buffers: cannot allocate memory"},
		{"nofile", ioring.RungRing, ""}, // A table of files that does not fit is made smaller.
	} {
		t.Run(test.surroundings, func(t *testing.T) {
			if haveGiouring && test.surroundings != "seccomp" {
				t.Skip("giouring registers nothing that could be refused")
			}
			command := exec.Command("/proc/self/exe", "-test.run=^TestRefusedRungs$")
			command.Env = append(os.Environ(), "IORING_TEST_REFUSE="+test.surroundings)
			if test.surroundings == "memlock" && os.Geteuid() == 0 {
				// Root may lock what it likes; nobody may not.
				command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
			}
			out, err := command.CombinedOutput()
			if err != nil && bytes.Contains(out, []byte("cannot refuse")) {
				t.Skipf("%s", out)
			}
			if err != nil || !bytes.Contains(out, fmt.Appendf(nil, "rung=%s ", test.want)) || !bytes.Contains(out, []byte(test.reason)) {
				t.Errorf("the child logged %q, %v; want rung %s and %q", out, err, test.want, test.reason)
			}
			if n := bytes.Count(out, []byte("io queue is open")); n != 1 {
				t.Errorf("the rung was logged %d times", n)
			}
		})
	}
}

// settle opens a queue under the given surroundings, in a process of its own, and logs to its output.
func settle(surroundings string) {
	var err error
	opts := ioring.Options{Logger: slog.New(slog.NewTextHandler(os.Stdout, nil))}
	switch surroundings {
	case "seccomp":
		err = forbidIOUring()
	case "memlock":
		err = unix.Setrlimit(unix.RLIMIT_MEMLOCK, &unix.Rlimit{Cur: 1 << 20, Max: 1 << 20})
	case "nofile":
		err = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 300, Max: 300})
	}
	if err != nil {
		fmt.Printf("cannot refuse: %v", err)
		os.Exit(1)
	}
	if opts.Arena, err = ioring.NewArena(ioring.ArenaOptions{Size: 4 << 20, Node: -1}); err == nil {
		var q ioring.Queue
		if q, err = ioring.Open(opts); err == nil {
			err = q.Close()
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// forbidIOUring does what the default profiles of container runtimes do: io_uring_setup fails with EPERM.
func forbidIOUring() error {
	const filterFlagTsync, retErrno, retAllow = 1, 0x00050000, 0x7fff0000
	program := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // The number of the system call.
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_IO_URING_SETUP},
		{Code: unix.BPF_RET | unix.BPF_K, K: retErrno | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: retAllow},
	}
	fprog := &unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if _, _, errno := unix.Syscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno != 0 {
		return errno
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, filterFlagTsync, uintptr(unsafe.Pointer(fprog)))
	if errno != 0 {
		return errno
	}
	return nil
}

func TestRungNames(t *testing.T) {
	_, err := ioring.Open(ioring.Options{Force: "no such"})
	if err == nil || !strings.Contains(err.Error(), "no such: there is no such rung") {
		t.Errorf("Open with an unknown rung = %v", err)
	}
}

//go:build linux

package numa_test

import (
	"context"
	"errors"
	"math"
	"net"
	"reflect"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"penstock/numa"
)

// run interprets the three instructions that steering programs are made of, on the given CPU.
func run(t *testing.T, program []unix.SockFilter, cpu int) uint32 {
	t.Helper()
	var a uint32
	for pc := 0; pc < len(program); pc++ {
		switch in := program[pc]; in.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			if int32(in.K) != -0x1000+36 {
				t.Fatalf("loads from %d, want the CPU", int32(in.K))
			}
			a = uint32(cpu)
		case unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K:
			if a > in.K {
				pc += int(in.Jt)
			} else {
				pc += int(in.Jf)
			}
		case unix.BPF_RET | unix.BPF_K:
			return in.K
		default:
			t.Fatalf("instruction %d has code %#x", pc, in.Code)
		}
	}
	t.Fatal("the program runs off its end")
	return 0
}

func TestSteerProgram(t *testing.T) {
	tables := [][]int{
		nil,
		{0},
		{0, 0, 1, 1, 0, 0, 1, 1},
		{numa.NoListener, 3, 3, numa.NoListener, 1},
		alternating(1024),
		read(t, fourSockets).ListenersByNode([]int{0, 2, 4, 6}),
	}
	for _, table := range tables {
		program, err := numa.SteerProgram(table)
		if err != nil {
			t.Errorf("SteerProgram(%v): %v", table, err)
			continue
		}
		for cpu := range len(table) + 3 {
			want := uint32(math.MaxUint32)
			if cpu < len(table) && table[cpu] != numa.NoListener {
				want = uint32(table[cpu])
			}
			if got := run(t, program, cpu); got != want {
				t.Errorf("program for %v on CPU %d = %d, want %d", table, cpu, got, want)
			}
		}
	}
	for _, table := range [][]int{{-2}, {1 << 20}, alternating(5000)} {
		if _, err := numa.SteerProgram(table); err == nil {
			t.Errorf("SteerProgram of an impossible table of %d CPUs succeeded", len(table))
		}
	}
}

// alternating makes every CPU a run of its own: the longest program for its size.
func alternating(cpus int) []int {
	table := make([]int, cpus)
	for cpu := range table {
		table[cpu] = cpu % 2
	}
	return table
}

func TestListenersByNode(t *testing.T) {
	four := read(t, fourSockets)
	got := four.ListenersByNode([]int{2, 10, 0}) // Node 10 has no CPUs, 4 and 6 no listener.
	want := make([]int, 24)
	for cpu := range want {
		switch four.NodeOfCPU(cpu) {
		case 2:
			want[cpu] = 0
		case 0:
			want[cpu] = 2
		default:
			want[cpu] = numa.NoListener
		}
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("ListenersByNode = %v, want %v", got, want)
	}
}

// TestSteerByCPU opens one listener per CPU and connects from each CPU in turn. On loopback the
// connection is handled by the CPU that sends it, so it must reach that CPU's listener.
func TestSteerByCPU(t *testing.T) {
	cpus, err := numa.ThreadAffinity()
	if err != nil {
		t.Fatal(err)
	}
	if len(cpus) < 2 {
		t.Skip("steering needs two CPUs to choose between")
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var err error
		c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) })
		return err
	}}
	config.SetMultipathTCP(false)
	// Listeners stand in the reverse order of the CPUs, so that a kernel which happened to count like
	// the CPUs do would be found out.
	var listeners []*net.TCPListener
	table := make([]int, cpus[len(cpus)-1]+1)
	address := "127.0.0.1:0"
	for i := range cpus {
		l, err := config.Listen(context.Background(), "tcp", address)
		if err != nil {
			t.Skipf("SO_REUSEPORT listeners are refused here: %v", err)
		}
		defer l.Close()
		address = l.Addr().String()
		listeners = append(listeners, l.(*net.TCPListener))
		table[cpus[len(cpus)-1-i]] = i
	}
	raw, err := listeners[0].SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var attach error
	raw.Control(func(fd uintptr) { attach = numa.SteerByCPU(int(fd), table) })
	if errors.Is(attach, unix.EPERM) || errors.Is(attach, unix.ENOPROTOOPT) {
		t.Skipf("steering programs are refused here: %v", attach)
	}
	if attach != nil {
		t.Fatal(attach)
	}
	for range 10 {
		for _, cpu := range cpus {
			onLockedThread(func() {
				if _, err := numa.PinThread([]int{cpu}); err != nil {
					t.Error(err)
					return
				}
				connectBlocking(t, listeners[0].Addr().(*net.TCPAddr))
			})
			l := listeners[table[cpu]]
			l.SetDeadline(time.Now().Add(10 * time.Second))
			conn, err := l.Accept()
			if err != nil {
				t.Fatalf("a connection from CPU %d did not reach listener %d: %v", cpu, table[cpu], err)
			}
			conn.Close()
		}
	}
}

// connectBlocking connects with plain system calls: net.Dial would hand over to the network poller,
// and the thread with it.
func connectBlocking(t *testing.T, to *net.TCPAddr) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Error(err)
		return
	}
	defer unix.Close(fd)
	if err := unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		t.Error(err)
	}
}

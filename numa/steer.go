//go:build linux

package numa

import (
	"fmt"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// NoListener leaves a CPU's connections to the kernel's own choice, a hash over all listeners.
const NoListener = -1

// skfAdCPU is SKF_AD_OFF + SKF_AD_CPU: reading a packet at this "negative" offset yields the number of
// the CPU that handles it.
const skfAdCPU = 0xfffff000 + 36

// maxInstructions is BPF_MAXINSNS: the kernel refuses a longer classic program.
const maxInstructions = 4096

// ListenersByNode returns the table for [SteerByCPU] when there is one listener for each of nodes, in
// that order: CPUs of nodes[i] go to listener i, CPUs of other NUMA nodes to none in particular.
func (t Topology) ListenersByNode(nodes []int) []int {
	var table []int
	for listener, id := range nodes {
		node, _ := t.Node(id)
		for _, cpu := range node.CPUs {
			for len(table) <= cpu {
				table = append(table, NoListener)
			}
			table[cpu] = listener
		}
	}
	return table
}

// SteerProgram builds the classic BPF program that turns the CPU on which a connection's packets arrive
// into the index of a listener; cpuToListener[cpu] is that index or NoListener. One pair of
// instructions serves each run of consecutive CPUs with the same listener, so that a machine of any
// size stays far from the kernel's limit:
//
//	ld  cpu
//	jgt #last CPU of run 0, skip the next
//	ret #listener of run 0
//	jgt #last CPU of run 1, skip the next
//	ret #listener of run 1
//	…
//	ret #none
//
// "None" is an index no group has, which makes the kernel fall back to its hash.
func SteerProgram(cpuToListener []int) ([]unix.SockFilter, error) {
	const none = math.MaxUint32
	program := []unix.SockFilter{{
		Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS,
		K:    skfAdCPU,
	}}
	for cpu, listener := range cpuToListener {
		if listener < NoListener || listener > math.MaxUint16 {
			return nil, fmt.Errorf("numa: CPU %d has no listener %d", cpu, listener)
		}
		if cpu+1 < len(cpuToListener) && cpuToListener[cpu+1] == listener {
			continue // The run goes on.
		}
		target := uint32(none)
		if listener != NoListener {
			target = uint32(listener)
		}
		program = append(program,
			unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JGT | unix.BPF_K, Jt: 1, K: uint32(cpu)},
			unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: target})
	}
	program = append(program, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: none})
	if len(program) > maxInstructions {
		return nil, fmt.Errorf("numa: steering program of %d instructions is too long", len(program))
	}
	return program, nil
}

// SteerByCPU attaches the program of [SteerProgram] to the group of SO_REUSEPORT listeners that the
// socket fd belongs to. Listeners are counted in the order in which they began to listen; attach after
// the last of them has, and again when one has gone, because the kernel then renumbers them.
func SteerByCPU(fd int, cpuToListener []int) error {
	program, err := SteerProgram(cpuToListener)
	if err != nil {
		return err
	}
	fprog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &fprog)
	return os.NewSyscallError("setsockopt SO_ATTACH_REUSEPORT_CBPF", err)
}

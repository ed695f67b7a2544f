//go:build linux && giouring

package ioring

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"github.com/pawelgaczynski/giouring"
	"golang.org/x/sys/unix"
)

// builtRungs lists the rungs that only this build has, to be tried first.
func builtRungs() []Rung { return []Rung{RungGiouring} }

// giouringKernel is a ring of the giouring module, driven by the same loop as our own.
//
// The module does not ship because it needs the linker flag -checklinkname=0 and has faults that corrupt
// silently. What is known of them decides what is used here: its Prepare functions leave fields of a
// reused entry as they were, so entries are written whole instead; its registration of files passes the
// kernel integers of the wrong size, so files go by descriptor; its batch peek returns entries that are
// not there, so completions are walked; its timeouts take pointers to dead variables, so none is used.
type giouringKernel struct {
	ring     *giouring.Ring
	fixed    bool
	alarm    alarm
	counters *counters
	reaped   []cqe // Taken from the ring and not yet popped, last first.
}

func openGiouringQueue(opts Options) (*ringQueue, error) {
	return openRingQueue(RungGiouring, opts, func(entries int, alarmCount *uint64, counters *counters) (kernel, error) {
		ring := giouring.NewRing()
		if err := ring.QueueInit(uint32(entries), fullFlags); err != nil {
			return nil, os.NewSyscallError("io_uring_setup", err)
		}
		k := &giouringKernel{ring: ring, counters: counters}
		if err := k.alarm.open(alarmCount); err != nil {
			ring.QueueExit()
			return nil, os.NewSyscallError("eventfd", err)
		}
		// The memlock limit may forbid it; the ring then works without.
		k.fixed = opts.Arena != nil && k.registerArena(opts.Arena) == nil
		return k, nil
	})
}

func (k *giouringKernel) registerArena(a *Arena) error {
	var buffers []syscall.Iovec
	for at := 0; at < len(a.memory); at += maxRegisteredBufferSize {
		n := min(maxRegisteredBufferSize, len(a.memory)-at)
		buffers = append(buffers, syscall.Iovec{Base: &a.memory[at], Len: uint64(n)})
	}
	_, err := k.ring.RegisterBuffers(buffers)
	return err
}

func (k *giouringKernel) features() features { return features{buffers: k.fixed} }

func (k *giouringKernel) setFile(int32, int) error { panic("ioring: giouring has no file table") }

func (k *giouringKernel) push(e *sqe) {
	entry := k.ring.GetSQE()
	if entry == nil {
		panic("ioring: more submissions than the ring was made for")
	}
	*(*sqe)(unsafe.Pointer(entry)) = *e // The same 64 bytes, by the kernel's definition.
	k.counters.sqes.Add(1)
}

func (k *giouringKernel) enter(wait bool) error {
	k.counters.enters.Add(1)
	var err error
	if wait {
		if e, ok := k.alarm.arm(); ok {
			k.push(&e)
		}
		_, err = k.ring.SubmitAndWait(1)
	} else {
		_, err = k.ring.SubmitAndGetEvents()
	}
	switch err {
	case nil, unix.EINTR:
		return nil
	case unix.EAGAIN, unix.EBUSY, unix.ENOMEM:
		return errBusy
	}
	panic(fmt.Sprintf("ioring: io_uring_enter: %v", err))
}

func (k *giouringKernel) pop() (cqe, bool) {
	for {
		if len(k.reaped) == 0 && !k.refill() {
			return cqe{}, false
		}
		c := k.reaped[len(k.reaped)-1]
		k.reaped = k.reaped[:len(k.reaped)-1]
		if c.userData == alarmData {
			k.alarm.rang()
			continue
		}
		return c, true
	}
}

// refill takes all completions there are.
func (k *giouringKernel) refill() bool {
	k.ring.ForEachCQE(func(e *giouring.CompletionQueueEvent) {
		k.reaped = append(k.reaped, cqe{userData: e.UserData, res: e.Res})
	})
	k.ring.CQAdvance(uint32(len(k.reaped)))
	return len(k.reaped) > 0
}

func (k *giouringKernel) wake() { k.alarm.ring() }

func (k *giouringKernel) close() {
	k.alarm.close()
	k.ring.QueueExit()
}

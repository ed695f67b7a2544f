//go:build linux

package ioring

// scheduler decides which Op begins next. It bounds how many are with the kernel at once, and it takes
// from the devices in turn and gives none of them more than half of the places: a drive that no longer
// answers fills its half and then only its own Ops wait.
//
// It has no lock; whoever owns it calls it.
type scheduler struct {
	capacity int // Ops that may be with the kernel.
	share    int // Ops of one device that may be.
	running  int

	ready deviceList // Devices with an Op that may begin, but for capacity.
}

// device is the account of one block device, or of one file system without a device.
type device struct {
	running  int
	waiting  opList
	isReady  bool
	nextTurn *device
}

// deviceList is first-in first-out, linked through nextTurn.
type deviceList struct{ head, tail *device }

func newScheduler(capacity int) scheduler {
	return scheduler{capacity: capacity, share: max(1, capacity/2)}
}

// add queues op behind the other Ops of its device.
func (s *scheduler) add(op *Op) {
	d := op.File.device
	d.waiting.push(op)
	s.offer(d)
}

// offer gives d a turn if it has something to begin and may.
func (s *scheduler) offer(d *device) {
	if d.isReady || d.waiting.head == nil || d.running >= s.share {
		return
	}
	d.isReady, d.nextTurn = true, nil
	if s.ready.tail == nil {
		s.ready.head = d
	} else {
		s.ready.tail.nextTurn = d
	}
	s.ready.tail = d
}

// next returns an Op to begin now, which then counts as running, or nil.
func (s *scheduler) next() *Op {
	for s.running < s.capacity && s.ready.head != nil {
		d := s.ready.head
		if s.ready.head = d.nextTurn; s.ready.head == nil {
			s.ready.tail = nil
		}
		d.isReady = false
		op := d.waiting.pop()
		if op == nil {
			continue // Taken by remove since its turn was given.
		}
		s.running++
		d.running++
		s.offer(d)
		return op
	}
	return nil
}

// done ends the run of an Op that next returned.
func (s *scheduler) done(d *device) {
	s.running--
	d.running--
	s.offer(d)
}

// remove takes out the Ops of f, or of any file if f is nil, that wait on one of devices.
func (s *scheduler) remove(devices []*device, f *File) opList {
	var removed opList
	for _, d := range devices {
		var kept opList
		for op := d.waiting.pop(); op != nil; op = d.waiting.pop() {
			if f == nil || op.File == f {
				removed.push(op)
			} else {
				kept.push(op)
			}
		}
		d.waiting = kept
	}
	return removed
}

package journal

// ticketQueue is a list of tickets of which a bounded part, its front, is admitted.
type ticketQueue struct {
	head, tail *Ticket
	limit      *Ticket // First ticket that is not admitted.
	groups     int     // Admitted.
	bytes      int     // Admitted, framed.
}

func (q *ticketQueue) hasRoom() bool { return q.groups < maxQueueGroups && q.bytes < maxQueueBytes }

// pushBack appends t and reports whether it is admitted at once.
func (q *ticketQueue) pushBack(t *Ticket) bool {
	t.prev, t.next = q.tail, nil
	if q.tail == nil {
		q.head = t
	} else {
		q.tail.next = t
	}
	q.tail = t
	if q.limit == nil && q.hasRoom() {
		t.state = ticketQueued
		q.groups++
		q.bytes += t.framed
		return true
	}
	t.state = ticketWaiting
	if q.limit == nil {
		q.limit = t
	}
	return false
}

// pushFront puts back a ticket that a batch had. It is not to be withdrawn any more.
func (q *ticketQueue) pushFront(t *Ticket) {
	t.prev, t.next = nil, q.head
	if q.head == nil {
		q.tail = t
	} else {
		q.head.prev = t
	}
	q.head = t
	q.groups++
	q.bytes += t.framed
}

// pop removes the head, which must be admitted.
func (q *ticketQueue) pop() *Ticket {
	t := q.head
	q.remove(t)
	t.state = ticketTaken
	return t
}

func (q *ticketQueue) remove(t *Ticket) {
	if t.prev == nil {
		q.head = t.next
	} else {
		t.prev.next = t.next
	}
	if t.next == nil {
		q.tail = t.prev
	} else {
		t.next.prev = t.prev
	}
	if q.limit == t {
		q.limit = t.next
	}
	if t.state != ticketWaiting {
		q.groups--
		q.bytes -= t.framed
	}
	t.prev, t.next = nil, nil
	for q.limit != nil && q.hasRoom() {
		in := q.limit
		q.limit = in.next
		in.state = ticketQueued
		q.groups++
		q.bytes += in.framed
		in.admit <- struct{}{}
	}
}

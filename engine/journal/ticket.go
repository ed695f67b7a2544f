package journal

import (
	"context"
	"errors"
	"fmt"

	"penstock/meta"
)

// Entry is a record to append. Its bytes are Head followed by Body, so that an object's bytes need not be moved to stand
// behind what describes them.
type Entry struct {
	Head, Body []byte
	Origin     meta.LSN // Of a record that is relocated: the LSN it was first written at. 0 for all others.
}

func (e *Entry) len() int { return len(e.Head) + len(e.Body) }

// Ticket stands for a group of records on its way into the journal. Its Wait is called exactly once.
type Ticket struct {
	j       *Journal
	entries []Entry
	framed  int           // Bytes with framing.
	done    chan struct{} // Gets one token when lsn and err are final.
	admit   chan struct{} // Gets one token when the group gets into the bounded part of the queue.

	// Guarded by Journal.mu.
	prev, next *Ticket
	state      ticketState

	// Owned by the committer from when it takes the ticket, by the applier from when its batch is durable, and by the waiter
	// once done has its token.
	places []place
	source *batch // The batch whose memory entries lies in, after a batch that failed.
	lsn    meta.LSN
	err    error
}

type ticketState uint8

const (
	ticketWaiting ticketState = iota // Beyond the bounds of the queue.
	ticketQueued
	ticketTaken // In a batch, or has been in one.
)

// newTicket returns a ticket without entries.
func (j *Journal) newTicket() *Ticket {
	t, ok := j.tickets.Get().(*Ticket)
	if !ok {
		t = &Ticket{done: make(chan struct{}, 1), admit: make(chan struct{}, 1)}
	}
	t.j = j
	return t
}

func (t *Ticket) recycle() {
	select {
	case <-t.admit: // It was withdrawn just after it had got in.
	default:
	}
	clear(t.entries)
	j := t.j
	*t = Ticket{entries: t.entries[:0], places: t.places[:0], done: t.done, admit: t.admit}
	j.tickets.Put(t)
}

// finish wakes the waiter. The ticket is the waiter's from then on.
func (t *Ticket) finish(lsn meta.LSN, err error) {
	t.lsn, t.err = lsn, err
	t.done <- struct{}{}
}

// Append adds one group of records and returns when it is durable and applied. See AppendAsync and Wait.
func (j *Journal) Append(ctx context.Context, records ...[]byte) (meta.LSN, error) {
	t := j.newTicket()
	for _, r := range records {
		t.entries = append(t.entries, Entry{Head: r})
	}
	if err := j.enqueue(ctx, t); err != nil {
		return 0, err
	}
	return t.Wait(ctx)
}

// AppendAsync queues one group of records: all of them come to be durable, in one batch and with consecutive LSNs, or none.
// Groups are ordered as the calls return. It waits only when the queue is full. The bytes must not change until Wait returns.
func (j *Journal) AppendAsync(ctx context.Context, entries ...Entry) (*Ticket, error) {
	t := j.newTicket()
	t.entries = append(t.entries, entries...)
	if err := j.enqueue(ctx, t); err != nil {
		return nil, err
	}
	return t, nil
}

// Wait returns the LSN of the group's first record once the group is durable and applied. If ctx ends first, a group that no
// batch has taken yet is withdrawn and the error is that of ctx; otherwise the error is ErrUnknown too,
// for the group may still be committed. Either way its bytes are the caller's again.
func (t *Ticket) Wait(ctx context.Context) (meta.LSN, error) {
	select {
	case <-t.done:
	default:
		select {
		case <-t.done:
		case <-ctx.Done():
			if t.j.withdraw(t) {
				t.recycle()
				return 0, context.Cause(ctx)
			}
			t.j.building.Lock() // The committer may be about to copy the bytes.
			t.j.building.Unlock()
			// The ticket is left to whoever finishes it, and the garbage collector takes it then.
			return 0, fmt.Errorf("%w: %w", ErrUnknown, context.Cause(ctx))
		}
	}
	lsn, err := t.lsn, t.err
	t.recycle()
	return lsn, err
}

// enqueue puts the ticket at the end of the queue and returns when it is within the queue's bounds.
// On an error the ticket is gone.
func (j *Journal) enqueue(ctx context.Context, t *Ticket) error {
	for i := range t.entries {
		t.framed += framedLen(t.entries[i].len())
	}
	switch {
	case len(t.entries) == 0:
		t.recycle()
		return errors.New("journal: empty group")
	case t.framed > j.opts.MaxShardLen:
		framed, count := t.framed, len(t.entries)
		t.recycle()
		return fmt.Errorf("%w: %d records take %d bytes of %d", ErrTooLarge, count, framed, j.opts.MaxShardLen)
	}
	if err := context.Cause(ctx); err != nil {
		t.recycle()
		return err
	}
	j.mu.Lock()
	if err := j.refusal(); err != nil {
		j.mu.Unlock()
		t.recycle()
		return err
	}
	admitted := j.queue.pushBack(t)
	wake := j.queue.bytes >= j.wakeAt
	if wake {
		j.wakeAt = never
	}
	j.mu.Unlock()
	if wake {
		j.poke()
	}
	if admitted {
		return nil
	}
	j.stats.blocked.Add(1)
	select {
	case <-t.admit:
		return nil
	case <-ctx.Done():
		if j.withdraw(t) {
			t.recycle()
			return context.Cause(ctx)
		}
		return nil // It got in meanwhile; Wait says what became of it.
	}
}

// withdraw takes a ticket out of the queue unless a batch has it already.
func (j *Journal) withdraw(t *Ticket) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	if t.state != ticketTaken {
		j.queue.remove(t)
		return true
	}
	return false
}

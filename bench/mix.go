package bench

import (
	"fmt"
	"strings"
	"sync"
)

// A pool holds the numbers of objects that were uploaded and may be deleted. Others are not to touch them, so that what is read is always there.
type pool struct {
	mu   sync.Mutex // Guards the fields below.
	full []uint64
	next uint64 // How many were ever uploaded.
}

// fresh returns the number of a new object, after those that were prepared.
func (p *pool) fresh(prepared int) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next++
	return uint64(prepared) + p.next - 1
}

func (p *pool) add(n uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.full = append(p.full, n)
}

// take returns an object to delete, if there is one.
func (p *pool) take() (n uint64, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.full) - 1
	if last < 0 {
		return 0, false
	}
	n = p.full[last]
	p.full = p.full[:last]
	return n, true
}

func checkMix(o *Options) error {
	if len(o.Mix) == 0 {
		return fmt.Errorf("mixed needs shares")
	}
	for _, share := range o.Mix {
		switch {
		case share.Weight < 1:
			return fmt.Errorf("a share of %d", share.Weight)
		case share.Kind != Get && share.Kind != Head && share.Kind != Put && share.Kind != Delete:
			return fmt.Errorf("%s is no part of mixed", share.Kind)
		}
	}
	return nil
}

// stepMix sends one of the requests of a mixed load. Downloads and HEADs are of the objects that were prepared; deletes are of those
// that were uploaded since, and when there is none, one is uploaded instead.
func stepMix(w *worker, n uint64) {
	switch w.drawKind() {
	case Get:
		w.get(Get, w.chosen(n))
	case Head:
		w.head(w.chosen(n))
	case Delete:
		if victim, ok := w.run.pool.take(); ok {
			w.delete(victim)
			return
		}
		fallthrough
	case Put:
		fresh := w.run.pool.fresh(w.run.opts.Objects)
		if w.put(w.run.objects, fresh) == nil {
			w.run.pool.add(fresh)
		}
	}
}

func (w *worker) drawKind() Kind {
	total := 0
	for _, share := range w.run.opts.Mix {
		total += share.Weight
	}
	at := w.rng.IntN(total)
	for _, share := range w.run.opts.Mix {
		if at < share.Weight {
			return share.Kind
		}
		at -= share.Weight
	}
	panic("bench: a number below the sum of all shares lies in none")
}

func mixDetails(o *Options) string {
	var parts []string
	for _, share := range o.Mix {
		parts = append(parts, fmt.Sprintf("%d %s", share.Weight, share.Kind))
	}
	return strings.Join(parts, " : ")
}

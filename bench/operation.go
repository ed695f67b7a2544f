package bench

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"penstock/bench/client"
)

// An operation is one kind of load.
type operation struct {
	about string
	needs bool // It needs objects that are there, Options.Objects of them.
	reads bool // It reads their bytes, so that it makes a difference what is in caches.
	check func(*Options) error
	// details are what it was told beside what all operations are; may be nil.
	details func(*Options) string

	// step does what the n-th request stands for.
	step func(w *worker, n uint64)
	// steps is how many there are when each object is had once; nil = as many as objects.
	steps func(*Options) uint64
	// finite says that steps cannot be had again, however long the run is to last.
	finite bool
	// drive runs the whole window instead, for loads that are more than equal steps.
	drive func(r *run, stop context.Context) error
}

// operations are all there are, by name.
var operations map[string]operation

func init() { // Its functions refer to the table themselves.
	operations = map[string]operation{
		"put":        {about: "upload objects", step: stepPut},
		"get":        {about: "download objects", needs: true, reads: true, step: stepGet},
		"range":      {about: "download ranges of objects", needs: true, reads: true, check: checkRange, details: rangeDetails, step: stepRange},
		"stat":       {about: "HEAD objects", needs: true, step: stepHead},
		"mixed":      {about: "download, HEAD, upload and delete objects, in given shares", needs: true, check: checkMix, details: mixDetails, step: stepMix},
		"list":       {about: "list objects, page by page", needs: true, check: checkList, details: listDetails, step: stepList, steps: listPages},
		"delete":     {about: "delete objects, one at a time or in batches", needs: true, check: checkDelete, details: deleteDetails, step: stepDelete, steps: deleteBatches, finite: true},
		"multipart":  {about: "upload objects in parts", check: checkMultipart, details: partDetails, step: stepMultipart},
		"epoch":      {about: "read a dataset as training does, and say how long it waits", needs: true, reads: true, check: checkEpoch, details: epochDetails, drive: driveEpoch},
		"checkpoint": {about: "download objects while checkpoints are uploaded", needs: true, check: checkCheckpoint, details: checkpointDetails, drive: driveCheckpoint},
	}
}

// Operations returns the names of all operations and what they do.
func Operations() (names, about []string) {
	names = slices.Sorted(maps.Keys(operations))
	for _, name := range names {
		about = append(about, operations[name].about)
	}
	return names, about
}

// uploaded is the number of the object that the n-th upload writes.
func (r *run) uploaded(n uint64) uint64 {
	if r.opts.Objects == 0 {
		return n
	}
	return n % uint64(r.opts.Objects)
}

// chosen is the number of the object that the n-th read is of: any, or each once in an order of its own.
func (w *worker) chosen(n uint64) uint64 {
	if w.run.order != nil {
		return uint64(w.run.order[n])
	}
	return w.rng.Uint64N(uint64(w.run.opts.Objects))
}

// limit is how many steps the window has at most; 0 = as many as its duration allows.
func (o *Options) limit() uint64 {
	op := operations[o.Op]
	if o.Duration > 0 && !op.finite && o.Cache != Cold {
		return 0
	}
	if op.steps != nil {
		return op.steps(o)
	}
	return uint64(o.Objects)
}

func stepPut(w *worker, n uint64) { w.put(w.run.objects, w.run.uploaded(n)) }

func (w *worker) put(all *objects, n uint64) error {
	all.wrote(n)
	r := w.object("PUT", all, n)
	r.Body = all.body(n)
	r.Payload = w.run.opts.Payload
	return w.do(Put, r.Body.Len())
}

func stepGet(w *worker, n uint64) { w.get(Get, w.chosen(n)) }

func (w *worker) get(kind Kind, n uint64) error {
	r := w.object("GET", w.run.objects, n)
	body := w.run.objects.body(n)
	r.WantLen = body.Len()
	if w.run.opts.Verify {
		r.Want = body
	}
	return w.do(kind, body.Len())
}

func stepRange(w *worker, n uint64) {
	n = w.chosen(n)
	r := w.object("GET", w.run.objects, n)
	body := w.run.objects.body(n)
	length := min(w.run.opts.Range.Len, body.Len())
	off := int64(0)
	if places := (body.Len() - length) / w.run.opts.Range.Align; places > 0 {
		off = w.rng.Int64N(places+1) * w.run.opts.Range.Align
	}
	w.text = strconv.AppendInt(append(w.text[:0], "bytes="...), off, 10)
	w.text = strconv.AppendInt(append(w.text, '-'), off+length-1, 10)
	w.headers[0] = client.Header{Name: "range", Value: w.text}
	r.Headers = w.headers[:1]
	r.WantLen = length
	if w.run.opts.Verify {
		r.Want, r.WantOff = body, off
	}
	w.do(GetRange, length)
}

func checkRange(o *Options) error {
	if o.Range.Len < 1 || o.Range.Align < 1 {
		return fmt.Errorf("ranges of %d bytes at multiples of %d", o.Range.Len, o.Range.Align)
	}
	for _, c := range o.Sizes.classes {
		if c.from < 1 {
			return fmt.Errorf("an object without bytes has no range")
		}
	}
	return nil
}

func rangeDetails(o *Options) string {
	if o.Range.Align == 1 {
		return "ranges of " + FormatBytes(o.Range.Len)
	}
	return "ranges of " + FormatBytes(o.Range.Len) + " at multiples of " + FormatBytes(o.Range.Align)
}

func stepHead(w *worker, n uint64) { w.head(w.chosen(n)) }

func (w *worker) head(n uint64) error {
	r := w.object("HEAD", w.run.objects, n)
	r.WantLen = w.run.objects.body(n).Len()
	return w.do(Head, 0)
}

// Reads reports whether it makes a difference to an operation what is in caches.
func Reads(op string) bool { return operations[op].reads }

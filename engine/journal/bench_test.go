package journal_test

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"penstock/engine/drive"
	"penstock/engine/journal"
	"penstock/erasure"
	"penstock/meta"
)

// cpuTime returns the CPU time that this process has used.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// nullVolume takes writes and forgets them, so that a benchmark measures the journal alone.
type nullVolume struct {
	journal.Volume // Panics if called for what is missing here.
	id             meta.VolumeID
	code           *erasure.Code
	files          []drive.File
}

func (v *nullVolume) ID() meta.VolumeID      { return v.id }
func (v *nullVolume) K() int                 { return v.code.K() }
func (v *nullVolume) M() int                 { return v.code.M() }
func (v *nullVolume) Code() *erasure.Code    { return v.code }
func (v *nullVolume) Start() int64           { return 4096 }
func (v *nullVolume) Capacity() int64        { return 256 << 20 }
func (v *nullVolume) Shard(i int) drive.File { return v.files[i] }
func (v *nullVolume) Trim(int64) error       { return nil }

// nullSource makes nullVolumes.
type nullSource struct {
	journal.Source
	queue *nullQueue
	last  meta.VolumeID
}

func (s *nullSource) Create(context.Context) (journal.Volume, error) {
	code, err := erasure.New(4, 2)
	if err != nil {
		return nil, err
	}
	s.last++
	v := &nullVolume{id: s.last, code: code}
	for range 6 {
		v.files = append(v.files, &nullFile{queue: s.queue})
	}
	return v, nil
}

func (s *nullSource) Prepare() {}

type nullFile struct {
	drive.File
	queue *nullQueue
}

func (f *nullFile) Queue() drive.Queue { return f.queue }

// nullQueue completes ops on a goroutine of its own, as a ring does.
type nullQueue struct{ ops chan *drive.Op }

func newNullQueue(b *testing.B) *nullQueue {
	q := &nullQueue{make(chan *drive.Op, 256)}
	go func() {
		for op := range q.ops {
			op.Done(op)
		}
	}()
	b.Cleanup(func() { close(q.ops) })
	return q
}

func (q *nullQueue) Submit(ops ...*drive.Op) {
	for _, op := range ops {
		q.ops <- op
	}
}

func (q *nullQueue) TryDirect(*drive.Op) bool { return false }

// BenchmarkAppend appends records as small objects make them, on 4+2. Besides time it reports CPU time, drive writes and bytes on
// drives per record.
func BenchmarkAppend(b *testing.B) {
	for _, on := range []string{"null", "mem", "ring"} {
		for _, size := range []int{200, 4096 + 200, 128<<10 + 200} {
			for _, callers := range []int{1, 16, 64, 256} {
				b.Run(fmt.Sprintf("drives=%s/size=%d/callers=%d", on, size, callers), func(b *testing.B) {
					opts := journal.Options{Arena: sharedArena()}
					switch on {
					case "null":
						opts.Volumes = &nullSource{queue: newNullQueue(b)}
					case "mem":
						r := newRig(b, 6, 2, 256<<20)
						r.open()
						opts.Volumes = source{r.set}
					case "ring":
						r := dirRig(b, "", 6, 2)
						r.open()
						opts.Volumes = source{r.set}
						defer func() {
							if err := r.set.Close(); err != nil {
								b.Error(err)
							}
						}()
					}
					opts.Apply = func(*journal.Batch) error { return nil }
					j, err := journal.Format(context.Background(), opts)
					if err != nil {
						b.Fatal(err)
					}
					benchmarkAppend(b, j, size, callers)
					if err := j.Close(context.Background()); err != nil {
						b.Error(err)
					}
				})
			}
		}
	}
}

func benchmarkAppend(b *testing.B, j *journal.Journal, size, callers int) {
	rec := bytes.Repeat([]byte{0xf0}, size)
	before := j.Stats()
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan struct{})
	b.SetBytes(int64(size))
	b.ReportAllocs()
	b.ResetTimer()
	cpu := cpuTime()
	for range callers {
		go func() {
			for left.Add(-1) >= 0 {
				if _, err := j.Append(context.Background(), rec); err != nil {
					b.Error(err)
				}
			}
			done <- struct{}{}
		}()
	}
	for range callers {
		<-done
	}
	b.StopTimer()
	s := j.Stats()
	records := float64(s.Records - before.Records)
	b.ReportMetric(float64((cpuTime()-cpu).Nanoseconds())/float64(b.N), "cpu-ns/op")
	b.ReportMetric(float64(s.Writes-before.Writes)/records, "writes/op")
	b.ReportMetric(float64(s.WriteLen-before.WriteLen)/records, "written-B/op")
	b.ReportMetric(records/float64(s.Batches-before.Batches), "records/batch")
}

// BenchmarkRecover replays a journal of small objects.
func BenchmarkRecover(b *testing.B) {
	r := newRig(b, 6, 2, 64<<20)
	r.opts.MaxShardLen = 0
	j := r.format()
	rec := bytes.Repeat([]byte{0xf0}, 4096+200)
	var tickets []*journal.Ticket
	const count = 20000
	for range count {
		t, err := j.AppendAsync(context.Background(), journal.Entry{Head: rec})
		if err != nil {
			b.Fatal(err)
		}
		tickets = append(tickets, t)
	}
	for _, t := range tickets {
		if _, err := t.Wait(context.Background()); err != nil {
			b.Fatal(err)
		}
	}
	r.stop(j)
	b.SetBytes(int64(count * len(rec)))
	b.ReportAllocs()
	for b.Loop() {
		r.open()
		opts := r.options()
		opts.Apply = func(*journal.Batch) error { return nil }
		j, _, err := journal.Recover(context.Background(), opts, meta.Position{})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		r.stop(j)
		b.StartTimer()
	}
}

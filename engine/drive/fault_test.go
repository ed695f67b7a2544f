package drive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"penstock/engine/drive"
)

// faulty returns a drive with faults and a segment on it that holds want.
func faulty(t *testing.T) (plan *drive.Plan, d drive.Drive, f drive.File, want []byte) {
	t.Helper()
	plan = drive.NewPlan(1)
	d = plan.Wrap(drive.NewMem(newIdentity(), drive.MemOptions{}))
	f = create(t, d, 1, segLen)
	want = block(segLen, 1)
	write(t, f, 0, want)
	return plan, d, f, want
}

func do(f drive.File, kind drive.Kind, off int64, b []byte) (*drive.Op, error) {
	op := &drive.Op{Kind: kind, File: f, Off: off, Bufs: [][]byte{b[:512], b[512:]}}
	return op, drive.Do(ctx, op)
}

func TestFaultNth(t *testing.T) {
	plan, d, f, _ := faulty(t)
	plan.Add(drive.Rule{On: drive.OnWrite, Nth: 3, Times: 2, Err: syscall.ENOSPC})
	var failed []int
	for i := range 6 {
		read(t, f, 0, 4096) // Does not count.
		op, err := do(f, drive.Write, 0, block(8192, 5))
		if err == nil {
			continue
		}
		failed = append(failed, i+1)
		var opErr *drive.OpError
		if !errors.Is(err, syscall.ENOSPC) || op.N != 0 || !errors.As(err, &opErr) || opErr.Path != d.Path() || opErr.Len != 8192 {
			t.Errorf("write %d: %d bytes, %v", i+1, op.N, err)
		}
	}
	if fmt.Sprint(failed) != "[3 4]" || plan.Struck() != 2 {
		t.Errorf("writes %v failed, struck %d times, want the third and the fourth", failed, plan.Struck())
	}
	if r, w := plan.Count(d.ID(), drive.OnRead), plan.Count(drive.ID{}, drive.OnWrite); r != 6 || w != 7 {
		t.Errorf("counted %d reads and %d writes, want 6 and 7", r, w)
	}
	if got := plan.Count(drive.NewID(), drive.OnAny); got != 0 {
		t.Errorf("counted %d actions of a drive that there is not", got)
	}
}

// TestFaultEffects looks at what each effect does to an op and to what is there afterwards.
func TestFaultEffects(t *testing.T) {
	young := block(8192, 9)
	for _, c := range []struct {
		name  string
		kind  drive.Kind
		rule  drive.Rule
		err   error
		n     int
		check func(op, after, old []byte) bool // Of the op's buffer and the segment, both from the op's offset.
	}{
		{"fail write", drive.Write, drive.Rule{Do: drive.Fail}, syscall.EIO, 0,
			func(_, after, old []byte) bool { return bytes.Equal(after, old) }},
		{"fail read", drive.Read, drive.Rule{Do: drive.Fail}, syscall.EIO, 0, nil},
		{"fail after write", drive.Write, drive.Rule{Do: drive.FailAfter}, syscall.EIO, 8192,
			func(_, after, _ []byte) bool { return bytes.Equal(after, young) }},
		{"short write", drive.Write, drive.Rule{Do: drive.Short, Err: syscall.ENOSPC}, syscall.ENOSPC, 4096,
			func(_, after, old []byte) bool {
				return bytes.Equal(after[:4096], young[:4096]) && bytes.Equal(after[4096:], old[4096:])
			}},
		{"lost write", drive.Write, drive.Rule{Do: drive.Lose}, nil, 8192,
			func(_, after, old []byte) bool { return bytes.Equal(after, old) }},
		{"torn write", drive.Write, drive.Rule{Do: drive.Tear}, nil, 8192,
			func(_, after, old []byte) bool {
				return bytes.Equal(after[:4096], young[:4096]) && bytes.Equal(after[4096:], old[4096:])
			}},
		{"misdirected write", drive.Write, drive.Rule{Do: drive.Misdirect}, nil, 8192,
			func(_, after, _ []byte) bool { return !bytes.Equal(after, young) }},
		{"misdirected read", drive.Read, drive.Rule{Do: drive.Misdirect}, nil, 8192,
			func(op, _, old []byte) bool { return !bytes.Equal(op, old) }},
		{"flipped write", drive.Write, drive.Rule{Do: drive.Flip}, nil, 8192,
			func(op, after, _ []byte) bool { return distance(after, young) == 1 && bytes.Equal(op, young) }},
		{"flipped read", drive.Read, drive.Rule{Do: drive.Flip}, nil, 8192,
			func(op, after, old []byte) bool { return distance(op, old) == 1 && bytes.Equal(after, old) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			plan, _, f, old := faulty(t)
			const off = 8192
			buf := drive.Aligned(8192)
			if c.kind == drive.Write {
				copy(buf, young)
			}
			plan.Add(c.rule)
			op, err := do(f, c.kind, off, buf)
			if !errors.Is(err, c.err) || op.N != c.n {
				t.Errorf("%d bytes, %v, want %d, %v", op.N, err, c.n, c.err)
			}
			if after := read(t, f, off, 8192); c.check != nil && !c.check(buf, after, old[off:off+8192]) {
				t.Error("what is there afterwards is not what the fault is about")
			}
		})
	}
}

// distance counts the bits in which a and b differ.
func distance(a, b []byte) int {
	n := 0
	for i := range a {
		n += bits.OnesCount8(a[i] ^ b[i])
	}
	return n
}

func TestFaultStale(t *testing.T) {
	plan, _, f, old := faulty(t)
	plan.KeepStale()
	write(t, f, 4096, block(4096, 7))
	plan.Add(drive.Rule{On: drive.OnRead, Do: drive.Stale})
	want := old[:12288]
	if got := read(t, f, 0, 12288); !bytes.Equal(got, want) {
		t.Error("a stale read does not show what was there before")
	}
	if got := read(t, f, 4096, 4096); !bytes.Equal(got, block(4096, 7)) {
		t.Error("the next read is stale, too")
	}
}

func TestFaultHangAndDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		plan, d, f, want := faulty(t)
		plan.Add(drive.Rule{On: drive.OnRead, Do: drive.Hang})
		var g drive.Group
		buf := drive.Aligned(4096)
		g.Submit(&drive.Op{File: f, Bufs: [][]byte{buf}})
		time.Sleep(time.Hour) // Of the bubble's time.
		if g.Over() || plan.Hung() != 1 {
			t.Errorf("after an hour: over %v, %d hang", g.Over(), plan.Hung())
		}
		read(t, f, 0, 4096) // Others go on.
		plan.Release()
		if err := g.Wait(ctx); err != nil || !bytes.Equal(buf, want[:4096]) {
			t.Errorf("after the release: %v", err)
		}
		plan.Add(drive.Rule{On: drive.OnWriteMeta, Do: drive.Delay, Delay: time.Minute})
		begun := time.Now()
		if err := d.WriteMeta("root.json", nil, 0o600); err != nil || time.Since(begun) != time.Minute {
			t.Errorf("delayed by %v, %v", time.Since(begun), err)
		}
	})
}

func TestFaultActions(t *testing.T) {
	for _, c := range []struct {
		on drive.Action
		do func(d drive.Drive, f drive.File) error
	}{
		{drive.OnCreate, func(d drive.Drive, _ drive.File) error { return second(d.Create(9, 4096)) }},
		{drive.OnOpen, func(d drive.Drive, _ drive.File) error { return second(d.Open(1)) }},
		{drive.OnRemove, func(d drive.Drive, _ drive.File) error { return d.Remove(1) }},
		{drive.OnResize, func(_ drive.Drive, f drive.File) error { return f.Resize(4096) }},
		{drive.OnReadMeta, func(d drive.Drive, _ drive.File) error { return second(d.ReadMeta("drive.json")) }},
		{drive.OnWriteMeta, func(d drive.Drive, _ drive.File) error { return d.WriteMeta("root.json", nil, 0o600) }},
		{drive.OnList, func(d drive.Drive, _ drive.File) error { return second(d.Segments()) }},
		{drive.OnSpace, func(d drive.Drive, _ drive.File) error { _, _, err := d.Space(); return err }},
	} {
		for _, effect := range []drive.Effect{drive.Fail, drive.FailAfter} {
			plan, d, f, _ := faulty(t)
			plan.Add(drive.Rule{On: c.on, Do: effect, Err: syscall.ENODEV})
			if err := c.do(d, f); !errors.Is(err, syscall.ENODEV) {
				t.Errorf("action %b, effect %d: %v, want %v", c.on, effect, err, syscall.ENODEV)
			}
			if n := plan.Count(d.ID(), c.on); plan.Struck() != 1 || n < 1 {
				t.Errorf("action %b, effect %d: struck %d times of %d", c.on, effect, plan.Struck(), n)
			}
		}
	}
	plan, d, f, _ := faulty(t)
	plan.Kill(d.ID())
	if err := second(do(f, drive.Read, 0, drive.Aligned(4096))); !errors.Is(err, syscall.EIO) {
		t.Errorf("read of a dead drive: %v", err)
	}
	if _, _, err := d.Space(); !errors.Is(err, syscall.EIO) {
		t.Errorf("Space of a dead drive: %v", err)
	}
	plan.Revive(d.ID())
	read(t, f, 0, 4096)
}

// TestFaultRules has conditions: drive, match, chance.
func TestFaultRules(t *testing.T) {
	plan, d, f, _ := faulty(t)
	other := plan.Wrap(drive.NewMem(newIdentity(), drive.MemOptions{}))
	g := create(t, other, 1, segLen)
	plan.Add(drive.Rule{On: drive.OnRead, Drive: other.ID(), Times: -1})
	plan.Add(drive.Rule{On: drive.OnRead, Drive: d.ID(), Times: -1, Match: func(e drive.Event) bool { return e.Seg == 1 && e.Off >= 8192 }})
	for range 3 {
		read(t, f, 0, 4096)
		if err := second(do(f, drive.Read, 8192, drive.Aligned(4096))); !errors.Is(err, syscall.EIO) {
			t.Errorf("read that matches: %v", err)
		}
		if err := second(do(g, drive.Read, 0, drive.Aligned(4096))); !errors.Is(err, syscall.EIO) {
			t.Errorf("read of the other drive: %v", err)
		}
	}
	plan.Clear()
	plan.Add(drive.Rule{On: drive.OnRead, Times: -1, Chance: 0.5})
	failed := 0
	for range 200 {
		if second(do(f, drive.Read, 0, drive.Aligned(4096))) != nil {
			failed++
		}
	}
	if failed < 60 || failed > 140 {
		t.Errorf("%d of 200 failed at a chance of one half", failed)
	}
}

func TestMemorySpace(t *testing.T) {
	d := drive.NewMem(newIdentity(), drive.MemOptions{Size: 4 * segLen})
	f := create(t, d, 1, 3*segLen)
	if _, err := d.Create(2, 2*segLen); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Create beyond the size: %v", err)
	}
	if segs, err := d.Segments(); err != nil || len(segs) != 1 {
		t.Errorf("Segments = %v, %v", segs, err)
	}
	if err := f.Resize(5 * segLen); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("Resize beyond the size: %v", err)
	}
	if err := f.Resize(segLen); err != nil {
		t.Fatal(err)
	}
	if total, free, err := d.Space(); total != 4*segLen || free != 3*segLen || err != nil {
		t.Errorf("Space = %d, %d, %v", total, free, err)
	}
	d.SetSize(5 * segLen)
	create(t, d, 2, 4*segLen)
	if err := errors.Join(d.Remove(1), d.Remove(2)); err != nil {
		t.Fatal(err)
	}
	if _, free, _ := d.Space(); free != 5*segLen {
		t.Errorf("%d bytes free of an empty drive with %d", free, 5*segLen)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d.Reopen()
	create(t, d, 3, segLen)
}

func TestLatency(t *testing.T) {
	var l drive.Latency
	if l.Quantile(0.5) != 0 {
		t.Error("a quantile of nothing")
	}
	last := 0
	for d := time.Microsecond; d < time.Minute; d += d/50 + 1 {
		b := drive.BucketOf(d)
		if b < last || b > last+1 {
			t.Fatalf("%v is in bucket %d after %d", d, b, last)
		}
		last = b
		if bound := drive.BucketBound(b); b < len(l)-1 && (d >= bound+time.Microsecond || bound > d+d/4+time.Microsecond) {
			t.Errorf("%v is in the bucket below %v", d, bound)
		}
	}
	for i := range 100 {
		l[drive.BucketOf(time.Duration(i+1)*time.Millisecond)]++
	}
	if p50, p99 := l.Quantile(0.5), l.Quantile(0.99); p50 < 50*time.Millisecond || p50 > 64*time.Millisecond || p99 < 99*time.Millisecond || p99 > 128*time.Millisecond {
		t.Errorf("p50 %v, p99 %v of 1 to 100 ms", p50, p99)
	}
}

// TestFaultFiles looks at what each effect does to the files of the index.
func TestFaultFiles(t *testing.T) {
	plan, d, _, _ := faulty(t)
	fs, dir := d.FS()
	name := fs.PathJoin(dir, "file")
	old := block(4096, 1)
	write := func(b []byte) error {
		f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		_, err = f.Write(slices.Clone(b))
		return errors.Join(err, f.Sync(), f.Close())
	}
	look := func() []byte {
		f, err := fs.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		b := make([]byte, 4096)
		n, err := f.Read(b)
		if err != nil && err != io.EOF {
			t.Fatal(err)
		}
		return b[:n]
	}
	differ := func(a, b []byte) (n int) {
		for i := range min(len(a), len(b)) {
			n += bits.OnesCount8(a[i] ^ b[i])
		}
		return n
	}
	if err := write(old); err != nil || !bytes.Equal(look(), old) {
		t.Fatal(err)
	}
	const theWrite, theSync = 2, 3 // After Create, of which they are actions like all changes.
	for _, test := range []struct {
		do     drive.Effect
		nth    int
		failed bool
		is     func(got []byte) bool
	}{
		{drive.Fail, 1, true, func(got []byte) bool { return bytes.Equal(got, old) }},
		{drive.Fail, theWrite, true, func(got []byte) bool { return len(got) == 0 }},
		{drive.FailAfter, theWrite, true, func(got []byte) bool { return bytes.Equal(got, old) }},
		{drive.Short, theWrite, true, func(got []byte) bool { return bytes.Equal(got, old[:2048]) }},
		{drive.Lose, theWrite, false, func(got []byte) bool { return bytes.Equal(got, make([]byte, 4096)) }},
		{drive.Lose, theSync, false, func(got []byte) bool { return bytes.Equal(got, old) }},
		{drive.Fail, theSync, true, func(got []byte) bool { return bytes.Equal(got, old) }},
		{drive.Tear, theWrite, false, func(got []byte) bool {
			return bytes.Equal(got, slices.Concat(old[:2048], make([]byte, 2048)))
		}},
		{drive.Flip, theWrite, false, func(got []byte) bool { return differ(got, old) == 1 }},
		{drive.Delay, theWrite, false, func(got []byte) bool { return bytes.Equal(got, old) }},
	} {
		plan.Clear()
		plan.Add(drive.Rule{On: drive.OnChangeFile, Nth: test.nth, Do: test.do})
		err := write(old)
		if plan.Struck() != 1 {
			t.Errorf("effect %d at change %d did not strike", test.do, test.nth)
		}
		plan.Clear()
		if got := look(); (err != nil) != test.failed || !test.is(got) {
			t.Errorf("effect %d at change %d: %v, and %d bytes, %d bits of which differ", test.do, test.nth, err, len(got), differ(got, old))
		}
		if err := write(old); err != nil {
			t.Fatal(err)
		}
	}
	const theRead = 2 // After Open.
	plan.Add(drive.Rule{On: drive.OnReadFile, Nth: theRead, Do: drive.Flip})
	if got := look(); differ(got, old) != 1 {
		t.Errorf("a flipped read differs in %d bits", differ(got, old))
	}
	plan.Clear()
	plan.Add(drive.Rule{On: drive.OnReadFile, Do: drive.Fail})
	if _, err := fs.Open(name); !errors.Is(err, syscall.EIO) {
		t.Errorf("open: %v", err)
	}
	// What hangs goes on when it is released.
	plan.Clear()
	plan.Add(drive.Rule{On: drive.OnChangeFile, Do: drive.Hang})
	removed := make(chan error)
	go func() { removed <- fs.Remove(name) }()
	for plan.Hung() == 0 {
		runtime.Gosched()
	}
	plan.Release()
	if err := <-removed; err != nil {
		t.Error(err)
	}
	plan.Kill(d.ID())
	if err := write(old); err != nil {
		t.Errorf("the files of the index are not part of what Kill kills: %v", err)
	}
}

package roofline

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/md5"
	"crypto/sha256"
	"hash"
	"math/rand/v2"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"penstock/erasure"
	"penstock/fastapi/md5lanes"
)

const (
	// hotLen stays in the cache of a core.
	hotLen = 256 << 10
	// rounds of each measurement; the best counts, as whatever else goes on only makes it slower.
	rounds = 5
)

// measureCPU measures what a core does.
func (h *Host) measureCPU(ctx context.Context, each time.Duration, coldLen int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	hot := make([]byte, hotLen)
	rng := rand.NewChaCha8([32]byte{1})
	rng.Read(hot) // Never fails.

	code, err := erasure.New(h.K, h.M)
	if err != nil {
		return err
	}
	data, parity := shards(hot, h.K), shards(make([]byte, h.M*erasure.UnitLen), h.M)
	block, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		return err
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return err
	}
	sealed, nonce := make([]byte, 0, recordLen+gcm.Overhead()), make([]byte, gcm.NonceSize())

	from, to := make([]byte, coldLen/2), make([]byte, coldLen/2)
	rng.Read(from[:hotLen])
	for at := 0; at < len(from); at += hotLen { // Pages that nobody has touched are not there yet.
		copy(from[at:], from[:hotLen])
		copy(to[at:], from[:hotLen])
	}
	at := 0
	for _, m := range []struct {
		into  *float64
		bytes int
		work  func()
	}{
		{&h.Copy, 1 << 20, func() {
			copy(to[at:at+1<<20], from[at:at+1<<20])
			at = (at + 1<<20) % len(from)
		}},
		{&h.Encode, h.K * len(data[0]), func() { err = code.Encode(data, parity) }},
		{&h.CRC64, hotLen, func() { erasure.Checksum(hot) }},
		{&h.MD5, hotLen, func() { md5.Sum(hot) }},
		{&h.SHA256, hotLen, func() { sha256.Sum256(hot) }},
		{&h.AESGCM, recordLen, func() { gcm.Seal(sealed, nonce, hot[:recordLen], nil) }},
	} {
		if *m.into = best(ctx, each, m.bytes, threadCPU, m.work); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	h.MD5Many = md5Many(ctx, each, hot)
	return ctx.Err()
}

// recordLen is the most that a TLS record holds.
const recordLen = 16 << 10

// shards cuts memory into n equal shards of a unit at most.
func shards(b []byte, n int) (all [][]byte) {
	length := min(len(b)/n, erasure.UnitLen) &^ 4095
	for i := range n {
		all = append(all, b[i*length:(i+1)*length])
	}
	return all
}

// best repeats work and returns the most bytes that it did in a second of CPU time, of some rounds.
func best(ctx context.Context, each time.Duration, bytes int, clock func() time.Duration, work func()) (rate float64) {
	work() // Whatever is set up once.
	for range rounds {
		begun, count := clock(), 0
		var spent time.Duration
		for spent < each/rounds && ctx.Err() == nil {
			// Reading the clock is a system call; several at a time keep it below a hundredth.
			for range max(hotLen/bytes, 1) {
				work()
				count++
			}
			spent = clock() - begun
		}
		if spent > 0 {
			rate = max(rate, float64(count*bytes)/spent.Seconds())
		}
	}
	return rate
}

// threadCPU is the CPU time of the calling thread.
func threadCPU() time.Duration { return cpuClock(unix.CLOCK_THREAD_CPUTIME_ID) }

// processCPU is that of the whole process.
func processCPU() time.Duration { return cpuClock(unix.CLOCK_PROCESS_CPUTIME_ID) }

func cpuClock(id int32) time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(id, &ts); err != nil {
		panic("roofline: a clock that every kernel has: " + err.Error())
	}
	return time.Duration(ts.Nano())
}

// md5Many hashes many streams at once, in the lanes of wide registers. Its work is spread over goroutines, so the CPU time of the process
// counts.
func md5Many(ctx context.Context, each time.Duration, b []byte) float64 {
	var lanes md5lanes.Group
	var streams []hash.Hash
	for range MD5Lanes {
		streams = append(streams, lanes.New())
	}
	return best(ctx, each, MD5Lanes*len(b), processCPU, func() {
		var group sync.WaitGroup
		for _, s := range streams {
			group.Go(func() {
				s.Reset()
				s.Write(b) // A hash does not fail.
				s.Sum(nil)
			})
		}
		group.Wait()
	})
}

package erasure

import "fmt"

// Stripe is a stripe in memory. It owns nothing: Data and Parity are the caller's memory.
type Stripe struct {
	Layout
	Data   []byte // At least DataRunLen bytes: the object's, then padding.
	Parity []byte // At least ParityRunLen bytes.
}

// Unit returns the memory of a unit, Width bytes.
func (s Stripe) Unit(row, shard int) []byte {
	u := s.UnitAt(row, shard)
	mem := s.Data
	if shard >= s.K {
		mem = s.Parity
	}
	return mem[u.RunOff : u.RunOff+int64(u.Width) : u.RunOff+int64(u.Width)]
}

// AppendColumn appends to dst the memory of a shard's units in column order.
func (s Stripe) AppendColumn(dst [][]byte, shard int) [][]byte {
	mem := s.Data
	if shard >= s.K {
		mem = s.Parity
	}
	return s.AppendVec(dst, s.Column(shard), mem, 0)
}

// EncodeRow clears the padding of a row, computes its parity, and writes the checksum of each of its
// k + m units to sums, which has UnitCount entries; the row's are from row*(K+M) on. A row can be
// encoded as soon as its bytes are there. All rows but the last are the same whatever Length is, so
// an upload of unknown length encodes them under a full-length layout and the last one under the
// final layout.
func (s Stripe) EncodeRow(c *Code, row int, sums []uint64) error {
	if c.k != s.K || c.m != s.M {
		return fmt.Errorf("%w: %d+%d code for a %d+%d stripe", ErrGeometry, c.k, c.m, s.K, s.M)
	}
	n := s.K + s.M
	sums = sums[row*n : row*n+n]
	var units [MaxShards][]byte
	for shard := range n {
		units[shard] = s.Unit(row, shard)
	}
	// Sum data before encoding it: if it is no longer in the cache, one sequential stream fetches
	// it faster than k interleaved ones. Narrower strips than a unit were slower for every code
	// in BenchmarkEncodeRow, hot and cold.
	for shard := range s.K {
		dataLen := s.UnitAt(row, shard).DataLen
		clear(units[shard][dataLen:])
		sums[shard] = Checksum(units[shard][:dataLen])
	}
	if err := c.Encode(units[:s.K], units[s.K:n]); err != nil {
		return err
	}
	for shard := s.K; shard < n; shard++ {
		sums[shard] = Checksum(units[shard])
	}
	return nil
}

// ReconstructRow rebuilds the missing units of a row that want names, as [Code.Reconstruct] does.
// units has one entry per shard; those present are Width long and have been verified. Padding in
// them, which no checksum covers, is cleared first. Units that hold no object bytes are zeros and
// need not be given.
func (l Layout) ReconstructRow(c *Code, row int, units [][]byte, want Set) error {
	if c.k != l.K || c.m != l.M || len(units) != l.K+l.M {
		return fmt.Errorf("%w: %d+%d code and %d units for %+v", ErrGeometry, c.k, c.m, len(units), l)
	}
	var given [MaxShards][]byte
	var empty Set
	for shard := range units {
		u := l.UnitAt(row, shard)
		if n := len(units[shard]); n != 0 && n != u.Width {
			return fmt.Errorf("%w: unit %d of row %d has %d bytes of %d", ErrShardLen, shard, row, n, u.Width)
		}
		given[shard] = units[shard]
		switch {
		case u.SumLen() == 0:
			empty = empty.With(shard)
			given[shard] = nil
			if want.Has(shard) {
				if cap(units[shard]) < u.Width {
					return fmt.Errorf("%w: unit %d of row %d has room for %d bytes of %d", ErrShardLen, shard, row, cap(units[shard]), u.Width)
				}
				units[shard] = units[shard][:u.Width]
			}
			clear(units[shard])
		case len(given[shard]) != 0:
			clear(given[shard][u.SumLen():])
		}
	}
	if err := c.Reconstruct(given[:l.K+l.M], want, empty); err != nil {
		return err
	}
	for shard := range want.All() {
		if shard < len(units) && !empty.Has(shard) {
			units[shard] = given[shard]
		}
	}
	return nil
}

package main

import "testing"

// bytes returns a value as a body.
func (v value) bytes() []byte {
	var all []byte
	for _, p := range v.pieces {
		all = append(all, p.bytes()...)
	}
	return all
}

// TestRegister plays histories of writes and looks what may be read after each.
func TestRegister(t *testing.T) {
	values := map[byte]value{'-': {absent: true}}
	for c := byte('a'); c <= 'd'; c++ {
		values[c] = value{pieces: []piece{{seed: uint64(c), size: 100}}}
	}
	for _, c := range []struct {
		history string // A letter begins a write, its capital acknowledges it; '-' begins a delete, '_' acknowledges that.
		want    string // What may be read.
	}{
		{"", "-"},
		{"a", "-a"},
		{"aA", "a"},
		{"aAb", "ab"},
		{"aAbB", "b"},
		{"abAB", "ab"},   // Overlapping: either may be the last.
		{"abBA", "ab"},   //
		{"abA", "ab"},    // b is not acknowledged, a may still be after it.
		{"aAbcC", "bc"},  // b is in flight all the time.
		{"aAbBcC", "c"},  //
		{"abAcCB", "bc"}, // b overlaps both; c began after a was acknowledged.
		{"aA-", "a-"},
		{"aA-_", "-"},
	} {
		build := func() *register {
			r := newRegister()
			open := map[byte]*write{}
			for i := range len(c.history) {
				e := c.history[i]
				switch {
				case e == '_':
					r.acknowledge(open['-'], "")
				case e >= 'A' && e <= 'D':
					r.acknowledge(open[e+'a'-'A'], "")
				default:
					open[e] = r.begin(values[e])
				}
			}
			return r
		}
		for name, v := range values {
			r := build()
			body := v.bytes()
			if v.absent {
				body = nil
			}
			err := r.settle(body, "")
			want := false
			for i := range len(c.want) {
				want = want || c.want[i] == name
			}
			if (err == nil) != want {
				t.Errorf("history %q: reading %c gives %v; possible are %q", c.history, name, err, c.want)
			}
			if err == nil {
				if _, ok := r.known(); !ok {
					t.Errorf("history %q: after reading %c the value is not certain", c.history, name)
				}
			}
		}
	}
	r := newRegister()
	r.acknowledge(r.begin(values['a']), "x")
	if r.settle(values['a'].bytes(), "y") == nil {
		t.Error("another ETag than the acknowledged one passes")
	}
	torn := values['a'].bytes()
	torn[50] ^= 1
	if r.settle(torn, "x") == nil || r.settle(torn[:99], "x") == nil || r.settle([]byte{}, "x") == nil {
		t.Error("a torn value passes")
	}
}

// TestRegisterReads has reads meet writes that nobody acknowledged: once read, they have happened.
func TestRegisterReads(t *testing.T) {
	a, b := value{pieces: []piece{{seed: 1, size: 100}}}, value{pieces: []piece{{seed: 2, size: 100}}}
	r := newRegister()
	r.acknowledge(r.begin(a), "")
	before := r.now()
	open := r.begin(b)
	for range 2 { // It has not happened yet, as far as anybody knows.
		if err := r.read(r.now(), a.bytes(), ""); err != nil {
			t.Error(err)
		}
	}
	if err := r.read(r.now(), b.bytes(), ""); err != nil {
		t.Error(err)
	}
	if r.read(r.now(), a.bytes(), "") == nil {
		t.Error("a read after one that saw the next value may see the old one")
	}
	if err := r.read(before, a.bytes(), ""); err != nil {
		t.Errorf("a read that began before that may not: %v", err)
	}
	if r.refuse(open) == nil {
		t.Error("a write that was read may be refused")
	}
	if w, certain := r.known(); !certain || !w.value.is(b.bytes()) {
		t.Errorf("what was read is not certain: %v, %v", w, certain)
	}
}

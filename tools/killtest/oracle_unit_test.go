package killtest

import "testing"

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
			err := r.observe(body, "")
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
	if r.observe(values['a'].bytes(), "y") == nil {
		t.Error("another ETag than the acknowledged one passes")
	}
	torn := values['a'].bytes()
	torn[50] ^= 1
	if r.observe(torn, "x") == nil || r.observe(torn[:99], "x") == nil || r.observe([]byte{}, "x") == nil {
		t.Error("a torn value passes")
	}
}

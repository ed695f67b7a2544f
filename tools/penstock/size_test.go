package main

import "testing"

func TestParseSize(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64 // -1 = refused.
	}{
		{"0", 0}, {"4096", 4096}, {"1B", 1}, {"1K", 1024}, {"1KiB", 1024}, {"1kb", 1000}, {"512MiB", 512 << 20},
		{"2 GB", 2e9}, {" 16g ", 16 << 30}, {"3TiB", 3 << 40}, {"9223372036854775807", 1<<63 - 1},
		{"", -1}, {"MiB", -1}, {"-1", -1}, {"1.5GiB", -1}, {"1 2", -1}, {"1PiBB", -1}, {"0x10", -1},
		{"9223372036854775808", -1}, {"9007199254740992KiB", -1}, {"8388608TiB", -1},
	} {
		got, err := parseSize(c.in)
		if c.want < 0 {
			if err == nil {
				t.Errorf("parseSize(%q) = %d; want an error", c.in, got)
			}
			continue
		}
		if err != nil || got != c.want {
			t.Errorf("parseSize(%q) = %d, %v; want %d", c.in, got, err, c.want)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for want, n := range map[string]int64{
		"0": 0, "1": 1, "1000": 1000, "1KiB": 1024, "1025": 1025, "1536MiB": 1536 << 20, "2GiB": 2 << 30, "5TiB": 5 << 40,
	} {
		if got := formatSize(n); got != want {
			t.Errorf("formatSize(%d) = %s; want %s", n, got, want)
		}
		if back, err := parseSize(want); err != nil || back != n {
			t.Errorf("parseSize(%s) = %d, %v; want %d", want, back, err, n)
		}
	}
}

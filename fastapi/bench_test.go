package fastapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// BenchmarkRequest measures one connection's requests through a real socket; the client's part is a write and a read.
func BenchmarkRequest(b *testing.B) {
	for _, c := range []struct {
		name, method string
		len          int
	}{
		{"HEAD/4KiB", "HEAD", 4 << 10}, {"GET/4KiB", "GET", 4 << 10}, {"GET/1MiB", "GET", 1 << 20}, {"PUT/4KiB", "PUT", 4 << 10}, {"PUT/1MiB", "PUT", 1 << 20},
	} {
		for _, payload := range []string{"signed", "unsigned"} {
			if payload == "unsigned" && c.method != "PUT" {
				continue
			}
			b.Run(fmt.Sprintf("op=%s/payload=%s", c.name, payload), func(b *testing.B) {
				h := newHarness(b)
				h.srv.log = discardLog()
				h.must("PUT", "/bucket", "")
				body := strings.Repeat("x", c.len)
				h.must("PUT", "/bucket/k", body)
				var q *wireRequest
				headers := []string{"User-Agent", "bench", "Accept-Encoding", "identity"}
				if payload == "unsigned" {
					headers = append(headers, "x-amz-content-sha256", "UNSIGNED-PAYLOAD")
				}
				if c.method == "PUT" {
					q = h.build("PUT", "/bucket/k", []byte(body), headers...)
				} else {
					q = h.build(c.method, "/bucket/k", nil, headers...)
				}
				conn, err := net.Dial("tcp", h.addr)
				if err != nil {
					b.Fatal(err)
				}
				defer conn.Close()
				br := bufio.NewReaderSize(conn, 64<<10)
				wire := append(q.head(), q.body...)
				b.SetBytes(int64(c.len))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := conn.Write(wire); err != nil {
						b.Fatal(err)
					}
					if err := skipAnswer(br, c.method); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// skipAnswer reads an answer and allocates nothing worth counting.
func skipAnswer(br *bufio.Reader, method string) error {
	length := 0
	for first := true; ; first = false {
		line, err := br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && string(line[9:12]) != "200" {
			return fmt.Errorf("%s", line)
		}
		if len(line) == 2 {
			break
		}
		if n, ok := strings.CutPrefix(string(line), "Content-Length: "); ok && method != http.MethodHead {
			fmt.Sscan(n, &length)
		}
	}
	_, err := io.CopyN(io.Discard, br, int64(length))
	return err
}

// BenchmarkListing measures the document of a full page.
func BenchmarkListing(b *testing.B) {
	h := newHarness(b)
	h.must("PUT", "/bucket", "")
	s := &session{h: h}
	for i := range 1000 {
		s.send(h.build("PUT", fmt.Sprintf("/bucket/prefix/%08d/shard.tar", i), nil))
	}
	q := h.build("GET", "/bucket?list-type=2", nil).head()
	conn := h.dial()
	br := bufio.NewReaderSize(conn, 64<<10)
	b.ReportAllocs()
	for b.Loop() {
		conn.Write(q)
		if err := skipAnswer(br, "GET"); err != nil {
			b.Fatal(err)
		}
	}
}

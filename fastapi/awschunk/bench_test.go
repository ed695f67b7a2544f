package awschunk_test

import (
	"bytes"
	"fmt"
	"io"
	"testing"

	"penstock/fastapi/awschunk"
)

func BenchmarkReader(b *testing.B) {
	body := bytes.Repeat([]byte("penstock"), 1<<20)
	p := make([]byte, 1<<20)
	for _, mode := range modes {
		for _, chunkLen := range []int{8 << 10, 64 << 10, 1 << 20} {
			b.Run(fmt.Sprintf("mode=%s/chunk=%dKiB", mode.HeaderValue(), chunkLen>>10), func(b *testing.B) {
				encoded := encode(b, body, chunkLen, mode)
				conf := config(b, mode, len(body))
				b.SetBytes(int64(len(body)))
				b.ReportAllocs()
				for b.Loop() {
					r := awschunk.NewReader(bytes.NewReader(encoded), conf)
					for {
						if _, err := r.Read(p); err == io.EOF {
							break
						} else if err != nil {
							b.Fatal(err)
						}
					}
				}
			})
		}
	}
}

package fastapi

import (
	"fmt"
	"strings"
	"testing"
)

// TestUploadPartCopyByReference checks that a part copied without a wish for a checksum is not read, that its tag tells ranges
// apart, and that an upload which wants a checksum gets the right one.
func TestUploadPartCopyByReference(t *testing.T) {
	h := newHarness(t)
	h.must("PUT", "/bucket", "")
	h.must("PUT", "/bucket/source", strings.Repeat("0123456789", 600_000))
	part := func(id string, number int, rang string) (etag, sum string) {
		headers := []string{"x-amz-copy-source", "/bucket/source"}
		if rang != "" {
			headers = append(headers, "x-amz-copy-source-range", rang)
		}
		r := h.must("PUT", fmt.Sprintf("/bucket/copy?partNumber=%d&uploadId=%s", number, id), "", headers...)
		return strings.ReplaceAll(element(r.body, "ETag"), "&quot;", ""), element(r.body, "ChecksumCRC32")
	}

	id := element(h.must("POST", "/bucket/copy?uploads", "").body, "UploadId")
	whole, _ := part(id, 1, "")
	if source := strings.Trim(h.must("HEAD", "/bucket/source", "").header.Get("ETag"), `"`); whole != source {
		t.Errorf("a whole source copied as a part has ETag %s, the source %s", whole, source)
	}
	first, _ := part(id, 2, "bytes=0-5242879")
	again, _ := part(id, 3, "bytes=0-5242879")
	other, _ := part(id, 4, "bytes=1-5242880")
	if first != again || first == other || len(first) != 32 {
		t.Errorf("ETags of equal ranges %s and %s, of another %s", first, again, other)
	}
	if n := h.store.hashedCopies; n != 0 {
		t.Errorf("%d copies were read though nobody asked for a checksum", n)
	}

	id = element(h.must("POST", "/bucket/copy?uploads", "", "x-amz-checksum-algorithm", "CRC32").body, "UploadId")
	_, sum := part(id, 1, "bytes=0-9")
	if want := "poTHxg=="; sum != want { // CRC32 of "0123456789" is a684c7c6.
		t.Errorf("CRC32 of the part is %q, want %q", sum, want)
	}
	if n := h.store.hashedCopies; n != 1 {
		t.Errorf("%d copies were read, want 1", n)
	}
}

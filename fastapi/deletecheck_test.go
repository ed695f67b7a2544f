package fastapi

import (
	"fmt"
	"strings"
	"testing"
)

// TestConditionalDelete: a deletion, alone or among others, depends on ETag, size and time of the current version.
func TestConditionalDelete(t *testing.T) {
	onStores(t, func(t *testing.T, h *harness) {
		h.must("PUT", "/bucket", "")
		put := h.must("PUT", "/bucket/probe", "four")
		etag, modified := put.header.Get("ETag"), h.must("HEAD", "/bucket/probe", "").header.Get("Last-Modified")
		const other = `"00000000000000000000000000000000"`
		for _, c := range []struct {
			match, size, modified string
			absent                bool
			code                  string // "" for success.
		}{
			{match: etag},
			{match: strings.Trim(etag, `"`)},
			{match: "*"},
			{match: other, code: "PreconditionFailed"},
			{match: other + ", " + etag},
			{size: "4"},
			{size: "5", code: "PreconditionFailed"},
			{size: "x", code: "InvalidArgument"},
			{size: "-1", code: "InvalidArgument"},
			{modified: "Thu, 01 Jan 1970 00:00:00 GMT", code: "PreconditionFailed"},
			{modified: "yesterday", code: "InvalidArgument"},
			{modified: "this"},
			{match: etag, size: "4", modified: "this"},
			{match: etag, size: "4", modified: "Thu, 01 Jan 1970 00:00:00 GMT", code: "PreconditionFailed"},
			{match: etag, size: "5", modified: "this", code: "PreconditionFailed"},
			{match: "*", absent: true, code: "PreconditionFailed"},
			{match: etag, absent: true, code: "NoSuchKey"},
			{size: "4", absent: true, code: "NoSuchKey"},
		} {
			for _, batch := range []bool{false, true} {
				key := fmt.Sprintf("%+v %v", c, batch)
				target := "/bucket/" + string(appendURLEncoded(nil, key))
				if !c.absent {
					h.must("PUT", target, "four")
					modified = h.must("HEAD", target, "").header.Get("Last-Modified")
				}
				when := c.modified
				if when == "this" {
					when = modified
				}
				var headers []string
				doc := xmlWriter("<Delete><Object>")
				doc.text("Key", key)
				for _, cond := range []struct{ header, element, value string }{{"If-Match", "ETag", c.match}, {"x-amz-if-match-size", "Size", c.size}, {"x-amz-if-match-last-modified-time", "LastModifiedTime", when}} {
					if cond.value != "" {
						headers = append(headers, cond.header, cond.value)
						doc.text(cond.element, cond.value)
					}
				}
				var code string
				if batch {
					code = h.must("POST", "/bucket?delete", string(doc)+"</Object></Delete>").code()
				} else {
					code = h.do("DELETE", target, "", headers...).code()
				}
				if code != c.code {
					t.Errorf("%s: got %q", key, code)
				}
				if left := h.do("HEAD", target, "").status == 200; left != (c.code != "" && !c.absent) {
					t.Errorf("%s: left %v", key, left)
				}
			}
		}
		h.want(501, "NotImplemented", "DELETE", "/bucket/probe", "", "If-None-Match", "*")
	})
}

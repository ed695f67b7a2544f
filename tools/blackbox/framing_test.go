package blackbox

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"
)

// A framingCase is what an attacker puts on a connection. In its text:
//
//	%SIGNED   the headers that sign "PUT /bkt/outer" for any payload, each with its line end, Host included
//	%INNER    a whole request, signed as well, that stores /bkt/smuggled in 5 bytes
//	%LEN      the length of %INNER
//
// All of it is signed by somebody who may write, as by a proxy in front that signs what passes: what is asked is whether the
// server can be made to see a request where the proxy saw a body.
type framingCase struct {
	name, input string
	want        reading
}

// reading is what the server is to make of a case.
type reading uint8

const (
	refused  reading = iota // One answer of the 400 class, or none, then the end. Nothing is stored.
	outer                   // The outer request alone is done; the inner one is its body, or was not looked at.
	twoFound                // Two requests, as any other server sees it: the inner one is done too.
	inner                   // The same, and the outer one is refused.
)

// fields returns n header lines.
func fields(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "X-F-%d: %d\r\n", i, i)
	}
	return b.String()
}

var framingCases = []framingCase{
	{"body by length", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: %LEN\r\n\r\n%INNER", outer},
	{"pipelined", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", twoFound},
	{"pipelined after an empty body", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 0\r\n\r\n%INNER", twoFound},
	{"garbage after a request", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\n\r\nhello\x00\x01\x02\r\n\r\n%INNER", outer},
	{"garbage without end after a request", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\n\r\nhello" + strings.Repeat("A", 100_000), outer},
	{"absolute-form of another host", "PUT http://elsewhere/bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", refused},

	{"CL and TE", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%INNER", refused},
	{"TE and CL", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: chunked\r\nContent-Length: %LEN\r\n\r\n0\r\n\r\n%INNER", refused},
	{"TE chunked without CL", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n%INNER", refused}, // An object's length must be known.
	{"TE twice", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n%INNER", refused},
	{"TE chunked, identity", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n%INNER", refused},
	{"TE identity", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"TE xchunked", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: xchunked\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"TE in quotes", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: \"chunked\"\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"TE with a space before the colon", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"TE with a tab before the colon", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding\t: chunked\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"TE with a vertical tab", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding:\x0bchunked\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"TE folded", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding:\r\n chunked\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"TE on HTTP/1.0", "PUT /bkt/outer HTTP/1.0\r\n%SIGNEDTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"TE in a name with an underscore", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer_Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello%INNER", twoFound},

	{"CL twice, equal", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"CL twice, different", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\nContent-Length: %LEN\r\n\r\nhello%INNER", refused},
	{"CL twice in other cases", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDcontent-length: 5\r\nCONTENT-LENGTH: %LEN\r\n\r\nhello%INNER", refused},
	{"CL of a list", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5,5\r\n\r\nhello%INNER", refused},
	{"CL +5", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: +5\r\n\r\nhello%INNER", refused},
	{"CL -5", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: -5\r\n\r\nhello%INNER", refused},
	{"CL 0x5", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 0x5\r\n\r\nhello%INNER", refused},
	{"CL 5 and a space", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5 \r\n\r\nhello%INNER", twoFound}, // White space around a value is not part of it.
	{"CL 5 5", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5 5\r\n\r\nhello%INNER", refused},
	{"CL empty", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length:\r\n\r\nhello%INNER", refused},
	{"CL of 2^63", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 9223372036854775808\r\n\r\nhello%INNER", refused},
	{"CL of 2^64+5", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 18446744073709551621\r\n\r\nhello%INNER", refused},
	{"CL of 1,000 digits", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: " + strings.Repeat("0", 999) + "5\r\n\r\nhello%INNER", twoFound},
	{"CL folded", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length:\r\n 5\r\n\r\nhello%INNER", refused},
	{"CL with a bare line feed", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDX-A: b\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"CL behind a bare carriage return", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDX-A: b\rContent-Length: 5\r\n\r\n%INNER", refused},
	{"CL behind a NUL", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDX-A: b\x00\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"no CL", "PUT /bkt/outer HTTP/1.1\r\n%SIGNED\r\n%INNER", inner}, // Without it there is no body, in every server's reading.

	{"chunk size 0x0", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: chunked\r\n\r\n0x0\r\n\r\n%INNER", refused},
	{"chunk size without end", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("0", 100_000), refused},
	{"chunk extension without end", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDTransfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("a", 100_000), refused},
	{"chunks in a document", "POST /bkt?delete HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n%INNER", refused},

	{"headers folded", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDX-A: b\r\n\tc\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"first header folded", "PUT /bkt/outer HTTP/1.1\r\n X-A: b\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"lines that end in line feeds", "PUT /bkt/outer HTTP/1.1\nHost: h\nContent-Length: 5\n\nhello%INNER", refused},
	{"two hosts", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDHost: h\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"a header without colon", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDnonsense\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"a header without name", "PUT /bkt/outer HTTP/1.1\r\n%SIGNED: b\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"a NUL in a name", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDX\x00A: b\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"a NUL in the target", "PUT /bkt/out\x00er HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"a NUL before the request", "\x00PUT /bkt/outer HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"a space in the target", "PUT /bkt/out er HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", refused},

	{"HTTP/0.9", "GET /bkt/outer\r\n\r\n%INNER", refused},
	{"HTTP/0.9 PUT", "PUT /bkt/outer\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n%INNER", refused},
	{"HTTP/1.0", "PUT /bkt/outer HTTP/1.0\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", outer},
	{"HTTP/1.2", "PUT /bkt/outer HTTP/1.2\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", outer}, // As net/http has it, and the connection ends.
	{"HTTP/11", "PUT /bkt/outer HTTP/11\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"CONNECT", "CONNECT elsewhere:443 HTTP/1.1\r\nHost: elsewhere:443\r\n\r\n%INNER", refused},
	{"TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + strings.Repeat("A", 500), refused},

	{"a target of 64 KiB", "PUT /bkt/" + strings.Repeat("k", 64<<10) + " HTTP/1.1\r\n%SIGNEDContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"a target of 10 MiB", "GET /bkt/" + strings.Repeat("k", 10<<20) + " HTTP/1.1\r\nHost: h\r\n\r\n", refused},
	{"a header of 64 KiB", "PUT /bkt/outer HTTP/1.1\r\n%SIGNEDX-A: " + strings.Repeat("a", 64<<10) + "\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"a header name of 64 KiB", "PUT /bkt/outer HTTP/1.1\r\n%SIGNED" + strings.Repeat("X", 64<<10) + ": a\r\nContent-Length: 5\r\n\r\nhello%INNER", refused},
	{"10,000 headers", "PUT /bkt/outer HTTP/1.1\r\n%SIGNED" + fields(10_000) + "Content-Length: 5\r\n\r\nhello%INNER", refused},
	{"1,200 short headers", "PUT /bkt/outer HTTP/1.1\r\n%SIGNED" + strings.Repeat("A:\r\n", 1200) + "Content-Length: 5\r\n\r\nhello%INNER", refused},
	{"headers without end", "PUT /bkt/outer HTTP/1.1\r\n" + fields(100_000), refused},
}

// TestFraming puts each case on a connection of its own, over TCP and over TLS.
func TestFraming(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("tls=%v", secure), func(t *testing.T) {
			n := start(t, setup{secure: secure})
			n.must(t, "PUT", "/bkt", nil)
			n.must(t, "PUT", "/bkt/witness", []byte("witness"))
			base := n.usage(t)
			for _, c := range framingCases {
				n.tryFraming(t, c)
			}
			n.settles(t, base)
			if r := n.must(t, "GET", "/bkt/witness", nil); string(r.body) != "witness" {
				t.Errorf("the witness is now %q", r.body)
			}
		})
	}
}

// signedHeaders returns the header lines of a signed request without its Content-Length.
func signedHeaders(q *request) string {
	_, rest, _ := strings.Cut(string(q.head()), "\r\n")
	return strings.TrimSuffix(rest, "\r\n")
}

func (n *node) tryFraming(t *testing.T, c framingCase) {
	t.Helper()
	smuggled := string(n.signed("PUT", "/bkt/smuggled", []byte("inner")).bytes())
	outerRequest := n.signed("PUT", "/bkt/outer", nil)
	outerRequest.length = -1
	input := strings.NewReplacer("%SIGNED", signedHeaders(outerRequest), "%INNER", smuggled, "%LEN", fmt.Sprint(len(smuggled))).Replace(c.input)

	w := n.mustDial(t)
	defer w.Close()
	w.SetDeadline(time.Now().Add(10 * time.Second))
	go func() {
		w.Write([]byte(input)) // The server may have ended the connection.
		if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
			half.CloseWrite()
		}
	}()
	var replies []*reply
	var last error
	for {
		r, err := readReply(w.in, "PUT")
		if last = err; err != nil {
			break
		}
		replies = append(replies, r)
	}
	if e, ok := last.(net.Error); ok && e.Timeout() {
		t.Errorf("%s: the connection stays open after %v", c.name, replies)
	}
	var stored []string
	for _, key := range n.keys(t, "bkt") {
		if key != "witness" {
			stored = append(stored, key)
			n.must(t, "DELETE", "/bkt/"+pathEscape(key), nil)
		}
	}
	var accepted int
	for _, r := range replies {
		if r.status < 300 {
			accepted++
		} else if r.status >= 500 && r.status != 501 {
			t.Errorf("%s: %v", c.name, r)
		}
	}
	want, count := []string{"outer"}, 1
	switch c.want {
	case refused:
		want, count = nil, 0
	case inner:
		want, count = []string{"smuggled"}, 1
	case twoFound:
		want, count = []string{"outer", "smuggled"}, 2
	}
	if !slices.Equal(stored, want) || accepted != count {
		t.Errorf("%s: stored %q, want %q; answers %v", c.name, stored, want, replies)
	}
	// A request of which the server could not make sense is the last one of its connection.
	for i, r := range replies {
		if r.status == 400 && i != len(replies)-1 {
			t.Errorf("%s: the connection went on after %v", c.name, r)
		}
	}
}

package bench

import (
	"bytes"
	"fmt"
	"strconv"

	"penstock/bench/client"
)

// A listing is how far a worker is through all keys. Each walks through them for itself, again and again.
type listing struct {
	token  []byte // Encoded; empty at the beginning.
	listed int    // Keys so far.
}

func checkList(o *Options) error {
	if o.List.PageLen < 1 || o.List.PageLen > maxPage {
		return fmt.Errorf("pages of %d keys; S3 has 1 to %d", o.List.PageLen, maxPage)
	}
	return nil
}

func listPages(o *Options) uint64 { return uint64((o.Objects + o.List.PageLen - 1) / o.List.PageLen) }

// stepList asks for the next page. It must hold exactly the keys that follow.
func stepList(w *worker, _ uint64) {
	l := &w.listing
	o := &w.run.opts
	q := w.query[:0]
	if len(l.token) > 0 {
		q = append(q, "continuation-token="...)
		q = append(q, l.token...)
		q = append(q, '&')
	}
	q = append(q, "list-type=2&max-keys="...)
	q = strconv.AppendInt(q, int64(o.List.PageLen), 10)
	q = append(q, "&prefix="...)
	q = appendEncoded(q, w.run.objects.prefix)
	w.query = q
	w.path = append(append(w.path[:0], '/'), o.Bucket...)
	r := w.begin("GET")
	r.Path, r.Query = w.path, w.query
	if w.checkPage == nil {
		w.checkPage = w.readPage // Once: a method value allocates.
	}
	r.Check = w.checkPage
	if w.do(List, 0) != nil {
		*l = listing{token: l.token[:0]} // Where it goes on is not known.
	}
}

// readPage judges a page and remembers where the next one begins.
func (w *worker) readPage(page []byte) error {
	l := &w.listing
	want := min(w.run.opts.List.PageLen, w.run.opts.Objects-l.listed)
	if got := bytes.Count(page, []byte("<Contents>")); got != want {
		return &client.WrongAnswerError{What: fmt.Sprintf("%d keys after the first %d instead of %d", got, l.listed, want)}
	}
	if w.run.opts.Verify {
		if err := w.compareKeys(page, want); err != nil {
			return err
		}
	}
	l.listed += want
	token, _ := client.NextElement(page, "NextContinuationToken")
	more := l.listed < w.run.opts.Objects
	if more != (len(token) > 0) {
		return &client.WrongAnswerError{What: fmt.Sprintf("after %d of %d keys, more to come is %v", l.listed, w.run.opts.Objects, !more)}
	}
	l.token = appendEncoded(l.token[:0], string(unescape(token)))
	if !more {
		l.listed = 0
	}
	return nil
}

func (w *worker) compareKeys(page []byte, count int) error {
	var key []byte
	for i := range count {
		key, page = client.NextElement(page, "Key")
		w.text = w.run.objects.appendKey(w.text[:0], uint64(w.listing.listed+i))
		if !bytes.Equal(key, w.text) {
			return &client.WrongAnswerError{What: fmt.Sprintf("the key %s where %s follows", key, w.text)}
		}
	}
	return nil
}

// unescape resolves what XML escapes in a token, which may be any text.
func unescape(text []byte) []byte {
	for _, e := range [][2]string{{"&lt;", "<"}, {"&gt;", ">"}, {"&quot;", `"`}, {"&#34;", `"`}, {"&apos;", "'"}, {"&#39;", "'"}, {"&#x2B;", "+"}, {"&amp;", "&"}} {
		text = bytes.ReplaceAll(text, []byte(e[0]), []byte(e[1]))
	}
	return text
}

// appendEncoded appends a query value as it is signed.
func appendEncoded(dst []byte, value string) []byte {
	const digits = "0123456789ABCDEF"
	for _, c := range []byte(value) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~':
			dst = append(dst, c)
		default:
			dst = append(dst, '%', digits[c>>4], digits[c&15])
		}
	}
	return dst
}

func listDetails(o *Options) string {
	return fmt.Sprintf("%d keys, pages of %d", o.Objects, o.List.PageLen)
}

package fastapi

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzCORS: a document is rules that come back from what is written of them, or it is an error of the client's. What a request asks is never
// answered with more than it asked, nor with what could begin another header.
func FuzzCORS(f *testing.F) {
	f.Add(corsRules("AllowedOrigin *\nAllowedMethod GET"), "https://a", "GET", "x-a, x-b")
	f.Add(corsRules("ID i\nAllowedOrigin http://*.example.com\nAllowedMethod PUT\nAllowedHeader x-*\nExposeHeader ETag\nMaxAgeSeconds 3000"), "http://a.example.com", "PUT", "X-One")
	f.Add(corsRules("AllowedOrigin a&#10;b\nAllowedMethod HEAD\nAllowedHeader *"), "a\nb", "HEAD", "\r")
	f.Add("<CORSConfiguration/>", "", "", "")
	f.Fuzz(func(t *testing.T, doc, origin, method, asked string) {
		rules, err := parseCORS(doc)
		if err != nil {
			if e, ok := err.(*apiError); !ok || e.status != 400 {
				t.Fatalf("%q: %v", doc, err)
			}
			return
		}
		w := newXML("CORSConfiguration", 0)
		for i := range rules {
			rules[i].write(&w)
		}
		w.close("CORSConfiguration")
		again, err := parseCORS(string(w))
		if err != nil || !reflect.DeepEqual(again, rules) {
			t.Fatalf("%q: %+v, written %s, read %+v, %v", doc, rules, w, again, err)
		}
		q, ok := readCORSQuestion(&headers{fields: []field{{"origin", origin}, {"access-control-request-headers", asked}}}, method)
		rule, by := answers(rules, &q)
		if rule == nil || !ok {
			return
		}
		if !fits(by, origin) {
			t.Errorf("%q is let in by %q", origin, by)
		}
		for _, text := range append(append([]string{q.origin}, q.headers...), rule.expose...) {
			if strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("%q would be put into a header", text)
			}
		}
	})
}

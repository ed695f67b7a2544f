package fastapi

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestXMLReader(t *testing.T) {
	deep := strings.Repeat("<a>", maxXMLDepth) + strings.Repeat("</a>", maxXMLDepth)
	for _, c := range []struct {
		doc  string
		keys string // "" means refused.
	}{
		{`<Delete><Object><Key>a</Key></Object></Delete>`, "a"},
		{`<?xml version="1.0" encoding="UTF-8"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a</Key></Object></Delete>`, "a"},
		{"\ufeff<?xml version='1.0'?>\n<!-- hello --><Delete>\n\t<Object>\n<Key>a</Key>\r\n</Object>\n</Delete>\n<!-- bye -->\n", "a"},
		{`<s3:Delete xmlns:s3="x"><s3:Object><s3:Key>a</s3:Key></s3:Object></s3:Delete>`, "a"},
		{`<Delete ><Object a="1" b='2'><Key >a&amp;b&lt;&gt;&quot;&apos;&#65;&#x42;</Key ></Object></Delete>`, `a&b<>"'AB`},
		{`<Delete><Object><Key>&#x1;&#10;&#x1F600;</Key></Object></Delete>`, "\x01\n😀"},
		{`<Delete><Object><Key>a<![CDATA[<b>&]]>c<!-- x -->d</Key></Object></Delete>`, "a<b>&cd"},
		{`<Delete><Object><Key>a</Key><VersionId/></Object><Quiet>false</Quiet></Delete>`, "a"},
		{`<Delete><Object><Key> a </Key></Object></Delete>`, " a "},
		{`<Delete><Object><Key>ä</Key></Object></Delete>`, "ä"},

		{``, ""}, {`x`, ""}, {`<`, ""}, {`<Delete>`, ""}, {`<Delete/>`, ""}, {`<Delete></Delete>`, ""}, {`<Other/>`, ""},
		{`<Delete><Object><Key>a</Key></Object>`, ""},
		{`<Delete><Object><Key>a</Object></Key></Delete>`, ""},
		{`<Delete><Object><Key>a</Key></Object></Delete><More/>`, ""},
		{`<Delete><Object><Key>a</Key></Object></Delete>x`, ""},
		{`<Delete>text<Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key></Key></Object></Delete>`, ""},
		{`<Delete><Object></Object></Delete>`, ""},
		{`<Delete><Object><Key>a<b/></Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>a</Key><Colour>red</Colour></Object></Delete>`, ""},
		{`<Delete><Object><Key>&unknown;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&amp</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#xD800;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#x110000;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#x;</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>&#+5;</Key></Object></Delete>`, ""},
		{"<Delete><Object><Key>\x01</Key></Object></Delete>", ""},
		{"<Delete><Object><Key>\xff</Key></Object></Delete>", ""},
		{`<!DOCTYPE Delete><Delete><Object><Key>a</Key></Object></Delete>`, ""},
		{`<!DOCTYPE x [<!ENTITY e "lol"><!ENTITY f "&e;&e;">]><Delete><Object><Key>&f;</Key></Object></Delete>`, ""},
		{`<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&e;</Key></Object></Delete>`, ""},
		{`<?xml version="1.0" encoding="UTF-16"?><Delete><Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>a</Key></Object><?xml version="1.0"?></Delete>`, ""},
		{`<Delete><!-- -- --><Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete a><Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete a="<"><Object><Key>a</Key></Object></Delete>`, ""},
		{`<Delete><Object><Key>a]]>b</Key></Object></Delete>`, ""},
		{`<Delete>` + deep + `</Delete>`, ""},
	} {
		list, _, err := parseDeletes(c.doc)
		var keys []string
		for _, d := range list {
			keys = append(keys, d.key)
		}
		got := strings.Join(keys, "|")
		if err != nil {
			if got = ""; !sameError(err, errMalformedXML) {
				t.Errorf("%q: %v", c.doc, err)
			}
		}
		if got != c.keys {
			t.Errorf("%q: got %q, want %q", c.doc, got, c.keys)
		}
	}
}

func TestXMLSkip(t *testing.T) {
	x := newXMLReader(`<r><skip a="1"><b>text<c/><![CDATA[<]]></b><!-- </skip> --></skip><keep>v</keep><skip/></r>`)
	x.root("r")
	got := ""
	for name := x.child(); name != ""; name = x.child() {
		if name == "keep" {
			got += x.text()
		} else {
			x.skip()
		}
	}
	if err := x.end(); err != nil || got != "v" {
		t.Errorf("got %q, %v", got, err)
	}
	many := "<r>" + strings.Repeat("<a/>", maxXMLElements) + "</r>"
	x = newXMLReader(many)
	x.root("r")
	for name := x.child(); name != ""; name = x.child() {
		x.skip()
	}
	if x.end() == nil {
		t.Errorf("%d elements are accepted", maxXMLElements)
	}
}

// FuzzXML: a document of keys comes back as it was written, and no input does worse than be refused.
func FuzzXML(f *testing.F) {
	for _, s := range []string{`<Delete><Object><Key>a</Key></Object></Delete>`, `<Delete xmlns="x"><Quiet>true</Quiet><Object><Key>&#x1;<![CDATA[x]]></Key></Object></Delete>`, "<?xml?>", "<!--"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, doc string) {
		list, _, err := parseDeletes(doc)
		if err == nil {
			for _, d := range list {
				again, _, err := parseDeletes("<Delete><Object><Key>" + string(appendEscaped(nil, d.key)) + "</Key></Object></Delete>")
				if err != nil || again[0].key != d.key {
					t.Errorf("%q: key %q came back as %q, %v", doc, d.key, fmt.Sprint(again), err)
				}
			}
		}
		var c completion
		if c.parse(doc) == nil && (len(c.parts) == 0 || len(c.parts) != len(c.checksums)) {
			t.Errorf("%q: %+v", doc, c)
		}
	})
}

func TestXMLWriter(t *testing.T) {
	w := newXML("R", 0)
	w.text("A", "<&>\"'\t\n\r\x00\x1f\x7fä")
	w.key("B", "a b+/ä", true)
	w.bool("C", true)
	w.int("D", -5)
	w.time("E", time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.FixedZone("x", 3600)))
	w.etag(`a"b`)
	w.optional("F", "")
	w.close("R")
	want := xmlHeader + `<R xmlns="` + xmlNamespace + `"><A>&lt;&amp;&gt;&quot;'&#x9;&#xa;&#xd;&#x0;&#x1f;&#x7f;ä</A><B>a%20b%2B/%C3%A4</B><C>true</C><D>-5</D><E>2026-01-02T02:04:05.000Z</E><ETag>&quot;a&quot;b&quot;</ETag></R>`
	if string(w) != want {
		t.Errorf("got  %s\nwant %s", w, want)
	}
}

package fastapi

import (
	"strconv"
	"time"
)

const (
	xmlHeader    = `<?xml version="1.0" encoding="UTF-8"?>` + "\n"
	xmlNamespace = "http://s3.amazonaws.com/doc/2006-03-01/"
	xmlType      = "application/xml"
)

// xmlWriter appends a document. Its elements are few and fixed, so it is a buffer and an escaper: a page of a
// thousand keys costs one growing slice and no reflection.
type xmlWriter []byte

// newXML starts a document whose root carries the S3 namespace.
func newXML(root string, sizeHint int) xmlWriter {
	w := make(xmlWriter, 0, 160+sizeHint)
	w = append(w, xmlHeader...)
	w = append(w, '<')
	w = append(w, root...)
	w = append(w, ` xmlns="`+xmlNamespace+`">`...)
	return w
}

func (w *xmlWriter) open(name string) {
	*w = append(*w, '<')
	*w = append(*w, name...)
	*w = append(*w, '>')
}

func (w *xmlWriter) close(name string) {
	*w = append(*w, '<', '/')
	*w = append(*w, name...)
	*w = append(*w, '>')
}

// text writes an element with escaped text, also when the text is empty.
func (w *xmlWriter) text(name, value string) {
	w.open(name)
	*w = appendEscaped(*w, value)
	w.close(name)
}

// optional is text that is left out when empty.
func (w *xmlWriter) optional(name, value string) {
	if value != "" {
		w.text(name, value)
	}
}

func (w *xmlWriter) int(name string, value int64) {
	w.open(name)
	*w = strconv.AppendInt(*w, value, 10)
	w.close(name)
}

func (w *xmlWriter) bool(name string, value bool) {
	w.open(name)
	*w = strconv.AppendBool(*w, value)
	w.close(name)
}

// time writes a time as listings have it: the fraction of a second, which no header has room for either, is always 0.
func (w *xmlWriter) time(name string, t time.Time) {
	w.open(name)
	*w = appendTime(*w, t.Truncate(time.Second))
	w.close(name)
}

// etag writes an ETag with its quotes, as Amazon does in XML.
func (w *xmlWriter) etag(etag string) {
	*w = append(*w, "<ETag>&quot;"...)
	*w = appendEscaped(*w, etag)
	*w = append(*w, "&quot;</ETag>"...)
}

// appendTime appends t as XML bodies have it: UTC with milliseconds.
func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, "2006-01-02T15:04:05.000Z")
}

// appendEscaped appends s as character data. A control character that XML 1.0 cannot hold becomes a character
// reference all the same: that is what Amazon sends, and clients that meet such keys ask for encoding-type=url.
func appendEscaped(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '&' && c != '<' && c != '>' && c != '"' && c != 0x7f {
			continue
		}
		dst = append(dst, s[start:i]...)
		start = i + 1
		switch c {
		case '&':
			dst = append(dst, "&amp;"...)
		case '<':
			dst = append(dst, "&lt;"...)
		case '>':
			dst = append(dst, "&gt;"...)
		case '"':
			dst = append(dst, "&quot;"...)
		default:
			dst = append(dst, "&#x"...)
			dst = strconv.AppendUint(dst, uint64(c), 16)
			dst = append(dst, ';')
		}
	}
	return append(dst, s[start:]...)
}

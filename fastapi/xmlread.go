package fastapi

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxXMLDepth = 32
	// maxXMLElements bounds the work one document can ask for. The largest honest one, a completion of 10,000
	// parts with a checksum each, has 40,001.
	maxXMLElements = 120_000
)

// xmlReader reads a document one element at a time, in the order in which it was written:
//
//	root := r.root("Delete")
//	for name := r.child(); name != ""; name = r.child() {
//		if name == "Quiet" { quiet = r.text() } else { r.skip() }
//	}
//	err := r.end()
//
// Each child is read with text, skip, or a loop of its own. It knows no DTD and no entities but the five predefined
// ones and character references, so nothing in a document can make it read or grow beyond the document. Prefixes of
// names are dropped: clients disagree about namespaces. The first fault sticks, and after it every call says "no more".
type xmlReader struct {
	src      string
	open     []string // Names of the open elements, outermost first, as written.
	empty    bool     // The innermost open element was written <name/>.
	elements int
	failed   bool
}

func newXMLReader(src string) *xmlReader {
	return &xmlReader{src: strings.TrimPrefix(src, "\ufeff"), open: make([]string, 0, 8)}
}

func (r *xmlReader) fail() {
	r.failed = true
	r.src = ""
}

// root enters the outermost element, which must have that name.
func (r *xmlReader) root(name string) {
	if strings.HasPrefix(r.src, "<?xml") {
		i := strings.Index(r.src, "?>")
		if i < 0 || !declaresUTF8(r.src[:i]) {
			r.fail()
			return
		}
		r.src = r.src[i+2:]
	}
	r.misc()
	if r.startTag() != name {
		r.fail()
	}
}

// declaresUTF8 reports whether an XML declaration names UTF-8 or nothing.
func declaresUTF8(declaration string) bool {
	i := strings.Index(declaration, "encoding")
	if i < 0 {
		return true
	}
	value := strings.Trim(declaration[i+len("encoding"):], " \t\r\n=\"'")
	end := strings.IndexAny(value, "\"' \t\r\n")
	if end >= 0 {
		value = value[:end]
	}
	return strings.EqualFold(value, "utf-8") || strings.EqualFold(value, "us-ascii")
}

// child enters the next child of the innermost open element and returns its name, or leaves that element and returns "".
func (r *xmlReader) child() string {
	if r.failed {
		return ""
	}
	if r.empty {
		r.pop()
		return ""
	}
	r.misc()
	if strings.HasPrefix(r.src, "</") {
		r.endTag()
		return ""
	}
	return r.startTag()
}

// text leaves the innermost open element, which must hold nothing but text, and returns that text.
func (r *xmlReader) text() string {
	if r.failed {
		return ""
	}
	if r.empty {
		r.pop()
		return ""
	}
	var joined string
	for !r.failed {
		i := strings.IndexByte(r.src, '<')
		if i < 0 {
			r.fail()
			return ""
		}
		piece, ok := unescapeXML(r.src[:i])
		if !ok {
			r.fail()
			return ""
		}
		r.src = r.src[i:]
		joined += piece
		switch {
		case strings.HasPrefix(r.src, "</"):
			r.endTag()
			return joined
		case strings.HasPrefix(r.src, "<![CDATA["):
			end := strings.Index(r.src, "]]>")
			if end < 0 || !validChars(r.src[9:end]) {
				r.fail()
				return ""
			}
			joined += r.src[9:end]
			r.src = r.src[end+3:]
		case strings.HasPrefix(r.src, "<!--"):
			r.comment()
		default:
			r.fail()
		}
		if len(joined) > 64<<10 {
			r.fail() // No value of any request is near this long; joining pieces must not become quadratic.
		}
	}
	return ""
}

// skip leaves the innermost open element, whatever is in it.
func (r *xmlReader) skip() {
	for depth := len(r.open); !r.failed && len(r.open) >= depth; {
		if r.empty {
			r.pop()
			continue
		}
		i := strings.IndexByte(r.src, '<')
		if i < 0 {
			r.fail()
			return
		}
		if _, ok := unescapeXML(r.src[:i]); !ok {
			r.fail()
			return
		}
		r.src = r.src[i:]
		switch {
		case strings.HasPrefix(r.src, "</"):
			r.endTag()
		case strings.HasPrefix(r.src, "<!--"):
			r.comment()
		case strings.HasPrefix(r.src, "<![CDATA["):
			end := strings.Index(r.src, "]]>")
			if end < 0 {
				r.fail()
				return
			}
			r.src = r.src[end+3:]
		default:
			r.startTag()
		}
	}
}

// end reports whether the document was sound to its last byte.
func (r *xmlReader) end() error {
	if !r.failed && len(r.open) == 0 {
		r.misc()
		if r.src == "" && !r.failed {
			return nil
		}
	}
	return errMalformedXML
}

// misc passes over white space, comments and processing instructions.
func (r *xmlReader) misc() {
	for {
		r.src = strings.TrimLeft(r.src, " \t\r\n")
		switch {
		case strings.HasPrefix(r.src, "<!--"):
			r.comment()
		case strings.HasPrefix(r.src, "<?") && !strings.HasPrefix(r.src, "<?xml"):
			i := strings.Index(r.src, "?>")
			if i < 0 {
				r.fail()
				return
			}
			r.src = r.src[i+2:]
		default:
			return
		}
	}
}

func (r *xmlReader) comment() {
	i := strings.Index(r.src[4:], "--")
	if i < 0 || !strings.HasPrefix(r.src[4+i:], "-->") {
		r.fail()
		return
	}
	r.src = r.src[4+i+3:]
}

// startTag enters an element and returns its name without prefix, or fails.
func (r *xmlReader) startTag() string {
	if r.failed || !strings.HasPrefix(r.src, "<") {
		r.fail()
		return ""
	}
	name, rest := cutName(r.src[1:])
	r.elements++
	if name == "" || len(r.open) == maxXMLDepth || r.elements > maxXMLElements {
		r.fail()
		return ""
	}
	for {
		trimmed := strings.TrimLeft(rest, " \t\r\n")
		if strings.HasPrefix(trimmed, ">") {
			r.src, r.empty = trimmed[1:], false
			break
		}
		if strings.HasPrefix(trimmed, "/>") {
			r.src, r.empty = trimmed[2:], true
			break
		}
		var ok bool
		if rest, ok = cutAttribute(trimmed); !ok || len(trimmed) == len(rest) {
			r.fail()
			return ""
		}
	}
	r.open = append(r.open, name)
	return localName(name)
}

func (r *xmlReader) endTag() {
	name, rest := cutName(r.src[2:])
	rest = strings.TrimLeft(rest, " \t\r\n")
	if len(r.open) == 0 || name != r.open[len(r.open)-1] || !strings.HasPrefix(rest, ">") {
		r.fail()
		return
	}
	r.src = rest[1:]
	r.pop()
}

func (r *xmlReader) pop() {
	r.open = r.open[:len(r.open)-1]
	r.empty = false
}

func localName(name string) string {
	if i := strings.IndexByte(name, ':'); i >= 0 {
		return name[i+1:]
	}
	return name
}

// cutName splits a name off the front of s. The element names of S3 are ASCII, so other names are faults.
func cutName(s string) (name, rest string) {
	i := 0
	for i < len(s) {
		c := s[i]
		if 'a' <= c|0x20 && c|0x20 <= 'z' || c == '_' || i > 0 && ('0' <= c && c <= '9' || c == ':' || c == '-' || c == '.') {
			i++
			continue
		}
		break
	}
	return s[:i], s[i:]
}

// cutAttribute passes over one attribute; requests carry no attribute that matters.
func cutAttribute(s string) (rest string, ok bool) {
	name, rest := cutName(s)
	rest = strings.TrimLeft(rest, " \t\r\n")
	if name == "" || !strings.HasPrefix(rest, "=") {
		return "", false
	}
	rest = strings.TrimLeft(rest[1:], " \t\r\n")
	if rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return "", false
	}
	end := strings.IndexByte(rest[1:], rest[0])
	if end < 0 || strings.IndexByte(rest[1:1+end], '<') >= 0 {
		return "", false
	}
	return rest[1+end+1:], true
}

// unescapeXML resolves references in character data. A reference may name a control character, which XML 1.0 forbids:
// keys may hold one and there is no other way to write it.
func unescapeXML(s string) (string, bool) {
	if !validChars(s) || strings.Contains(s, "]]>") {
		return "", false
	}
	amp := strings.IndexByte(s, '&')
	if amp < 0 {
		return s, true
	}
	out := make([]byte, 0, len(s))
	for amp >= 0 {
		out = append(out, s[:amp]...)
		s = s[amp+1:]
		semi := strings.IndexByte(s, ';')
		if semi < 0 || semi > 10 {
			return "", false
		}
		switch ref := s[:semi]; ref {
		case "amp":
			out = append(out, '&')
		case "lt":
			out = append(out, '<')
		case "gt":
			out = append(out, '>')
		case "quot":
			out = append(out, '"')
		case "apos":
			out = append(out, '\'')
		default:
			r, ok := charReference(ref)
			if !ok {
				return "", false
			}
			out = utf8.AppendRune(out, r)
		}
		s = s[semi+1:]
		amp = strings.IndexByte(s, '&')
	}
	return string(append(out, s...)), true
}

func charReference(ref string) (rune, bool) {
	if len(ref) < 2 || ref[0] != '#' {
		return 0, false
	}
	digits, base := ref[1:], 10
	if digits[0] == 'x' {
		digits, base = digits[1:], 16
	}
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || digits[0] == '+' || !utf8.ValidRune(rune(n)) {
		return 0, false
	}
	return rune(n), true
}

// validChars reports whether s is UTF-8 without control characters other than white space.
func validChars(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 && c != '\t' && c != '\r' && c != '\n' {
			return false
		}
	}
	return utf8.ValidString(s)
}

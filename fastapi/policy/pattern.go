package policy

import (
	"strings"
	"unicode/utf8"
)

// pattern is a text with wildcards and variables, taken to pieces.
type pattern struct {
	// exact is the text of a pattern that is nothing but text, and prefix the text before the one wildcard at the end. They are
	// nearly all there are, and need no pieces.
	kind   patternKind
	exact  string
	pieces []piece
}

type patternKind uint8

const (
	exactPattern  patternKind = iota
	prefixPattern             // exact and then anything.
	piecePattern
	variablePattern // piecePattern with variables.
)

type piece struct {
	kind     pieceKind
	narrow   bool   // A wildcard that does not match a colon.
	text     string // Of a literal; the default of a variable.
	key      Key    // Of a variable.
	fallback bool   // The variable has a default.
}

type pieceKind uint8

const (
	literalPiece pieceKind = iota
	anyChar
	anyRun
	variablePiece
)

// match is what comparing a pattern with a text says.
type match uint8

const (
	matchNo match = iota
	matchYes
	matchUnknown // A variable has no value.
)

// patternSyntax says what is special in a pattern's text.
type patternSyntax struct {
	wildcards bool
	variables bool
	arn       bool // Wildcards do not cross the first five colons.
}

// wildcards compiles a pattern that has wildcards and no variables.
func wildcards(text string) pattern {
	p, _ := compilePattern(text, patternSyntax{wildcards: true})
	return p
}

// compilePattern takes text to pieces. ok is false if a variable is malformed.
func compilePattern(text string, syntax patternSyntax) (p pattern, ok bool) {
	colons := 0
	literal := func(s string) {
		if n := len(p.pieces); n > 0 && p.pieces[n-1].kind == literalPiece {
			p.pieces[n-1].text += s
		} else if s != "" {
			p.pieces = append(p.pieces, piece{kind: literalPiece, text: s})
		}
		colons += strings.Count(s, ":")
	}
	for text != "" {
		special := strings.IndexAny(text, "*?$")
		if special < 0 {
			break
		}
		literal(text[:special])
		text = text[special:]
		switch narrow := syntax.arn && colons < 5; {
		case text[0] == '*' && syntax.wildcards:
			// A second star in a row adds nothing, unless it is the wider one.
			if n := len(p.pieces); n == 0 || p.pieces[n-1].kind != anyRun || p.pieces[n-1].narrow != narrow {
				p.pieces = append(p.pieces, piece{kind: anyRun, narrow: narrow})
			}
			text = text[1:]
		case text[0] == '?' && syntax.wildcards:
			p.pieces = append(p.pieces, piece{kind: anyChar, narrow: narrow})
			text = text[1:]
		case strings.HasPrefix(text, "${") && syntax.variables:
			end := variableEnd(text)
			if end < 0 {
				return pattern{}, false
			}
			v, literalText, ok := parseVariable(text[2:end])
			switch {
			case !ok:
				return pattern{}, false
			case literalText != "":
				literal(literalText)
			default:
				p.pieces = append(p.pieces, v)
			}
			text = text[end+1:]
		default:
			literal(text[:1])
			text = text[1:]
		}
	}
	literal(text)
	p.classify()
	return p, true
}

// classify finds the short forms.
func (p *pattern) classify() {
	switch n := len(p.pieces); {
	case n == 0:
		p.kind = exactPattern
		return
	case n == 1 && p.pieces[0].kind == literalPiece:
		p.kind, p.exact = exactPattern, p.pieces[0].text
		return
	case n == 1 && p.pieces[0].kind == anyRun && !p.pieces[0].narrow:
		p.kind = prefixPattern
		return
	case n == 2 && p.pieces[0].kind == literalPiece && p.pieces[1].kind == anyRun && !p.pieces[1].narrow:
		p.kind, p.exact = prefixPattern, p.pieces[0].text
		return
	}
	p.kind = piecePattern
	for i := range p.pieces {
		if p.pieces[i].kind == variablePiece {
			p.kind = variablePattern
		}
	}
}

// variableEnd returns where the brace closes that text opens with, quotes respected.
func variableEnd(text string) int {
	quoted := false
	for i := range len(text) {
		switch text[i] {
		case '\'':
			quoted = !quoted
		case '}':
			if !quoted {
				return i
			}
		}
	}
	return -1
}

// parseVariable reads what stands between the braces: a key, or a key and its default in quotes, or one of the three characters
// that would be special otherwise.
func parseVariable(text string) (v piece, literal string, ok bool) {
	if text == "*" || text == "?" || text == "$" {
		return piece{}, text, true
	}
	name, rest, hasDefault := strings.Cut(text, ",")
	v = piece{kind: variablePiece}
	if hasDefault {
		rest = strings.TrimSpace(rest)
		if len(rest) < 2 || rest[0] != '\'' || rest[len(rest)-1] != '\'' || strings.Contains(rest[1:len(rest)-1], "'") {
			return piece{}, "", false
		}
		v.text, v.fallback = rest[1:len(rest)-1], true
	}
	name = strings.TrimSpace(name)
	if name == "" {
		return piece{}, "", false
	}
	key, info, _ := parseKey(name)
	if !info.multi {
		v.key = key
	}
	return v, "", true
}

// match compares a whole text. e gives variables their values; it is needed only where there are any.
func (p *pattern) match(e *evaluation, text string) match {
	switch p.kind {
	case exactPattern:
		return yes(text == p.exact)
	case prefixPattern:
		return yes(strings.HasPrefix(text, p.exact))
	case variablePattern:
		for i := range p.pieces {
			if p.pieces[i].kind == variablePiece {
				if _, ok := e.expand(&p.pieces[i]); !ok {
					return matchUnknown
				}
			}
		}
	}
	return yes(p.glob(e, text))
}

func yes(b bool) match {
	if b {
		return matchYes
	}
	return matchNo
}

// glob compares piece by piece. When something does not fit, the last star takes one character more; an earlier one never has to,
// since whatever it could take more the last one can take too. So the cost is at most text times pattern, and in practice much less.
func (p *pattern) glob(e *evaluation, s string) bool {
	i, at := 0, 0 // In s, and in the pieces.
	star, starAt := -1, 0
	for {
		if at == len(p.pieces) {
			if i == len(s) {
				return true
			}
		} else {
			switch pc := &p.pieces[at]; pc.kind {
			case anyRun:
				star, starAt = at, i
				if at++; at == len(p.pieces) && !pc.narrow {
					return true
				}
				continue
			case anyChar:
				if i < len(s) && !(pc.narrow && s[i] == ':') {
					i += runeLen(s[i:])
					at++
					continue
				}
			default:
				text := pc.text
				if pc.kind == variablePiece {
					text, _ = e.expand(pc)
				}
				if strings.HasPrefix(s[i:], text) {
					i += len(text)
					at++
					continue
				}
			}
		}
		if star < 0 || starAt >= len(s) {
			return false
		}
		next := starAt + runeLen(s[starAt:])
		if after := star + 1; after < len(p.pieces) && p.pieces[after].kind == literalPiece {
			next = nextLiteral(s, next, p.pieces[after].text, after == len(p.pieces)-1)
		}
		if next < 0 || p.pieces[star].narrow && strings.IndexByte(s[starAt:next], ':') >= 0 {
			return false
		}
		starAt = next
		i, at = starAt, star+1
	}
}

// nextLiteral returns where a star must end, from i on, for a literal to follow it; -1 if nowhere. A last literal ends the text.
func nextLiteral(s string, i int, literal string, last bool) int {
	if last {
		if at := len(s) - len(literal); at >= i && s[at:] == literal {
			return at
		}
		return -1
	}
	if at := strings.Index(s[i:], literal); at >= 0 {
		return i + at
	}
	return -1
}

func runeLen(s string) int {
	if s[0] < utf8.RuneSelf {
		return 1
	}
	_, n := utf8.DecodeRuneInString(s)
	return n
}

// matchFold compares a text without regard to case. Such patterns have no wildcards.
func (p *pattern) matchFold(e *evaluation, text string) match {
	if p.kind == exactPattern {
		return yes(strings.EqualFold(p.exact, text))
	}
	var whole strings.Builder
	for i := range p.pieces {
		part := p.pieces[i].text
		if p.pieces[i].kind == variablePiece {
			var ok bool
			if part, ok = e.expand(&p.pieces[i]); !ok {
				return matchUnknown
			}
		}
		whole.WriteString(part)
	}
	return yes(strings.EqualFold(whole.String(), text))
}

// fixed reports whether a pattern matches one text alone.
func (p *pattern) fixed() bool { return p.kind == exactPattern }

package policy

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Limits of a document.
const (
	MaxLen   = 20 << 10 // Amazon's bound on the policy of a bucket.
	maxDepth = 16
)

// Error says why a document is not a policy. Its text is meant for whoever wrote the document.
type Error struct{ Message string }

func (e *Error) Error() string { return e.Message }

func malformed(format string, args ...any) *Error { return &Error{fmt.Sprintf(format, args...)} }

// node is a piece of a JSON document. An object keeps its members in order and knows that no name comes twice.
type node struct {
	kind    nodeKind
	text    string // Of a string, a number or a truth.
	list    []node
	members []member
}

type member struct {
	name  string
	value node
}

type nodeKind uint8

const (
	nullNode nodeKind = iota
	stringNode
	numberNode
	boolNode
	listNode
	objectNode
)

// parseJSON reads a whole document within the limits.
func parseJSON(data []byte) (node, error) {
	if len(data) > MaxLen {
		return node{}, malformed("Policy document must not exceed the maximum size of %d bytes", MaxLen)
	}
	if len(data) == 0 || data[0] != '{' {
		return node{}, malformed("Policies must be valid JSON and the first byte must be '{'")
	}
	if !utf8.Valid(data) {
		return node{}, malformed("This policy contains invalid Json")
	}
	d := json.NewDecoder(strings.NewReader(string(data)))
	d.UseNumber()
	n, err := parseNode(d, 1)
	if err != nil {
		return node{}, err
	}
	if _, err := d.Token(); err != io.EOF {
		return node{}, malformed("This policy contains invalid Json")
	}
	return n, nil
}

func parseNode(d *json.Decoder, depth int) (node, error) {
	token, err := d.Token()
	if err != nil {
		return node{}, malformed("This policy contains invalid Json")
	}
	switch t := token.(type) {
	case string:
		return node{kind: stringNode, text: t}, nil
	case json.Number:
		return node{kind: numberNode, text: t.String()}, nil
	case bool:
		return node{kind: boolNode, text: fmt.Sprint(t)}, nil
	case json.Delim:
		if depth > maxDepth {
			return node{}, malformed("The policy is nested deeper than %d levels", maxDepth)
		}
		if t == '[' {
			return parseList(d, depth)
		}
		return parseObject(d, depth)
	}
	return node{}, nil
}

func parseList(d *json.Decoder, depth int) (node, error) {
	n := node{kind: listNode}
	for d.More() {
		item, err := parseNode(d, depth+1)
		if err != nil {
			return node{}, err
		}
		n.list = append(n.list, item)
	}
	return n, closing(d)
}

func parseObject(d *json.Decoder, depth int) (node, error) {
	n := node{kind: objectNode}
	seen := map[string]bool{}
	for d.More() {
		token, err := d.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return node{}, malformed("This policy contains invalid Json")
		}
		if seen[name] {
			return node{}, malformed("Duplicate field %s", name)
		}
		seen[name] = true
		value, err := parseNode(d, depth+1)
		if err != nil {
			return node{}, err
		}
		n.members = append(n.members, member{name, value})
	}
	return n, closing(d)
}

func closing(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return malformed("This policy contains invalid Json")
	}
	return nil
}

// texts returns the strings of a node that is one or a list of them.
func (n *node) texts() ([]string, bool) {
	if n.kind == stringNode {
		return []string{n.text}, true
	}
	if n.kind != listNode {
		return nil, false
	}
	all := make([]string, 0, len(n.list))
	for i := range n.list {
		if n.list[i].kind != stringNode {
			return nil, false
		}
		all = append(all, n.list[i].text)
	}
	return all, true
}

// scalars returns the values of a node that is a string, number or truth, or a list of them, as text.
func (n *node) scalars() ([]string, bool) {
	if n.kind == stringNode || n.kind == numberNode || n.kind == boolNode {
		return []string{n.text}, true
	}
	if n.kind != listNode {
		return nil, false
	}
	all := make([]string, 0, len(n.list))
	for i := range n.list {
		switch n.list[i].kind {
		case stringNode, numberNode, boolNode:
			all = append(all, n.list[i].text)
		default:
			return nil, false
		}
	}
	return all, true
}

package fastapi

import (
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"time"
)

// formPolicy is what whoever signed a form allows whoever sends it: until when, how much, and which values of which fields. A field
// that it does not speak of may not be there.
type formPolicy struct {
	expires    time.Time
	conditions []formCondition
	min, max   int64 // Of the file's length; max is -1 if nothing is said.
}

type formCondition struct {
	prefix      bool   // The value has to begin with this, not be it.
	name, value string // The name in lower case, without the dollar sign.
}

// parseFormPolicy reads the document, whose base64 is in the field policy. Its limits are those of all the fields.
func parseFormPolicy(encoded string) (*formPolicy, error) {
	raw, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return nil, errInvalidPolicy.message("Invalid Policy: it is not base64.")
	}
	var doc struct {
		Expiration *string           `json:"expiration"`
		Conditions []json.RawMessage `json:"conditions"`
	}
	if err := unmarshalStrictly(raw, &doc); err != nil {
		return nil, errInvalidPolicy.message("Invalid Policy: Invalid JSON.")
	}
	if doc.Expiration == nil {
		return nil, errInvalidPolicy.message("Invalid Policy: Policy missing expiration.")
	}
	p := &formPolicy{max: -1}
	if p.expires, err = time.Parse(time.RFC3339, *doc.Expiration); err != nil {
		return nil, errInvalidPolicy.message("Invalid Policy: Invalid 'expiration' value: '" + *doc.Expiration + "'")
	}
	if doc.Conditions == nil {
		return nil, errInvalidPolicy.message("Invalid Policy: Policy missing conditions.")
	}
	for _, c := range doc.Conditions {
		if !p.add(c) {
			return nil, errInvalidPolicy.message("Invalid Policy: Invalid Condition.")
		}
	}
	return p, nil
}

// unmarshalStrictly reads JSON and refuses objects with a name twice, which two readers could read differently.
func unmarshalStrictly(raw []byte, into any) error {
	d := json.NewDecoder(strings.NewReader(string(raw)))
	if err := noDuplicates(d); err != nil {
		return err
	}
	if d.More() {
		return errInvalidPolicy
	}
	return json.Unmarshal(raw, into)
}

func noDuplicates(d *json.Decoder) error {
	token, err := d.Token()
	if err != nil {
		return err
	}
	open, ok := token.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			name, err := d.Token()
			if err != nil {
				return err
			}
			text, _ := name.(string)
			if text = strings.ToLower(text); seen[text] { // encoding/json takes names in any case.
				return errInvalidPolicy
			}
			seen[text] = true
		}
		if err := noDuplicates(d); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// add reads a condition: {"name": "value"}, ["eq", "$name", "value"], ["starts-with", "$name", "value"] or ["content-length-range", min, max].
func (p *formPolicy) add(raw json.RawMessage) bool {
	var object map[string]any
	if json.Unmarshal(raw, &object) == nil {
		for name, value := range object {
			text, ok := value.(string)
			if !ok || name == "" {
				return false
			}
			p.conditions = append(p.conditions, formCondition{name: strings.ToLower(name), value: text})
		}
		return len(object) > 0
	}
	var list []any
	if json.Unmarshal(raw, &list) != nil || len(list) != 3 {
		return false
	}
	kind, ok := list[0].(string)
	if !ok {
		return false
	}
	if strings.EqualFold(kind, "content-length-range") {
		least, ok1 := formLength(list[1])
		most, ok2 := formLength(list[2])
		if !ok1 || !ok2 || least > most {
			return false
		}
		// Of several ranges all hold.
		if p.min = max(p.min, least); p.max < 0 || most < p.max {
			p.max = most
		}
		return true
	}
	name, ok1 := list[1].(string)
	value, ok2 := list[2].(string)
	name, ok3 := strings.CutPrefix(name, "$")
	if !ok1 || !ok2 || !ok3 || name == "" || !strings.EqualFold(kind, "eq") && !strings.EqualFold(kind, "starts-with") {
		return false
	}
	p.conditions = append(p.conditions, formCondition{strings.EqualFold(kind, "starts-with"), strings.ToLower(name), value})
	return true
}

// formLength reads a length, which may be a number or the text of one.
func formLength(v any) (int64, bool) {
	switch v := v.(type) {
	case float64:
		return int64(v), v >= 0 && v < 1<<53 && v == float64(int64(v))
	case string:
		n, err := strconv.ParseInt(v, 10, 64)
		return n, err == nil && n >= 0
	}
	return 0, false
}

// unconditional are fields that no policy needs to speak of: those of the signature, and the file.
var unconditional = map[string]bool{"policy": true, "x-amz-signature": true, "file": true}

// check compares the fields of a form with its policy. bucket is that of the URL.
func (p *formPolicy) check(f *form, bucket, key string, now time.Time) error {
	if !now.Before(p.expires) {
		return errAccessDenied.message("Invalid according to Policy: Policy expired.")
	}
	value := func(name string) (string, bool) {
		switch name {
		case "bucket":
			return bucket, true
		case "key":
			return key, true
		}
		return f.lookup(name)
	}
	spoken := map[string]bool{}
	for _, c := range p.conditions {
		have, there := value(c.name)
		if !there || !c.holds(have) {
			return errAccessDenied.message("Invalid according to Policy: Policy Condition failed: " + c.String())
		}
		spoken[c.name] = true
	}
	if !spoken["bucket"] {
		return errAccessDenied.message("Invalid according to Policy: Extra input fields: bucket")
	}
	for i := range f.fields {
		name := f.fields[i].name
		if !spoken[name] && !unconditional[name] && !strings.HasPrefix(name, "x-ignore-") {
			return errAccessDenied.message("Invalid according to Policy: Extra input fields: " + name)
		}
	}
	return nil
}

// holds compares. Of a list of content types each has to begin as wanted.
func (c *formCondition) holds(value string) bool {
	switch {
	case !c.prefix:
		return value == c.value
	case c.name == "content-type":
		for one := range strings.SplitSeq(value, ",") {
			if !strings.HasPrefix(trimSpace(one), c.value) {
				return false
			}
		}
		return true
	}
	return strings.HasPrefix(value, c.value)
}

func (c *formCondition) String() string {
	kind := "eq"
	if c.prefix {
		kind = "starts-with"
	}
	return `["` + kind + `", "$` + c.name + `", "` + c.value + `"]`
}

package admin

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// TestDescriptionIsWhole: every reference leads somewhere, every document of the table is described with every field.
func TestDescriptionIsWhole(t *testing.T) {
	var doc any
	if err := json.Unmarshal(OpenAPI(), &doc); err != nil {
		t.Fatal(err)
	}
	schemas := doc.(object)["components"].(object)["schemas"].(object)
	var walk func(v any)
	walk = func(v any) {
		switch v := v.(type) {
		case object:
			if ref, ok := v["$ref"].(string); ok {
				if schemas[strings.TrimPrefix(ref, "#/components/schemas/")] == nil {
					t.Errorf("%s leads nowhere", ref)
				}
			}
			for _, inner := range v {
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(doc)
	names := map[string]reflect.Type{}
	var check func(what string, typ reflect.Type)
	check = func(what string, typ reflect.Type) {
		for typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map || typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || typ.PkgPath() != reflect.TypeFor[Failure]().PkgPath() {
			return
		}
		if other, ok := names[typ.Name()]; ok && other != typ {
			t.Errorf("two documents are named %s", typ.Name())
			return
		} else if ok {
			return
		}
		names[typ.Name()] = typ
		schema, ok := schemas[typ.Name()].(object)
		if !ok {
			t.Errorf("%s: %s is not described", what, typ.Name())
			return
		}
		if got := len(schema["properties"].(object)); got != typ.NumField() {
			t.Errorf("%s has %d fields, and %d are described", typ.Name(), typ.NumField(), got)
		}
		for f := range typ.Fields() {
			check(what, f.Type)
		}
	}
	for _, r := range routes {
		for _, d := range []any{r.Body, r.Answer} {
			if d != nil {
				check(r.Name, reflect.TypeOf(d))
			}
		}
		if r.Name == "" || r.Summary == "" || !strings.HasSuffix(r.Summary, ".") || !strings.HasPrefix(r.Path, "/") {
			t.Errorf("%s %s is incomplete", r.Method, r.Path)
		}
	}
}

func TestMatch(t *testing.T) {
	r := &Route{Method: "POST", Path: "/drives/{id}/drain"}
	for _, c := range []struct {
		path string
		id   string
		ok   bool
	}{
		{"/drives/7d44/drain", "7d44", true},
		{"/drives/a%2Fb/drain", "a/b", true}, // A segment is decoded after the path was split.
		{"/drives//drain", "", false},
		{"/drives/7d44/drain/", "", false},
		{"/drives/7d44", "", false},
		{"/drives/%zz/drain", "", false},
		{"drives/7d44/drain", "", false},
		{"", "", false},
	} {
		args, ok := r.match(c.path)
		if ok != c.ok || ok && args["id"] != c.id {
			t.Errorf("match(%q) = %v, %v", c.path, args, ok)
		}
	}
}

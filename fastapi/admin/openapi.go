package admin

import (
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"time"
)

// The description follows from the table and from the documents' types, so it cannot promise what is not there. It is OpenAPI 3.1, whose
// schemas are those of JSON Schema.

type object = map[string]any

// OpenAPI returns the description of the API.
var OpenAPI = sync.OnceValue(func() []byte {
	d := describer{schemas: object{}}
	paths := object{}
	for _, r := range routes {
		path, ok := paths[Prefix+r.Path].(object)
		if !ok {
			path = object{}
			paths[Prefix+r.Path] = path
		}
		path[strings.ToLower(r.Method)] = d.operation(r)
	}
	d.schema(reflect.TypeFor[Failure]())
	doc, err := json.MarshalIndent(object{
		"openapi": "3.1.0",
		"info": object{
			"title": "Penstock administration", "version": "1",
			"description": "Every call is signed with AWS Signature Version 4, service s3, in its headers. " +
				"x-penstock-action is the action that the caller must be allowed.",
		},
		"paths": paths,
		"components": object{
			"schemas": d.schemas,
			"securitySchemes": object{"sigv4": object{
				"type": "apiKey", "in": "header", "name": "Authorization", "description": "AWS Signature Version 4, service s3",
			}},
		},
		"security": []any{object{"sigv4": []any{}}},
	}, "", "  ")
	if err != nil {
		panic("admin: the description does not marshal: " + err.Error())
	}
	return append(doc, '\n')
})

func (a *API) openAPI(*Call) (any, error) { return OpenAPI(), nil }

// describer collects the schemas of named types.
type describer struct{ schemas object }

func (d *describer) operation(r *Route) object {
	params := []any{}
	for segment := range strings.SplitSeq(r.Path, "/") {
		if name, ok := strings.CutPrefix(segment, "{"); ok {
			params = append(params, object{
				"name": strings.TrimSuffix(name, "}"), "in": "path", "required": true, "schema": object{"type": "string"},
			})
		}
	}
	for _, p := range r.Params {
		params = append(params, object{
			"name": p.Name, "in": "query", "required": p.Required, "description": p.Summary, "schema": object{"type": "string"},
		})
	}
	failed := object{"description": "What is wrong.", "content": object{"application/json": object{"schema": reference(reflect.TypeFor[Failure]())}}}
	op := object{
		"operationId": r.Name, "summary": r.Summary, "x-penstock-action": r.Action,
		"parameters": params,
		"responses":  object{"4XX": failed, "5XX": failed},
	}
	responses := op["responses"].(object)
	switch {
	case r.Answer == nil && r.Type == "":
		responses["204"] = object{"description": "Done."}
	case r.Answer == nil:
		responses["200"] = object{"description": "OK", "content": object{r.Type: object{}}}
	default:
		kind := r.Type
		if kind == "" {
			kind = "application/json"
		}
		responses["200"] = object{"description": "OK", "content": object{kind: object{"schema": d.schema(reflect.TypeOf(r.Answer))}}}
	}
	if r.Body != nil {
		op["requestBody"] = object{
			"required": true,
			"content":  object{"application/json": object{"schema": d.schema(reflect.TypeOf(r.Body))}},
		}
	}
	return op
}

func reference(t reflect.Type) object { return object{"$ref": "#/components/schemas/" + t.Name()} }

// schema describes a type, and enters it in the schemas if it has a name of ours.
func (d *describer) schema(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Float32, reflect.Float64:
		return object{"type": "number"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return object{"type": "integer"}
	case reflect.Slice:
		return object{"type": "array", "items": d.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": d.schema(t.Elem())}
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Interface:
		return object{}
	case reflect.Struct:
		if t == reflect.TypeFor[time.Time]() {
			return object{"type": "string", "format": "date-time"}
		}
		if _, known := d.schemas[t.Name()]; !known {
			s := object{"type": "object"}
			d.schemas[t.Name()] = s // Before its fields: one of them may be of the same type.
			d.fields(t, s)
		}
		return reference(t)
	}
	panic("admin: a document has a field of type " + t.String())
}

func (d *describer) fields(t reflect.Type, s object) {
	properties, required := object{}, []string{}
	for f := range t.Fields() {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" {
			panic("admin: field " + f.Name + " of " + t.Name() + " has no name in JSON")
		}
		properties[name] = d.schema(f.Type)
		if !strings.Contains(options, "omit") {
			required = append(required, name)
		}
	}
	s["properties"], s["required"] = properties, required
}

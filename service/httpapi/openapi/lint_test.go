package openapi

import (
	"bytes"
	"fmt"
	"maps"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func parse(t *testing.T, raw []byte) map[string]any {
	t.Helper()
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		t.Fatal("no object")
	}
	return object
}

// walk visits every value below node with its JSON pointer, examples and
// values within schemas left out.
func walk(node any, pointer string, visit func(pointer string, node any)) {
	visit(pointer, node)
	switch node := node.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(node)) {
			if key == "example" || key == "examples" || key == "value" {
				continue
			}
			walk(node[key], pointer+"/"+strings.NewReplacer("~", "~0", "/", "~1").Replace(key), visit)
		}
	case []any:
		for i, value := range node {
			walk(value, fmt.Sprintf("%s/%d", pointer, i), visit)
		}
	}
}

// resolve returns what a pointer leads to, through references, and the pointer
// of that.
func resolve(doc any, pointer string) (any, string, error) {
	node := doc
	for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		object, ok := node.(map[string]any)
		if !ok {
			return nil, "", fmt.Errorf("%s leads nowhere", pointer)
		}
		if node, ok = object[step]; !ok {
			return nil, "", fmt.Errorf("%s leads nowhere", pointer)
		}
	}
	if object, ok := node.(map[string]any); ok {
		if ref, ok := object["$ref"].(string); ok && !strings.Contains(pointer, "/schema") {
			return resolve(doc, strings.TrimPrefix(ref, "#"))
		}
	}
	return node, pointer, nil
}

// engine reads ECMAScript's \u0000 for the schemas' regular expressions, which
// Go writes \x{0000}.
func engine(pattern string) (jsonschema.Regexp, error) {
	re, err := regexp.Compile(regexp.MustCompile(`\\u([0-9a-fA-F]{4})`).ReplaceAllString(pattern, `\x{$1}`))
	if err != nil {
		return nil, err
	}
	return re, nil
}

const location = "file:///openapi.json"

func compiler(t *testing.T, doc any) *jsonschema.Compiler {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.UseRegexpEngine(engine)
	if err := c.AddResource(location, doc); err != nil {
		t.Fatal(err)
	}
	return c
}

func compile(t *testing.T, c *jsonschema.Compiler, pointer string) *jsonschema.Schema {
	t.Helper()
	schema, err := c.Compile(location + "#" + (&url.URL{Path: pointer}).EscapedPath())
	if err != nil {
		t.Fatalf("%s: %v", pointer, err)
	}
	return schema
}

// The OpenAPI Initiative's own schema of OpenAPI 3.1, in testdata.
func TestDocumentIsOpenAPI31(t *testing.T) {
	raw, err := os.ReadFile("testdata/oas-3.1-schema.json")
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	const id = "https://spec.openapis.org/oas/3.1/schema/2022-10-07"
	if err := c.AddResource(id, parse(t, raw)); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(parse(t, document)); err != nil {
		t.Error(err)
	}
	broken := parse(t, bytes.ReplaceAll(document, []byte(`"in": "path"`), []byte(`"in": "body"`)))
	if schema.Validate(broken) == nil {
		t.Error("a document with a parameter in the body passes, too")
	}
}

func TestSchemasAreJSONSchema(t *testing.T) {
	doc := parse(t, document)
	c := compiler(t, doc)
	n := 0
	walk(doc, "", func(pointer string, _ any) {
		named := strings.HasPrefix(pointer, "/components/schemas/") && strings.Count(pointer, "/") == 3
		if named || strings.HasSuffix(pointer, "/schema") && !strings.Contains(pointer, "/properties/") {
			compile(t, c, pointer)
			n++
		}
	})
	if n < 100 {
		t.Errorf("%d schemas were looked at", n)
	}
}

// What generators of clients stumble over: two components of one name, which
// become two types of one; a value of several types, but for null; alternatives
// that only constraints tell apart; a header that is no plain value.
func TestGeneratorsCanReadIt(t *testing.T) {
	doc := parse(t, document)
	kindOf := map[string]string{}
	components := doc["components"].(map[string]any)
	for _, kind := range []string{"schemas", "parameters", "responses"} {
		for name := range components[kind].(map[string]any) {
			if other := kindOf[name]; other != "" {
				t.Errorf("%s is among the %s and the %s", name, other, kind)
			}
			kindOf[name] = kind
		}
	}
	walk(doc, "", func(pointer string, node any) {
		object, ok := node.(map[string]any)
		if !ok || strings.HasSuffix(pointer, "/properties") {
			return
		}
		if types, ok := object["type"].([]any); ok && (len(types) != 2 || types[1] != "null") {
			t.Errorf("%s has the types %v", pointer, types)
		}
		if object["anyOf"] != nil || object["oneOf"] != nil {
			t.Errorf("%s has alternatives", pointer)
		}
		if schema, ok := object["schema"].(map[string]any); ok && object["in"] == "header" && schema["format"] != nil {
			t.Errorf("%s is a header with a format", pointer)
		}
	})
}

// Every example fits the schema beside it.
func TestExamplesFitTheirSchemas(t *testing.T) {
	doc := parse(t, document)
	c := compiler(t, doc)
	n := 0
	fits := func(pointer string, value any) {
		n++
		if err := compile(t, c, pointer+"/schema").Validate(value); err != nil {
			t.Errorf("%s: %v", pointer, err)
		}
	}
	walk(doc, "", func(pointer string, node any) {
		object, ok := node.(map[string]any)
		if _, described := object["schema"]; !ok || !described || strings.Contains(pointer, "/properties") {
			return
		}
		example, one := object["example"]
		several, many := object["examples"].(map[string]any)
		if one == many {
			t.Errorf("%s has no example, or both kinds", pointer)
		}
		if one {
			fits(pointer, example)
		}
		for name := range several {
			found, _, err := resolve(doc, pointer+"/examples/"+name)
			if err != nil {
				t.Fatal(err)
			}
			fits(pointer, found.(map[string]any)["value"])
		}
	})
	if n < 100 {
		t.Errorf("%d examples were looked at", n)
	}
}

func TestNoLooseEnds(t *testing.T) {
	doc := parse(t, document)
	used := map[string]bool{}
	walk(doc, "", func(pointer string, node any) {
		object, ok := node.(map[string]any)
		if !ok {
			return
		}
		if ref, ok := object["$ref"].(string); ok {
			used[strings.TrimPrefix(ref, "#")] = true
			if _, _, err := resolve(doc, strings.TrimPrefix(ref, "#")); err != nil {
				t.Errorf("%s: %v", pointer, err)
			}
		}
		if object["nullable"] != nil {
			t.Errorf("%s: nullable is of OpenAPI 3.0", pointer)
		}
	})
	used["/components/responses/MethodNotAllowed"] = true // of whatever is not in the document
	for _, match := range regexp.MustCompile(`"#(/components/examples/\w+)"`).FindAllSubmatch(document, -1) {
		used[string(match[1])] = true
	}
	components := doc["components"].(map[string]any)
	for kind, entries := range components {
		for name := range entries.(map[string]any) {
			if pointer := "/components/" + kind + "/" + name; kind != "securitySchemes" && !used[pointer] {
				t.Errorf("%s is not used", pointer)
			}
		}
	}

	tags := map[string]bool{}
	for _, tag := range doc["tags"].([]any) {
		tags[tag.(map[string]any)["name"].(string)] = true
		if tag.(map[string]any)["description"] == nil {
			t.Errorf("a tag has no description: %v", tag)
		}
	}
	operations := map[string]string{}
	links := map[string]string{}
	for path, item := range doc["paths"].(map[string]any) {
		for method, node := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			op := node.(map[string]any)
			where := method + " " + path
			id, _ := op["operationId"].(string)
			if id == "" || operations[id] != "" {
				t.Errorf("%s: operationId %q is missing, or that of %s, too", where, id, operations[id])
			}
			operations[id] = where
			if op["summary"] == nil {
				t.Errorf("%s has no summary", where)
			}
			for _, tag := range op["tags"].([]any) {
				if !tags[tag.(string)] {
					t.Errorf("%s: the tag %s is not described", where, tag)
				}
			}
			walk(op, where, func(pointer string, node any) {
				if object, ok := node.(map[string]any); ok && strings.Contains(pointer, "/links/") {
					if to, ok := object["operationId"].(string); ok {
						links[pointer] = to
					}
				}
			})
			for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !hasParameter(t, doc, item.(map[string]any), name[1]) {
					t.Errorf("%s: the parameter %s is not described", path, name[1])
				}
			}
		}
	}
	for pointer, to := range links {
		if operations[to] == "" {
			t.Errorf("%s leads to %s, which does not exist", pointer, to)
		}
	}
}

func hasParameter(t *testing.T, doc any, item map[string]any, name string) bool {
	t.Helper()
	for _, parameter := range item["parameters"].([]any) {
		found, _, err := resolve(doc, strings.TrimPrefix(parameter.(map[string]any)["$ref"].(string), "#"))
		if err != nil {
			t.Fatal(err)
		}
		if p := found.(map[string]any); p["in"] == "path" && p["name"] == name {
			return true
		}
	}
	return false
}

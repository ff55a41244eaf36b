package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	pathpkg "path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/poolproof/poolproof/service/httpapi/openapi"
)

// contract is the OpenAPI document, ready to be held against requests and
// answers: [send] does so with each one that any test of this package makes.
type contract struct {
	doc        map[string]any
	operations []*operation

	// How addresses and methods are answered that are not in the document.
	notFound, notAllowed *documented

	mu    sync.Mutex
	given map[string]bool // "listRoles 200": some test was answered so
}

// operation is one method of one path.
type operation struct {
	id, method, path string
	segments         []string
	node             map[string]any
	body             *jsonschema.Schema // of requests; nil: none
	answers          map[string]*documented
}

// documented is one status of an operation.
type documented struct {
	headers map[string]headerRule
	content map[string]*jsonschema.Schema // by media type; empty: no body
}

type headerRule struct {
	required bool
	schema   *jsonschema.Schema
}

var theContract = sync.OnceValue(newContract)

// newContract panics on a document that cannot be read: the package openapi's
// own tests say what is wrong with it.
func newContract() *contract {
	c := &contract{doc: parseObject(openapi.Document()), given: map[string]bool{}}
	// What is sent is read strictly: an answer with a field that is not
	// documented is wrong. What is asked for may hold more.
	strict := parseObject(openapi.Document())
	asked := map[string]bool{}
	eachNode(strict["paths"], func(key string, node map[string]any) {
		if key == "requestBody" {
			eachNode(node, func(_ string, below map[string]any) {
				if ref, ok := below["$ref"].(string); ok {
					asked[ref] = true
				}
			})
		}
	})
	shut := func(_ string, node map[string]any) {
		_, properties := node["properties"].(map[string]any)
		if _, told := node["additionalProperties"]; properties && !told && node["type"] == "object" {
			node["additionalProperties"] = false
		}
	}
	eachNode(strict["paths"], shut)
	for kind, entries := range strict["components"].(map[string]any) {
		for name, entry := range entries.(map[string]any) {
			if kind == "responses" || kind == "schemas" && !asked["#/components/schemas/"+name] {
				shut(name, entry.(map[string]any))
				eachNode(entry, shut)
			}
		}
	}
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	compiler.UseRegexpEngine(ecmaScript)
	const location = "file:///openapi.json"
	must(compiler.AddResource(location, strict))
	compile := func(pointer string) *jsonschema.Schema {
		schema, err := compiler.Compile(location + "#" + (&url.URL{Path: pointer}).EscapedPath())
		must(err)
		return schema
	}
	for path, item := range c.doc["paths"].(map[string]any) {
		for method, node := range item.(map[string]any) {
			if method == "parameters" {
				continue
			}
			at := "/paths/" + escaped(path) + "/" + method
			op := &operation{
				method: strings.ToUpper(method), path: path, segments: strings.Split(path, "/"), node: node.(map[string]any),
				answers: map[string]*documented{},
			}
			op.id = op.node["operationId"].(string)
			if op.node["requestBody"] != nil {
				op.body = compile(at + "/requestBody/content/application~1json/schema")
			}
			for status := range op.node["responses"].(map[string]any) {
				op.answers[status] = c.answer(at+"/responses/"+status, compile)
			}
			c.operations = append(c.operations, op)
		}
	}
	c.notFound = c.answer("/components/responses/NotFound", compile)
	c.notAllowed = c.answer("/components/responses/MethodNotAllowed", compile)
	slices.SortFunc(c.operations, func(a, b *operation) int { return strings.Compare(a.path+a.method, b.path+b.method) })
	return c
}

// answer reads the response at a pointer.
func (c *contract) answer(pointer string, compile func(string) *jsonschema.Schema) *documented {
	node, pointer := c.resolve(pointer)
	d := &documented{headers: map[string]headerRule{}, content: map[string]*jsonschema.Schema{}}
	headers, _ := node["headers"].(map[string]any)
	for name := range headers {
		header, at := c.resolve(pointer + "/headers/" + name)
		required, _ := header["required"].(bool)
		d.headers[name] = headerRule{required, compile(at + "/schema")}
	}
	content, _ := node["content"].(map[string]any)
	for media := range content {
		d.content[media] = compile(pointer + "/content/" + escaped(media) + "/schema")
	}
	return d
}

// resolve returns what a pointer leads to, through references, and where it is.
func (c *contract) resolve(pointer string) (map[string]any, string) {
	var node any = c.doc
	for step := range strings.SplitSeq(pointer[1:], "/") {
		node = node.(map[string]any)[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	object := node.(map[string]any)
	if ref, ok := object["$ref"].(string); ok {
		return c.resolve(ref[1:])
	}
	return object, pointer
}

// operation finds what a request asks for; nil where the document has nothing.
func (c *contract) operation(method, path string) (op *operation, pathKnown bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	segments := strings.Split(strings.TrimSuffix(path, "/"), "/")
	for _, o := range c.operations {
		same := slices.EqualFunc(o.segments, segments, func(want, got string) bool {
			return want == got || strings.HasPrefix(want, "{") && got != ""
		})
		if !same {
			continue
		}
		pathKnown = true
		if o.method == method {
			return o, true
		}
	}
	return nil, pathKnown
}

// check holds one exchange against the document and takes note of it.
func (c *contract) check(t testing.TB, r *http.Request, body []byte, a answer) {
	t.Helper()
	for _, fault := range c.faults(r, body, a) {
		t.Errorf("%s %s, answered %d: not as openapi.json has it: %s", r.Method, r.URL.Path, a.StatusCode, fault)
	}
	if op, _ := c.operation(r.Method, r.URL.EscapedPath()); op != nil {
		c.mu.Lock()
		c.given[op.id+" "+strconv.Itoa(a.StatusCode)] = true
		c.mu.Unlock()
	}
}

// faults says what of an exchange is not as documented. Addresses that tests
// add themselves, and pages, are none of its business. A body of nil is one
// that is not known.
func (c *contract) faults(r *http.Request, body []byte, a answer) []string {
	path := r.URL.EscapedPath()
	op, known := c.operation(r.Method, path)
	switch {
	case op != nil:
		d := op.answers[strconv.Itoa(a.StatusCode)]
		if d == nil {
			return []string{op.id + " has no such status: " + a.body}
		}
		faults := d.faults(r.Method, a)
		if a.StatusCode < 300 && op.body != nil && body != nil {
			value, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
			if err == nil {
				err = op.body.Validate(value)
			}
			if err != nil {
				faults = append(faults, fmt.Sprintf("the request's body was accepted: %v", err))
			}
		}
		return faults
	case strings.HasPrefix(path, "/api/test/"), !known && !strings.HasPrefix(path, "/api/"):
		return nil
	case r.Method == http.MethodOptions && a.StatusCode == http.StatusNoContent:
		return nil // a preflight, which CORS describes
	case a.StatusCode == http.StatusTemporaryRedirect && r.URL.Path != pathpkg.Clean(r.URL.Path):
		return nil // net/http leads to the path without its dots and double slashes
	case known && a.StatusCode == http.StatusMethodNotAllowed:
		return c.notAllowed.faults(r.Method, a)
	case !known && a.StatusCode == http.StatusNotFound:
		return c.notFound.faults(r.Method, a)
	}
	return []string{"it is not in the document"}
}

// told are the headers that a success has only where they are documented.
var told = []string{"ETag", "Location", "Poolproof-Epoch", "Retry-After", "WWW-Authenticate", "Allow", "Deprecation", "Link", "Content-Disposition"}

// faults says what of an answer is not as documented.
func (d *documented) faults(method string, a answer) (faults []string) {
	for name, rule := range d.headers {
		values := a.Header.Values(name)
		switch {
		case len(values) == 0 && rule.required:
			faults = append(faults, name+" is missing")
		case len(values) > 1:
			faults = append(faults, name+" is there more than once")
		case len(values) == 1 && rule.schema != nil:
			if err := rule.schema.Validate(values[0]); err != nil {
				faults = append(faults, fmt.Sprintf("%s is %q: %v", name, values[0], err))
			}
		}
	}
	for _, name := range told {
		if _, ok := d.headers[name]; !ok && a.StatusCode < 400 && a.Header.Get(name) != "" {
			faults = append(faults, "the header "+name+" is not documented")
		}
	}
	if len(d.content) == 0 {
		if a.body != "" || a.Header.Get("Content-Type") != "" {
			faults = append(faults, "it has a body")
		}
		return faults
	}
	media, _, err := mime.ParseMediaType(a.Header.Get("Content-Type"))
	schema, ok := d.content[media]
	if err != nil || !ok {
		return append(faults, fmt.Sprintf("the Content-Type %q is not documented", a.Header.Get("Content-Type")))
	}
	if method == http.MethodHead || schema == nil {
		return faults
	}
	var value any = a.body
	if strings.HasSuffix(media, "json") {
		if value, err = jsonschema.UnmarshalJSON(strings.NewReader(a.body)); err != nil {
			return append(faults, err.Error())
		}
	}
	if err := schema.Validate(value); err != nil {
		faults = append(faults, fmt.Sprintf("%v\n%s", err, a.body))
	}
	return faults
}

// ecmaScript reads the \u0000 of the document's regular expressions, which Go
// writes \x{0000}.
func ecmaScript(pattern string) (jsonschema.Regexp, error) {
	re, err := regexp.Compile(regexp.MustCompile(`\\u([0-9a-fA-F]{4})`).ReplaceAllString(pattern, `\x{$1}`))
	if err != nil {
		return nil, err
	}
	return re, nil
}

func parseObject(raw []byte) map[string]any {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	must(err)
	return value.(map[string]any)
}

// eachNode visits every object below node, with the key that it has.
func eachNode(node any, visit func(key string, node map[string]any)) {
	switch node := node.(type) {
	case map[string]any:
		for key, value := range node {
			if object, ok := value.(map[string]any); ok {
				visit(key, object)
			}
			eachNode(value, visit)
		}
	case []any:
		for _, value := range node {
			if object, ok := value.(map[string]any); ok {
				visit("", object)
			}
			eachNode(value, visit)
		}
	}
}

func escaped(step string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(step) }

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// example returns the value of an example that an operation's request or a
// parameter has.
func (c *contract) example(holder map[string]any) any {
	if value, ok := holder["example"]; ok {
		return value
	}
	for _, one := range holder["examples"].(map[string]any) {
		object := one.(map[string]any)
		if ref, ok := object["$ref"].(string); ok {
			object, _ = c.resolve(ref[1:])
		}
		return object["value"]
	}
	return nil
}

// requestExample is the operation's body as the document shows it; nil: none.
func (c *contract) requestExample(op *operation) []byte {
	if op.body == nil {
		return nil
	}
	content := op.node["requestBody"].(map[string]any)["content"].(map[string]any)["application/json"].(map[string]any)
	raw, err := json.Marshal(c.example(content))
	must(err)
	return raw
}

// pathExample is the operation's path with the document's ids in it.
func (c *contract) pathExample(op *operation) string {
	path := op.path
	for _, p := range c.parameters(op) {
		if p["in"] == "path" {
			path = strings.ReplaceAll(path, "{"+p["name"].(string)+"}", fmt.Sprint(c.example(p)))
		}
	}
	return path
}

// parameters are those of the operation and of its path.
func (c *contract) parameters(op *operation) (all []map[string]any) {
	item := c.doc["paths"].(map[string]any)[op.path].(map[string]any)
	for _, list := range []any{item["parameters"], op.node["parameters"]} {
		several, _ := list.([]any)
		for _, one := range several {
			p := one.(map[string]any)
			if ref, ok := p["$ref"].(string); ok {
				p, _ = c.resolve(ref[1:])
			}
			all = append(all, p)
		}
	}
	return all
}

func (c *contract) takes(op *operation, parameter string) bool {
	return slices.ContainsFunc(c.parameters(op), func(p map[string]any) bool { return p["name"] == parameter })
}

// secured reports whether the operation needs a token.
func (op *operation) secured() bool { return op.node["security"] == nil }

package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/tenancy"
)

// The API suite is data: testdata/api holds a file per topic, whose steps are
// played in turn on a database of demo data of their own.
// testdata/api.schema.json describes the form, for editors.

type topic struct {
	Schema  string   `json:"$schema"`
	About   string   `json:"about"`
	Origins []string `json:"origins"` // Config.Origins
	Steps   []step   `json:"steps"`
}

// step is one request and what its answer must and must not be, or one
// statement of the database's owner. Texts may hold {variables}: see
// newPlayer, and Keep.
type step struct {
	Name string `json:"name"`

	As      string                     `json:"as"`      // one of people, who name their tenant in X-Tenant-ID; "anonymous": no token
	Tenant  *string                    `json:"tenant"`  // another X-Tenant-ID; "": no such header
	Claim   string                     `json:"claim"`   // the token's tenant_id
	Do      string                     `json:"do"`      // method and path
	Headers map[string]texts           `json:"headers"` // further ones
	Body    json.RawMessage            `json:"body"`    // "{#x}" becomes x without quotes
	Raw     *string                    `json:"raw"`     // a body that is no JSON, or not as it should be
	Status  int                        `json:"status"`
	Code    tenancy.Code               `json:"code"`   // of refusals
	Fields  []string                   `json:"fields"` // a refusal's pointers, all of them
	Header  map[string]*string         `json:"header"` // of the answer: exactly, "*": something, null: nothing
	At      map[string]json.RawMessage `json:"at"`     // the body's values by JSON pointer; "*": anything but null; /- at the end: how many
	Has     []string                   `json:"has"`
	Lacks   []string                   `json:"lacks"` // beside what nobody may read: see secrets
	Keep    map[string]string          `json:"keep"`  // variable: JSON pointer into the body, or a header's name

	SQL   string  `json:"sql"`
	Gives *string `json:"gives"` // the statement's one text
}

// texts is one text or several.
type texts []string

func (t *texts) UnmarshalJSON(raw []byte) error {
	if len(raw) > 0 && raw[0] == '[' {
		return json.Unmarshal(raw, (*[]string)(t))
	}
	*t = texts{""}
	return json.Unmarshal(raw, &(*t)[0])
}

// person is somebody of the demo data, and the tenant that they ask for.
type person struct{ id, home uuid.UUID }

var people = map[string]person{
	"super":    {super, migrations.DemoTenant},                                                  // SUPER_ADMIN
	"admin":    {uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e11"), migrations.DemoTenant}, // ADMIN
	"user":     {plainOne, migrations.DemoTenant},                                               // USER and Content editor
	"lead":     {uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e13"), migrations.DemoTenant}, // Campaign lead, which inherits from Content editor
	"auditor":  {uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e14"), migrations.DemoTenant}, // Auditor, which inherits from USER, for 90 days
	"inactive": {inactive, migrations.DemoTenant},                                               // USER, switched off
	"stranger": {nobody, migrations.DemoTenant},                                                 // of no tenant
	"platform": {migrations.DemoPlatformAdmin, migrations.DemoPlatform},                         // GLOBAL_ADMIN of the platform
	"other":    {migrations.DemoOtherAdmin, foreign},                                            // SUPER_ADMIN of the other tenant
	"neighbor": {uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e21"), foreign},               // its ADMIN
}

// secrets are what an answer to somebody at home in a tenant must not hold:
// traces of the database and of tokens, and what is in the other tenants.
func secrets(home uuid.UUID) []string {
	return append(ofOthers(home), "SQLSTATE", "poolproof.roles", "current_tenant", "prepared statement", "eyJ", string(testSecret))
}

// ofOthers are texts of the tenants that somebody is not at home in. The
// platform's administrator may read their names and ids, and nobody's members.
func ofOthers(home uuid.UUID) (all []string) {
	for tenant, texts := range map[uuid.UUID][]string{
		migrations.DemoTenant: {"last-apple.example", "audit@elsewhere", "Ada Nyberg", "Ben Okafor", "Chloé", "Dmitri", "Eva Lind",
			"Content editor", "Campaign lead", people["admin"].id.String(), plainOne.String()},
		foreign:                 {"voice-automated.example", "Vera", "Farid", "Grace", "Field researcher", people["neighbor"].id.String(), "7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9e22"},
		migrations.DemoPlatform: {"platform@poolproof", "Platform administrator", migrations.DemoPlatformAdmin.String()},
	} {
		if tenant != home {
			all = append(all, texts...)
		}
	}
	if home != migrations.DemoPlatform {
		all = append(all, migrations.DemoPlatform.String())
		if home == foreign {
			all = append(all, testTenant, "Last Apple", "last-apple", super.String())
		} else {
			all = append(all, foreign.String(), "Voice", "voice-automated", migrations.DemoOtherAdmin.String())
		}
	}
	return all
}

// player plays one topic's steps.
type player struct {
	*service
	vars  map[string]string
	conn  *pgx.Conn // the owner's
	other string    // the other tenant's data after the last step
	all   string    // everybody's
	ours  []string  // the ids of requests of our own members for our own tenant
}

// newPlayer knows the variables that every topic has: tenants by their names,
// people's ids as {id_super}, the demo's and the catalogue's ids, times, and
// bodies that are too much.
func newPlayer(t *testing.T, s *service) *player {
	t.Helper()
	now := time.Now().UTC().Truncate(time.Second)
	vars := map[string]string{
		"ours": testTenant, "other": foreign.String(), "platform": migrations.DemoPlatform.String(), "absent": "5c0ffee5-0000-4000-8000-000000000000",
		"past": now.Add(-time.Hour).Format(time.RFC3339), "soon": now.Add(time.Hour).Format(time.RFC3339), "later": now.Add(48 * time.Hour).Format(time.RFC3339),
		"later_sql": now.Add(48 * time.Hour).Format("2006-01-02T15:04:05+00:00"), "today": now.Format(time.DateOnly),
		"mebibyte": strings.Repeat("x", maxBody), "deep": strings.Repeat("[", 100), "peed": strings.Repeat("]", 100),
		"long100": strings.Repeat("ü", 100), "long": strings.Repeat("x", 1001),
	}
	many := make([]string, 101)
	for i := range many {
		many[i] = strconv.Itoa(i + 1)
	}
	vars["many"] = "[" + strings.Join(many, ",") + "]"
	for name, p := range people {
		vars["id_"+name] = p.id.String()
	}
	p := &player{service: s, vars: vars, conn: s.connect(t)}
	t.Cleanup(func() { _ = p.conn.Close(context.WithoutCancel(t.Context())) })
	rows, err := p.conn.Query(t.Context(), `select 'permission_' || name, id::text from poolproof.permissions
		union all select 'feature_' || name, id::text from poolproof.features
		union all select 'item_' || lower(replace(title, ' ', '_')), id::text from poolproof.sidebar_items
		union all select 'role_' || lower(replace(name, ' ', '_')), id::text from poolproof.roles where tenant_id = $1`, testTenant)
	if err != nil {
		t.Fatal(err)
	}
	var name, id string
	if _, err := pgx.ForEachRow(rows, []any{&name, &id}, func() error { vars[name] = id; return nil }); err != nil {
		t.Fatal(err)
	}
	p.other, p.all = p.state(t)
	return p
}

// state is the other tenant's data and everybody's, catalogues included, in
// texts that change with them.
func (p *player) state(t *testing.T) (other, all string) {
	t.Helper()
	var sums []string
	for _, table := range []string{"tenants", "profiles", "roles", "role_permissions", "role_parents", "user_roles", "tenant_features", "epochs", "audit_log"} {
		tenant := "tenant_id"
		if table == "tenants" {
			tenant = "id"
		}
		sums = append(sums, `select '`+table+`' as name, md5(string_agg(x::text, ',' order by x::text) filter (where x.`+tenant+` = $1)) as other,
			md5(string_agg(x::text, ',' order by x::text)) as everybody from poolproof.`+table+` x`)
	}
	for _, table := range []string{"permissions", "features", "sidebar_items"} {
		sums = append(sums, `select '`+table+`', '', md5(string_agg(x::text, ',' order by x::text)) from poolproof.`+table+` x`)
	}
	err := p.conn.QueryRow(t.Context(), `select string_agg(name || ' ' || coalesce(other, ''), e'\n' order by name), string_agg(name || ' ' || everybody, e'\n' order by name)
		from (`+strings.Join(sums, " union all ")+`) s`, foreign).Scan(&other, &all)
	if err != nil {
		t.Fatalf("reading the state: %v", err)
	}
	return other, all
}

var variable = regexp.MustCompile(`"\{#([a-z][a-z0-9_]*)\}"|\{([a-z][a-z0-9_]*)\}`)

// expand puts the variables' values into a text.
func (p *player) expand(t *testing.T, text string) string {
	t.Helper()
	return variable.ReplaceAllStringFunc(text, func(found string) string {
		value, ok := p.vars[strings.Trim(found, `"{#}`)]
		if !ok {
			t.Fatalf("no variable %s", found)
		}
		return value
	})
}

// play plays one step.
func (p *player) play(t *testing.T, number int, st step) {
	t.Helper()
	if st.SQL != "" {
		p.ask(t, st)
		return
	}
	method, path, _ := strings.Cut(p.expand(t, st.Do), " ")
	who := people[st.As]
	id := fmt.Sprintf("step-%d", number)
	headers := []string{"X-Request-ID", id}
	if st.As == "anonymous" {
		who.home = migrations.DemoTenant
	} else {
		headers = append(headers, "Authorization", "Bearer "+signed(t, who.id, p.expand(t, st.Claim)))
	}
	switch {
	case st.Tenant == nil:
		headers = append(headers, "X-Tenant-ID", who.home.String())
	case *st.Tenant != "":
		headers = append(headers, "X-Tenant-ID", p.expand(t, *st.Tenant))
	}
	for name, values := range st.Headers {
		for _, value := range values {
			headers = append(headers, name, p.expand(t, value))
		}
	}
	if who.home == migrations.DemoTenant && st.Tenant == nil && st.Claim == "" {
		p.ours = append(p.ours, id)
	}
	var body *strings.Reader
	switch {
	case st.Raw != nil:
		body = strings.NewReader(p.expand(t, *st.Raw))
	case st.Body != nil:
		body = strings.NewReader(p.expand(t, string(st.Body)))
		headers = append(headers, "Content-Type", "application/json")
	}
	var a answer
	if body == nil {
		a = send(t, p.url, method, path, nil, headers...)
	} else {
		a = send(t, p.url, method, path, body, headers...)
	}
	p.check(t, st, method, path, id, a)
	p.unchanged(t, st, method, a)
	for name, where := range st.Keep {
		if strings.HasPrefix(where, "/") {
			p.vars[name] = fmt.Sprint(valueAt(t, a.body, where))
		} else if p.vars[name] = a.Header.Get(where); p.vars[name] == "" {
			t.Errorf("there is no header %s", where)
		}
	}
	if t.Failed() {
		t.Logf("%s %s answered %d %s\n%v", method, path, a.StatusCode, a.body, a.Header)
	}
}

// ask runs a step's SQL.
func (p *player) ask(t *testing.T, st step) {
	t.Helper()
	sql := p.expand(t, st.SQL)
	if st.Gives == nil {
		if _, err := p.conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
		p.other, p.all = p.state(t)
		return
	}
	var got string
	if err := p.conn.QueryRow(t.Context(), sql).Scan(&got); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if want := p.expand(t, *st.Gives); got != want {
		t.Errorf("%s\ngives %q, want %q", sql, got, want)
	}
}

var epochForm = regexp.MustCompile(`^[0-9]+\.[0-9]+$`)

// check compares an answer with what the step wants, and with what every
// answer has.
func (p *player) check(t *testing.T, st step, method, path, id string, a answer) {
	t.Helper()
	if a.StatusCode != st.Status {
		t.Errorf("status %d, want %d", a.StatusCode, st.Status)
		return
	}
	isAPI := strings.HasPrefix(path, "/api/")
	switch read := method == http.MethodGet || method == http.MethodHead; {
	case method == http.MethodHead:
		if a.body != "" {
			t.Errorf("HEAD has a body")
		}
	case st.Status >= 400:
		problem := a.wantProblem(t, st.Status, st.Code)
		var pointers []string
		for _, f := range problem.Errors {
			pointers = append(pointers, f.Pointer)
		}
		slices.Sort(pointers)
		if !slices.Equal(pointers, st.Fields) {
			t.Errorf("the fields %v, want %v", pointers, st.Fields)
		}
	case isAPI && read:
		if a.Header.Get("ETag") == "" || a.Header.Get("Cache-Control") != "private, no-cache" || a.Header.Get("Poolproof-Epoch") != "" {
			t.Errorf("a read with the headers %v", a.Header)
		}
	case isAPI && method != http.MethodOptions:
		if !epochForm.MatchString(a.Header.Get("Poolproof-Epoch")) || a.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("a write with the headers %v", a.Header)
		}
	}
	if got := a.Header.Get("X-Request-ID"); got != id && st.Headers["X-Request-ID"] == nil {
		t.Errorf("X-Request-ID %q, want %q", got, id)
	}
	if got := a.Header.Get("Vary"); isAPI && !strings.HasPrefix(got, "Authorization, X-Tenant-ID") {
		t.Errorf("Vary %q", got)
	}
	for name, want := range st.Header {
		got := a.Header.Get(name)
		switch {
		case want == nil && got != "":
			t.Errorf("%s %q, want none", name, got)
		case want != nil && *want == "*" && got == "":
			t.Errorf("%s is missing", name)
		case want != nil && *want != "*" && got != p.expand(t, *want):
			t.Errorf("%s %q, want %q", name, got, p.expand(t, *want))
		}
	}
	for pointer, raw := range st.At {
		var want any
		if err := json.Unmarshal([]byte(p.expand(t, string(raw))), &want); err != nil {
			t.Fatalf("the value at %s: %v", pointer, err)
		}
		got := valueAt(t, a.body, p.expand(t, pointer))
		if !alike(want, got) {
			t.Errorf("at %q: %s", pointer, cmp.Diff(want, got))
		}
	}
	for _, want := range st.Has {
		if want = p.expand(t, want); !strings.Contains(a.body, want) {
			t.Errorf("the body lacks %s", want)
		}
	}
	home := people[st.As].home
	if home == uuid.Nil {
		home = migrations.DemoTenant
	}
	whole := a.body + "\n" + fmt.Sprint(a.Header)
	for _, not := range append(secrets(home), st.Lacks...) {
		if not = p.expand(t, not); strings.Contains(whole, not) {
			t.Errorf("the answer holds %s", not)
		}
	}
}

// unchanged sees to it that a read or a refusal has changed nothing, and that
// whoever is not at home in the other tenant, nor in the platform, has changed
// nothing there.
func (p *player) unchanged(t *testing.T, st step, method string, a answer) {
	t.Helper()
	other, all := p.state(t)
	if all != p.all && (a.StatusCode >= 400 || method == http.MethodGet || method == http.MethodHead) {
		t.Errorf("%s with status %d changed something: %s", method, a.StatusCode, cmp.Diff(p.all, all))
	}
	if home := people[st.As].home; other != p.other && home != foreign && home != migrations.DemoPlatform {
		t.Errorf("the other tenant's data changed: %s", cmp.Diff(p.other, other))
	}
	p.other, p.all = other, all
}

// valueAt finds a value by JSON pointer, without escapes; "-" after a list is
// how many it has.
func valueAt(t *testing.T, body, pointer string) any {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(body), &value); err != nil {
		t.Fatalf("the body is no JSON: %v", err)
	}
	if pointer == "" {
		return value
	}
	for _, token := range strings.Split(pointer, "/")[1:] {
		switch v := value.(type) {
		case map[string]any:
			inner, ok := v[token]
			if !ok {
				t.Errorf("nothing is at %s", pointer)
			}
			value = inner
		case []any:
			i, err := strconv.Atoi(token)
			switch {
			case token == "-":
				value = float64(len(v))
			case err == nil && i < len(v):
				value = v[i]
			default:
				t.Errorf("nothing is at %s", pointer)
				return nil
			}
		default:
			t.Errorf("nothing is at %s", pointer)
			return nil
		}
	}
	return value
}

// alike compares JSON values; a wanted "*" is like anything but null.
func alike(want, got any) bool {
	switch w := want.(type) {
	case string:
		return w == "*" && got != nil || want == got
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok || len(g) != len(w) {
			return false
		}
		for k, v := range w {
			inner, ok := g[k]
			if !ok || !alike(v, inner) {
				return false
			}
		}
		return true
	case []any:
		g, ok := got.([]any)
		return ok && slices.EqualFunc(w, g, alike)
	}
	return reflect.DeepEqual(want, got)
}

// topics reads the suite. What is misspelt in a file is an error.
func topics(t *testing.T) map[string]topic {
	t.Helper()
	files, err := filepath.Glob("testdata/api/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("the suite's files: %v", err)
	}
	all := map[string]topic{}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var one topic
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(&one); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		names := map[string]bool{}
		for _, st := range one.Steps {
			_, known := people[st.As]
			switch {
			case st.Name == "" || names[st.Name]:
				t.Errorf("%s: a step has no name of its own: %q", file, st.Name)
			case (st.SQL == "") == (st.Do == ""):
				t.Errorf("%s: %s: neither a request nor a statement", file, st.Name)
			case st.Do != "" && (!known && st.As != "anonymous" || st.Status == 0 || (st.Status >= 400) != (st.Code != "") && !strings.HasPrefix(st.Do, "HEAD ")):
				t.Errorf("%s: %s: who, status or code is missing", file, st.Name)
			}
			names[st.Name] = true
		}
		all[strings.TrimSuffix(filepath.Base(file), ".json")] = one
	}
	return all
}

// Every route answers through a pooler as it does without one, beside a client
// that keeps leaving the other tenant's id on the server connections. make test
// asks in statement mode, where BEGIN is refused; the soak in transaction mode,
// where this package's other tests ask, and directly too.
func TestSuite(t *testing.T) {
	all := topics(t)
	kinds := pgtest.Pick([]pgtest.Kind{pgtest.PgBouncer118Statement}, // the strictest
		[]pgtest.Kind{pgtest.PgBouncer118Statement, pgtest.PgBouncer118Transaction, pgtest.Direct})
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			for name, one := range all {
				t.Run(name, func(t *testing.T) {
					s := newServiceFor(t, one.Origins, through(t, kind))
					stop := func() {}
					if kind != pgtest.Direct { // there nobody else has our connections
						stop = pgtest.Hostile(t, s.login, foreign.String())
					}
					p := newPlayer(t, s)
					for i, st := range one.Steps {
						if !t.Run(st.Name, func(t *testing.T) { p.play(t, i, st) }) {
							break // what follows builds on it
						}
					}
					stop()
					p.checkLog(t)
					p.checkMetrics(t)
				})
			}
		})
	}
}

// checkLog wants no error but the leaks that the hostile client makes, nobody's
// name, mail, token or prepared statement, and nothing of other tenants where
// one of ours asked for ours.
func (p *player) checkLog(t *testing.T) {
	t.Helper()
	for line := range strings.Lines(p.log.String()) {
		if strings.Contains(line, `"level":"ERROR"`) && !strings.Contains(line, "left a tenant on this server connection") {
			t.Errorf("the log has an error: %s", line)
		}
		for _, not := range []string{"prepared statement", "eyJ", "@", "Ada", "Farid", "Last Apple", "Voice", "Field researcher", "Content editor"} {
			if strings.Contains(line, not) {
				t.Errorf("the log holds %s: %s", not, line)
			}
		}
		var request struct {
			ID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &request); err != nil {
			t.Fatalf("a log line is no JSON: %s", line)
		}
		if !slices.Contains(p.ours, request.ID) {
			continue
		}
		for _, not := range ofOthers(migrations.DemoTenant) {
			if strings.Contains(line, not) {
				t.Errorf("the log of our own holds %s: %s", not, line)
			}
		}
	}
}

var uuidForm = regexp.MustCompile(`[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-`)

func (p *player) checkMetrics(t *testing.T) {
	t.Helper()
	a := send(t, p.url, "GET", "/metrics", nil)
	if !strings.Contains(a.body, "poolproof_http_requests_total{") || !strings.Contains(a.body, "poolproof_leaked_settings_total") {
		t.Errorf("the metrics: %s", a.body)
	}
	if found := uuidForm.FindString(a.body); found != "" {
		t.Errorf("the metrics name %s", found)
	}
	for _, not := range []string{"Apple", "apple", "Voice", "voice", "Platform", "Content", "select", "postgres://", "app_"} {
		if strings.Contains(a.body, not) {
			t.Errorf("the metrics hold %s", not)
		}
	}
}

// Nothing can be asked that the suite does not ask: every method of every
// route occurs with success and, where a token is needed, with a refusal; so
// does every code, but for those of outages.
func TestSuiteIsWhole(t *testing.T) {
	s, _ := newEdge(t, Config{})
	type asked struct{ ok, refused bool }
	routes, codes := map[string]asked{}, map[tenancy.Code]bool{}
	for _, one := range topics(t) {
		for _, st := range one.Steps {
			if st.Do == "" {
				continue
			}
			codes[st.Code] = true
			method, path, _ := strings.Cut(st.Do, " ")
			path, _, _ = strings.Cut(path, "?")
			_, pattern := s.mux.Handler(&http.Request{Method: method, URL: &url.URL{Path: path}, Host: "x"})
			if pattern != "/api/" {
				pattern = strings.TrimSuffix(strings.TrimSuffix(pattern, "{$}"), "/")
			}
			seen := routes[method+" "+pattern]
			routes[method+" "+pattern] = asked{seen.ok || st.Status < 300, seen.refused || st.Status >= 400}
		}
	}
	open := map[string]bool{"/healthz": true, "/health": true, "/readyz": true, "/metrics": true, "/openapi.json": true}
	for path, m := range s.table {
		for method := range m {
			if seen := routes[method+" "+path]; !seen.ok || !seen.refused && !open[path] {
				t.Errorf("%s %s: asked with success: %t, with a refusal: %t", method, path, seen.ok, seen.refused)
			}
		}
	}
	for code := range kinds {
		if !codes[code] && code != tenancy.Unavailable && code != tenancy.Internal && code != tenancy.TooManyRequests && code != tenancy.LimitReached { // share_test.go
			t.Errorf("no step is refused with %s", code)
		}
	}
}

// The schema that editors use knows the fields that steps have.
func TestSuiteSchema(t *testing.T) {
	raw, err := os.ReadFile("testdata/api.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Defs struct {
			Step struct {
				Properties map[string]any `json:"properties"`
			} `json:"step"`
		} `json:"$defs"`
	}
	if err := json.Unmarshal(raw, &schema); err != nil {
		t.Fatal(err)
	}
	fields := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[step]()) {
		fields[f.Tag.Get("json")] = true
	}
	for name := range fields {
		if schema.Defs.Step.Properties[name] == nil {
			t.Errorf("the schema lacks %s", name)
		}
	}
	for name := range schema.Defs.Step.Properties {
		if !fields[name] {
			t.Errorf("the schema's %s is no field", name)
		}
	}
}

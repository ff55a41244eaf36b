package poolproof_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

const (
	acme   = "550e8400-e29b-41d4-a716-446655440000"
	globex = "67e55044-10b1-426f-9247-bb680e5fe0c8"
)

// TestExamples builds the programs of examples, a module of its own, and runs each
// behind PgBouncer, where somebody leaves another tenant's id on the server
// connections all the while.
func TestExamples(t *testing.T) {
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dir+string(filepath.Separator), "./...")
	build.Dir = "examples"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the examples: %v\n%s\nhint: go -C examples mod tidy", err, out)
	}
	for name, by := range map[string]string{"sqlc": "by sqlc", "gorm": "by GORM", "ent": "by Ent", "bun": "by bun"} {
		t.Run(name, func(t *testing.T) { runExample(t, filepath.Join(dir, name), by) })
	}
	t.Run("middleware", func(t *testing.T) { runMiddleware(t, filepath.Join(dir, "middleware")) })
	t.Run("jobs", func(t *testing.T) { runJobs(t, filepath.Join(dir, "jobs")) })
	t.Run("goose", func(t *testing.T) { runGoose(t, filepath.Join(dir, "goose")) })
	programs := 0
	err := filepath.WalkDir("examples", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if d.Name() == "main.go" {
			programs++
		}
		_, err = os.ReadFile(path) // so that go test runs this again where one has changed
		return err
	})
	if err != nil || programs != 8 { // these, and quickstart, which TestREADMEExample runs
		t.Errorf("%d programs, %v", programs, err)
	}
}

// newExampleFixture is a database with the examples' schema and three tenants, of
// whom the third is the one that the hostile client leaves behind.
func newExampleFixture(t *testing.T) *fixture {
	t.Helper()
	f := newFixture(t, 0)
	schema, err := os.ReadFile("examples/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	login := loginOf(t, f.url)
	f.exec(t, "drop table documents; "+string(schema)+"; grant select on tenants to "+login+"; grant select, insert, update, delete on documents to "+login)
	for id, name := range map[string]string{acme: "Acme", globex: "Globex", victim: "Victim"} {
		f.exec(t, "insert into tenants values ($1, $2)", id, name)
		f.exec(t, "insert into documents (tenant_id, title) values ($1, $2), ($1, $3)", id, "a secret of "+name, "another of "+name)
	}
	return f
}

// runExample has an ORM, or what sqlc generated, read and write as two tenants.
func runExample(t *testing.T, program, by string) {
	f := newExampleFixture(t)
	url := pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction)
	stop := pgtest.Hostile(t, url, victim)
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+url)
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	stop()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &log)
	}
	printed := map[string][]string{}
	for line := range strings.SplitSeq(string(out), "\n") {
		who, what, _ := strings.Cut(line, " ")
		printed[who] = append(printed[who], what)
	}
	for id, name := range map[string]string{acme: "Acme", globex: "Globex"} {
		got := printed[id]
		if len(got) != 3 || !strings.HasPrefix(got[0], "a secret of "+name) || !strings.HasPrefix(got[1], "another of "+name) || !strings.HasPrefix(got[2], by) || !strings.Contains(got[2][len(by):], by[3:]) {
			t.Errorf("%s sees %q", name, got)
		}
	}
	if strings.Contains(string(out), "Victim") || !strings.Contains(string(out), "another tenant: ") || !strings.Contains(string(out), "row-level security") {
		t.Errorf("printed:\n%s", out)
	}
	if by != "by sqlc" && !strings.Contains(string(out), "without a tenant: poolproof: read the context: no tenant") {
		t.Errorf("a call without a tenant was not refused:\n%s", out)
	}
	if n := f.count(t, "select count(*) from documents where title in ('not kept', 'smuggled')"); n != 0 {
		t.Errorf("%d rows of what failed", n)
	}
	if n := f.count(t, "select count(*) from documents where meta ? 'by' and title = $1 and tenant_id in ($2, $3)", by, acme, globex); n != 2 || f.count(t, "select count(*) from documents") != 8 {
		t.Errorf("%d rows were added", n)
	}
}

// runMiddleware asks the example's server as two tenants, as nobody, and
// where the middleware was forgotten.
func runMiddleware(t *testing.T, program string) {
	f := newExampleFixture(t)
	pooled := pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction)
	defer pgtest.Hostile(t, pooled, victim)()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), program)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+pooled)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	base, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on ")
	if !ok {
		t.Fatalf("%q, %v", line, err)
	}
	ask := func(method, path, key string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, string(body)
	}
	for _, c := range []struct {
		method, path, key string
		status            int
		body              string
	}{
		{"POST", "/documents?title=new", "key of Acme", 200, `["a secret of Acme","another of Acme","new"]` + "\n"},
		{"GET", "/documents", "key of Globex", 200, `["a secret of Globex","another of Globex"]` + "\n"},
		{"GET", "/documents", "key of nobody", 401, "who are you?\n"},
		{"GET", "/forgotten", "key of Acme", 500, "not now\n"},
	} {
		if status, body := ask(c.method, c.path, c.key); status != c.status || body != c.body {
			t.Errorf("%s %s with the %s: %d %q", c.method, c.path, c.key, status, body)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it did not end well: %v", err)
	}
}

// runJobs works for all tenants, in the two ways of docs/library.md, whose
// SQL it runs; the application's login is found as sound afterwards as before.
func runJobs(t *testing.T, program string) {
	f := newExampleFixture(t)
	config := f.owner.Config().ConnConfig
	f.exec(t, libraryDoc(t, "sql analysts"))
	t.Cleanup(func() { f.exec(t, "drop owned by analysts; drop role analysts") })
	pooled := pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction)
	analysts := &url.URL{Scheme: "postgres", User: url.User("analysts"), Host: fmt.Sprintf("%s:%d", config.Host, config.Port), Path: config.Database}
	stop := pgtest.Hostile(t, pooled, victim)
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+pooled, "ANALYTICS_URL="+pgtest.Pooled(t, analysts.String()+"?sslmode=disable", pgtest.PgBouncer118Transaction))
	var log strings.Builder
	cmd.Stderr = &log
	out, err := cmd.Output()
	stop()
	if err != nil {
		t.Fatalf("%v\n%s%s", err, out, &log)
	}
	marked := "one tenant's documents marked: 2\n"
	if want := marked + marked + marked + "Acme: 2\nGlobex: 2\nVictim: 2\nthe analysts delete: ERROR: permission denied"; !strings.HasPrefix(string(out), want) {
		t.Errorf("printed:\n%s", out)
	}
	if n := f.count(t, "select count(*) from documents where meta @> '{\"seen\": true}'"); n != 6 {
		t.Errorf("%d documents are marked", n)
	}
	found, err := poolproof.Check(t.Context(), poolproof.Config{URL: pooled})
	if err != nil || found.Err() != nil {
		t.Errorf("the application's login: %v, %v", err, found.Err())
	}
	var n int
	if err := open(t, pooled).Shared().QueryRow(t.Context(), "select count(*) from documents").Scan(&n); err != nil || n != 0 {
		t.Errorf("without a tenant the application sees %d documents, %v", n, err)
	}
}

// runGoose migrates as an owner who is no superuser, whom forced policies hold for.
func runGoose(t *testing.T, program string) {
	f := newFixture(t, 1)
	login := loginOf(t, f.url)
	owner := login + "_owner"
	f.exec(t, "create role "+owner+" login; do $$ begin execute format('grant create on database %I to "+owner+"', current_database()); end $$; "+
		"grant create on schema public to "+owner+"; drop schema poolproof cascade; alter default privileges for role "+owner+" grant select, insert, update, delete on tables to "+login)
	t.Cleanup(func() { f.exec(t, "drop owned by "+owner+" cascade; drop role "+owner) })
	run := func() string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), "DIRECT_URL="+strings.Replace(f.url, login, owner, 1), "DATABASE_URL="+pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return string(out)
	}
	if out := run(); !strings.Contains(out, "migrations applied: 2\n") || !strings.Contains(out, "public.documents public.notes") || !strings.Contains(out, "problems: []") {
		t.Errorf("printed:\n%s", out)
	}
	if out := run(); !strings.Contains(out, "migrations applied: 0\n") {
		t.Errorf("the second time:\n%s", out)
	}
	// Why its second migration lifts the force for its backfill.
	f.exec(t, "insert into notes (tenant_id, body) values ($1, 'two words')", tenant(0))
	conn, err := pgx.Connect(t.Context(), strings.Replace(f.url, login, owner, 1))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	for _, c := range []struct {
		sql  string
		want int64
	}{
		{"update notes set words = 2", 0},
		{"alter table notes no force row level security", 0},
		{"update notes set words = 2", 1},
		{"alter table notes force row level security", 0},
	} {
		if tag, err := conn.Exec(t.Context(), c.sql); err != nil || tag.RowsAffected() != c.want {
			t.Errorf("the owner's %q: %v, %v", c.sql, tag, err)
		}
	}
}

//go:build unix

package docs

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// What the guides' service is told, and who asks it.
const (
	issuer   = "https://issuer.test"
	audience = "authenticated"
	secret   = "the-secret-of-the-guides'-tests------"
	admin    = "5b0d1c5e-8f0a-4b6e-9c5e-2b8a3f1d7e10"
)

// Kinds of blocks of commands in the guides, after "sh" at their fence.
const (
	blockTested = "tested"  // run by [runDoc], in the document's order, in one shell
	blockValues = "values"  // what readers fill in; the tests set the same variables
	blockNotRun = "not-run" // the guide says why
)

// block is a fenced block of commands.
type block struct {
	line       int
	kind, text string
}

var fence = regexp.MustCompile("(?ms)^```sh *([a-z-]*)\n(.*?)^```$")

func blocksOf(t *testing.T, doc string) []block {
	t.Helper()
	text := readFile(t, doc)
	var found []block
	for _, at := range fence.FindAllStringSubmatchIndex(text, -1) {
		b := block{1 + strings.Count(text[:at[0]], "\n"), text[at[2]:at[3]], text[at[4]:at[5]]}
		if b.kind != blockTested && b.kind != blockValues && b.kind != blockNotRun {
			t.Errorf("%s:%d: commands that are neither tested, values nor not-run", doc, b.line)
		}
		found = append(found, b)
	}
	return found
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// build puts the program where it is wanted.
func build(t *testing.T, binary string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(binary), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(pgtest.Program(t), binary); err != nil {
		t.Fatal(err)
	}
}

// runDoc runs a document's tested blocks as a reader would, with these values
// of variables, and returns what they printed.
func runDoc(t *testing.T, doc string, values map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	build(t, dir+"/bin/poolproof")
	script := "set -Eeuo pipefail\ntrap 'echo \"failed: $BLOCK\" >&2' ERR\n"
	for _, b := range blocksOf(t, doc) {
		if b.kind == blockTested {
			script += fmt.Sprintf("BLOCK=%s:%d\n%s", doc, b.line, b.text)
		}
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		t.Fatal(err)
	}
	defer output.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.Env = []string{"PATH=" + dir + "/bin:" + os.Getenv("PATH"), "HOME=" + dir}
	for name, value := range values {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the service that a failed script leaves behind ends with it
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	printed := readFile(t, output.Name())
	if err != nil {
		t.Fatalf("%s: %v\n%s", doc, err, printed)
	}
	return printed
}

// sql runs a statement as the owner, a superuser.
func sql(t *testing.T, owner, text string) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context()) // for the test's end
	conn, err := pgx.Connect(ctx, owner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx) //nolint:errcheck // nothing is lost
	if _, err := conn.Exec(ctx, text); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// scalar is a query's only value.
func scalar(t *testing.T, owner, query string) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // nothing is lost
	if err := conn.QueryRow(t.Context(), query).Scan(&text); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return text
}

// wantServed asserts that poolproof serve, with these variables, becomes ready
// and ends well.
func wantServed(t *testing.T, values map[string]string) {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "poolproof")
	build(t, binary)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, "serve")
	for name, value := range values {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for ready := false; !ready; {
		select {
		case err := <-ended:
			t.Fatalf("the service does not become ready: %v: %s", err, &said)
		case <-time.After(20 * time.Millisecond):
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+values["POOLPROOF_ADDR"]+"/readyz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if res, err := http.DefaultClient.Do(req); err == nil { // it does not listen yet
			ready = res.StatusCode == http.StatusOK
			_ = res.Body.Close() // nothing is read
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Errorf("after SIGTERM: %v: %s", err, &said)
	}
}

// plainOwner is a database whose owner is no superuser and obeys row-level
// security.
func plainOwner(t *testing.T) (superuser, direct string) {
	t.Helper()
	superuser = pgtest.Database(t)
	return superuser, pgtest.Owned(t, superuser)
}

// as is the same database for another user.
func as(t *testing.T, database, user string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(user)
	return u.String()
}

// valuesOf are the variables that the guides' commands need.
func valuesOf(t *testing.T, direct, pooled string) map[string]string {
	t.Helper()
	u, err := url.Parse(pooled)
	if err != nil {
		t.Fatal(err)
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer free.Close()
	return map[string]string{
		"DIRECT_URL": direct, "POOLER": u.Host, "ADMIN": admin, "POOLPROOF_ADDR": free.Addr().String(),
		"POOLPROOF_JWT_ISSUER": issuer, "POOLPROOF_JWT_AUDIENCE": audience, "POOLPROOF_JWT_SECRET": secret,
	}
}

// TestDocs runs the guides.
func TestDocs(t *testing.T) {
	t.Parallel()
	t.Run("production.md", func(t *testing.T) {
		superuser, direct := plainOwner(t)
		t.Cleanup(func() {
			for _, login := range []string{"poolproof_app", "poolproof_app_b"} {
				sql(t, superuser, "drop role if exists "+login)
			}
		})
		values := valuesOf(t, direct, pgtest.Pooled(t, as(t, superuser, "poolproof_app"), pgtest.PgBouncer118Transaction))
		var named []string
		for _, b := range blocksOf(t, "production.md") {
			if b.kind == blockValues {
				for _, m := range regexp.MustCompile(`(?m)^export (\w+)=`).FindAllStringSubmatch(b.text, -1) {
					named = append(named, m[1])
				}
			}
		}
		slices.Sort(named)
		if set := slices.Sorted(maps.Keys(values)); !slices.Equal(named, set) {
			t.Errorf("the guide has readers set %q, the test sets %q", named, set)
		}
		restored := pgtest.Database(t)
		values["BACKUP_URL"], values["RESTORE_URL"] = superuser, restored

		printed := runDoc(t, "production.md", values)
		for _, want := range []string{
			admin + " (admin@example.org) is GLOBAL_ADMIN", "last-apple", `"status":"ok"`, `"mode":"transaction"`, `"name":"SUPER_ADMIN"`,
			"poolproof_leaked_settings_total 0", "the schema is up to date", `"schema":` + fmt.Sprint(migrations.Version),
		} {
			if !strings.Contains(printed, want) {
				t.Errorf("the commands do not print %q:\n%s", want, printed)
			}
		}
		if strings.Contains(printed, "failed: ") || strings.Contains(printed, secret) || strings.Contains(printed, "DATABASE_URL=") {
			t.Errorf("printed:\n%s", printed)
		}
		t.Run("restored", func(t *testing.T) {
			const count = `select (select count(*) from poolproof.tenants) || ' tenants, ' || (select count(*) from poolproof.profiles) || ' profiles, ' || (select count(*) from poolproof.audit_log) || ' changes'`
			if was, is := scalar(t, superuser, count), scalar(t, restored, count); was != is || strings.HasPrefix(is, "0 ") {
				t.Errorf("%s, restored %s", was, is)
			}
			values["DATABASE_URL"] = as(t, restored, "poolproof_app")
			wantServed(t, values)
		})
		t.Run("the plain owner's dump", func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "pg_dump", "--format=custom", "--file="+os.DevNull, direct).CombinedOutput()
			if err == nil || !strings.Contains(string(out), "row-level security") {
				t.Errorf("%v: %s", err, out)
			}
		})
	})
	t.Run("supabase.md", func(t *testing.T) {
		superuser := pgtest.Database(t)
		const login = "docs_single"
		sql(t, superuser, "create role "+login+" login createrole bypassrls")
		t.Cleanup(func() {
			for _, text := range []string{"reassign owned by " + login + " to postgres", "drop owned by " + login, "drop role " + login} {
				sql(t, superuser, text)
			}
		})
		sql(t, superuser, "do $$ begin execute format('alter database %I owner to "+login+"', current_database()); end $$")
		direct := as(t, superuser, login)
		printed := runDoc(t, "supabase.md", valuesOf(t, direct, pgtest.Pooled(t, direct, pgtest.PgBouncer118Transaction)))
		if !strings.Contains(printed, `"status":"ok"`) || strings.Contains(printed, "failed: ") {
			t.Errorf("printed:\n%s", printed)
		}
	})
}

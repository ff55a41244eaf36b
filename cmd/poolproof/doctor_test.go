//go:build unix

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/internal/sarif"
)

// TestDoctorOfOurOwnDatabase: what poolproof migrate makes is healthy, in one line, whatever stands between.
func TestDoctorOfOurOwnDatabase(t *testing.T) {
	d := newDatabase(t)
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Statement, pgtest.PgBouncer124Transaction} {
		for _, fast := range [][]string{nil, {"--fast"}} {
			r := command(t, append([]string{"doctor", pgtest.Pooled(t, d.url, kind), "--within", "29s"}, fast...)...)
			if r.code != exitOK || strings.Count(r.stdout, "\n") != 1 || !strings.HasPrefix(r.stdout, "healthy: ") || complaints(r) != "" {
				t.Errorf("%v %v: exit code %d: %s%s", kind, fast, r.code, r.stdout, r.stderr)
			}
		}
	}
	// The URL may come from the environment, and a look that the tenant is isolated takes the share of tables along.
	t.Setenv("DATABASE_URL", d.url)
	r := command(t, "doctor", "-v")
	if r.code != exitOK || !strings.Contains(r.stdout, "PD019 ok ") || !strings.Contains(r.stdout, "\nisolation: holds [measured]: ") || !strings.Contains(r.stdout, "\nbetween: no pooler\n") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
}

// complaints is what a command wrote to standard error but its progress, which a
// busy machine has it tell.
func complaints(r result) string {
	var said strings.Builder
	for line := range strings.Lines(r.stderr) {
		if !strings.Contains(line, `msg="still looking"`) {
			said.WriteString(line)
		}
	}
	return said.String()
}

// faultyDatabase has one fault and one warning; the URL is of a role that the policies bind.
func faultyDatabase(t *testing.T) string {
	t.Helper()
	owner := pgtest.Database(t)
	sql(t, owner, `do $$ begin if not exists (select from pg_roles where rolname = 'doctored') then create role doctored login; end if; end $$`)
	for _, text := range []string{
		"alter role doctored set idle_in_transaction_session_timeout = '60s'",
		"create table docs (tenant_id uuid primary key)", "insert into docs select gen_random_uuid()", "grant select on docs to doctored",
		"create table notes (tenant_id uuid primary key)", "alter table notes enable row level security", "grant select on notes to doctored",
		"create policy tenant on notes using (tenant_id = (select nullif(current_setting('app.t', true), '')::uuid))",
	} {
		sql(t, owner, text)
	}
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("doctored")
	return u.String()
}

// TestDoctorReports writes each form of the report of a database with PD004, PD019 and, as a warning, PD005.
func TestDoctorReports(t *testing.T) {
	pooled := pgtest.Pooled(t, faultyDatabase(t), pgtest.PgBouncer118Transaction)
	dir := t.TempDir()
	file := func(name, text string) string {
		if text != "" {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return filepath.Join(dir, name)
	}
	known := func(code, object, expires string) string {
		return fmt.Sprintf(`{"code":%q,"object":%q,"reason":"ticket 7","expires":%q}`, code, object, expires)
	}
	all := known("PD004", "public.docs", "2999-12-31") + "," + known("PD019", "public.docs", "2999-12-31") + "," + known("PD005", "public.notes", "2999-12-31")

	r := command(t, "doctor", pooled, "--within", "29s", "--sarif", file("r.sarif", ""), "--output", file("fix.sql", ""))
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != exitFailure || complaints(r) != "" || lines[0] != lines[len(lines)-1] || !strings.HasPrefix(lines[0], "2 faults, 1 warning; tenants are not isolated: pgbouncer ") {
		t.Errorf("exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	for _, want := range []string{
		"\nPD004 fail  row-level security is off: public.docs [measured]\n", "\nPD019 fail  rows were seen without their tenant: public.docs [measured]\n", "2 of 2 tenant tables tried",
		"\nbetween: pgbouncer 1.19.1 or earlier in transaction mode\n", "\nwhat does not work through it:\n", "leaks [inferred]: setting_set", "\nknown faults of it [documented]: CVE-2026-6664, ", "\nisolation: does not hold [measured]: ",
	} {
		if !strings.Contains(r.stdout, want) {
			t.Errorf("the report lacks %q: %s", want, r.stdout)
		}
	}
	if strings.Contains(r.stdout, "PD001") {
		t.Errorf("what is right is shown without -v: %s", r.stdout)
	}
	var log sarif.Log
	if err := json.Unmarshal([]byte(readFile(t, file("r.sarif", ""))), &log); err != nil || log.Version != "2.1.0" || len(log.Runs) != 1 || len(log.Runs[0].Results) != 3 {
		t.Fatalf("%v: %+v", err, log)
	}
	for _, result := range log.Runs[0].Results {
		if rule := log.Runs[0].Tool.Driver.Rules[result.RuleIndex]; rule.ID != result.RuleID || !strings.HasSuffix(rule.HelpURI, "/"+rule.ID+".md") || len(result.Suppressions) != 0 {
			t.Errorf("%+v: %+v", result, rule)
		}
	}
	if fix := readFile(t, file("fix.sql", "")); !strings.Contains(fix, "alter table public.docs enable row level security;") || !strings.Contains(fix, "alter table public.notes force row level security;") || !strings.Contains(fix, "\n-- not by SQL alone: ") {
		t.Errorf("fix.sql: %s", fix)
	}
	// The SQL was written, not run.
	if r := command(t, "doctor", pooled, "--only", "pd004"); r.code != exitFailure || !strings.Contains(r.stdout, "PD004") || strings.Contains(r.stdout, "PD019 ") {
		t.Errorf("--only: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}

	r = command(t, "doctor", pooled, "--markdown")
	if r.code != exitFailure || !strings.HasPrefix(r.stdout, "### poolproof doctor: 2 faults") || !strings.Contains(r.stdout, "| [PD004](") || strings.Count(r.stdout, "\n| ") != 4 {
		t.Errorf("--markdown: exit code %d: %s%s", r.code, r.stdout, r.stderr)
	}
	r = command(t, "doctor", pooled, "--json")
	var report struct {
		Version int
		Checks  []struct {
			ID, Status string
			Known      *struct{ Reason string }
		}
	}
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || r.code != exitFailure || report.Version != 1 || len(report.Checks) < 20 {
		t.Errorf("--json: exit code %d: %v: %s%s", r.code, err, r.stdout, r.stderr)
	}

	for _, tt := range []struct {
		name     string
		args     []string
		baseline string
		code     int
		says     string // on standard output
	}{
		{"--fail-on fail", []string{"--fail-on", "fail"}, "", exitFailure, ""},
		{"--fail-on never", []string{"--fail-on", "never"}, "", exitOK, "PD004 fail"},
		{"only a warning", []string{"--only", "PD005"}, "", exitFailure, "PD005 warn"},
		{"only a warning, --fail-on fail", []string{"--only", "PD005", "--fail-on", "fail"}, "", exitOK, "PD005 warn"},
		{"everything known", nil, all, exitOK, "healthy (3 known): "},
		{"everything known, -v", []string{"-v"}, all, exitOK, "known until 2999-12-31: ticket 7"},
		{"one known", nil, known("PD004", "public.docs", "2999-12-31"), exitFailure, "1 fault, 1 warning; tenants are not isolated (1 known)"},
		{"known of another object", nil, known("PD004", "public.other", "2999-12-31"), exitFailure, "2 faults, 1 warning"},
		{"expired", nil, strings.ReplaceAll(all, "2999", "2020"), exitFailure, "expired on 2020-12-31"},
	} {
		args := append([]string{"doctor", pooled}, tt.args...)
		if tt.baseline != "" {
			args = append(args, "--baseline", file("baseline.json", `{"known":[`+tt.baseline+`]}`))
		}
		if r := command(t, args...); r.code != tt.code || !strings.Contains(r.stdout, tt.says) || complaints(r) != "" {
			t.Errorf("%s: exit code %d, want %d that says %q: %s%s", tt.name, r.code, tt.code, tt.says, r.stdout, r.stderr)
		}
	}
	for name, text := range map[string]string{
		"no reason": `{"known":[{"code":"PD004","object":"public.docs","expires":"2999-12-31"}]}`, "no expiry": `{"known":[{"code":"PD004","object":"public.docs","reason":"x"}]}`,
		"no such code": `{"known":[{"code":"PD999","object":"public.docs","reason":"x","expires":"2999-12-31"}]}`, "no JSON": `known`,
	} {
		r := command(t, "doctor", pooled, "--baseline", file("baseline.json", text))
		r.wantError(t, exitUsage, "baseline.json", `{"known":[`)
		if r.stdout != "" {
			t.Errorf("%s: it looked all the same: %s", name, r.stdout)
		}
	}
}

// TestDoctorDriver: options are refused by name, for the driver in its version and the pooler that is there, and the settings
// for exactly that pooler are printed with their reason.
func TestDoctorDriver(t *testing.T) {
	d := newDatabase(t)
	direct := d.url
	old, newer := pgtest.Pooled(t, direct, pgtest.PgBouncer118Transaction), pgtest.Pooled(t, direct, pgtest.PgBouncer124Transaction)
	with := func(raw, param string) string {
		if strings.Contains(raw, "?") {
			return raw + "&" + param
		}
		return raw + "?" + param
	}
	for _, tt := range []struct {
		name   string
		url    string
		args   []string
		code   int
		says   []string
		saysNo string
	}{
		{"asyncpg 0.27, the option that this began with", newer, []string{"--driver", "asyncpg@0.27", "--option", "server_side_binding=False"}, exitFailure, []string{"PD024 fail", "asyncpg 0.27 has no option server_side_binding"}, ""},
		{"two options, one unknown", newer, []string{"--driver", "asyncpg@0.27", "--option", "statement_cache_size=0", "--option", "raw_sql=True"}, exitFailure, []string{"has no option raw_sql"}, "has no option statement_cache_size"},
		{"asyncpg's option on psycopg", newer, []string{"--driver", "psycopg", "--option", "statement_cache_size=0"}, exitFailure, []string{"PD024 fail", "statement_cache_size", "prepare_threshold=None"}, ""},
		{"an option that is known", newer, []string{"--driver", "asyncpg@0.30", "--option", "statement_cache_size=0"}, exitOK, []string{"healthy: "}, "PD024"},
		{"pgbouncer=true for Prisma where nothing stands between", with(direct, "pgbouncer=true"), []string{"--driver", "prisma"}, exitFailure, []string{"PD024 warn", "there is no pooler"}, ""},
		{"pgbouncer=true for Prisma and a pooler that tracks", with(newer, "pgbouncer=true"), []string{"--driver", "prisma"}, exitFailure, []string{"PD024 warn", "tracks named statements"}, ""},
		{"pgbouncer=true for Prisma and one that does not", with(old, "pgbouncer=true"), []string{"--driver", "prisma"}, exitOK, []string{"healthy: ", "?pgbouncer=true on the pooled URL"}, "PD024"},
		{"pgbouncer=true for another driver", with(old, "pgbouncer=true"), []string{"--driver", "asyncpg"}, exitFailure, []string{"PD024 fail", "Prisma's alone"}, ""},
		{"options= through PgBouncer 1.18", with(old, "options=-c%20statement_timeout%3D9s"), nil, exitFailure, []string{"PD024 fail", "PgBouncer until 1.19 refuses options"}, ""},
		{"options= without a pooler", with(direct, "options=-c%20statement_timeout%3D9s"), nil, exitOK, []string{"healthy: "}, "PD024"},

		{"asyncpg, 1.18", old, []string{"--driver", "asyncpg"}, exitOK, []string{"settings of asyncpg for this pooler:\n", "statement_cache_size=0 for connect()", "named_statements: leaks", "[measured]"}, "leave the driver's statement cache"},
		{"asyncpg, 1.24", newer, []string{"--driver", "asyncpg"}, exitOK, []string{"leave the driver's statement cache as it is", "named_statements: tracked"}, "statement_cache_size=0"},
		{"psycopg, 1.18", old, []string{"--driver", "psycopg@3.2"}, exitOK, []string{"prepare_threshold=None"}, "statement_cache_size"},
		{"lib/pq, 1.24", newer, []string{"--driver", "lib/pq"}, exitOK, []string{"binary_parameters=yes", "unnamed_statement_across_sync: wrong"}, ""},
		{"lib/pq, direct", direct, []string{"--driver", "lib/pq"}, exitOK, []string{"leave the driver's statement cache as it is"}, "binary_parameters"},
		{"psycopg2, 1.18", old, []string{"--driver", "psycopg2"}, exitOK, []string{"nothing: psycopg2 names no statements by itself"}, ""},
		{"settings leak", old, []string{"--driver", "postgres.js"}, exitOK, []string{advice(hostile.MissingNamed, "postgres.js"), advice(hostile.SessionSetting, "postgres.js"), "setting_set_config: leaks"}, ""},
		{"SQLAlchemy, 1.18", old, []string{"--driver", "sqlalchemy"}, exitOK, []string{"\ncode of sqlalchemy that keeps tenants apart (sqlalchemy.py):\n\n", "\"prepared_statement_name_func\": lambda", "set_config('app.current_tenant_id', :tenant, true)", "\nmeasured on ", "through PgBouncer 1.18 0 wrong, 0 failed", "      poolclass=NullPool", "the session's after_begin event", "statement_cache_size=0 for connect()"}, "[untracked]"},
		{"SQLAlchemy, 1.24", newer, []string{"--driver", "sqlalchemy+asyncpg"}, exitOK, []string{"\ncode of sqlalchemy that keeps tenants apart (sqlalchemy.py):\n\n", "leave the driver's statement cache as it is"}, "\"prepared_statement_name_func\": lambda"},
		{"sqlx, 1.24", newer, []string{"--driver", "sqlx"}, exitOK, []string{"pub async fn begin("}, ".persistent(false)"},
		{"Ent, statement mode", pgtest.Pooled(t, direct, pgtest.PgBouncer118Statement), []string{"--driver", "ent"}, exitOK, []string{"code of ent that keeps tenants apart: none, because it needs a transaction"}, "func inTenant"},
		{"a driver without a framework", old, []string{"--driver", "pgx"}, exitOK, []string{"settings of pgx"}, "code of pgx"},
		{"pgx, 1.24", newer, []string{"--driver", "pgx"}, exitOK, []string{"leave the driver's statement cache as it is"}, "never describe_exec"},
		{"lib/pq, 1.18", old, []string{"--driver", "pq"}, exitOK, []string{advice(hostile.MissingNamed, "lib/pq"), advice(hostile.ForeignUnnamed, "lib/pq")}, "one PQpipelineSync"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := command(t, append([]string{"doctor", tt.url, "--within", "29s"}, tt.args...)...)
			if r.code != tt.code || complaints(r) != "" {
				t.Errorf("exit code %d, want %d: %s%s", r.code, tt.code, r.stdout, r.stderr)
			}
			for _, want := range tt.says {
				if !strings.Contains(r.stdout, want) {
					t.Errorf("it does not say %q: %s", want, r.stdout)
				}
			}
			if tt.saysNo != "" && strings.Contains(r.stdout, tt.saysNo) {
				t.Errorf("it says %q: %s", tt.saysNo, r.stdout)
			}
		})
	}
}

// advice is prove's.
func advice(code hostile.Code, driver string) string {
	fix, _ := hostile.FixFor(code, driver)
	return fix
}

func TestDoctorRefuses(t *testing.T) {
	command(t, "doctor").wantError(t, exitUsage, "DATABASE_URL")
	command(t, "doctor", "postgres://127.0.0.1:1/x", "--only", "PD999").wantError(t, exitUsage, "no code PD999", "poolproof explain")
	command(t, "doctor", "postgres://127.0.0.1:1/x", "--instances", "3").wantError(t, exitUsage, "--pool-size")
	command(t, "doctor", "postgres://127.0.0.1:1/x", "--driver", "dbase").wantError(t, exitUsage, "dbase", "asyncpg")
	command(t, "doctor", "postgres://127.0.0.1:1/x", "--option", "a=b").wantError(t, exitUsage, "--driver")
	command(t, "doctor", "postgres://127.0.0.1:1/x", "--within", "0s").wantError(t, exitUsage, "--within")
	command(t, "doctor", "postgres://127.0.0.1:1/x", "--fail-on", "sometimes").wantError(t, exitUsage, "--fail-on")

	// A database that cannot be asked is 2, and its report is on standard output, in each form.
	for _, args := range [][]string{nil, {"--json"}, {"--markdown"}, {"--fail-on", "never"}} {
		r := command(t, append([]string{"doctor", "postgres://app:pa55word@127.0.0.1:1/app"}, args...)...)
		if r.code != exitUsage || !strings.Contains(r.stdout, "no connection: nothing listens at 127.0.0.1:1") || strings.Contains(r.stdout+r.stderr, "pa55word") {
			t.Errorf("%v: exit code %d: %s%s", args, r.code, r.stdout, r.stderr)
		}
	}
}

// TestExplain needs neither a URL nor a network.
func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		args []string
		says []string
	}{
		{[]string{"explain", "PD004"}, []string{"# PD004: ", "enable row level security"}},
		{[]string{"explain", "pp002"}, []string{"# PP002"}},
		{[]string{"explain"}, []string{"PD000: ", "PD024: ", "PP001: "}},
		{[]string{"explain", `prepared statement "__asyncpg_stmt_1__" does not exist`}, []string{"PostgreSQL says so (", "  why: ", "  so:  ", "  do:  poolproof doctor"}},
		{[]string{"explain", "FATAL:", "unsupported", "startup", "parameter:", "options"}, []string{"PgBouncer says so (bouncer-options)"}},
		{[]string{"doctor", "--error", "Tenant or user not found"}, []string{"Supavisor says so (supavisor-tenant)"}},
		{[]string{"doctor", "--error", "remaining connection slots are reserved"}, []string{"(too-many)"}},
	} {
		r := command(t, tt.args...)
		if r.code != exitOK || complaints(r) != "" {
			t.Errorf("%q: exit code %d: %s", tt.args, r.code, r.stderr)
		}
		for _, want := range tt.says {
			if !strings.Contains(r.stdout, want) {
				t.Errorf("%q does not say %q: %s", tt.args, want, r.stdout)
			}
		}
	}
	command(t, "explain", "PD999").wantError(t, exitUsage, "PD999")
	command(t, "explain", "the cat sat on the mat").wantError(t, exitUsage, "no message")
	command(t, "doctor", "--error", "the cat sat on the mat").wantError(t, exitUsage, "no message")
}

// TestDoctorInterrupted: while a pool is used up the doctor says on standard error that it is still looking, ends at a signal, and
// leaves nothing behind, not even if it is killed.
func TestDoctorInterrupted(t *testing.T) {
	pooled := pgtest.Pooled(t, faultyDatabase(t), pgtest.PgBouncer118Transaction)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL} {
		t.Run(signal.String(), func(t *testing.T) {
			release := []func(){hold(t, pooled), hold(t, pooled)} // as many as the pool has
			cmd := exec.CommandContext(t.Context(), self(t), "doctor", pooled)
			cmd.Env = append(os.Environ(), asPoolproof+"=1")
			var stdout bytes.Buffer
			cmd.Stdout = &stdout
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewScanner(stderr)
			if !lines.Scan() || !strings.Contains(lines.Text(), "still looking") {
				t.Errorf("it does not say that it is looking: %q", lines.Text())
			}
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			var rest []string
			for lines.Scan() {
				rest = append(rest, lines.Text())
			}
			_ = cmd.Wait() // the status is looked at
			if signal == syscall.SIGINT && (cmd.ProcessState.ExitCode() != exitUsage || len(rest) != 2 || !strings.Contains(rest[0], "stopped by signal") || stdout.Len() > 0) {
				t.Errorf("%s: %q, and on standard output %q", cmd.ProcessState, rest, stdout.String())
			}
			for _, f := range release {
				f()
			}
			left := "open"
			for range 200 { // the pooler hears of its client's end a moment later
				if left = pgtest.Leftovers(t, pooled, 1); !strings.HasPrefix(left, "open") {
					break
				}
			}
			if left != "" {
				t.Errorf("this is left: %s", left)
			}
		})
	}
}

// hold keeps a server connection of a pooler until release is called.
func hold(t *testing.T, pooled string) (release func()) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), pooled)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "begin; select 1"); err != nil {
		t.Fatal(err)
	}
	return func() { _ = conn.Close(t.Context()) }
}

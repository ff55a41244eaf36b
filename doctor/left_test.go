//go:build unix

package doctor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// leaves is what one client leaves on one server connection, in one message, and what the audit says of it. The setting
// app.shown stands in a policy, app.hidden in a function only.
const (
	policies = sound + `create function which() returns text language sql as 'select current_setting(''app.hidden'', true)';
		do $$ begin if not exists (select from pg_roles where rolname = 'doctor_other') then create role doctor_other; end if; end $$; grant doctor_other to doctor_login;
		create sequence numbers; grant usage on sequence numbers to doctor_login;`
	leaves = `set app.t = '7'; set app.hidden = '1'; set work_mem = '9MB'; select pg_advisory_lock(42); select pg_advisory_lock(4, 2);
		create temp table scratch (i int); create function pg_temp.slug() returns int language sql as 'select 1'; prepare report_7 as select 1;
		declare rows_of cursor with hold for select 1; listen jobs; select setseed(0.42); select random()`
)

var left = []string{
	"PD025 app.t", "PD026 app.hidden", "PD026 work_mem", "PD028 4, 2", "PD028 42", "PD029 function slug()", "PD029 scratch",
	"PD030 report_#", "PD031 rows_of", "PD032 jobs", "PD033 seed of random()",
}

// objects are a report's findings as "PD026 work_mem".
func objects(r *doctor.Report) (all []string) {
	for _, c := range r.Checks {
		if c.Status == doctor.Fail || c.Status == doctor.Warn {
			all = append(all, string(c.ID)+" "+c.Object)
		}
	}
	return all
}

// untilConnected waits until the pooler's login has n server connections.
func untilConnected(t *testing.T, owner string, n int) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // only a fixture
	for deadline, got := time.Now().Add(time.Minute), 0; got < n; {
		if err := conn.QueryRow(t.Context(), `select count(*) from pg_stat_activity where usename = 'doctor_login' and datname = current_database()`).Scan(&got); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(deadline) {
			t.Fatalf("the pooler has %d server connections, not %d", got, n)
		}
	}
}

func say(t *testing.T, url, sql string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // only a fixture
	if _, err := conn.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// saysWho reports whether the audit saw a client's name on each server connection that holds something.
func saysWho(r *doctor.Report) bool {
	return !slices.ContainsFunc(r.Residue.Connections, func(c doctor.ServerConnection) bool { return len(c.Holds) > 0 && c.Application == "" })
}

// TestResidue: one of 20 server connections is dirty while 50 clients keep the pooler busy. The audit finds it, what it
// holds and who had it; the SQL that it writes cleans it, and then it is silent. In the soak 20 times, in five seconds.
func TestResidue(t *testing.T) {
	times, within := pgtest.Pick(1, 20), pgtest.Pick(inTests, doctor.Budget)
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer124Transaction} {
		t.Run(kind.String(), func(t *testing.T) {
			owner := app(t, policies)
			url, _ := pgtest.PrivatePooler(t, owner, kind, map[string]string{"default_pool_size": "20", "min_pool_size": "20"})
			cfg := doctor.Config{URL: url, Within: within}
			for range times {
				stop := pgtest.Busy(t, url+"&application_name=worker", 50)
				untilConnected(t, owner, 20) // the pooler opens them one after the other
				say(t, url+"&application_name=culprit", leaves)
				r := doctor.Audit(t.Context(), cfg)
				for try := 0; try < 4 && !saysWho(r); try++ { // it may have met all before it saw a client on each
					r = doctor.Audit(t.Context(), cfg)
				}
				stop()
				if got := objects(r); !slices.Equal(got, left) {
					t.Fatalf("found %q\nwant  %q\n%s", got, left, text(t, r))
				}
				if within > doctor.Budget && (r.Residue.Met != 20 || r.Residue.Known != 20) || !strings.Contains(r.Verdict, "1 server connection not clean; ") {
					t.Errorf("%s", r.Verdict)
				}
				if !saysWho(r) {
					t.Errorf("it does not say who had it: %+v", r.Residue.Connections)
				}
				clean(t, owner, r)
				for _, clients := range []int{0, 50} { // an idle pool hands out the same few again and again
					stop := pgtest.Busy(t, url, clients)
					r := doctor.Audit(t.Context(), cfg)
					stop()
					if len(objects(r)) > 0 || strings.Count(text(t, r), "\n") != 1 || !strings.HasPrefix(r.Verdict, "clean: nothing was left; ") {
						t.Fatalf("after the SQL, beside %d clients: %s", clients, text(t, r))
					}
					t.Log(r.Verdict)
				}
			}
		})
	}
}

// TestResidueOfEachKind looks at what cannot be left together with the rest, through poolers that nobody else uses: at a pool of two, in which
// one server connection is below the other, and in which the audit itself leaves nothing.
func TestResidueOfEachKind(t *testing.T) {
	kinds := []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement, pgtest.PgBouncer124Transaction}
	if pgtest.Soak() {
		kinds = append(kinds, pgtest.Odyssey15NoDiscard)
	}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			owner := app(t, policies)
			url := pgtest.Pooled(t, owner, kind)
			for _, tt := range []struct {
				sql, want string
				all       bool // through all poolers, else in the soak
			}{
				{"", "", true},
				{"set role doctor_other", "PD027 doctor_other", true},
				{"load 'auto_explain'", "PD033 library auto_explain", false},
				{"set statement_timeout = '2s'", "PD026 statement_timeout", false},
				{"set search_path = nowhere", "PD026 search_path", false},
				{"set default_transaction_read_only = on", "PD026 default_transaction_read_only", false},
				{"set intervalstyle = 'iso_8601'", map[bool]string{true: "PD026 intervalstyle"}[kind != pgtest.PgBouncer124Transaction], true},
				// These are nobody's residue.
				{"set application_name = 'web'", "", true},
				{"begin; set local app.t = '7'; select pg_advisory_xact_lock(3); create temp table gone () on commit drop; commit", "", false},
				{"select nextval('numbers'); select random(); select to_tsvector('english', 'cars')", "", false},
			} {
				if kind == pgtest.PgBouncer118Statement && strings.HasPrefix(tt.sql, "begin") || kind != pgtest.PgBouncer118Transaction && !pgtest.Soak() && !tt.all {
					continue
				}
				url := url
				if strings.HasPrefix(tt.sql, "load") { // the superuser's pool
					url = strings.Replace(url, login+"@", "postgres@", 1)
				}
				pair(t, url)
				if tt.sql != "" {
					say(t, url, tt.sql)
				}
				r := doctor.Audit(t.Context(), doctor.Config{URL: url, Within: inTests})
				if got := strings.Join(objects(r), ", "); got != tt.want {
					t.Errorf("after %s: found %q, want %q: %s", tt.sql, got, tt.want, text(t, r))
				}
				clean(t, strings.Replace(owner, login+"@", "postgres@", 1), r)
			}
			if kind != pgtest.PgBouncer118Statement {
				pair(t, url)
				if left := pgtest.Leftovers(t, url, 4); left != "" {
					t.Errorf("the audit left behind: %s", left)
				}
			}
		})
	}
}

// pair has two server connections, where there is a pool of two. A pooler may first hand out one that was ended.
func pair(t *testing.T, url string) {
	t.Helper()
	for range 20 {
		failed := make(chan error, 2)
		for range cap(failed) {
			go func() {
				conn, err := pgx.Connect(t.Context(), url)
				if err == nil {
					_, err = conn.Exec(t.Context(), "select pg_sleep(0.1)", pgx.QueryExecModeExec)
					_ = conn.Close(t.Context())
				}
				failed <- err
			}()
		}
		if errors.Join(<-failed, <-failed) == nil {
			return
		}
	}
	t.Fatal("there are no two server connections")
}

// clean runs the SQL that a report has, as the login itself, directly.
func clean(t *testing.T, direct string, r *doctor.Report) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), direct)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context()) //nolint:errcheck // only a fixture
	if r.Residue == nil {
		t.Fatal(r.Verdict)
	}
	for _, c := range r.Residue.Connections {
		for there := len(c.Holds) > 0; there; { // it ends nothing that is busy
			for _, check := range r.Checks {
				if check.Fix != "" {
					if _, err := conn.Exec(t.Context(), check.Fix); err != nil {
						t.Fatalf("%s: %v", check.Fix, err)
					}
				}
			}
			if err := conn.QueryRow(t.Context(), "select exists (select from pg_stat_activity where pid = $1 and backend_start = $2)", c.PID, c.Started).Scan(&there); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func text(t *testing.T, r *doctor.Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := r.Text(&b, false); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestResidueSince: of what a second look finds it says between which moments it came, and who was there.
func TestResidueSince(t *testing.T) {
	owner := app(t, policies)
	url := pgtest.Pooled(t, owner, pgtest.PgBouncer118Transaction)
	pair(t, url)
	events, dirtied := make(chan doctor.Event, 100), false
	ctx, stop := context.WithCancel(t.Context())
	var r *doctor.Report
	done := make(chan struct{})
	go func() {
		defer close(done)
		r = doctor.Watch(ctx, doctor.Config{URL: url}, func(e doctor.Event) { events <- e })
	}()
	seen := map[string]doctor.Event{}
	for len(seen) < 2 {
		if !dirtied {
			dirtied = true
			say(t, url+"&application_name=culprit", "set app.t = '7'; prepare p as select 1")
		}
		select {
		case e := <-events:
			seen[fmt.Sprintf("%s %s", e.Code, e.Object)] = e
			if e.Gone || e.PID == 0 || !strings.Contains(e.Fix, "pg_terminate_backend") {
				t.Errorf("%+v", e)
			}
		case <-done:
			t.Fatalf("it ended: %+v", r)
		}
	}
	if e := seen["PD025 app.t"]; e.Since.Exact != nil || e.Since.After == nil || e.Since.Before == nil || !e.Since.After.Before(*e.Since.Before) {
		t.Errorf("a setting: %+v", e)
	}
	if e := seen["PD030 p"]; e.Since.Exact == nil {
		t.Errorf("a statement, whose time PostgreSQL knows: %+v", e)
	}
	say(t, owner, seen["PD025 app.t"].Fix)
	stop()
	<-done
	if got := objects(r); !slices.Equal(got, []string{"PD025 app.t", "PD030 p"}) {
		t.Errorf("at the end: %q", got)
	}
	if !regexp.MustCompile(`since a moment between \d{4}-.* UTC and \d{4}-.* UTC`).MatchString(text(t, r)) {
		t.Errorf("%s", text(t, r))
	}
	r = doctor.Audit(t.Context(), doctor.Config{URL: owner, Within: inTests})
	if !strings.HasPrefix(r.Verdict, "clean: no pooler stands between") || len(objects(r)) > 0 {
		t.Errorf("directly: %s", r.Verdict)
	}
}

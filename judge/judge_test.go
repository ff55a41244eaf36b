package judge_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/judge"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func judged(t *testing.T, url string, opts judge.Options) judge.Report {
	t.Helper()
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	report, err := judge.Run(ctx, config, opts)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// outcomes are what a trial may end with, by its name; what has none is right.
type outcomes map[string][]judge.Outcome

func (o outcomes) with(more outcomes) outcomes {
	all := maps.Clone(o)
	maps.Copy(all, more)
	return all
}

// all are trials with the same outcome.
func all(outcome judge.Outcome, names ...string) outcomes {
	o := outcomes{}
	for _, name := range names {
		o[name] = []judge.Outcome{outcome}
	}
	return o
}

var (
	sessionState = []string{"session-set", "session-set-config", "set-in-transaction", "listen", "advisory-lock", "temporary-table", "cursor-with-hold", "sql-prepare"}
	inBegin      = []string{
		"parameter-status", "failed-transaction", "commit-of-failed", "deferred-at-commit", "interleaved-transactions", "set-local", "set-config-local",
		"hang-up-in-transaction", "hang-up-in-failed-transaction", "cancel-in-transaction",
	}
	// What all versions of PgBouncer here do.
	bouncer = all(judge.Refused, "startup-parameter", "startup-options").with(all(judge.Wrong, "half-closed", "terminate-behind-query"))
	// Up to 1.18: neither protocol 3.2, nor its options; its own code for a database that is not there.
	old = bouncer.with(all(judge.Wrong, "protocol-3.2", "unknown-database")).with(all(judge.Refused, "protocol-options"))
	// How server connections are passed on in transaction mode.
	shared = all(judge.Leaks, sessionState...).with(all(judge.Leaks, "unnamed-statement")).with(all(judge.Hung, "late-copy-holds"))
	leaky  = old.with(shared).with(all(judge.Leaks, "application-name")).with(outcomes{
		"large-pipelines": {judge.Wrong, judge.Hung, judge.Right}, // it takes bad luck
		"late-copy-holds": {judge.Hung, judge.Untried},            // after it nobody may be served
		"named-statement": {judge.Lost, judge.Leaks}, "same-name": {judge.Lost, judge.Leaks},
	})
	tracking = bouncer.with(shared).with(all(judge.Hung, "no-startup"))
	odyssey  = all(judge.Lost, "startup-parameter", "startup-options").with(all(judge.Wrong, "half-closed", "protocol-3.2", "protocol-options", "unknown-parameter", "unknown-database"))
	desyncs  = odyssey.with(all(judge.Hung, "error-in-bind", "error-in-execute")).with(all(judge.Wrong, "error-in-batch"))
	pgpool   = all(judge.Wrong, "protocol-3.2", "protocol-options").with(all(judge.Hung, "late-copy-data", "late-copy-holds"))
	raw      = pgpool.with(all(judge.Wrong, "error-in-parse", "deferred-at-sync", "statement-timeout", "one-sync-scope", "copy-in-extended"))
)

// expected is what is found through each pooler: see docs/judge.md.
var expected = map[pgtest.Kind]outcomes{
	pgtest.Direct:                  {},
	pgtest.PgBouncer118Transaction: leaky,
	pgtest.PgBouncer118RoundRobin:  leaky,
	pgtest.PgBouncer118Statement:   leaky.with(all(judge.Refused, inBegin...)),
	pgtest.PgBouncer118Session:     old,
	pgtest.PgBouncer118ResetAlways: leaky.with(all(judge.Lost, sessionState...)).with(all(judge.Lost, "unnamed-statement", "named-statement", "same-name")).with(all(judge.Right, "application-name")),
	pgtest.PgBouncer124Transaction: tracking,
	pgtest.PgBouncer126Transaction: tracking,
	pgtest.PgBouncer126Statement:   tracking.with(all(judge.Refused, inBegin...)),
	pgtest.Odyssey15:               desyncs.with(all(judge.Lost, sessionState...)).with(all(judge.Leaks, "sql-prepare")),
	pgtest.Odyssey15NoDiscard:      desyncs.with(all(judge.Leaks, sessionState...)).with(all(judge.Leaks, "application-name")),
	pgtest.Odyssey15Session:        odyssey,
	pgtest.Pgpool43:                raw,
	pgtest.Pgpool43Streaming:       pgpool.with(all(judge.Hung, "deferred-at-sync", "copy-in-extended")).with(all(judge.Wrong, "copy-out")),
	pgtest.Pgpool46:                raw.with(all(judge.Wrong, "unknown-database")),
}

// holds compares a report with what is expected.
func holds(t *testing.T, r judge.Report, want outcomes) {
	t.Helper()
	t.Logf("%v: %v in %v", r.Pooler, r.Counts, r.Elapsed)
	if len(r.Results) != len(judge.Trials()) {
		t.Errorf("%d results for %d trials", len(r.Results), len(judge.Trials()))
	}
	for _, result := range r.Results {
		may := want[result.Name]
		if may == nil {
			may = []judge.Outcome{judge.Right}
		}
		if !slices.Contains(may, result.Outcome) {
			t.Errorf("%s is %s instead of %v: %s", result.Name, result.Outcome, may, result.Text)
		} else if result.Outcome != judge.Right {
			t.Logf("%s: %s %s", result.Name, result.Outcome, result.Text)
		}
	}
}

// What is found through PostgreSQL itself is right: it is the measure. Through
// each pooler it is what docs/judge.md says; the soak has all poolers.
func TestJudge(t *testing.T) {
	kinds := pgtest.Pick([]pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction}, append([]pgtest.Kind{pgtest.Direct}, pgtest.Poolers...))
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			direct := pgtest.Database(t)
			url := pgtest.Pooled(t, direct, kind)
			r := judged(t, url, judge.Options{})
			holds(t, r, expected[kind])
			if r.Counts[judge.Untried] > 0 { // the pooler serves nobody any more: PgBouncer 1.18 after large-pipelines
				return
			}
			if kind != pgtest.Pgpool43Streaming { // it leaves copy-in-extended's COPY open on the server when its client has left: docs/judge.md
				nothingLeft(t, direct)
			}
			noState(t, url)
		})
	}
	if pgtest.Soak() {
		t.Run("hostile", func(t *testing.T) {
			_, url := hostile.StartWith(t, hostile.Config{Upstream: pgtest.Database(t)})
			holds(t, judged(t, url, judge.Options{}), hostilePooler)
		})
	}
}

// hostilePooler is what is found through the hostile pooler of prove.
var hostilePooler = func() outcomes {
	o := all(judge.Wrong, "half-closed", "terminate-behind-query")
	o["unnamed-statement"] = []judge.Outcome{judge.Wrong, judge.Leaks}
	for _, name := range append([]string{"named-statement", "same-name"}, sessionState...) { // it stops at the first of the two that shows
		o[name] = []judge.Outcome{judge.Lost, judge.Leaks}
	}
	return o
}()

// nothingLeft looks for what a run may have left in its database: objects, locks, and
// statements under way.
func nothingLeft(t *testing.T, direct string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), direct)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var left []string
	rows, err := conn.Query(t.Context(), `
		select 'relation ' || relname from pg_class where relname like 'poolproof_judge%'
		union all select 'lock of ' || pid from pg_locks where locktype = 'advisory' and database = (select oid from pg_database where datname = current_database())
		union all select 'transaction of ' || pid || ': ' || query from pg_stat_activity where datname = current_database() and xact_start is not null and pid <> pg_backend_pid()`)
	if err != nil {
		t.Fatal(err)
	}
	if left, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	if len(left) > 0 {
		t.Errorf("left behind: %s", strings.Join(left, "; "))
	}
}

// noState looks on the server connections for what a run may have left there.
func noState(t *testing.T, url string) {
	t.Helper()
	const left = `select concat_ws(', ',
		(select 'the statement ' || name from pg_prepared_statements where name like 'poolproof_judge%' limit 1),
		(select 'the cursor ' || name from pg_cursors where name like 'poolproof_judge%' limit 1),
		(select 'listening to ' || c from pg_listening_channels() as c limit 1),
		(select 'the setting ' || setting from pg_settings where name = 'cursor_tuple_fraction' and setting <> '0.1')) from pg_sleep(0.02)`
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	config.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol
	var clients sync.WaitGroup
	for range 2 { // as many as there are server connections
		clients.Go(func() {
			conn, err := pgx.ConnectConfig(t.Context(), config)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close(t.Context())
			for range 10 {
				var found string
				if err := conn.QueryRow(t.Context(), left).Scan(&found); err != nil || found != "" {
					t.Errorf("left behind: %s, %v", found, err)
					return
				}
			}
		})
	}
	clients.Wait()
}

// A run that is stopped takes away what it had just left.
func TestStopped(t *testing.T) {
	direct := pgtest.Database(t)
	url := pgtest.Pooled(t, direct, pgtest.PgBouncer124Transaction)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := pgx.Connect(t.Context(), direct)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close(t.Context())
	for name, begun := range map[string]string{"session-set": "%0.0417%", "listen": "listen %", "temporary-table": "create temporary table%", "sql-prepare": "prepare %"} {
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan judge.Report, 1)
		go func() {
			r, err := judge.Run(ctx, config, judge.Options{Only: []string{name}})
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
		const seen = "select exists (select from pg_stat_activity where datname = current_database() and query like $1)"
		for there := false; !there && len(done) == 0; {
			if err := watch.QueryRow(t.Context(), seen, begun).Scan(&there); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		r := <-done
		t.Log(name, r.Results)
		nothingLeft(t, direct)
		noState(t, url)
	}
}

// Names are unique, each trial says what is right, and a name that there is not is an
// error.
func TestTrials(t *testing.T) {
	names := map[string]bool{}
	for _, trial := range judge.Trials() {
		if names[trial.Name] || trial.Name == "" || trial.Group == "" || len(trial.Right) < 20 {
			t.Errorf("%+v", trial)
		}
		names[trial.Name] = true
	}
	for kind, want := range expected {
		for name := range want {
			if !names[name] {
				t.Errorf("%v: there is no trial %s", kind, name)
			}
		}
	}
	if _, err := judge.Run(t.Context(), nil, judge.Options{Only: []string{"nosuch"}}); !errors.Is(err, judge.ErrNoTrial) {
		t.Errorf("a trial that there is not: %v", err)
	}
}

// A report as JSON has its version, what answered, and each result with its name.
func TestJSON(t *testing.T) {
	var told []string
	r := judged(t, pgtest.Database(t), judge.Options{Only: []string{"simple-query", "terminate"}, Told: func(_, of int, r judge.Result) {
		told = append(told, r.Name)
		if of != 2 {
			t.Errorf("%d trials", of)
		}
	}})
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Version int
		Pooler  struct{ Kind string }
		Results []struct{ Name, Group, Right, Outcome string }
		Counts  map[string]int
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if got.Version != judge.Version || got.Pooler.Kind != "none" || len(got.Results) != 2 || got.Results[0].Name != "simple-query" || got.Results[1].Outcome != "right" || got.Counts["right"] != 2 || got.Counts["wrong"] != 0 {
		t.Errorf("%s", text)
	}
	if len(told) != 2 || !r.AllRight() {
		t.Errorf("told of %v; all right: %v", told, r.AllRight())
	}
}

package matrix

import (
	"errors"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func execAt(t *testing.T, at, sql string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	if _, err := c.Exec(t.Context(), sql); err != nil {
		t.Fatal(err)
	}
}

// Two drivers through two poolers, really: what is right is right, and where a
// session's setting goes to a stranger, or a name to a server connection that
// does not have it, the judge says so. A second run has nothing left to measure.
func TestRun(t *testing.T) {
	var log []string
	cfg := Config{
		Root: "..", Out: filepath.Join(t.TempDir(), "results.json"), Clients: 4, Operations: 4, Patience: time.Minute,
		Drivers: []string{"pgx", "node-postgres"}, Ways: []string{"pgbouncer-1.18-transaction", "hostile"}, Current: true,
		Told: func(text string) { log = append(log, text) },
	}
	// Not "node-postgres, named".
	all := Drivers
	defer func() { Drivers = all }()
	Drivers = nil
	for _, d := range all {
		if d.Name == "pgx" || d.Name == "node-postgres" {
			d.Older = nil
			Drivers = append(Drivers, d)
		}
	}
	if _, err := Run(t.Context(), cfg); err != nil {
		t.Fatal(err, log)
	}
	r, err := Read(cfg.Out)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Cells) != 2*2*2*2 {
		t.Fatalf("%d cells, want 16: %q", len(r.Cells), log)
	}
	want := map[string]Verdict{
		"pgx pgbouncer-1.18-transaction statements default": Errors, "pgx hostile statements default": Errors,
		"node-postgres pgbouncer-1.18-transaction settings default": Wrong, "node-postgres hostile settings default": Wrong,
		"node-postgres pgbouncer-1.18-transaction statements default": Right, "node-postgres hostile statements default": Right,
	}
	for _, c := range r.Cells {
		name := strings.Join([]string{c.Driver, c.Way, string(c.Work), string(c.Form)}, " ")
		verdict, known := want[name]
		if c.Form == Recipe {
			verdict, known = Right, true
		}
		if known && c.Verdict != verdict || c.All() != 4*4 {
			t.Errorf("%s: %s, %v, want %s of 16: %s %s", name, c.Verdict, c.Counts, verdict, c.FirstError, c.FirstWrong)
		}
		if found := strings.Join(c.Found, " "); c.Way == "hostile" && c.Form == Default && c.Work == Settings && !strings.Contains(found, "PP004") || c.Form == Recipe && found != "" {
			t.Errorf("%s: prove found %q", name, found)
		}
		if (c.Wrong > 0) != (c.FirstWrong != "") || (c.Errors > 0) != (c.FirstError != "") {
			t.Errorf("%s: %v, but the first are %q and %q", name, c.Counts, c.FirstError, c.FirstWrong)
		}
	}
	log = nil
	if _, err := Run(t.Context(), cfg); err != nil || len(log) > 0 {
		t.Errorf("the second run: %v, %q", err, log)
	}
}

// A pooler that runs already is measured by the same command: it gets its own
// tables, in an empty database only, and leaves none.
func TestElsewhere(t *testing.T) {
	owner := pgtest.Database(t)
	execAt(t, owner, "create role far_application login")
	u, err := url.Parse(owner)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User("far_application")
	pooled := pgtest.Pooled(t, u.String(), pgtest.PgBouncer118Transaction)
	all := Drivers
	defer func() { Drivers = all }()
	Drivers = Drivers[slices.IndexFunc(all, func(d Driver) bool { return d.Name == "node-postgres" }):][:1]
	cfg := Config{
		Root: "..", Out: filepath.Join(t.TempDir(), "elsewhere.json"), Clients: 4, Operations: 4, Patience: time.Minute, Current: true,
		Elsewhere: &Elsewhere{Way: Way{Name: "far", Title: "far away"}, Place: "a test", Pooled: pooled, Direct: owner, Servers: 2},
	}
	r, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range r.Cells {
		want := Right
		if c.Work == Settings && c.Form == Default {
			want = Wrong
		}
		if c.Verdict != want || c.Way != "far" || r.Place != "a test" {
			t.Errorf("%+v, want %s", c, want)
		}
	}
	if len(r.Cells) != 4 {
		t.Errorf("%d cells", len(r.Cells))
	}
	if _, err := Run(t.Context(), cfg); err != nil {
		t.Errorf("a second run: %v", err)
	}
	execAt(t, owner, "create table items (mine int)")
	if _, err := Run(t.Context(), cfg); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("in a database with tables: %v", err)
	}
	execAt(t, owner, "insert into items values (1)") // it is there
}

// What a program does not say counts too: an operation that is missing when its
// process has ended is an error, one that is missing when it had to be ended hangs.
func TestMissing(t *testing.T) {
	k := Key{Form: Default, Work: Statements}
	at := "postgres://matrix@127.0.0.1:1/none"
	for script, want := range map[string]Counts{
		"echo version 1; echo right; echo wrong item 3; echo error no": {Right: 1, Wrong: 1, Errors: 3},
		"echo right; exec sleep 600":                                   {Right: 1, Hung: 4},
	} {
		p := program{driver: Driver{Name: "sh"}, argv: []string{"sh", "-c", script}, dir: "."}
		patience := time.Minute // a busy machine is no hang
		if want.Hung > 0 {
			patience = time.Second
		}
		got := p.run(t.Context(), at, k, 1, 5, patience)
		if got.Counts != want {
			t.Errorf("%s: %v, want %v (%s)", script, got.Counts, want, got.firstError)
		}
	}
	if v := (Counts{}).Verdict(); v != Errors {
		t.Errorf("nothing at all is %s", v)
	}
	if v := (Counts{Right: 9999, Errors: 5, Hung: 1, Wrong: 1}).Verdict(); v != Wrong {
		t.Errorf("one wrong answer makes %s", v)
	}
}

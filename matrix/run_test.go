package matrix

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Two drivers through two poolers, really: what is right is right, and where a
// session's setting goes to a stranger, or a name to a server connection that
// does not have it, the judge says so. A second run has nothing left to measure.
func TestRun(t *testing.T) {
	var log []string
	cfg := Config{
		Root: "..", Out: filepath.Join(t.TempDir(), "results.json"), Clients: 8, Operations: 6, Patience: time.Minute,
		Drivers: []string{"pgx", "node-postgres"}, Ways: []string{"pgbouncer-1.18-transaction", "hostile"}, Current: true,
		Told: func(text string) { log = append(log, text) },
	}
	// Not "node-postgres, named queries".
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
		if known && c.Verdict != verdict || c.All() != 8*6 {
			t.Errorf("%s: %s, %v, want %s of 48: %s %s", name, c.Verdict, c.Counts, verdict, c.FirstError, c.FirstWrong)
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
		got := p.run(t.Context(), at, k, 1, 5, time.Second)
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

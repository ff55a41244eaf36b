package atlas

import (
	"flag"
	"log/slog"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

var (
	update    = flag.Bool("update", false, "write docs/atlas.md and, with POOLPROOF_SOAK=1, the last result")
	onlySuite = flag.String("suite", "", "run one suite of PostgreSQL's scripts: regress, plperl, dblink …")
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// The table is whole: each row says how it comes about, and either has a code,
// or says why it needs none, or what is missing. No kind of difference is
// explained twice, and none by a pattern.
func TestTable(t *testing.T) {
	names, kinds := map[string]bool{}, map[string]string{}
	for _, r := range Rows() {
		if names[r.Name] {
			t.Errorf("%s is there twice", r.Name)
		}
		names[r.Name] = true
		if r.Sees == "" || r.DiscardAll == "" {
			t.Errorf("%s: a field is empty", r.Name)
		}
		if judged := len(r.Codes) > 0 || r.Missing != ""; judged == (r.Harmless != "") {
			t.Errorf("%s must have either a code, or what is missing, or the reason why it is harmless", r.Name)
		}
		if made := len(r.Make) > 0 || wires[r.Name] != nil; made == (r.Documented != "") {
			t.Errorf("%s is either made by the tests or read in a documentation", r.Name)
		}
		if (r.Wire != "") != (wires[r.Name] != nil) {
			t.Errorf("%s: what Wire says has to be in wires", r.Name)
		}
		for _, kind := range r.Differences {
			if other := kinds[kind]; other != "" || strings.ContainsAny(kind, "*%") {
				t.Errorf("%s is explained by %s and %s", kind, other, r.Name)
			}
			kinds[kind] = r.Name
		}
	}
	for _, c := range hostile.Codes() {
		charted := slices.ContainsFunc(Rows(), func(r Row) bool { return slices.Contains(r.Codes, c) })
		if _, other := elsewhere[c]; charted == other {
			t.Errorf("%s needs a row, or a reason in elsewhere", c)
		}
	}
}

// wires has the messages of rows that SQL alone does not make. Each leaves the
// connection as the row says.
var wires = map[string]func(t *testing.T, c *client, url string){
	"custom setting whose name is a parameter": func(t *testing.T, c *client, _ string) {
		c.extended(t, &pgproto3.Parse{Query: "select set_config($1, $2, false)"}, &pgproto3.Bind{Parameters: [][]byte{[]byte("app.bound"), []byte("a")}}, &pgproto3.Execute{})
	},
	"named statement of the protocol": func(t *testing.T, c *client, _ string) {
		c.extended(t, &pgproto3.Parse{Name: "atlas_named", Query: "select 1"})
		c.extended(t, &pgproto3.Bind{PreparedStatement: "atlas_named"}, &pgproto3.Execute{})
	},
	"name that two clients give a statement": func(t *testing.T, c *client, url string) {
		c.extended(t, &pgproto3.Parse{Name: "atlas_named", Query: "select 1"})
		other := dial(t, url)
		other.extended(t, &pgproto3.Parse{Name: "atlas_named", Query: "select 2"})
	},
	"unnamed statement": func(t *testing.T, c *client, _ string) {
		c.extended(t, &pgproto3.Parse{Query: "select 1"})
		c.extended(t, &pgproto3.Bind{}, &pgproto3.Execute{})
	},
	"plan whose result has changed": func(t *testing.T, c *client, _ string) {
		c.extended(t, &pgproto3.Parse{Name: "atlas_plan", Query: "select * from atlas_plan"})
		c.extended(t, &pgproto3.Bind{PreparedStatement: "atlas_plan"}, &pgproto3.Execute{})
		c.must(t, "alter table atlas_plan add column if not exists b int")
		c.extended(t, &pgproto3.Bind{PreparedStatement: "atlas_plan"}, &pgproto3.Execute{})
	},
	"failed transaction": func(t *testing.T, c *client, _ string) {
		var unit []pgproto3.FrontendMessage
		for _, sql := range []string{"begin", "select 1/0", "commit"} {
			unit = append(unit, &pgproto3.Parse{Query: sql}, &pgproto3.Bind{}, &pgproto3.Execute{})
		}
		c.extended(t, unit...)
	},
	"pipeline without its Sync": func(t *testing.T, c *client, _ string) {
		must(t, c.send(&pgproto3.Parse{Query: "select 1"}, &pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Flush{}))
		until[*pgproto3.CommandComplete](t, c)
	},
	"COPY that is not ended": func(t *testing.T, c *client, _ string) {
		must(t, c.send(&pgproto3.Query{String: "copy atlas_copied from stdin"}))
		until[*pgproto3.CopyInResponse](t, c)
	},
	"CopyData after the error": func(t *testing.T, c *client, _ string) {
		must(t, c.send(&pgproto3.Query{String: "copy atlas_copied from stdin"}))
		until[*pgproto3.CopyInResponse](t, c)
		must(t, c.send(&pgproto3.CopyData{Data: []byte("no number\n")}))
		until[*pgproto3.ReadyForQuery](t, c)
		must(t, c.send(&pgproto3.CopyData{Data: []byte("1\n")}, &pgproto3.CopyDone{}))
	},
	"answer that is not read": func(t *testing.T, c *client, _ string) {
		must(t, c.send(&pgproto3.Query{String: "select repeat('x', 1000) from generate_series(1, 100000)"}))
		until[*pgproto3.DataRow](t, c)
	},
	"number of the server process": func(t *testing.T, c *client, _ string) {
		pid := c.must(t, "select pg_backend_pid()").text()
		if _, err := c.query("select pg_cancel_backend("+pid+")", ""); err != nil {
			t.Fatal(err)
		}
	},
	"Syncs in flight": func(t *testing.T, c *client, _ string) {
		must(t, c.send(&pgproto3.Query{String: "select 1"}, &pgproto3.Query{String: "select 2"}))
		for range 2 {
			if _, err := c.receive(""); err != nil {
				t.Fatal(err)
			}
		}
	},
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until reads up to a message of this type.
func until[M pgproto3.BackendMessage](t *testing.T, c *client) {
	t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		m, err := c.front.Receive()
		must(t, err)
		if _, ok := m.(M); ok {
			return
		}
	}
}

// made returns a new connection on which the row was made.
func (r Row) made(t *testing.T, url string) *client {
	t.Helper()
	c := dial(t, url)
	for _, sql := range r.Make {
		c.must(t, sql)
	}
	if wire := wires[r.Name]; wire != nil {
		wire(t, c, url)
	}
	return c
}

// prepare makes what the row needs in the database.
func (r Row) prepare(t *testing.T, url string) {
	t.Helper()
	c := dial(t, url)
	for _, extension := range r.Needs {
		c.must(t, "create extension if not exists "+pgx.Identifier{extension}.Sanitize())
	}
	for _, sql := range r.Setup {
		c.must(t, sql)
	}
	c.close()
}

// resetDatabase takes back what a row says of the database.
func resetDatabase(t *testing.T, url string) {
	t.Helper()
	dial(t, url).must(t, "do $$begin execute format('alter database %I reset all', current_database()); end$$")
}

// witness asks the row's witness; an error is an answer.
func (r Row) witness(t *testing.T, c *client) string {
	t.Helper()
	a, err := c.query(r.Witness, "")
	if err != nil {
		t.Fatalf("%s: %v", r.Witness, err)
	}
	return a.text()
}

// differs reports whether the witness answers otherwise on c than on a fresh
// connection.
func (r Row) differs(t *testing.T, c *client, url string) bool {
	t.Helper()
	used := r.witness(t, c)
	if r.Twin {
		return r.witness(t, r.made(t, url)) == used
	}
	return r.witness(t, dial(t, url)) != used
}

// Each row is as the table says, on a real server: made on a connection, its
// witness tells it from a fresh one; DISCARD ALL and the narrower command do
// what they are said to do.
func TestRows(t *testing.T) {
	url := pgtest.Database(t)
	for _, r := range Rows() {
		if r.Documented != "" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			r.prepare(t, url)
			defer resetDatabase(t, url)
			if r.Holds != "" {
				r.checkHeld(t, url)
				return
			}
			if r.Witness == "" {
				return
			}
			c := r.made(t, url)
			if !r.differs(t, c, url) {
				t.Errorf("%s answers the same on a fresh connection: %s", r.Witness, r.witness(t, c))
			}
			c.close()
			if r.Twin { // the twin has to do the same
				for _, sql := range []string{"discard all"} {
					a, b := r.made(t, url), r.made(t, url)
					a.must(t, sql)
					b.must(t, sql)
					if stays := r.witness(t, a) == r.witness(t, b); stays != (r.DiscardAll == Stays) {
						t.Errorf("after %s it stays: %v", sql, stays)
					}
				}
				return
			}
			for sql, want := range map[string]Removal{"discard all": r.DiscardAll, r.Narrower: Removed} {
				if sql == "" {
					continue
				}
				resetDatabase(t, url)
				r.prepare(t, url)
				c := r.made(t, url)
				c.must(t, sql)
				if stays := r.differs(t, c, url); stays != (want == Stays) {
					t.Errorf("after %s it stays: %v, want %s", sql, stays, want)
				}
				c.close()
			}
		})
	}
}

// checkHeld checks that the backend stays in the state that the row names. Its
// client does nothing meanwhile.
func (r Row) checkHeld(t *testing.T, url string) {
	t.Helper()
	c, observer := r.made(t, url), dial(t, url)
	sql := "select state from pg_stat_activity where pid = " + itoa(c.pid) + " and wait_event in ('ClientRead', 'ClientWrite')"
	for deadline := time.Now().Add(patience); ; {
		if got := observer.must(t, sql).text(); got == r.Holds {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("the backend is %q, not %q", got, r.Holds)
		}
	}
}

// Each row is found by prove in strict mode as the table says, and nothing else
// is found.
func TestFound(t *testing.T) {
	url := pgtest.Database(t)
	for _, r := range Rows() {
		if r.Documented != "" {
			continue
		}
		t.Run(r.Name, func(t *testing.T) {
			r.prepare(t, url)
			defer resetDatabase(t, url)
			found := make(chan hostile.Code, 100)
			p, pooled := hostile.StartWith(t, hostile.Config{
				Upstream: url, Profile: r.As, IdleBound: 10 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
				Found: func(f hostile.Finding, first bool) {
					if first {
						found <- f.Code
					}
				},
			})
			c := r.made(t, pooled)
			if r.Use != "" {
				if _, err := c.query(r.Use, ""); err != nil { // an error of SQL is what its client suffers
					t.Fatal(err)
				}
			}
			for waiting := len(r.Codes); r.Holds != "" && waiting > 0; waiting-- { // its client says nothing more
				select {
				case <-found:
				case <-time.After(patience):
					t.Fatal("prove does not find what holds the connection")
				}
			}
			c.close()
			var codes []hostile.Code
			for _, f := range p.Report().Findings {
				if !slices.Contains(codes, f.Code) {
					codes = append(codes, f.Code)
				}
			}
			if want := slices.Concat(r.Codes, r.Wrong); !slices.Equal(codes, want) {
				t.Errorf("prove finds %v, the table has %v", codes, want)
				if r.Wrong != nil {
					t.Error("if it is not accused any more, take Wrong away")
				}
				if r.Missing != "" {
					t.Errorf("if what was missing (%s) is found now, give the row its code and take Missing away", r.Missing)
				}
			}
		})
	}
}

// docs/atlas.md is what the table says.
func TestDocument(t *testing.T) {
	last, err := Last()
	must(t, err)
	const path = "../../docs/atlas.md"
	want := Markdown(Rows(), last)
	if *update {
		must(t, os.WriteFile(path, []byte(want), 0o644)) //nolint:gosec // a document
	}
	got, err := os.ReadFile(path)
	must(t, err)
	if string(got) != want {
		t.Error("docs/atlas.md is not what the table says: go test ./hostile/atlas -run TestDocument -update")
	}
	if gaps := last.Gaps(Rows()); len(gaps) > 0 {
		t.Errorf("the last run of all statements has gaps: %+v", gaps)
	}
}

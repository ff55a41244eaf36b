package hostile

import (
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// raw is a client that sends messages as they are.
type raw struct {
	*testing.T
	*pgconn.PgConn
}

// rawClient connects to the pooler at url.
func rawClient(t *testing.T, url string) raw {
	t.Helper()
	return raw{t, connect(t, url, "exec").PgConn()}
}

// send sends messages.
func (c raw) send(messages ...pgproto3.FrontendMessage) {
	c.Helper()
	for _, m := range messages {
		c.Frontend().Send(m)
	}
	if err := c.Frontend().Flush(); err != nil {
		c.Fatal(err)
	}
}

// answers reads up to the next ReadyForQuery, and returns the SQLSTATE of the
// error that came before it, or "". If the connection ends, it returns the
// error's with a "!".
func (c raw) answers() (code string) {
	c.Helper()
	for {
		msg, err := c.ReceiveMessage(c.Context())
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok { // fatal
			return pg.Code + "!"
		}
		switch msg := msg.(type) {
		case *pgproto3.ErrorResponse:
			code = msg.Code
		case *pgproto3.ReadyForQuery:
			return code
		case nil:
			c.Fatal(err)
		}
	}
}

// ask sends messages that end a unit, and returns what answers returns.
func (c raw) ask(messages ...pgproto3.FrontendMessage) (code string) {
	c.Helper()
	c.send(messages...)
	return c.answers()
}

// Messages of the extended protocol.
func parse(name, sql string) pgproto3.FrontendMessage { return &pgproto3.Parse{Name: name, Query: sql} }
func bind(name string) pgproto3.FrontendMessage       { return &pgproto3.Bind{PreparedStatement: name} }
func closing(name string) pgproto3.FrontendMessage {
	return &pgproto3.Close{ObjectType: 'S', Name: name}
}
func query(sql string) pgproto3.FrontendMessage { return &pgproto3.Query{String: sql} }

var (
	executing = &pgproto3.Execute{}
	flushing  = &pgproto3.Flush{}
	syncing   = &pgproto3.Sync{}
)

// A named statement that one client leaves is in the way of the next copy of the
// program, although the client never uses it again: where the copies choose the
// same name, and the statement is there when its transaction is over.
func TestStatementOfOneClient(t *testing.T) {
	for name, want := range map[string]string{
		"item-by-id": "PP003 item-by-id", "S_1": "PP003 S_#", "a1": "PP003 a#", "_pg3_0": "PP003 _pg#_#", "lrupsc_1_0": "PP003 lrupsc_#_#",
		"__asyncpg_stmt_1f__": "PP003 __asyncpg_stmt_#__", "s0": "PP003 s#", "sqlx_s_1": "PP003 sqlx_s_#", "itemsbyid12": "PP003 itemsbyid#",
		"stmtcache_3b18e512dba79e4c8300dd08aeb37f8e728b8dad0000000a": "PP003 stmtcache_…", "stmtcache_64094a521aefc65c2da93d0e10f1e67b17c388ea44ac88aa": "PP003 stmtcache_…", "qvTGHdzF6KLavt4PO0gs2a6pQ00=": "PP003 …",
		"__asyncpg_7c5aa9a8-6d4c-4c52-9d6a-0d8f2c1c9a11__": "", "q_7c5aa9a86d4c4c529d6a0d8f2c1c9a11": "", "k3j5h2x9wq1": "", "dbdpg_p4711_1": "",
	} {
		for _, cfg := range []Config{{}, {Observe: true}, {Profile: "pgbouncer-1.18"}, {Profile: "pgbouncer-1.24"}} {
			t.Run(name+" "+cfg.Profile, func(t *testing.T) {
				p, url, _ := testPooler(t, cfg)
				c := rawClient(t, url)
				if code := c.ask(parse(name, "select 1"), bind(name), executing, syncing); code != "" {
					t.Error(code)
				}
				if want == "" || cfg.Profile == "pgbouncer-1.24" {
					wantFound(t, p)
				} else {
					wantFound(t, p, want)
				}
			})
		}
	}
	for name, messages := range map[string][]pgproto3.FrontendMessage{
		"closed by its transaction": {parse("s1", "select 1"), bind("s1"), executing, closing("s1"), syncing},
		"not made":                  {parse("s1", "select * from nowhere"), syncing},
		"behind an error":           {parse("", "select 1/0"), bind(""), executing, parse("s1", "select 1"), syncing},
	} {
		t.Run(name, func(t *testing.T) {
			p, url, _ := testPooler(t, Config{})
			a, b := rawClient(t, url), rawClient(t, url)
			for range 3 {
				if first, second := a.ask(messages...), b.ask(messages...); first != second {
					t.Errorf("one is answered %q, the other %q", first, second)
				}
				if name != "closed by its transaction" {
					break // sent again it is another fault
				}
			}
			wantFound(t, p)
		})
	}
	t.Run("deallocated by its transaction", func(t *testing.T) {
		p, url, _ := testPooler(t, Config{})
		c := rawClient(t, url)
		if code := c.ask(query("begin")) + c.ask(parse("S1", "select 1"), syncing) + c.ask(query(`deallocate "S1"; commit`)); code != "" {
			t.Error(code)
		}
		wantFound(t, p, "PP010")
	})
}

// Once a statement was left, its name is taken on each server connection, also
// where nobody has left one: as it may be in production.
func TestNamesakeIsPlayed(t *testing.T) {
	p, url, _ := testPooler(t, Config{})
	p.longTrials.Store(0) // transactions are idle side by side here
	if code := rawClient(t, url).ask(parse("s1", "select 1"), syncing); code != "" {
		t.Error(code)
	}
	for range 3 { // each has a server connection of its own
		c := rawClient(t, url)
		c.ask(query("begin"))
		if code := c.ask(parse("s1", "select 2"), syncing); code != "42P05" {
			t.Errorf("beside others answered %q", code)
		}
		defer c.ask(query("rollback"))
	}
	for range 10 {
		c := rawClient(t, url)
		if code := c.ask(parse("s1", "select 2"), bind("s1"), executing, syncing); code != "42P05" {
			t.Errorf("answered %q", code)
		}
		if code := c.ask(parse("s2", "select 2"), bind("s2"), executing, closing("s2"), syncing); code != "" {
			t.Errorf("under another name answered %q", code)
		}
		if code := c.ask(query("begin")) + c.ask(query("select 1/0")) + c.ask(parse("s1", "select 2"), syncing) + c.ask(query("rollback")); code != "2201225P02" {
			t.Errorf("in a failed transaction answered %q", code)
		}
	}
	wantFound(t, p, "PP003 s#")
}

// Whoever removes a name that is taken and parses it again gets through in the end, as behind a pooler: PDO does so
// until it succeeds, and says nothing meanwhile.
func TestNamesakeIsRemoved(t *testing.T) {
	for name, remove := range map[string][]pgproto3.FrontendMessage{
		"DEALLOCATE": {query("deallocate pdo_stmt_00000001")},
		"Close":      {closing("pdo_stmt_00000001"), syncing},
	} {
		t.Run(name, func(t *testing.T) {
			p, url, _ := testPooler(t, Config{})
			clients := []raw{rawClient(t, url), rawClient(t, url), rawClient(t, url)}
			if code := clients[0].ask(parse("pdo_stmt_00000001", "select 1"), syncing); code != "" {
				t.Error(code)
			}
			met := 0
			for _, c := range clients {
				const most = 3
				tries := 0
				for ; c.ask(parse("pdo_stmt_00000001", "select 2"), syncing) == "42P05" && tries < most; tries++ {
					c.ask(remove...)
				}
				if tries == most {
					t.Errorf("removed %d times, and still taken", tries)
				}
				met += tries
			}
			if met == 0 {
				t.Error("nobody met the name")
			}
			wantFound(t, p, map[string][]string{"DEALLOCATE": {"PP003 pdo_stmt_#", "PP010"}, "Close": {"PP003 pdo_stmt_#"}}[name]...)
		})
	}
}

// A statement whose Parse failed is sent again: PgBouncer that tracks statements
// hangs up, unless it was closed in between.
func TestParsedAgain(t *testing.T) {
	for _, tc := range []struct {
		cfg   Config
		again string
		want  []string
	}{
		{Config{}, "", []string{"PP003 late", "PP023 late"}},
		{Config{Observe: true}, "", []string{"PP003 late", "PP023 late"}},
		{Config{Profile: "pgbouncer-1.24", Observe: true}, "", []string{"PP023 late"}},
		{Config{Profile: "pgbouncer-1.24"}, "08P01!", []string{"PP023 late"}},
		{Config{Profile: "pgbouncer-1.18"}, "", []string{"PP003 late"}},
	} {
		for name, first := range map[string][]pgproto3.FrontendMessage{
			"it failed":         {parse("late", "select n from made_later"), syncing},
			"behind an error":   {parse("", "select 1/0"), bind(""), executing, parse("late", "select n from made_later"), syncing},
			"closed in between": {parse("late", "select n from made_later"), syncing},
		} {
			t.Run(tc.cfg.Profile+" "+name, func(t *testing.T) {
				p, url, _ := testPooler(t, tc.cfg)
				c := rawClient(t, url)
				if code := c.ask(first...); code != "42P01" && code != "22012" {
					t.Errorf("at first answered %q", code)
				}
				c.ask(query("create table made_later (n int)"))
				again, want := tc.again, tc.want
				if name == "closed in between" {
					c.ask(closing("late"), syncing)
					again, want = "", slices.DeleteFunc(slices.Clone(want), func(f string) bool { return f == "PP023 late" })
				}
				if code := c.ask(parse("late", "select n from made_later"), bind("late"), executing, syncing); code != again {
					t.Errorf("sent again answered %q, want %q", code, again)
				}
				wantFound(t, p, want...)
			})
		}
	}
}

// DDL changes what a named statement returns.
func TestPlanThatDDLChanged(t *testing.T) {
	for profile, want := range map[string][]string{"strict": {"PP002 s#", "PP003 s#", "PP023 s#"}, "pgbouncer-1.24": {"PP023 s#"}, "pgbouncer-1.18": {"PP002 s#", "PP003 s#"}} {
		t.Run(profile, func(t *testing.T) {
			p, url, direct := testPooler(t, Config{Profile: profile, Observe: true})
			migration := connect(t, direct, "exec")
			exec(t, migration, "create table t (a int)")
			c := rawClient(t, url)
			if code := c.ask(parse("s1", "select * from t"), bind("s1"), executing, syncing); code != "" {
				t.Error(code)
			}
			exec(t, migration, "alter table t add column b int")
			if code := c.ask(bind("s1"), executing, syncing); code != "0A000" {
				t.Errorf("answered %q", code)
			}
			wantFound(t, p, want...)
		})
	}
	p, url, _ := testPooler(t, Config{})
	if code := rawClient(t, url).ask(query("copy (select 1) to stdout (format nowhere)")); code == "" {
		t.Error("no error")
	}
	wantFound(t, p)
}

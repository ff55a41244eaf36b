package hostile

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/internal/protocol"
)

// Our own questions use the client's server connection. Whatever the client has
// set there, it sees neither the questions nor that they fail, and what can be
// found is found.
func TestObservedClientsSettings(t *testing.T) {
	for _, tc := range []struct {
		name string
		sql  []string
		want []string
	}{
		{"an encoding that lacks a character", []string{"set client_encoding = 'LATIN1'", "select length(set_config('app.sign', chr(8364), false))"},
			[]string{"PP004 app.sign"}}, // client_encoding itself: all clients agree
		{"an encoding with a quote in its characters", []string{"set client_encoding = 'SJIS'", "select set_config('app.sign', chr(12477), false)"},
			[]string{"PP004 app.sign"}},
		{"the server's bytes", []string{"set client_encoding = 'SQL_ASCII'", "select set_config('app.sign', chr(8364), false)"}, []string{"PP004 app.sign"}},
		{"a setting whose name another encoding lacks", []string{`select set_config('app.größe', 'x', false)`, "set client_encoding = 'LATIN1'", "set app.x = '1'"},
			[]string{"PP004 app.x"}}, // PostgreSQL does not list custom settings, and we cannot ask for the other one
		{"a timeout that our questions exceed", []string{"create function sly() returns int language plpgsql as $$begin set work_mem = '9MB'; return 1; end$$", "set statement_timeout = '1ms'"}, nil},
		{"read only, serializable", []string{"set default_transaction_read_only = on", "set default_transaction_isolation = 'serializable'", "set app.x = '1'"},
			[]string{"PP004 app.x", "PP004 default_transaction_isolation", "PP004 default_transaction_read_only"}},
		{"a role that may do little", []string{"set role pg_signal_backend", "set app.x = '1'"}, []string{"PP004 app.x", "PP005 pg_signal_backend"}},
		{"a search path of its own", []string{"create schema mine", "create function mine.count(text) returns int language sql as 'select 1/0'",
			"create function mine.coalesce_(text) returns int language sql as 'select 1'", "set search_path = mine, pg_catalog", "set app.x = '1'"},
			[]string{"PP004 app.x", "PP004 search_path"}},
		{"a setting that is a secret", []string{"do $$begin perform current_setting('data_directory'); end$$", "set app.x = '1'"}, []string{"PP004 app.x"}},
		{"messages of all kinds", []string{"set client_min_messages = debug5", "set log_min_messages = debug5", "set app.x = '1'"}, []string{"PP004 app.x", "PP004 log_min_messages"}},
		{"a large function", []string{"create function large() returns int language plpgsql as $$begin /*" + strings.Repeat("x", 200_000) + "*/ return 1; end$$", "select large()", "set app.x = '1'"},
			[]string{"PP004 app.x"}},
		{"a large residue", []string{"set app.x = '" + strings.Repeat("x", 200_000) + "'", "set app.y = '1'"}, []string{"PP004 app.x", "PP004 app.y"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p, url, direct := testPooler(t, Config{Observe: true})
			c := connect(t, url, "simple_protocol")
			for _, sql := range tc.sql {
				exec(t, c, sql)
			}
			for i := range 5 {
				if _, err := c.Exec(t.Context(), "select 1"); err != nil && !strings.Contains(err.Error(), "57014") { // its own statement may take 1 ms
					t.Errorf("%d: %v", i, err)
				}
			}
			if tc.want != nil {
				wantFound(t, p, tc.want...)
			}
			watcher := connect(t, direct, "exec")
			if n := len(others(t, watcher)); n != 1 {
				t.Errorf("%d server connections for one client", n)
			}
		})
	}
}

// Between transactions the client's own statements stay as they are, its unnamed
// one too, and so does a failed transaction.
func TestObservedClientsStatements(t *testing.T) {
	p, url, _ := testPooler(t, Config{Observe: true})
	c := connect(t, url, "exec").PgConn()
	frontend := c.Frontend()
	answers := func(msgs ...pgproto3.FrontendMessage) (text string, status byte) {
		t.Helper()
		for _, m := range msgs {
			frontend.Send(m)
		}
		if err := frontend.Flush(); err != nil {
			t.Fatal(err)
		}
		for {
			msg, err := c.ReceiveMessage(t.Context())
			if err != nil {
				if _, ok := errors.AsType[*pgconn.PgError](err); !ok {
					t.Fatal(err)
				}
			}
			switch msg := msg.(type) {
			case *pgproto3.DataRow:
				text += string(msg.Values[0]) + " "
			case *pgproto3.ErrorResponse:
				text += msg.Code + " "
			case *pgproto3.ReadyForQuery:
				return strings.TrimSpace(text), msg.TxStatus
			}
		}
	}
	run := []pgproto3.FrontendMessage{&pgproto3.Bind{}, &pgproto3.Execute{}, &pgproto3.Sync{}}
	// The statement leaves something, so a question follows the Sync.
	answers(&pgproto3.Parse{Query: "select set_config('app.n', (coalesce(nullif(current_setting('app.n', true), ''), '0')::int + 1)::text, false)"}, &pgproto3.Sync{})
	for i := range 3 {
		if got, status := answers(run...); got != fmt.Sprint(i+1) || status != 'I' {
			t.Errorf("the unnamed statement returns %q, %c", got, status)
		}
	}
	answers(&pgproto3.Query{String: "begin; set app.m = 'x'"})
	if got, status := answers(&pgproto3.Query{String: "select 1/0"}); got != "22012" || status != 'E' {
		t.Errorf("%q, %c", got, status)
	}
	if got, status := answers(&pgproto3.Query{String: "select 1"}); got != "25P02" || status != 'E' {
		t.Errorf("%q, %c", got, status)
	}
	if got, status := answers(&pgproto3.Query{String: "rollback; select current_setting('app.n')"}); got != "3" || status != 'I' {
		t.Errorf("%q, %c", got, status)
	}
	wantFound(t, p, "PP001", "PP004 app.n", "PP013 app.n")
}

// A cancel request that comes between two statements may hit a question of ours.
// The client does not notice, and loses nothing.
func TestObservedCancel(t *testing.T) {
	p, url, direct := testPooler(t, Config{Observe: true})
	c, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	watcher := connect(t, direct, "exec")
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			if err := c.CancelRequest(t.Context()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	// The server cannot answer our question, until the client will not wait.
	exec(t, watcher, "begin; lock table pg_catalog.pg_class in access exclusive mode")
	if _, err := c.Exec(t.Context(), "set app.n = 'held'").ReadAll(); err != nil {
		t.Errorf("a question of ours was cancelled: %v", err)
	}
	exec(t, watcher, "rollback")
	cancelled := 0
	for i := range 300 {
		_, err := c.Exec(t.Context(), fmt.Sprintf("set app.n = '%d'", i)).ReadAll()
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && pg.Code == "57014" {
			cancelled++ // its own statement, as without us
		} else if err != nil {
			t.Fatal(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	t.Logf("%d of 300 were cancelled", cancelled)
	eventually(t, "the last request was taken", func() bool {
		got, err := c.Exec(t.Context(), "set app.n = 'last'; select current_setting('app.n')").ReadAll()
		return err == nil && string(got[1].Rows[0][0]) == "last"
	})
	// One that sleeps is cancelled by the server's own key.
	ctx, end := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer end()
	if _, err := c.Exec(ctx, "select pg_sleep(60)").ReadAll(); err == nil {
		t.Error("it slept")
	}
	wantFound(t, p, "PP004 app.n")
	eventually(t, "no server connection is left", func() bool { return len(others(t, watcher)) == 0 })
}

// Notifications that arrive while we ask reach the client, each once and in order.
func TestObservedNotifications(t *testing.T) {
	_, url, direct := testPooler(t, Config{Observe: true})
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	var heard []string
	cfg.OnNotification = func(_ *pgconn.PgConn, n *pgconn.Notification) { heard = append(heard, n.Payload) }
	c, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context()) //nolint:errcheck // it is over
	exec(t, c, "listen news")
	const n = 500
	var want []string
	for i := range n {
		want = append(want, fmt.Sprint(i))
	}
	var wg sync.WaitGroup
	speaker := connect(t, direct, "exec")
	wg.Go(func() {
		for _, payload := range want {
			if _, err := speaker.Exec(t.Context(), "select pg_notify('news', $1)", payload); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for i := 0; len(heard) < n; i++ {
		exec(t, c, fmt.Sprintf("set app.n = '%d'", i))
		if i > 100*n {
			t.Fatalf("%d of %d were heard", len(heard), n)
		}
	}
	wg.Wait()
	if !slices.Equal(heard, want) {
		t.Errorf("heard %q", heard)
	}
}

// The server's farewell and a change of its configuration reach the client
// unchanged.
func TestObservedServersWords(t *testing.T) {
	_, url, direct := testPooler(t, Config{Observe: true})
	c := connect(t, url, "exec")
	watcher := connect(t, direct, "exec")
	exec(t, watcher, "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
	_, err := c.Exec(t.Context(), "select 1")
	if pg, ok := errors.AsType[*pgconn.PgError](err); !ok || pg.Code != "57P01" || pg.Severity != "FATAL" {
		t.Errorf("%v", err)
	}
	c = connect(t, url, "exec")
	if before := c.PgConn().ParameterStatus("TimeZone"); before == "Asia/Tokyo" {
		t.Error(before)
	}
	exec(t, c, "set timezone = 'Asia/Tokyo'")
	if after := c.PgConn().ParameterStatus("TimeZone"); after != "Asia/Tokyo" {
		t.Error(after)
	}
}

// Each of many clients has a server connection of its own, with what it set there.
// However the clients go, no connection is left.
func TestObservedConnections(t *testing.T) {
	p, url, direct := testPooler(t, Config{Observe: true})
	watcher := connect(t, direct, "exec")
	const n = 20
	var clients []*pgconn.PgConn
	for i := range n {
		c, err := pgconn.Connect(t.Context(), fmt.Sprintf("%s&application_name=client%02d", url, i))
		if err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	for round := range 3 {
		for i, c := range clients {
			got, err := c.Exec(t.Context(), fmt.Sprintf("set app.n = '%d'; select current_setting('app.n'), pg_backend_pid()", i)).ReadAll()
			if err != nil || string(got[1].Rows[0][0]) != fmt.Sprint(i) || string(got[1].Rows[0][1]) != fmt.Sprint(c.PID()) {
				t.Fatalf("round %d, client %d: %v", round, i, err)
			}
		}
	}
	if names := others(t, watcher); len(names) != n || names[0] != "client00" || names[n-1] != "client19" {
		t.Errorf("%q", names)
	}
	for i, c := range clients {
		if i%2 == 0 {
			_ = c.Conn().Close()
		} else if err := c.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "no server connection is left", func() bool {
		sessions, backends, _ := p.counts()
		return len(others(t, watcher)) == 0 && sessions == 0 && backends == 0
	})
}

// Two locks whose numbers are one are told apart, also by a glance.
func TestObservedLocksOfOneNumber(t *testing.T) {
	p, url, direct := testPooler(t, Config{Observe: true})
	exec(t, connect(t, direct, ""), `create function deep(q text) returns void language plpgsql as $$begin execute q; end$$`)
	c := connect(t, url, "exec")
	exec(t, c, "select pg_advisory_lock(42)")
	for range 3 {
		exec(t, c, "select deep($1)", "select 1")
	}
	exec(t, c, "select deep($1)", "select pg_advisory_unlock(42), pg_advisory_lock(0, 42)")
	wantFound(t, p, "PP009 0, 42", "PP009 42")
}

// What an observed connection holds when it is new is asked of the first of those
// that open within a second with the same startup parameters, and of no other.
// What the others leave is found all the same.
func TestObservedNewcomers(t *testing.T) {
	upstream, messages := pgtest.CountMessages(t, pgtest.Database(t))
	p, url := StartWith(t, Config{Upstream: upstream, Observe: true})
	connect(t, url, "simple_protocol") // which parses nothing itself
	p.mu.Lock()
	for _, pl := range p.pools { // a second may be short on a busy machine
		pl.mu.Lock()
		for key, n := range pl.newcomers {
			n.at = n.at.Add(time.Hour)
			pl.newcomers[key] = n
		}
		pl.mu.Unlock()
	}
	p.mu.Unlock()
	asked := messages(protocol.Parse)
	second := connect(t, url, "simple_protocol")
	if n := messages(protocol.Parse); asked == 0 || n != asked {
		t.Errorf("%d questions to the first, %d to the second", asked, n-asked)
	}
	exec(t, second, "set app.x = '1'")
	wantFound(t, p, "PP004 app.x")
	asked = messages(protocol.Parse)
	connect(t, url+"&work_mem=8MB", "simple_protocol")
	if messages(protocol.Parse) == asked {
		t.Error("a connection with other startup parameters was not asked")
	}
}

// Of an observed program's clients the first ones' answers are held back for a
// moment, and then one client's of ten; another program's are its own.
func TestObservedClientsHeldBack(t *testing.T) {
	p, _ := StartWith(t, Config{Upstream: pgtest.Database(t), Observe: true})
	held := 0
	for i := range 120 {
		if p.holdsBack(Client{ID: uint32(i), ApplicationName: "shop"}) {
			held++
		}
	}
	if held != graceClients+(120-graceClients)/graceSample {
		t.Errorf("%d of 120 clients are held back", held)
	}
	if !p.holdsBack(Client{ID: 1000, ApplicationName: "cron"}) {
		t.Error("another program's first client is not held back")
	}
	for i := range 2 * gracePrograms {
		p.holdsBack(Client{ApplicationName: strings.Repeat("x", i)})
	}
	if n := len(p.heldBack); n > gracePrograms+1 {
		t.Errorf("%d programs are remembered", n)
	}
	strict, _ := StartWith(t, Config{Upstream: pgtest.Database(t)})
	for i := range 120 {
		if !strict.holdsBack(Client{ID: uint32(i)}) {
			t.Fatalf("client %d of prove itself is not held back", i)
		}
	}
}

// A client that is not held back gets its answers at once, and what it sends early
// by itself is still found.
func TestObservedClientsNotHeldBack(t *testing.T) {
	p, url, _ := testPooler(t, Config{Observe: true})
	for range graceClients {
		p.holdsBack(Client{})
	}
	p.mu.Lock()
	p.heldBack[Client{}]++ // the next is none of the sample
	p.mu.Unlock()
	c := connect(t, url, "simple_protocol")
	exec(t, c, "select 1")
	p.mu.Lock()
	sessions := slices.Collect(maps.Values(p.sessions))
	p.mu.Unlock()
	for _, s := range sessions {
		s.mu.Lock()
		if s.gracesUsed != graceTimes {
			t.Errorf("%d answers were held back", s.gracesUsed)
		}
		s.mu.Unlock()
	}
	frontend := c.PgConn().Frontend()
	for range 2 {
		frontend.Send(&pgproto3.Query{String: "select pg_sleep(0.01)"})
	}
	if err := frontend.Flush(); err != nil {
		t.Fatal(err)
	}
	for ready := 0; ready < 2; {
		msg, err := frontend.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := msg.(*pgproto3.ReadyForQuery); ok {
			ready++
		}
	}
	wantFound(t, p, "PP019")
}

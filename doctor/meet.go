package doctor

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/residue"
)

// How an audit meets server connections. Its clients ask at once, each for so long that no two are on the same server
// connection. A pooler hands out first what was given back last: to meet what lies below, as many clients have to ask. While
// server connections are left that were not met, further clients are opened.
const (
	firstClients = 4
	mostClients  = 20 // unless Config.Connections says otherwise
	dwell        = 3 * time.Millisecond
	again        = time.Second // after which a server connection is asked again
	watchEvery   = 200 * time.Millisecond
	barren       = 8 // rounds without a new server connection, after which the clients are opened anew
)

// holdsSQL asks what residue.SQL does not: what PostgreSQL knows of when it came about, and what belongs to the connection.
// It runs after the search_path was set. $1: the server connections of which a number of random()'s was taken before.
const holdsSQL = `jsonb_build_object(
	'now', clock_timestamp(), 'user', a.usename, 'started', a.backend_start, 'at', host(a.client_addr),
	'role', (select c from (select unnest(s.setconfig) as c, s.setrole, s.setdatabase from pg_db_role_setting s
		where s.setrole in (0, a.usesysid) and s.setdatabase in (0, a.datid)) s where c like 'role=%' order by s.setrole desc, s.setdatabase desc limit 1),
	'statements', (select coalesce(jsonb_object_agg(p.name, p.prepare_time), '{}') from pg_prepared_statements p where not p.from_sql and p.name <> ''),
	'prepared', (select coalesce(jsonb_object_agg(p.name, p.prepare_time), '{}') from pg_prepared_statements p where p.from_sql),
	'cursors', (select coalesce(jsonb_object_agg(c.name, c.creation_time), '{}') from pg_cursors c where c.is_holdable),
	'libraries', (select coalesce(jsonb_agg(distinct l.name), '[]') from (select split_part(s.name, '.', 1) as name from pg_settings s where s.name like '%.%') l
		where not exists (select from pg_extension e where e.extname = l.name) and not exists (select from pg_language g where g.lanname = l.name)),
	'random', case when not a.pid = any ($1::int4[]) then random()::text end)
from pg_stat_activity a where a.pid = pg_backend_pid()`

// activitySQL lists the connections of the same login to the same database, and who has them.
const activitySQL = `
select a.pid, coalesce(a.application_name, ''), coalesce(a.state, ''), coalesce(a.backend_start, 'epoch'), coalesce(host(a.client_addr), ''),
       case when a.query ~* '\m(set|set_config)\M' then left(a.query, 1000) else '' end
from pg_stat_activity a
where a.backend_type = 'client backend' and a.datname = current_database() and a.usesysid = (select o.usesysid from pg_stat_activity o where o.pid = pg_backend_pid())`

// holds is the answer to holdsSQL.
type holds struct {
	Now        time.Time            `json:"now"`
	Started    time.Time            `json:"started"`
	User       string               `json:"user"`
	At         string               `json:"at"`
	Role       string               `json:"role"`
	Statements map[string]time.Time `json:"statements"`
	Prepared   map[string]time.Time `json:"prepared"`
	Cursors    map[string]time.Time `json:"cursors"`
	Libraries  []string             `json:"libraries"`
	Random     string               `json:"random"`
}

// other is a row of activitySQL.
type other struct {
	PID                int32
	Application, State string
	Started            time.Time
	At, Query          string
}

// met is a server connection that was met.
type met struct {
	pid       int32
	started   time.Time
	at        string
	first     time.Time // when it was asked first
	asked     time.Time // and last, by its own clock
	askedHere time.Time // by ours
	random    string
	libraries []string
	items     map[string]*left

	application string          // who was there last, of those that have a name
	users       map[string]bool // who was there since it was asked last
}

// left is one thing that a server connection holds.
type left struct {
	code   Code
	object string    // as findings of the same kind have it in common
	name   string    // the thing itself
	after  time.Time // it was not there then; zero: nobody looked
	before time.Time // it was there then
	exact  time.Time // PostgreSQL says so; zero: it does not
	wire   bool      // a statement of the protocol: it may be the pooler's own
	by     []string  // application names that were on the connection in between
}

// audit is one under way. Its mutex guards what it knows.
type audit struct {
	config  *pgx.ConnConfig
	cfg     Config
	pooled  bool // somebody stands between
	foreign bool // named statements of the protocol are clients', not the pooler's own
	on      func(Event)
	own     string // our application_name
	told    map[string]string
	tenant  map[string]bool // settings that policies read, in lower case
	names   []string        // of custom settings
	dblink  string          // the schema of dblink, quoted, or ""
	clients []*pgx.Conn

	mu     sync.Mutex
	met    map[int32]*met
	others map[int32]other
	notes  []string
}

// open opens the first client, without the URL's parameters that are refused, and finds out whether anybody stands between.
func (a *audit) open(ctx context.Context, config *pgx.ConnConfig) (dropped []string, err error) {
	conn, err := pgx.ConnectConfig(ctx, config)
	for name := refused(err, config); name != ""; name = refused(err, config) {
		config = config.Copy()
		delete(config.RuntimeParams, name)
		dropped = append(dropped, name)
		conn, err = pgx.ConnectConfig(ctx, config)
	}
	if err != nil {
		return dropped, err
	}
	a.config, a.own, a.clients = config, config.RuntimeParams["application_name"], []*pgx.Conn{conn}
	for _, name := range []string{"TimeZone", "DateStyle", "IntervalStyle", "client_encoding", "standard_conforming_strings", "search_path", "default_transaction_read_only"} {
		a.told[strings.ToLower(name)] = conn.PgConn().ParameterStatus(name)
	}
	a.know(poolproof.DefaultTenantSetting, poolproof.DefaultUserSetting, a.cfg.TenantSetting)
	a.tenant[strings.ToLower(cmp.Or(a.cfg.TenantSetting, poolproof.DefaultTenantSetting))] = true
	var pid uint32
	if err := conn.QueryRow(ctx, "select pg_catalog.pg_backend_pid()").Scan(&pid); err != nil {
		if _, ok := errors.AsType[*pgconn.PgError](err); !ok {
			return dropped, err
		}
	}
	a.pooled = pid != conn.PgConn().PID() // the number that a client is told belongs to whom it speaks with
	return dropped, nil
}

// askNames asks for the names that the questions need.
func (a *audit) askNames(ctx context.Context) error {
	ctx, cancel := toItsEnd(ctx)
	defer cancel()
	conn := a.clients[0]
	rows, err := conn.Query(ctx, hostile.SettingsSQL(conn.PgConn().ParameterStatus("server_version")))
	if err != nil {
		return err
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) ([]string, error) {
		var kind, name, body []byte
		err := row.Scan(&kind, &name, &body)
		return []string{string(kind), string(name), string(body)}, err
	})
	if err != nil {
		return err
	}
	a.know(hostile.SettingNames(all)...)
	for _, name := range hostile.PolicySettings(all) {
		a.tenant[name] = true
	}
	err = conn.QueryRow(ctx, hostile.DBLinkSQL).Scan(&a.dblink)
	if errors.Is(err, pgx.ErrNoRows) {
		return nil
	}
	return err
}

// know adds names of custom settings.
func (a *audit) know(names ...string) {
	for _, n := range names {
		if n = strings.ToLower(n); strings.Contains(n, ".") && !slices.Contains(a.names, n) && len(a.names) < 500 {
			a.names = append(a.names, n)
		}
	}
}

func (a *audit) close() {
	hangUp(a.clients...)
	a.clients = nil
}

// run meets server connections until all that are known were met, or the time is over; with on, until the time is over.
func (a *audit) run(ctx context.Context) {
	want, idle, named := firstClients, 0, false
	for ctx.Err() == nil {
		if err := a.grow(ctx, want); err != nil {
			a.notef("a further connection failed: %s", last(err))
			if len(a.clients) == 0 {
				if pause(ctx, watchEvery); ctx.Err() == nil {
					continue
				}
				return
			}
		}
		before := len(a.met)
		a.round(ctx)
		if len(a.met) > before {
			idle = 0
		} else {
			idle++
		}
		if !named && len(a.clients) > 0 && !a.clients[0].IsClosed() { // after a first look, as this may be where the statements of others are told from ours
			err := a.askNames(ctx)
			if named = err == nil; named {
				a.forget()
			} else if ctx.Err() == nil {
				a.notef("the names of settings in functions and policies could not be read: %s", last(err))
			}
			continue
		}
		missing := a.unmet()
		if len(missing) == 0 && idle > 0 && named && a.on == nil && a.all() {
			return
		}
		want = min(a.most(), want+min(len(missing), firstClients))
		if idle >= barren && a.on == nil { // where each client keeps its server connection, only a new one meets another
			idle = 0
			a.close()
		}
		if a.on != nil {
			pause(ctx, watchEvery)
		}
	}
}

// forget has every server connection asked again, for names that were not known.
func (a *audit) forget() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range a.met {
		m.askedHere = time.Time{}
	}
}

// all reports whether every server connection that was met, and is still there, was asked.
func (a *audit) all() bool {
	for pid, m := range a.met {
		if _, there := a.others[pid]; there && m.askedHere.IsZero() {
			return false
		}
	}
	return true
}

// toItsEnd lets a question under way take a little longer than the audit may. A client that leaves before it is answered costs
// the pooler its server connection, and us what was on it.
func toItsEnd(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(limit/4, cancel) })
	return longer, func() { stop(); cancel() }
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (a *audit) most() int {
	if a.cfg.Connections > 0 {
		return a.cfg.Connections
	}
	return mostClients
}

// grow opens clients.
func (a *audit) grow(ctx context.Context, want int) error {
	a.clients = slices.DeleteFunc(a.clients, func(c *pgx.Conn) bool { return c.IsClosed() })
	for want = min(want, a.most()); len(a.clients) < want; {
		c, err := pgx.ConnectConfig(ctx, a.config)
		if err != nil {
			return err
		}
		a.clients = append(a.clients, c)
	}
	return nil
}

// round has all clients ask at once.
func (a *audit) round(ctx context.Context) {
	var asking sync.WaitGroup
	a.mu.Lock()
	before, lately := []int32{}, []int32{}
	for pid, m := range a.met {
		before = append(before, pid)
		if time.Since(m.askedHere) < again && a.on == nil {
			lately = append(lately, pid)
		}
	}
	names := slices.Clone(a.names)
	a.mu.Unlock()
	for i, c := range a.clients {
		asking.Go(func() { a.ask(ctx, c, names, before, lately, i == 0) })
	}
	asking.Wait()
}

// ask asks the server connection that a client meets, unless it was asked lately. One of the clients also asks for the others.
func (a *audit) ask(ctx context.Context, c *pgx.Conn, names []string, before, lately []int32, others bool) {
	ctx, cancel := toItsEnd(ctx)
	defer cancel()
	var pid int32
	var raw, more []byte
	var ours bool // the statement_timeout is, from here on
	var rows []other
	var links []string
	b := &pgx.Batch{}
	b.Queue("select pg_catalog.pg_backend_pid()").QueryRow(func(r pgx.Row) error { return r.Scan(&pid) })
	const unless = "select case when pg_catalog.pg_backend_pid() operator(pg_catalog.=) any ($2::pg_catalog.int4[]) then null else ("
	b.Queue(unless+residue.SQL+") end", names, lately).QueryRow(func(r pgx.Row) error { return r.Scan(&raw) })
	b.Queue(`select pg_catalog.set_config('role', 'none', true), pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true), pg_catalog.set_config('transaction_read_only', 'on', true), pg_catalog.set_config('statement_timeout', '2s', true)`).Exec(func(pgconn.CommandTag) error {
		ours = true
		return nil
	})
	b.Queue(unless+"select "+residue.InUTF8("(select "+holdsSQL+")::pg_catalog.text")+") end", before, lately).QueryRow(func(r pgx.Row) error { return r.Scan(&more) })
	if a.dblink != "" {
		b.Queue(`select coalesce(array_agg(n), '{}') from unnest(` + a.dblink + `.dblink_get_connections()) n`).QueryRow(func(r pgx.Row) error { return r.Scan(&links) })
	}
	if others {
		b.Queue(activitySQL).Query(func(r pgx.Rows) (err error) {
			rows, err = pgx.CollectRows(r, pgx.RowToStructByPos[other])
			return err
		})
	}
	b.Queue("select pg_sleep($1)", dwell.Seconds())
	err := c.SendBatch(ctx, b).Close()
	a.mu.Lock()
	defer a.mu.Unlock()
	if ctx.Err() != nil && err != nil {
		return
	}
	a.note(rows)
	pg, refused := errors.AsType[*pgconn.PgError](err)
	switch {
	case raw != nil && more != nil:
		var h holds
		state, err := residue.Parse(raw)
		if err == nil {
			err = json.Unmarshal(more, &h)
		}
		if err != nil { // [unexpected] PostgreSQL made it
			a.notef("an answer cannot be read: %v", err)
			return
		}
		state.Links = links
		a.take(pid, state, h)
	case refused && pid != 0 && !ours && pg.Code == "57014" && strings.Contains(pg.Message, "statement timeout"):
		m := a.of(pid)
		m.askedHere = time.Now()
		a.put(m, map[string]*left{"statement_timeout": {code: LeftSetting, object: "statement_timeout", name: "statement_timeout, under which the question itself was cancelled"}}, m.asked, time.Now())
	case refused && pid != 0 && pg.Code != "57014":
		a.of(pid).askedHere = time.Now()
		a.notef("the server connection with pid %d refused the question: %s", pid, pg.Message)
	case err != nil:
		a.notef("a question failed: %s", last(err))
	}
}

func (a *audit) notef(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(a.notes, n) && len(a.notes) < 10 {
		a.notes = append(a.notes, n)
	}
}

// note takes down who has which connection.
func (a *audit) note(rows []other) {
	if rows == nil {
		return
	}
	a.others = map[int32]other{}
	for _, o := range rows {
		a.others[o.PID] = o
		if o.Query != "" {
			a.know(hostile.SettingsIn(o.Query)...)
		}
		m := a.met[o.PID]
		if m != nil && !m.started.IsZero() && !m.started.Equal(o.Started) && o.Started.Unix() > 0 { // the number is another one's now
			delete(a.met, o.PID)
			m = nil
		}
		if m != nil && m.started.IsZero() {
			m.started, m.at = o.Started, o.At
		}
		if m != nil && o.Application != "" && o.Application != a.own {
			m.application = o.Application
			if len(m.users) < 20 {
				m.users[o.Application] = true
			}
		}
	}
}

// of is the server connection with that pid.
func (a *audit) of(pid int32) *met {
	m := a.met[pid]
	if m == nil {
		m = &met{pid: pid, items: map[string]*left{}, users: map[string]bool{}}
		if o, ok := a.others[pid]; ok {
			m.started, m.at = o.Started, o.At
			if o.Application != a.own {
				m.application = o.Application
			}
		}
		a.met[pid] = m
	}
	return m
}

// take takes down what a server connection holds.
func (a *audit) take(pid int32, state residue.State, h holds) {
	m := a.of(pid)
	if !m.started.IsZero() && !m.started.Equal(h.Started) && h.Started.Unix() > 0 {
		delete(a.met, pid)
		m = a.of(pid)
	}
	if h.Started.Unix() > 0 { // as another session user one is not told
		m.started, m.at = h.Started, h.At
	}
	m.libraries = h.Libraries
	if m.first.IsZero() {
		m.first, m.random = h.Now, h.Random
	}
	now := map[string]*left{}
	add := func(code Code, object, name string, exact time.Time) {
		now[string(code)+" "+name] = &left{code: code, object: object, name: name, exact: exact}
	}
	fresh := residue.State{Role: cmp.Or(strings.TrimPrefix(h.Role, "role="), h.User), Session: h.User}
	for _, i := range state.Since(fresh) {
		switch i.Kind {
		case residue.Setting:
			if name := strings.ToLower(i.Name); name == "application_name" || a.told[name] != "" && a.told[name] == i.Value {
				continue // the pooler made it for us, as it does for each client
			} else if a.tenant[name] {
				add(LeftTenant, name, name, time.Time{})
			} else {
				add(LeftSetting, name, name, time.Time{})
			}
		case residue.Role:
			name := i.Name
			if state.Session != h.User {
				name = "session authorization " + state.Session
			}
			add(LeftRole, name, name, time.Time{})
		case residue.Lock:
			add(LeftLock, i.Name, i.Name, time.Time{})
		case residue.Temp:
			add(LeftTemp, i.Name, i.Name, time.Time{})
		case residue.Prepared:
			add(LeftStatement, pattern(i.Name), i.Name, h.Prepared[i.Name])
		case residue.Cursor:
			add(LeftCursor, i.Name, i.Name, h.Cursors[i.Name])
		case residue.Channel:
			add(LeftChannel, i.Name, i.Name, time.Time{})
		case residue.Link, residue.Slot:
			add(LeftState, i.Name, i.Name, time.Time{})
		}
	}
	if a.on == nil || a.foreign { // without on it is found out later whose they are
		for name, at := range h.Statements {
			add(LeftStatement, pattern(name), name, at)
			now[string(LeftStatement)+" "+name].wire = true
		}
	}
	a.put(m, now, m.asked, h.Now)
	m.asked, m.askedHere = h.Now, time.Now()
	m.users = map[string]bool{}
}

// put replaces what a server connection holds, and tells of what has come and gone.
func (a *audit) put(m *met, now map[string]*left, after, at time.Time) {
	for key, l := range now {
		if had := m.items[key]; had != nil {
			now[key] = had
			continue
		}
		l.after, l.before = after, at
		l.by = slices.Sorted(maps.Keys(m.users))
		if len(l.by) == 0 && m.application != "" {
			l.by = []string{m.application}
		}
		a.tell(m, l, false, at)
	}
	for key, l := range m.items {
		if now[key] == nil {
			a.tell(m, l, true, at)
		}
	}
	m.items = now
}

func (a *audit) tell(m *met, l *left, gone bool, at time.Time) {
	if a.on != nil {
		a.on(Event{At: at, Gone: gone, Code: l.code, Object: l.name, PID: m.pid, Since: l.since(m), By: l.by, Fix: endThem(m)})
	}
}

// unmet are the connections that may be the pooler's and were not met. Those from another address than the ones that were
// met are not.
func (a *audit) unmet() (missing []other) {
	at := map[string]bool{}
	for _, m := range a.met {
		at[m.at] = true
	}
	for pid, o := range a.others {
		if a.met[pid] == nil && at[o.At] {
			missing = append(missing, o)
		}
	}
	return missing
}

// pattern is what names that count have in common: "__asyncpg_stmt_#__".
func pattern(name string) string { return digitRuns.ReplaceAllString(name, "#") }

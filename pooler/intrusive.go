package pooler

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// residue is something that a client leaves on its server connection.
type residue struct {
	name  Name
	leave string // a simple query
	seen  string // is it here? an expression
	clean string // a statement that removes it where it is

	home  uint32 // where it was left
	err   error  // it could not be
	stray bool   // another client met it at home
	gone  bool   // it is not at home any more, without our doing
	kept  bool   // its client had it elsewhere
	lost  bool   // its client did not
	left  bool   // it may still be there
}

// residues are all that are tried; hex makes names of their own. The settings are
// some that hardly any program has, with values that do no harm.
func residues(hex, searchPath string) []*residue {
	n, _ := strconv.ParseUint(hex[:15], 16, 64) // hex digits
	own := "poolproof_" + hex
	// Shown with six digits at most, and without zeros at their end.
	digits := fmt.Sprintf("%03d%d", n%1000, 1+n/1000%9)
	bias := "1.6" + digits
	setting := func(name, value string) string {
		return "pg_catalog.current_setting('" + name + "') operator(pg_catalog.=) '" + value + "'"
	}
	return []*residue{
		{name: SettingSet, leave: "set cursor_tuple_fraction = 0.1" + digits, seen: setting("cursor_tuple_fraction", "0.1"+digits), clean: "reset cursor_tuple_fraction"},
		{name: SettingSetConfig, leave: "select pg_catalog.set_config('geqo_seed', '0.1" + digits + "', false)", seen: setting("geqo_seed", "0.1"+digits), clean: "reset geqo_seed"},
		{name: SettingInFunction, leave: "do $$ begin perform pg_catalog.set_config('geqo_selection_bias', '" + bias + "', false); end $$", seen: setting("geqo_selection_bias", bias), clean: "reset geqo_selection_bias"},
		{name: SettingTimeZone, leave: "set timezone = 'Antarctica/Troll'", seen: setting("timezone", "Antarctica/Troll"), clean: "reset timezone"},
		{name: SettingApplication, leave: "set application_name = '" + own + "'", seen: setting("application_name", own), clean: "reset application_name"},
		{name: SettingSearchPath, leave: "set search_path = " + searchPath + ", " + own, seen: "pg_catalog.strpos(pg_catalog.current_setting('search_path'), '" + own + "') operator(pg_catalog.>) 0", clean: "reset search_path"},
		{name: Listen, leave: "listen " + own, seen: "exists (select from pg_catalog.pg_listening_channels() as c where c operator(pg_catalog.=) '" + own + "')", clean: "unlisten " + own},
		{
			name: AdvisoryLocks, leave: fmt.Sprintf("select pg_catalog.pg_try_advisory_lock(%d)", n),
			seen: fmt.Sprintf(`exists (select from pg_catalog.pg_locks where locktype operator(pg_catalog.=) 'advisory' and pid operator(pg_catalog.=) pg_catalog.pg_backend_pid()
				and classid operator(pg_catalog.=) %d::pg_catalog.oid and objid operator(pg_catalog.=) %d::pg_catalog.oid and objsubid operator(pg_catalog.=) 1)`, n>>32, n&0xffffffff),
			clean: fmt.Sprintf("select pg_catalog.pg_advisory_unlock(%d)", n),
		},
		{name: TempTables, leave: "create temporary table " + own + " ()", seen: "pg_catalog.to_regclass('pg_temp." + own + "') is not null", clean: "drop table pg_temp." + own},
		{name: SettingInTransaction, leave: "begin; set commit_siblings = " + fmt.Sprint(100+n%800) + "; commit", seen: setting("commit_siblings", fmt.Sprint(100+n%800)), clean: "reset commit_siblings"},
	}
}

// intrusion is the trial of all residues. a leaves them and asks for them; b asks
// for them as a stranger; c and d hold server connections, so that a and b move.
type intrusion struct {
	x          *examination
	a, b, c, d *client
	all        []*residue
	stranger   *pgx.ConnConfig // of b, c and d: without an application_name, which would be set in the place of a's
	noBegin    bool
}

func (x *examination) intrude(ctx context.Context) {
	i := &intrusion{x: x}
	defer i.close()
	i.stranger = x.config.Copy()
	delete(i.stranger.RuntimeParams, "application_name")
	var err error
	if i.a, err = x.connect(ctx, x.config); err == nil {
		i.b, err = x.connect(ctx, i.stranger)
	}
	if err != nil {
		x.notef("what leaves state could not be tried: %s", messageOf(err))
		return
	}
	values, err := i.a.ask(ctx, statement("", "select pg_catalog.current_setting('search_path')"), &pgproto3.Sync{})
	if err != nil || len(values) != 1 {
		x.notef("what leaves state could not be tried: the search_path cannot be read")
		return
	}
	x.copyIn(ctx, i.b)
	i.all = residues(randomHex(), strings.TrimSuffix(strings.TrimSpace(values[0]), ","))
	if strings.TrimSpace(values[0]) == "" {
		i.all = residues(randomHex(), `""`)
	}
	i.leave(ctx)
	for round := range 4 * rounds {
		if i.settled() || ctx.Err() != nil || round >= enough && len(x.met) == 1 {
			break
		}
		i.round(ctx, round)
	}
	i.conclude()
	cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanFor)
	defer cancel()
	i.cleanUp(cleaning)
}

func (i *intrusion) close() {
	for _, c := range []*client{i.a, i.b, i.c, i.d} {
		if c != nil {
			c.close()
		}
	}
}

// leave has a leave one thing after the other, each in a message of its own, as
// poolers judge messages, together with the question where that was.
func (i *intrusion) leave(ctx context.Context) {
	for _, r := range i.all {
		if i.a.broken {
			r.err = errors.New("the connection was closed before")
			continue
		}
		sql, commit := strings.CutSuffix(r.leave, "; commit")
		sql += "; " + selectPID
		if commit {
			sql += "; commit"
		}
		values, err := i.a.ask(ctx, nil, &pgproto3.Query{String: sql})
		if err == nil && len(values) > 0 {
			r.home, err = readPID(values[len(values)-1:], nil)
		}
		r.err, r.left = err, r.home != 0
	}
}

// check is one statement: the pid, and a bit for each residue.
func (i *intrusion) check() string {
	var sql strings.Builder
	sql.WriteString("select pg_catalog.concat(pg_catalog.pg_backend_pid(), ' '")
	for _, r := range i.all {
		sql.WriteString(", case when " + r.seen + " then '1' else '0' end")
	}
	sql.WriteString(")")
	return sql.String()
}

func (i *intrusion) ask(c *client) error { return c.send(statement("", i.check()), &pgproto3.Sync{}) }

// note takes down what a client saw.
func (i *intrusion) note(c *client, values []string, err error) {
	if err != nil || len(values) != 1 {
		return
	}
	number, bits, _ := strings.Cut(values[0], " ")
	n, err := strconv.ParseUint(number, 10, 32)
	if err != nil || len(bits) != len(i.all) {
		return
	}
	pid := uint32(n)
	i.x.meet(pid)
	for j, r := range i.all {
		if r.err != nil || r.home == 0 {
			continue
		}
		seen := bits[j] == '1'
		switch {
		case pid == r.home && c == i.a:
			r.gone = r.gone || !seen
		case pid == r.home:
			r.stray = r.stray || seen
			r.gone = r.gone || !seen
		case c == i.a:
			r.kept = r.kept || seen
			r.lost = r.lost || !seen
		}
	}
}

// sessionLike: no pooler, or each client keeps its server connection.
func (i *intrusion) sessionLike() bool {
	m := i.x.found.Pooler.Mode
	return m == None || m == Session
}

func (i *intrusion) settled() bool {
	for _, r := range i.all {
		if r.err == nil && r.home != 0 && (!r.stray && !r.gone || !r.kept && !r.lost) {
			return false
		}
	}
	return true
}

// round lets a and b meet whatever they meet, alone, while c holds a server
// connection, and while d holds another and c has let go.
func (i *intrusion) round(ctx context.Context, round int) {
	i.visit(ctx, i.b, nil)
	i.visit(ctx, i.a, nil)
	if i.sessionLike() {
		return
	}
	i.together(ctx, i.check(), func(c *client, values []string, err error) { i.note(c, values, err) })
	select {
	case <-time.After(time.Millisecond << min(round, rounds-1) >> 1):
	case <-ctx.Done():
		return
	}
	if !i.hold(ctx, &i.c) {
		return
	}
	i.visit(ctx, i.a, i.c)
	i.visit(ctx, i.b, i.c)
	if i.c.held && i.hold(ctx, &i.d) {
		_ = i.c.letGo(ctx) // a client that failed is not held either
		i.visit(ctx, i.b, i.d)
		i.visit(ctx, i.a, i.d)
		_ = i.d.letGo(ctx)
	}
	_ = i.c.letGo(ctx)
}

// visit has a client ask, while holder has a server connection.
func (i *intrusion) visit(ctx context.Context, c, holder *client) {
	if c.broken || i.ask(c) != nil {
		return
	}
	values, err := i.answer(ctx, c, holder)
	i.note(c, values, err)
}

// answer returns what a client that asked is sent; where it waits, holder lets go.
func (i *intrusion) answer(ctx context.Context, c, holder *client) ([]string, error) {
	brief, cancel := context.WithTimeout(ctx, patience)
	values, err := c.receive(brief)
	cancel()
	if !errors.Is(err, errWaiting) {
		return values, err
	}
	if holder != nil {
		_ = holder.letGo(ctx)
	}
	return c.receiveLast(ctx)
}

// together has a and b ask at once, each for so long that they cannot be on the
// same server connection, where there are two.
func (i *intrusion) together(ctx context.Context, check string, note func(*client, []string, error), first ...pgproto3.FrontendMessage) {
	var asked []*client
	for _, c := range []*client{i.a, i.b} {
		messages := append(statement("", "do $$ begin perform pg_catalog.pg_sleep(0.005); end $$"), first...)
		if !c.broken && c.send(append(messages, statement("", check)...), &pgproto3.Sync{}) == nil {
			asked = append(asked, c)
		}
	}
	for _, c := range asked {
		values, err := c.receiveLast(ctx)
		note(c, values, err)
	}
}

// hold has a client, made where there is none, keep a server connection.
func (i *intrusion) hold(ctx context.Context, c **client) bool {
	if *c == nil || (*c).broken {
		fresh, err := i.x.connect(ctx, i.stranger)
		if err != nil {
			return false
		}
		*c = fresh
	}
	brief, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if !i.noBegin && i.x.found.Pooler.Mode != Statement {
		_, err := (*c).hold(brief)
		if err == nil {
			return true
		}
		i.noBegin = refusesBegin(err)
		return false
	}
	_, err := (*c).holdByFlush(brief)
	return err == nil
}

// conclude makes capabilities of what was seen.
func (i *intrusion) conclude() {
	for _, r := range i.all {
		c := Capability{Basis: Measured}
		switch {
		case r.err != nil:
			c.Value, c.Text = Refused, messageOf(r.err)
		case r.stray:
			c.Value, c.Text = Leaks, "another client met it"
			if r.lost {
				c.Text += ", and its own client did not have it on another server connection"
			}
		case i.sessionLike() && !r.gone && !r.lost:
			c.Value, c.Text = Works, "it was there later, and another client did not meet it"
		case r.kept && !r.lost:
			c.Value, c.Text = Tracked, "its client had it on another server connection, and no other client met it"
		case r.gone || r.lost && r.home != 0 && i.cleaned(r):
			c.Value, c.Text = Lost, "it was gone later, and no other client met it"
		default:
			c.Value, c.Basis, c.Text = Unclear, Untold, "the clients did not come to the server connections that would have told"
		}
		i.x.set(r.name, c)
	}
}

func (i *intrusion) cleaned(r *residue) bool { return r.gone && !r.stray }

// cleanUp removes what was left, wherever it is met again, in one message that
// looks, cleans and looks again.
func (i *intrusion) cleanUp(ctx context.Context) {
	var clean strings.Builder
	clean.WriteString("do $poolproof$ begin ")
	for _, r := range i.all {
		fmt.Fprintf(&clean, "if %s then execute '%s'; end if; ", r.seen, strings.ReplaceAll(r.clean, "'", "''"))
	}
	clean.WriteString("end $poolproof$")
	cleaned := func(_ *client, values []string, err error) {
		if err != nil || len(values) != 1 {
			return
		}
		number, bits, _ := strings.Cut(values[0], " ")
		for j, r := range i.all {
			if number == strconv.FormatUint(uint64(r.home), 10) && len(bits) == len(i.all) && bits[j] == '0' {
				r.left = false
			}
		}
	}
	visit := func(c *client, holder *client) {
		if c == nil || c.broken {
			return
		}
		messages := append(statement("", clean.String()), statement("", i.check())...)
		if c.send(messages, &pgproto3.Sync{}) != nil {
			return
		}
		values, err := i.answer(ctx, c, holder)
		cleaned(c, values, err)
	}
	dirty := func() bool {
		for _, r := range i.all {
			if r.left && (!r.gone || r.stray) {
				return true
			}
		}
		return false
	}
	for round := 0; ctx.Err() == nil && (round == 0 || dirty()) && round < 4*rounds; round++ {
		visit(i.a, nil)
		visit(i.b, nil)
		if !dirty() || i.sessionLike() {
			continue
		}
		i.together(ctx, i.check(), cleaned, statement("", clean.String())...)
		if dirty() && i.hold(ctx, &i.c) {
			visit(i.a, i.c)
			visit(i.b, i.c)
			if i.c.held && i.hold(ctx, &i.d) {
				_ = i.c.letGo(ctx)
				visit(i.b, i.d)
				_ = i.d.letGo(ctx)
			}
			_ = i.c.letGo(ctx)
		}
	}
	if !i.sessionLike() {
		i.ended(ctx)
		for _, r := range i.all {
			if r.left && (!r.gone || r.stray) {
				i.x.notef("%s was left on the server connection with pid %d and could not be cleaned up: %s", r.name, r.home, r.clean)
			}
		}
	}
}

// ended notes what ended with its server connection.
func (i *intrusion) ended(ctx context.Context) {
	ends := map[uint32]bool{}
	for _, r := range i.all {
		if !r.left || i.a.broken {
			continue
		}
		if _, asked := ends[r.home]; !asked {
			values, err := i.a.ask(ctx, statement("", "select 1 from pg_catalog.pg_stat_activity where pid operator(pg_catalog.=) $1::pg_catalog.int4", strconv.FormatUint(uint64(r.home), 10)), &pgproto3.Sync{})
			ends[r.home] = err == nil && len(values) == 0
		}
		r.left = !ends[r.home]
	}
}

// copyIn copies a row into a table that is gone with its transaction, in one
// message.
func (x *examination) copyIn(ctx context.Context, c *client) {
	table := "poolproof_" + randomHex()
	c.copying = []byte("1\n")
	values, err := c.ask(ctx, nil, &pgproto3.Query{String: "create temporary table " + table + " (i int4) on commit drop; copy " + table + " from stdin; select i from " + table})
	switch {
	case err != nil:
		x.set(CopyIn, x.refusal(ctx, err))
	case len(values) == 1 && values[0] == "1":
		x.set(CopyIn, Capability{Value: Works, Basis: Measured, Text: "a row went in"})
	default:
		x.set(CopyIn, Capability{Value: Wrong, Basis: Measured, Text: fmt.Sprintf("the answers were %q", c.trace)})
	}
}

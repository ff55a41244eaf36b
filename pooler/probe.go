package pooler

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Budget is how long a probe may ask. Connecting does not count, as a pooler
// with slow authentication is asked as much as any other; but each further
// connection must stand within Budget.
const Budget = time.Second

const (
	// patience is how long the probe waits for a server connection that a pool of
	// one cannot have, and for the answer to a Flush.
	patience = 100 * time.Millisecond
	// rounds bounds the attempts to see a server connection change hands. Each
	// waits longer than the last for a pooler that cleans a connection before it
	// passes it on: 127 ms in all.
	rounds = 8
	// enough are the rounds after which the probe concludes when time gets short.
	enough = 3
)

// Probe connects to what config names and finds out what a [Report] says. It
// uses at most three connections at a time and executes nothing but SELECTs, empty
// transactions and a named statement of its own, which is dropped in the message
// that makes it. So it leaves nothing behind, not even if it is killed; only a pooler
// that tracks statements keeps that one in its own cache.
//
// An error means that the first connection failed. What could not be found out
// within [Budget] is left unproven, with a note.
func Probe(ctx context.Context, config *pgx.ConnConfig) (Report, error) {
	start := time.Now()
	a, err := connect(ctx, config)
	if err != nil {
		return Report{}, err
	}
	p := &probe{config: config, a: a, name: "poolproof_probe_" + randomHex(), report: Report{
		ServerVersion: a.pg.ParameterStatus("server_version"), Supavisor: a.pg.ParameterStatus("application_name") == "Supavisor",
	}}
	defer p.close()
	ctx, p.over = context.WithCancel(ctx)
	defer p.over()
	p.until = time.Now().Add(Budget)
	p.timer = time.AfterFunc(Budget, p.over)
	defer p.timer.Stop()
	p.run(ctx)
	p.report.Elapsed = time.Since(start)
	return p.report, nil
}

// probe is one under way. Client a was served by the server connection home first;
// b, and if need be c, get in its way.
type probe struct {
	config  *pgx.ConnConfig
	a, b, c *client
	name    string
	report  Report

	until time.Time // when the time to ask is over; connecting puts it off
	timer *time.Timer
	over  context.CancelFunc

	home uint32
	met  map[*client]map[uint32]bool // the server connections of each client that is still open

	noBegin bool // BEGIN is refused, as in statement mode
	noHold  bool // and a Flush is not answered
	noThird bool // there is no server connection for c
	stuck   int  // times that a waited for a server connection that was held
	begun   bool // BEGIN was let through

	tracked, known bool  // what became of the named statement: see tracksNamed
	namedErr       error // why that could not be tried

	stopped string // why the moves were not all made, or ""
}

func (p *probe) notef(format string, args ...any) {
	p.report.Notes = append(p.report.Notes, fmt.Sprintf(format, args...))
}

func (p *probe) close() {
	for _, c := range []*client{p.a, p.b, p.c} {
		if c != nil {
			c.close()
		}
	}
}

// connect opens a further connection, while which the time to ask stands still.
func (p *probe) connect(ctx context.Context, config *pgx.ConnConfig) (*client, error) {
	if ctx.Err() != nil || !p.timer.Stop() {
		return nil, context.DeadlineExceeded
	}
	start := time.Now()
	brief, cancel := context.WithTimeout(ctx, Budget)
	defer cancel()
	c, err := connect(brief, config)
	p.until = p.until.Add(time.Since(start))
	p.timer.Reset(time.Until(p.until))
	return c, err
}

// drop closes a client that is to serve no longer: what it has met says
// nothing any more, as its server connections go to others.
func (p *probe) drop(c *client) {
	delete(p.met, c)
	c.close()
}

// failure is an error of a step in words. A step that had no answer when the
// time was over says so, whatever the network called it.
func (p *probe) failure(ctx context.Context, err error) string {
	if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) || pgconn.Timeout(err) {
		p.report.TimedOut = true
		return "the pooler did not answer in time, as when all its server connections are busy"
	}
	return err.Error()
}

// run fills the report in. It stops at the first thing that fails for another
// reason than the one it asks about.
func (p *probe) run(ctx context.Context) {
	r := &p.report
	r.Mode = Unknown
	pid, err := p.a.backendPID(ctx)
	if err != nil {
		r.Present, r.Undecided = true, ctx.Err() != nil
		untold := Reason{Untold, "the first query failed: " + p.failure(ctx, err)}
		r.Why.Mode, r.Why.NamedStatements, r.Why.ImplicitScope = untold, untold, untold
		p.notef("%s", untold.Text)
		return
	}
	r.ImplicitScope, err = p.a.implicitScope(ctx)
	switch {
	case err != nil:
		r.Undecided = ctx.Err() != nil
		r.Why.ImplicitScope = Reason{Untold, "the one-Sync scope could not be tried: " + p.failure(ctx, err)}
		p.notef("%s", r.Why.ImplicitScope.Text)
	case r.ImplicitScope:
		r.Why.ImplicitScope = Reason{Measured, "a setting held for its pipeline and was gone after it"}
	default:
		r.Why.ImplicitScope = Reason{Measured, "a setting did not hold for its pipeline, or stayed after it: this pooler breaks the one-Sync scope"}
	}
	// pgpool-II passes the pid on, but not the pipeline (4.3 and 4.6 in raw mode: measured).
	r.Present = pid != p.a.pg.PID() || err != nil || !r.ImplicitScope
	if !r.Present {
		r.Mode, r.NamedStatements = None, true
		r.Why.Mode = Reason{Measured, "the server process answers under the number that it was introduced with"}
		r.Why.NamedStatements = Reason{Inferred, "no pooler was seen"}
		return
	}
	if version := p.pgpool(ctx, pid); version != "" {
		r.Mode, r.NamedStatements = Session, true
		r.Why.Mode = Reason{Inferred, "this is pgpool-II " + version + ", where each client keeps its server connection"}
		r.Why.NamedStatements = r.Why.Mode
		return
	}
	p.met = map[*client]map[uint32]bool{}
	p.meet(p.a, pid)
	p.home = pid
	p.tracked, p.known, p.namedErr = p.a.tracksNamed(ctx, p.name)
	err = p.namedErr
	if err == nil || !p.a.broken {
		err = p.move(ctx)
	}
	if err != nil {
		p.stopped = p.failure(ctx, err)
		p.notef("the mode and named statements could not be told for certain: %s", p.stopped)
	}
	p.conclude(ctx)
}

// pgpool is pgpool-II's version if it is that: it passes the server's pid on.
func (p *probe) pgpool(ctx context.Context, pid uint32) string {
	if pid != p.a.pg.PID() {
		return ""
	}
	return p.a.pgpoolVersion(ctx)
}

// move moves the clients about until it is known how server connections are handed
// out.
//
// What a client meets when nobody is in its way proves nothing: PgBouncer hands
// out the server connection that came back last, or each in turn; Odyssey cleans
// one before it passes it on, so that two clients take turns on two of them and
// never meet (1.5: measured). So one client holds a server connection while
// others ask.
func (p *probe) move(ctx context.Context) (err error) {
	if p.b, err = p.connect(ctx, p.config); err != nil {
		return fmt.Errorf("a second connection failed: %w", err)
	}
	for round := range rounds {
		if round >= enough && time.Until(p.until) < Budget/2 {
			break
		}
		if err := p.round(ctx, round); err != nil {
			return err
		}
		if p.settled() || p.stuck >= 3 && p.places() == 1 {
			break
		}
	}
	return nil
}

// settled reports whether the mode is known: BEGIN's answer, and that server
// connections change hands.
func (p *probe) settled() bool { return (p.begun || p.noBegin) && p.shared() != "" }

// round lets a meet whatever it meets, first with nobody in its way, then with
// b, and if need be c, holding a server connection. In every other round b has
// let go before c asks: clients of one of several poolers behind one address
// meet each other then, even if a is alone on another.
func (p *probe) round(ctx context.Context, round int) error {
	if err := p.ask(ctx, nil); err != nil || p.settled() {
		return err
	}
	select {
	case <-time.After(time.Millisecond << round >> 1):
	case <-ctx.Done():
		return ctx.Err()
	}
	held, err := p.hold(ctx, &p.b)
	if err != nil || p.noHold {
		return err
	}
	if err := p.ask(ctx, p.b); err != nil || p.settled() {
		return err
	}
	if held != p.home && !p.noThird {
		if round%2 == 1 {
			if err := p.b.letGo(ctx); err != nil {
				return err
			}
		}
		if err := p.third(ctx); err != nil {
			return err
		}
	}
	return p.b.letGo(ctx)
}

// third lets c take a server connection. If b holds one of two, it is a's, which
// a must then do without.
func (p *probe) third(ctx context.Context) (err error) {
	if p.c == nil {
		if p.c, err = p.connect(ctx, p.config); err != nil {
			p.noThird = true
			return nil //nolint:nilerr // a limit of clients is no reason to stop: two do for most poolers
		}
	}
	brief, cancel := context.WithTimeout(ctx, patience)
	held, err := p.hold(brief, &p.c)
	cancel()
	if err != nil && brief.Err() != nil && ctx.Err() == nil { // session mode, and no server connection is left
		p.noThird = true
		p.drop(p.c)
		p.c = nil
		return nil
	}
	if err != nil || held != p.home {
		if err == nil {
			err = p.c.letGo(ctx)
		}
		return err
	}
	if err := p.b.letGo(ctx); err != nil {
		return err
	}
	if err := p.ask(ctx, p.c); err != nil {
		return err
	}
	return p.c.letGo(ctx)
}

// hold lets a client take a server connection and keep it. The client is another
// one afterwards if the pooler disconnects it for a BEGIN.
func (p *probe) hold(ctx context.Context, c **client) (uint32, error) {
	if !p.noBegin {
		pid, err := (*c).hold(ctx)
		if err == nil {
			p.begun = true
			p.meet(*c, pid)
			return pid, nil
		}
		if !refusesBegin(err) {
			return 0, err
		}
		p.noBegin = true
		p.drop(*c)
		if *c, err = p.connect(ctx, p.config); err != nil {
			return 0, fmt.Errorf("a connection after the one that BEGIN cost failed: %w", err)
		}
	}
	pid, err := (*c).holdByFlush(ctx)
	if errors.Is(err, errNoFlush) {
		p.noHold = true
		return 0, nil
	}
	if err == nil {
		p.meet(*c, pid)
	}
	return pid, err
}

// refusesBegin reports whether err is statement mode's answer to BEGIN.
func refusesBegin(err error) bool {
	pgErr, refused := errors.AsType[*pgconn.PgError](err)
	return refused && strings.Contains(pgErr.Message, "statement pooling")
}

// ask has a ask wherever it comes to. If holder has the only server connection that
// there is, it lets go of it after a while.
func (p *probe) ask(ctx context.Context, holder *client) error {
	if err := p.a.sendPID(); err != nil {
		return err
	}
	var values []string
	err := errWaiting
	if holder != nil {
		brief, cancel := context.WithTimeout(ctx, patience)
		values, err = p.a.receive(brief)
		cancel()
		if errors.Is(err, errWaiting) && ctx.Err() == nil {
			p.stuck++
			if err := holder.letGo(ctx); err != nil {
				p.a.breakOff()
				return err
			}
		}
	}
	if errors.Is(err, errWaiting) {
		values, err = p.a.receiveLast(ctx)
	}
	pid, err := readPID(values, err)
	if err == nil {
		p.meet(p.a, pid)
	}
	return err
}

// statementLost reports whether err says that a prepared statement is not there:
// PostgreSQL's own words, and those of poolers that answer for it.
func statementLost(err error) bool {
	pgErr, refused := errors.AsType[*pgconn.PgError](err)
	return refused && (pgErr.Code == "26000" || strings.Contains(pgErr.Message, "prepared statement"))
}

// meet notes where a client was served.
func (p *probe) meet(c *client, pid uint32) {
	if p.met[c] == nil {
		p.met[c] = map[uint32]bool{}
	}
	p.met[c][pid] = true
}

// places is how many server connections were met.
func (p *probe) places() int {
	all := map[uint32]bool{}
	for _, one := range p.met {
		maps.Copy(all, one)
	}
	return len(all)
}

// shared says what proves that server connections change hands, or "".
func (p *probe) shared() string {
	owners := map[uint32]*client{}
	for c, one := range p.met {
		if len(one) > 1 {
			return "an open client met two server connections"
		}
		for pid := range one {
			if owners[pid] != nil && owners[pid] != c {
				return "two open clients met the same server connection"
			}
			owners[pid] = c
		}
	}
	return ""
}

// conclude says what the moves have shown.
func (p *probe) conclude(ctx context.Context) {
	r := &p.report
	shared := p.shared()
	switch {
	case p.noBegin:
		r.Mode, r.Why.Mode = Statement, Reason{Measured, "BEGIN is refused"}
	case shared != "" && p.begun:
		r.Mode, r.Why.Mode = Transaction, Reason{Measured, shared}
	case shared != "":
		p.beginner(ctx, shared)
	case p.stopped != "":
		r.Why.Mode = Reason{Untold, p.stopped}
	default:
		p.session(ctx)
		return
	}
	switch {
	case p.namedErr != nil:
		r.Why.NamedStatements = Reason{Untold, "a named statement could not be prepared: " + p.failure(ctx, p.namedErr)}
	case p.tracked:
		r.NamedStatements, r.Why.NamedStatements = true, Reason{Measured, "a statement was executed although the server had nothing under its name: the pooler keeps it"}
	case p.known:
		r.Why.NamedStatements = Reason{Measured, "the server itself has a client's statement under the client's name, and once it was gone there the pooler did not know it"}
	default:
		r.Why.NamedStatements = Reason{Measured, "a statement was not known any more after the Sync that had prepared it"}
	}
}

// beginner asks whether BEGIN is let through where the moves were over before
// anybody had tried.
func (p *probe) beginner(ctx context.Context, shared string) {
	r := &p.report
	if p.b == nil || p.b.broken {
		r.Why.Mode = Reason{Untold, "server connections change hands, and BEGIN could not be tried"}
		return
	}
	_, err := p.b.hold(ctx)
	if err == nil {
		err = p.b.letGo(ctx)
	}
	switch {
	case err == nil:
		r.Mode, r.Why.Mode = Transaction, Reason{Measured, shared}
	case refusesBegin(err):
		r.Mode, r.Why.Mode = Statement, Reason{Measured, "BEGIN is refused"}
	default:
		r.Why.Mode = Reason{Untold, "server connections change hands, and BEGIN failed: " + p.failure(ctx, err)}
		p.notef("%s", r.Why.Mode.Text)
	}
}

// session concludes from clients that kept what they had. A pooler can be
// thought of that has preferred the same server connection for each client all
// the time; of PgBouncer it is known that it does not. More than two of it behind
// one address would look the same, if each client came to another one: then a
// named statement that is lost makes the library fall back.
func (p *probe) session(ctx context.Context) {
	r := &p.report
	r.Mode = Session
	kept := "each client met the same server connection all the time"
	if !p.pgbouncer(ctx) {
		r.Why.Mode = Reason{Inferred, kept}
		if p.tracked {
			r.NamedStatements, r.Why.NamedStatements = true, Reason{Measured, "a statement was executed although the server had nothing under its name: the pooler keeps it"}
			return
		}
		r.Why.NamedStatements = Reason{Untold, "each client seems to keep its server connection, which is not certain of this pooler"}
		return
	}
	r.Why.Mode = Reason{Inferred, kept + ", and PgBouncer would have moved it in another mode"}
	r.NamedStatements, r.Why.NamedStatements = true, Reason{Inferred, "each client keeps its server connection, and its statements with it"}
}

// pgbouncer reports whether the pooler is PgBouncer, which refuses a start-up
// parameter that it cannot track, in its own words and before any password.
func (p *probe) pgbouncer(ctx context.Context) bool {
	if p.c != nil { // three connections at most
		p.drop(p.c)
		p.c = nil
	}
	config := p.config.Copy()
	config.RuntimeParams["poolproof.probe"] = "1"
	stranger, err := p.connect(ctx, config)
	if err == nil {
		stranger.close()
		return false
	}
	pgErr, refused := errors.AsType[*pgconn.PgError](err)
	return refused && strings.Contains(pgErr.Message, "unsupported startup parameter")
}

func randomHex() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return hex.EncodeToString(b[:])
}

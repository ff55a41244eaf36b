package pooler

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// transport finds out what the connection can be protected with. It begins a
// log-in, gives no password, and hangs up.
func (x *examination) transport(ctx context.Context, a *client) {
	no := func(format string, args ...any) {
		c := Capability{Value: Unclear, Basis: Untold, Text: fmt.Sprintf(format, args...)}
		if _, known := x.found.Capabilities[TLS]; !known {
			x.set(TLS, c)
		}
		x.set(ChannelBinding, c)
	}
	conn, err := x.dial(ctx, a)
	if err != nil {
		no("TLS was not asked for: %v", err)
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(Budget)) // of a connection that is open
	request, err := (&pgproto3.SSLRequest{}).Encode(nil)
	if err == nil {
		_, err = conn.Write(request)
	}
	var answer [1]byte
	if err == nil {
		_, err = conn.Read(answer[:])
	}
	if err != nil {
		no("a request for TLS was not answered: %v", err)
		return
	}
	if answer[0] != 'S' {
		x.set(TLS, Capability{Value: Refused, Basis: Measured, Text: "it does not offer TLS"})
		x.set(ChannelBinding, Capability{Value: Refused, Basis: Measured, Text: "there is no TLS to bind to"})
		return
	}
	config := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // no secret is sent: see what is offered, and hang up
	if x.config.TLSConfig != nil {
		config = x.config.TLSConfig.Clone()
	}
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		x.set(TLS, Capability{Value: Refused, Basis: Measured, Text: "TLS is offered, and the handshake fails: " + err.Error()})
		no("the handshake of TLS failed")
		return
	}
	x.set(TLS, Capability{Value: Works, Basis: Measured, Text: tls.VersionName(secured.ConnectionState().Version)})
	front := pgproto3.NewFrontend(secured, secured)
	front.Send(&pgproto3.StartupMessage{ProtocolVersion: pgproto3.ProtocolVersion30, Parameters: map[string]string{"user": x.config.User, "database": x.config.Database}})
	if err := front.Flush(); err != nil {
		no("the log-in could not be begun: %v", err)
		return
	}
	msg, err := front.Receive()
	switch msg := msg.(type) {
	case *pgproto3.AuthenticationSASL:
		if slices.Contains(msg.AuthMechanisms, "SCRAM-SHA-256-PLUS") {
			x.set(ChannelBinding, Capability{Value: Works, Basis: Measured, Text: "SCRAM-SHA-256-PLUS is offered"})
			return
		}
		x.set(ChannelBinding, Capability{Value: Refused, Basis: Measured, Text: "only " + strings.Join(msg.AuthMechanisms, ", ") + " is offered: channel_binding=require fails"})
	case nil:
		no("the log-in was not answered: %v", err)
	default:
		no("this login does not use SCRAM, so that there is nothing to bind")
	}
}

// harmless tries what leaves nothing behind at any moment.
func (x *examination) harmless(ctx context.Context, a *client) {
	b, err := x.connect(ctx, x.config)
	if err != nil {
		x.notef("a second connection failed: %s", messageOf(err))
		return
	}
	defer func() { b.close() }()
	renew := func(c **client) bool {
		if !(*c).broken {
			return true
		}
		fresh, err := x.connect(ctx, x.config)
		if err == nil {
			*c = fresh
		}
		return err == nil
	}
	defer func(first *client) {
		if a != first {
			a.close()
		}
	}(a)
	for _, try := range []func(context.Context, *client, *client){x.wait, x.applicationName, x.resetting, x.unnamed, x.copyOut, x.halfPipeline, x.cancels, x.pipelineError} {
		if ctx.Err() != nil || !renew(&a) || !renew(&b) {
			return
		}
		try(ctx, a, b)
	}
}

// waits is how many statements are timed.
const waits = 5

func (x *examination) wait(ctx context.Context, a, _ *client) {
	var slowest time.Duration
	for i := range waits {
		start := time.Now()
		pid, err := a.backendPID(ctx)
		if err != nil {
			c := x.refusal(ctx, err)
			c.Tried, c.Done = i+1, i
			x.set(Wait, c)
			return
		}
		x.meet(pid)
		slowest = max(slowest, time.Since(start))
	}
	x.set(Wait, Capability{
		Value: Works, Basis: Measured, Tried: waits, Done: waits,
		Text: fmt.Sprintf("the slowest of %d statements, server connection and answer, took %v", waits, slowest.Round(10*time.Microsecond)),
	})
}

// applicationName reads the log-in's own application_name back, where it has one:
// another would stay on the server connection.
func (x *examination) applicationName(ctx context.Context, a, _ *client) {
	own := x.config.RuntimeParams["application_name"]
	if own == "" {
		if x.found.Report.Supavisor {
			x.set(ApplicationName, Capability{Value: Ignored, Basis: Documented, Text: "the server shows Supavisor instead"})
			return
		}
		x.set(ApplicationName, Capability{Value: Unclear, Basis: Untold, Text: "the URL has no application_name to read back"})
		return
	}
	values, err := a.ask(ctx, statement("", "select pg_catalog.current_setting('application_name')"), &pgproto3.Sync{})
	switch {
	case err != nil:
		x.set(ApplicationName, x.refusal(ctx, err))
	case len(values) == 1 && values[0] == own:
		x.set(ApplicationName, Capability{Value: Works, Basis: Measured, Text: "the server shows the log-in's"})
	default:
		x.set(ApplicationName, Capability{Value: Ignored, Basis: Measured, Text: fmt.Sprintf("the server shows %q", strings.Join(values, ""))})
	}
}

// answer is what a trial says, or that it says nothing.
type answer int

const (
	unasked answer = iota
	yes
	no
)

// resetText is what poolers send to a server connection before they pass it on.
var resetText = regexp.MustCompile(`(?i)^\s*discard all|\breset all\b`)

// resetting finds out whether the pooler resets server connections between
// transactions: PostgreSQL shows the last statement of one that is idle, to the
// same login.
func (x *examination) resetting(ctx context.Context, a, b *client) {
	if m := x.found.Pooler.Mode; m != Transaction && m != Statement {
		return
	}
	const looks = 20
	for range looks {
		if _, err := x.at(ctx, 0, a, b); err != nil { // on two server connections at once
			return
		}
		values, err := a.ask(ctx, statement("", `select pid operator(pg_catalog.||) ' ' operator(pg_catalog.||) query from pg_catalog.pg_stat_activity
			where datname operator(pg_catalog.=) pg_catalog.current_database() and pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid() and query operator(pg_catalog.<>) ''`), &pgproto3.Sync{})
		if err != nil {
			return
		}
		for _, value := range values {
			number, query, _ := strings.Cut(value, " ")
			pid, err := readPID([]string{number}, nil)
			if err != nil || !x.met[pid] {
				continue
			}
			if resetText.MatchString(query) {
				x.resets = yes
				return
			}
			x.resets = no
		}
	}
}

// unnamed parses the unnamed statement in one Sync and asks for its description
// in the next: executing it could execute a stranger's. In between, b or a third
// client has the server connection for a statement of its own.
func (x *examination) unnamed(ctx context.Context, a, b *client) {
	if x.found.Report.Mode == None || x.found.Pooler.Mode == Session {
		x.set(UnnamedStatement, Capability{Value: Works, Basis: Inferred, Text: "each client keeps its server connection"})
	}
	own := "own_" + x.name
	c := b // alone, where a third client may have to wait for another one's end
	if m := x.found.Pooler.Mode; m == Transaction || m == Statement {
		if third, err := x.connect(ctx, x.config); err == nil {
			c = third
			defer func() { third.close() }()
		}
	}
	refused, kept := 0, 0
	var refusal error
	for range rounds {
		messages := append(statement("", selectPID), &pgproto3.Parse{Query: "select 1 as " + own})
		home, err := readPID(a.ask(ctx, messages, &pgproto3.Sync{}))
		if err != nil {
			x.set(UnnamedStatement, x.refusal(ctx, err))
			return
		}
		x.meet(home)
		visited, err := x.at(ctx, home, b, c)
		if err != nil {
			x.set(UnnamedStatement, x.refusal(ctx, err))
			return
		}
		messages = append([]pgproto3.FrontendMessage{&pgproto3.Describe{ObjectType: 'S'}}, statement("", selectPID)...)
		at, err := readPID(a.ask(ctx, messages, &pgproto3.Sync{}))
		mine := slices.Contains(a.columns, own)
		switch {
		case err != nil && statementLost(err):
			refused, refusal = refused+1, err
		case err != nil:
			x.set(UnnamedStatement, x.refusal(ctx, err))
			return
		case mine && (at != home || visited):
			kept++
			x.meet(at)
		case !mine:
			x.meet(at)
			x.set(UnnamedStatement, Capability{Value: Wrong, Basis: Measured, Text: "after a Sync another client's statement was described instead: whoever executes it gets that one's rows"})
			return
		}
		if a.broken {
			break
		}
		if x.found.Report.Mode == None || x.found.Pooler.Mode == Session {
			if mine {
				x.set(UnnamedStatement, Capability{Value: Works, Basis: Measured, Text: "it was there after its Sync"})
			}
			return
		}
	}
	switch {
	case kept > 0 && refused == 0:
		x.set(UnnamedStatement, Capability{Value: Tracked, Basis: Measured, Text: "it was there although another client had the server connection, or its own was another one"})
	case refused > 0 && x.resets != yes:
		x.set(UnnamedStatement, Capability{Value: Wrong, Basis: Inferred, Text: "it was gone after its Sync (" + messageOf(refusal) + "); where another client has parsed one meanwhile, that one is executed"})
	case refused > 0:
		x.set(UnnamedStatement, Capability{Value: Refused, Basis: Measured, Text: messageOf(refusal)})
	default:
		x.set(UnnamedStatement, Capability{Value: Unclear, Basis: Untold, Text: "nobody else came to its server connection"})
	}
}

// at has two clients ask at once, each for so long that they cannot be on the same
// server connection, where there are two. It reports whether one was at home.
func (x *examination) at(ctx context.Context, home uint32, b, c *client) (visited bool, err error) {
	clients := []*client{b, c}
	if b == c {
		clients = clients[:1]
	}
	const asleep = "select pg_catalog.pg_backend_pid() from pg_catalog.pg_sleep(0.003)"
	for _, one := range clients {
		if err := one.send(statement("", asleep), &pgproto3.Sync{}); err != nil {
			return false, err
		}
	}
	for _, one := range clients {
		pid, oneErr := readPID(one.receiveLast(ctx))
		if oneErr != nil {
			err = oneErr
			continue
		}
		x.meet(pid)
		visited = visited || pid == home
	}
	return visited, err
}

func (x *examination) copyOut(ctx context.Context, a, _ *client) {
	_, err := a.ask(ctx, nil, &pgproto3.Query{String: "copy (select 1) to stdout"})
	switch {
	case err != nil:
		x.set(CopyOut, x.refusal(ctx, err))
	case string(a.trace) == "HdC":
		x.set(CopyOut, Capability{Value: Works, Basis: Measured, Text: "a row came out"})
	default:
		x.set(CopyOut, Capability{Value: Wrong, Basis: Measured, Text: fmt.Sprintf("the answers were %q", a.trace)})
	}
}

// pipelineError sends a pipeline that fails in its middle, and then an ordinary
// one: are the answers those of the statements? A pooler that goes out of step may
// lose a server connection by that (Odyssey 1.5.2 beside 50 clients: seen), so that
// one that shares them and is not known to be right is only asked by an intrusive
// examination.
func (x *examination) pipelineError(ctx context.Context, a, _ *client) {
	kind := x.found.Pooler.Kind
	if !x.opts.Intrusive && x.found.Pooler.Mode != Session && !slices.Contains([]Kind{NoPooler, PgBouncer, Neon, CloudSQL, Pgpool}, kind) {
		c := Capability{Value: Unclear, Basis: Untold, Text: "a pooler that goes wrong there may lose a server connection; an intrusive examination measures it"}
		if kind == Odyssey {
			c.Value, c.Basis, c.Text = Wrong, Documented, "measured with 1.5.1 and 1.5.2; here only by an intrusive examination, as it can cost a server connection"
		}
		x.set(PipelineError, c)
		return
	}
	messages := slices.Concat(statement("", "select 1"), statement("", "select 1 operator(pg_catalog./) 0"), statement("", "select 2"), statement("", "select 3"))
	_, err := a.ask(ctx, messages, &pgproto3.Sync{})
	pgErr, failed := errors.AsType[*pgconn.PgError](err)
	first := string(a.trace)
	if !failed {
		if err == nil {
			x.set(PipelineError, Capability{Value: Wrong, Basis: Measured, Text: "a division by zero was answered without an error"})
			return
		}
		x.set(PipelineError, x.refusal(ctx, err))
		return
	}
	const divisionByZero = "22012"
	if pgErr.Code != divisionByZero {
		x.set(PipelineError, Capability{Value: Wrong, Basis: Measured, Text: "another error came than the statement's: " + messageOf(err)})
		return
	}
	brief, stop := context.WithTimeout(ctx, Budget/2)
	defer stop()
	values, err := a.ask(brief, statement("", "select 4"), &pgproto3.Sync{})
	switch {
	case err == nil && string(a.trace) == "12DC" && len(values) == 1 && values[0] == "4" && strings.Count(first, "E") == 1 && strings.HasSuffix(first, "E"):
		x.set(PipelineError, Capability{Value: Works, Basis: Measured, Text: "after the error the next answers were their own statements'"})
	default:
		text := fmt.Sprintf("after an error in the middle, the answers were %q and then %q, which is out of step", first, a.trace)
		if err != nil {
			text += ": " + messageOf(err)
		}
		x.set(PipelineError, Capability{Value: Wrong, Basis: Measured, Text: text})
		a.breakOff()
	}
}

// halfPipeline asks without a Sync, which holds a server connection for a moment.
func (x *examination) halfPipeline(ctx context.Context, a, _ *client) {
	pid, err := a.holdByFlush(ctx)
	switch {
	case errors.Is(err, errNoFlush):
		x.set(HalfPipeline, Capability{Value: Ignored, Basis: Measured, Text: "a Flush is not answered before its Sync"})
		return
	case err != nil:
		x.set(HalfPipeline, x.refusal(ctx, err))
		return
	}
	x.meet(pid)
	text := "answered at its Flush"
	if m := x.found.Pooler.Mode; m == Transaction || m == Statement {
		text += "; a client that sends no Sync keeps its server connection as long, whatever timeouts are set"
	}
	if err := a.letGo(ctx); err != nil {
		x.set(HalfPipeline, x.refusal(ctx, err))
		return
	}
	x.set(HalfPipeline, Capability{Value: Works, Basis: Measured, Text: text})
}

const (
	cancelTries = 5
	sleepFor    = "0.5" // seconds, of a statement that is to be cancelled
)

// cancels sends cancel requests for statements of a's that run: b sees that they
// do. A statement sleeps long enough that a request that is late still meets it,
// and nobody else.
func (x *examination) cancels(ctx context.Context, a, b *client) {
	tries := x.opts.Cancels
	if tries == 0 {
		tries = cancelTries
	}
	if !x.opts.Intrusive && slices.ContainsFunc(x.found.KnownFaults, func(f Fault) bool { return f.ID == cancelCrash }) {
		x.set(Cancel, Capability{Value: Works, Basis: Documented, Text: "measured elsewhere; here it is tried by an intrusive examination only, because this version may end at a request whose sender is killed meanwhile"})
		return
	}
	c := Capability{Basis: Measured}
	ignored := 0 // taken, and without effect; one that was late says nothing
	for c.Tried < tries && ignored < 2 && !a.broken && ctx.Err() == nil {
		c.Tried++
		end, err := x.cancel(ctx, a, b, fmt.Sprintf("%s_%d", x.name, c.Tried))
		if err != nil {
			c = x.refusal(ctx, err)
			x.set(Cancel, c)
			return
		}
		switch end {
		case cancelArrived:
			c.Done++
		case cancelIgnored:
			ignored++
		case cancelLate:
		}
	}
	if c.Tried <= 0 {
		x.set(Cancel, Capability{Value: Unclear, Basis: Untold, Text: "it was not tried"})
		return
	}
	c.Value, c.Text = Works, fmt.Sprintf("%d of %d cancel requests stopped their statement", c.Done, c.Tried)
	switch {
	case c.Done > 0: // one or the other may be lost: it is a request
	case ignored > 0:
		c.Value = Ignored
	default:
		c = Capability{Value: Unclear, Basis: Untold, Tried: c.Tried, Text: fmt.Sprintf("%d cancel requests still waited when their statements had ended: the pooler is busy", c.Tried)}
	}
	for _, other := range []*client{a, b, a, b} {
		if other.broken {
			continue
		}
		if _, err := other.backendPID(ctx); canceled(err) {
			c.Value, c.Text = Wrong, c.Text+", and one stopped a statement that came later"
		}
	}
	x.set(Cancel, c)
}

func canceled(err error) bool {
	pgErr, ok := errors.AsType[*pgconn.PgError](err)
	return ok && pgErr.Code == "57014"
}

// cancelEnd is what became of a cancel request.
type cancelEnd int

const (
	cancelArrived cancelEnd = iota // it stopped its statement
	cancelIgnored                  // it was taken, and its statement ran to its end
	cancelLate                     // it was not taken before the end of its statement
)

// cancel has a sleep, and a request end it.
func (x *examination) cancel(ctx context.Context, a, b *client, mark string) (cancelEnd, error) {
	if err := a.send(statement("", "select pg_catalog.pg_sleep("+sleepFor+") as "+mark), &pgproto3.Sync{}); err != nil {
		return cancelIgnored, err
	}
	const looks = 20
	for range looks {
		brief, stop := context.WithTimeout(ctx, patience)
		values, err := b.ask(brief, statement("", `select 1 from pg_catalog.pg_stat_activity where state operator(pg_catalog.=) 'active'
			and pid operator(pg_catalog.<>) pg_catalog.pg_backend_pid() and query operator(pg_catalog.~~) $1`, "%"+mark), &pgproto3.Sync{})
		stop()
		if err != nil || len(values) > 0 { // no server connection is left for b: a has it, and sleeps
			break
		}
	}
	// The request is waited for to its end: PgBouncer 1.18 ends at one whose sender hangs up before (measured). pgpool-II
	// keeps the connection open for as long as its sender likes.
	brief, stop := context.WithTimeout(ctx, 2*Budget)
	defer stop()
	requested := make(chan error, 1)
	go func() { requested <- a.pg.CancelRequest(brief) }()
	_, err := a.receiveLast(ctx)
	if x.found.Pooler.Kind == Pgpool && canceled(err) {
		stop()
	}
	end := cancelIgnored
	var requestErr error
	select {
	case requestErr = <-requested:
	default:
		if x.found.Pooler.Kind != Pgpool {
			end = cancelLate
		}
		requestErr = <-requested
	}
	switch {
	case canceled(err):
		return cancelArrived, nil
	case err != nil:
		return cancelIgnored, err
	case requestErr != nil && !errors.Is(requestErr, context.Canceled) && !pgconn.Timeout(requestErr):
		return cancelIgnored, fmt.Errorf("the cancel request failed: %w", requestErr)
	}
	return end, nil
}

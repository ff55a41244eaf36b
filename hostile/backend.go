package hostile

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// backend is one connection to PostgreSQL. While a session is attached, the
// session's goroutine writes to it and the backend's own reads from it; while
// none is, only its own does both.
type backend struct {
	*stream
	id     int
	pool   *pool
	pid    uint32
	secret []byte

	session     atomic.Pointer[session] // who has it; nil: nobody
	lastSession *session                // who had it last
	lastAt      int64                   // counts the pool's hand-outs

	paramsMu        sync.Mutex
	params          map[string]string // as the server reported them last
	statementOwners map[string]uint32 // named statements that are on it, and whose they are
	planted         map[string]string // custom settings that are on it for clients to find who did not make them
	baseline        residue           // what it held when it was last looked at
	baselineGlance  string            // the glance at that; "": none was taken
	ownStatements   map[string]bool   // our own statements that are on it
	unnamedOwner    *session          // whose unnamed statement it has

	startingUp bool // its client is not let in yet

	writing sync.Mutex   // held while something is written to it
	cancels atomic.Int32 // cancel requests under way to it: nobody gets it meanwhile
	closed  atomic.Bool
	doomed  atomic.Bool   // it ends at the next ReadyForQuery
	done    chan struct{} // closed when it has ended
}

// ioTimeout bounds our own questions to a server connection.
const ioTimeout = 30 * time.Second

// dial opens a server connection with a client's startup parameters.
func (pl *pool) dial(ctx context.Context) (*backend, error) {
	cfg, _ := pl.config()
	pg, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	h, err := takeOver(ctx, pg)
	if err != nil {
		return nil, err
	}
	b := pl.newBackend(h.Conn)
	b.pid, b.secret, b.params = h.PID, h.SecretKey, h.ParameterStatuses
	defer context.AfterFunc(ctx, b.kill)() // an end does not wait for our own questions
	if err := b.inspectNew(); err != nil {
		return nil, errors.Join(err, h.Conn.Close())
	}
	if err := pl.pooler.plantTempTables(b); err != nil {
		return nil, errors.Join(err, h.Conn.Close())
	}
	return b, nil
}

// takeOver gives a connection without pgconn. That may still be reading: it does
// where a write took longer than 15 ms (pgx 5.12), and what it read would be lost.
func takeOver(ctx context.Context, pg *pgconn.PgConn) (*pgconn.HijackedConn, error) {
	if err := pg.SyncConn(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("take over the connection: %w", err), pg.Close(ctx))
	}
	h, err := pg.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take over the connection: %w", err)
	}
	return h, nil
}

func (pl *pool) newBackend(conn net.Conn) *backend {
	return &backend{
		stream: newStream(conn), pool: pl, id: int(pl.pooler.backends.Add(1)),
		params: map[string]string{}, statementOwners: map[string]uint32{}, planted: map[string]string{}, ownStatements: map[string]bool{}, done: make(chan struct{}),
	}
}

// first looks at a new server connection, and at the database if nobody has.
func (b *backend) inspectNew() error {
	if b.pool.schema.Load() == nil {
		if err := b.readSchema(); err != nil {
			return err
		}
	}
	return b.snapshot()
}

// serve reads from the server until the connection ends. It is the backend's
// own goroutine.
func (b *backend) serve() {
	defer close(b.done)
	err := b.relayAll()
	if !b.closed.Load() && !errors.Is(err, io.EOF) {
		b.pool.pooler.cfg.Logger.Debug("a server connection ended", "server", b.id, "cause", err)
	}
	b.closed.Store(true)
	_ = b.conn.Close() // whatever was wrong is in err
	b.pool.remove(b)
	if s := b.session.Load(); s != nil {
		s.backendLost(b, err)
	}
}

func (b *backend) relayAll() error {
	for {
		f, err := b.peek()
		if err != nil {
			return err
		}
		s := b.session.Load()
		if s == nil {
			if err := b.onUnattached(f); err != nil {
				return err
			}
			continue
		}
		if err := s.onServerMessage(b, f); err != nil {
			if _, ok := errors.AsType[*writeError](err); ok {
				s.hangUp() // its own goroutine gives the backend up
				continue
			}
			return err
		}
	}
}

// unasked takes what comes while nobody is attached: notifications that
// somebody's LISTEN left behind, changed parameters, the server's farewell.
func (b *backend) onUnattached(f frame) error {
	switch f.typ {
	case protocol.ParameterStatus:
		b.onParameterStatus(f.body())
	case protocol.ReadyForQuery:
		if b.doomed.Load() {
			return errAbandoned
		}
	case protocol.ErrorResponse: // an ERROR is the end of something that its client left
		if text := errorText(f.body()); !strings.HasPrefix(text, "ERROR") {
			return errors.New("the server ended the connection: " + text)
		}
	}
	return b.discard(f)
}

var errAbandoned = errors.New("abandoned by its client")

// abandon ends a connection whose client left while the server was at work:
// closing it would not stop that. A request to cancel may come before the work
// has begun, so it is repeated until the server says that it is done.
func (b *backend) abandon() {
	b.doomed.Store(true)
	defer b.kill()
	ctx, cancel := context.WithTimeout(context.Background(), ioTimeout)
	defer cancel()
	for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, time.Second) {
		if err := b.cancel(ctx); err != nil {
			b.pool.pooler.cfg.Logger.Debug("what a client left could not be cancelled", "cause", err)
			return
		}
		select {
		case <-b.done:
			return
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func (b *backend) onParameterStatus(body []byte) {
	name, rest, _ := cstring(body)
	value, _, _ := cstring(rest)
	b.paramsMu.Lock()
	defer b.paramsMu.Unlock()
	b.params[name] = value
}

func (b *backend) param(name string) string {
	b.paramsMu.Lock()
	defer b.paramsMu.Unlock()
	return b.params[name]
}

// key takes BackendKeyData: what a request to cancel must name.
func (b *backend) onBackendKeyData(body []byte) {
	if len(body) > 4 {
		b.pid, b.secret = binary.BigEndian.Uint32(body), slices.Clone(body[4:])
	}
}

// ask runs one simple query on a backend that nobody has, and gives its rows.
func (b *backend) runSimple(sql string) ([][]string, error) {
	return b.roundTrip(func() { send(b.w, &pgproto3.Query{String: sql}) })
}

// question is a query of our own, which leaves the client's statements alone, the unnamed one
// too: it is parsed under a name, and kept by it if it is asked often.
type question struct {
	name, sql  string
	persistent bool
}

func (q question) send(b *backend, params ...[]byte) {
	if !b.ownStatements[q.name] {
		send(b.w, &pgproto3.Close{ObjectType: protocol.Statement, Name: q.name}) // what failed may have left it
		send(b.w, &pgproto3.Parse{Name: q.name, Query: q.sql})
	}
	send(b.w, &pgproto3.Bind{PreparedStatement: q.name, Parameters: params, ResultFormatCodes: []int16{1}}) // bytea as it is
	send(b.w, &pgproto3.Execute{})
	if !q.persistent {
		send(b.w, &pgproto3.Close{ObjectType: protocol.Statement, Name: q.name})
	}
	send(b.w, &pgproto3.Sync{})
}

// put asks a question. Whether its statement is there afterwards is certain only
// if it was answered.
func (b *backend) ask(q question, params ...[]byte) ([][]string, error) {
	rows, err := b.roundTrip(func() { q.send(b, params...) })
	b.ownStatements[q.name] = q.persistent && err == nil
	return rows, err
}

const queryCanceled = "57014"

// residue asks what the connection holds. A cancel request that came late may
// meet it, so it is asked again, unless the client waits for it; at last without
// the settings of clients' own, of which one may be a secret.
func (b *backend) residue() (residue, error) {
	const tries = 3
	for try := 1; ; try++ {
		var names []string
		if try < tries {
			names = b.pool.settingNames()
		}
		rows, err := b.ask(residueQuestion, textArray(names))
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && try < tries && (pg.Code != queryCanceled || !b.pool.pooler.cfg.Observe) {
			continue
		}
		if err != nil || len(rows) != 1 || len(rows[0]) != 1 {
			return residue{}, fmt.Errorf("ask what a server connection holds: %d rows, %w", len(rows), err)
		}
		r, err := parseResidue([]byte(rows[0][0]))
		if try == tries {
			r.Custom = b.baseline.Custom
		}
		return r, err
	}
}

// settable are the names of the settings that the glance looks at.
func (b *backend) settableSettings() []string {
	if sc := b.pool.schema.Load(); sc != nil {
		return sc.settable
	}
	return nil
}

// glance asks for what is another number when the connection holds something
// else; "" where the server does not tell: to a role that may not read a setting,
// or because a request to cancel came late.
func (b *backend) glance() (string, error) {
	rows, err := b.ask(glanceQuestion, textArray(b.pool.settingNames()), textArray(b.settableSettings()))
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return "", nil
	}
	if err != nil || len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("glance at what a server connection holds: %d rows, %w", len(rows), err)
	}
	return rows[0][0], nil
}

// look asks what the connection holds, from now on.
func (b *backend) snapshot() error {
	now, err := b.residue()
	b.baseline, b.baselineGlance = now, ""
	return err
}

// clean makes the connection as good as new.
func (b *backend) reset() error {
	if _, err := b.runSimple("discard all"); err != nil {
		return fmt.Errorf("clean a server connection: %w", err)
	}
	clear(b.statementOwners)
	clear(b.planted)
	clear(b.ownStatements)
	b.unnamedOwner = nil
	return b.snapshot()
}

// readSchema reads what functions and policies do, unless that is known.
func (b *backend) readSchema() error {
	known := b.pool.schema.Load()
	rows, err := b.ask(question{name: schemaName, sql: schemaVersionSQL})
	if err == nil && (len(rows) != 1 || len(rows[0]) != 1) {
		err = fmt.Errorf("%d rows instead of one of one column", len(rows))
	}
	if err != nil {
		return fmt.Errorf("look at the database's functions: %w", err)
	}
	version := rows[0][0]
	if known != nil && version == known.version {
		return nil
	}
	sql := b.pool.schemaSQL(b.param("server_version"))
	if rows, err = b.ask(question{name: schemaName, sql: sql}); err != nil {
		return fmt.Errorf("read the database's functions: %w", err)
	}
	s := newSchema(rows)
	s.version = version
	if rows, err = b.ask(question{name: schemaName, sql: settableSQL}); err != nil {
		return fmt.Errorf("list the settings: %w", err)
	}
	for _, row := range rows {
		s.settable = append(s.settable, row...)
	}
	b.pool.schema.Store(s)
	return nil
}

// exchange writes something and reads its answer up to ReadyForQuery.
func (b *backend) roundTrip(write func()) (rows [][]string, err error) {
	observed := b.pool.pooler.cfg.Observe // then the client waits as long as the server takes, as without us
	if !observed {
		_ = b.conn.SetDeadline(time.Now().Add(ioTimeout))
		defer b.conn.SetDeadline(time.Time{}) //nolint:errcheck // a broken connection shows in reading
	}
	b.writing.Lock()
	write()
	err = b.w.Flush() // no writeError: those are the client's
	b.writing.Unlock()
	if err != nil {
		return nil, fmt.Errorf("ask the server: %w", err)
	}
	var failed error
	for {
		f, err := b.peek()
		if err != nil {
			return nil, err
		}
		if s := b.session.Load(); s != nil && observed && f.complete() && unsolicited(f) {
			if f.typ == protocol.ParameterStatus {
				b.onParameterStatus(f.body())
			}
			if err := b.relay(f, s.stream); err != nil {
				return nil, fmt.Errorf("pass on what came meanwhile: %v", err) //nolint:errorlint // the answer is not read to its end
			}
			continue
		}
		body, err := b.readBody(f)
		if err != nil {
			return nil, err
		}
		switch f.typ {
		case protocol.DataRow:
			var row pgproto3.DataRow
			if err := row.Decode(body); err != nil {
				return nil, err
			}
			texts := make([]string, len(row.Values))
			for i, v := range row.Values {
				texts[i] = string(v)
			}
			rows = append(rows, texts)
		case protocol.ParameterStatus:
			b.onParameterStatus(body)
		case protocol.ErrorResponse:
			var msg pgproto3.ErrorResponse
			if err := msg.Decode(body); err != nil {
				return nil, err
			}
			if failed == nil {
				failed = pgconn.ErrorResponseToPgError(&msg)
			}
		case protocol.ReadyForQuery:
			return rows, failed
		}
	}
}

// unprompted tells whether a message is no answer to a question: a notification,
// a setting that a reload changed, the server's farewell.
func unsolicited(f frame) bool {
	return f.typ == protocol.NotificationResponse || f.typ == protocol.ParameterStatus || f.typ == protocol.ErrorResponse && !strings.HasPrefix(errorText(f.body()), "ERROR")
}

// cancel asks the server to stop what the connection is doing. The connection
// is not given to anybody else before the request has been taken.
func (b *backend) cancel(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, b.conn.RemoteAddr().Network(), b.conn.RemoteAddr().String())
	if err != nil {
		return fmt.Errorf("connect to cancel: %w", err)
	}
	packet := binary.BigEndian.AppendUint32(nil, cancelCode)
	packet = binary.BigEndian.AppendUint32(packet, b.pid)
	return sendCancel(conn, append(packet, b.secret...))
}

// sendCancel sends a cancel request by a connection of its own, and waits until
// the server has taken it: it hangs up once it has signalled.
func sendCancel(conn net.Conn, packet []byte) error {
	defer conn.Close() //nolint:errcheck // it is only waited for
	_ = conn.SetDeadline(time.Now().Add(ioTimeout))
	if _, err := conn.Write(startupMessage(packet)); err != nil {
		return fmt.Errorf("ask to cancel: %w", err)
	}
	_, _ = conn.Read(make([]byte, 1))
	return nil
}

// kill ends the connection, whatever it is doing.
func (b *backend) kill() {
	b.closed.Store(true)
	_ = b.conn.Close()
}

// send writes a message.
func send(w interface{ Write(b []byte) (int, error) }, msg pgproto3.Message) {
	raw, err := msg.Encode(nil)
	if err == nil {
		_, _ = w.Write(raw) // bufio keeps the error for Flush
	}
}

// textArray is a text[] in text form.
func textArray(names []string) []byte {
	b := []byte{'{'}
	for i, n := range names {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, '"')
		for _, c := range []byte(n) {
			if c == '"' || c == '\\' {
				b = append(b, '\\')
			}
			b = append(b, c)
		}
		b = append(b, '"')
	}
	return append(b, '}')
}

// errorText is severity, code and message of an ErrorResponse.
func errorText(body []byte) string {
	var msg pgproto3.ErrorResponse
	if err := msg.Decode(body); err != nil {
		return "an error that could not be read"
	}
	severity := msg.SeverityUnlocalized
	if severity == "" {
		severity = msg.Severity
	}
	return severity + " " + msg.Code + " " + msg.Message
}

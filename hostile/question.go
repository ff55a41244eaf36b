package hostile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
	"github.com/poolproof/poolproof/internal/residue"
)

// question is a query of our own. It is parsed under a name, so that the
// client's statements stay, the unnamed one too.
type question struct {
	name, sql  string
	persistent bool // the statement stays on the server connection
}

// Names of our own statements on server connections. The first three stay there.
const (
	residueName = "poolproof_residue"
	glanceName  = "poolproof_glance"
	linksName   = "poolproof_links"
	schemaName  = "poolproof_schema"
)

// The questions that are asked after transactions.
var (
	residueQuestion = question{name: residueName, sql: residue.SQL, persistent: true}
	glanceQuestion  = question{name: glanceName, sql: residue.Glance, persistent: true}
)

// send writes the question's messages, without flushing them.
func (q question) send(b *backend, params ...[]byte) {
	if !b.ownStatements[q.name] {
		send(b.w, &pgproto3.Close{ObjectType: protocol.Statement, Name: q.name}) // a question that failed may have left it
		send(b.w, &pgproto3.Parse{Name: q.name, Query: q.sql})
	}
	send(b.w, &pgproto3.Bind{PreparedStatement: q.name, Parameters: params, ResultFormatCodes: []int16{1}}) // binary: the bytes themselves
	send(b.w, &pgproto3.Execute{})
	if !q.persistent {
		send(b.w, &pgproto3.Close{ObjectType: protocol.Statement, Name: q.name})
	}
	send(b.w, &pgproto3.Sync{})
}

// ask asks a question and returns the rows of its answer. Only an answer proves
// that the statement is on the connection now.
func (b *backend) ask(q question, params ...[]byte) ([][]string, error) {
	rows, err := b.roundTrip(func() { q.send(b, params...) })
	b.ownStatements[q.name] = q.persistent && err == nil
	return rows, err
}

// askOne asks a question whose answer is one value.
func (b *backend) askOne(q question, params ...[]byte) (string, error) {
	rows, err := b.ask(q, params...)
	if err != nil {
		return "", err
	}
	if len(rows) != 1 || len(rows[0]) != 1 {
		return "", fmt.Errorf("%d rows instead of one with one column", len(rows))
	}
	return rows[0][0], nil
}

// runSimple runs a simple query on a backend that nobody has, and returns its
// rows.
func (b *backend) runSimple(sql string) ([][]string, error) {
	return b.roundTrip(func() { send(b.w, &pgproto3.Query{String: sql}) })
}

// roundTrip calls write, flushes, and reads the answer up to ReadyForQuery.
// What else the server sends to an observed client meanwhile is passed on.
func (b *backend) roundTrip(write func()) (rows [][]string, err error) {
	observed := b.pool.pooler.cfg.Observe // then there is no time limit, as there is none without us
	if !observed {
		_ = b.conn.SetDeadline(time.Now().Add(ioTimeout))
		defer b.conn.SetDeadline(time.Time{}) //nolint:errcheck // a broken connection shows in reading
	}
	b.writing.Lock()
	write()
	err = b.w.Flush() // not flush: a writeError would be taken for the client's
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
				return nil, fmt.Errorf("pass on what came meanwhile: %v", err) //nolint:errorlint // not a writeError: the answer is not read to its end
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

// unsolicited reports whether a message answers no question: a notification, a
// setting that a reload changed, the server's farewell.
func unsolicited(f frame) bool {
	return f.typ == protocol.NotificationResponse || f.typ == protocol.ParameterStatus || f.typ == protocol.ErrorResponse && !strings.HasPrefix(errorText(f.body()), "ERROR")
}

// queryCanceled is the SQLSTATE of query_canceled.
const queryCanceled = "57014"

// residue asks what the connection holds. If that fails, it asks again: a
// cancel request that came late may have hit the question. A cancelled question
// on an observed connection is not repeated, because the client waits. The last
// try leaves out custom settings, because the role may not be allowed to read
// one of them.
func (b *backend) residue() (residue.State, error) {
	const tries = 3
	asked := b.pool.settingNames() // kept even if the last try leaves them out: they would be refused again
	for try := 1; ; try++ {
		var names []string
		if try < tries {
			names = asked
		}
		raw, err := b.askOne(residueQuestion, textArray(names))
		if pg, ok := errors.AsType[*pgconn.PgError](err); ok && try < tries && (pg.Code != queryCanceled || !b.pool.pooler.cfg.Observe) {
			continue
		}
		if err != nil {
			return residue.State{}, fmt.Errorf("ask what a server connection holds: %w", err)
		}
		r, err := residue.Parse([]byte(raw))
		if err != nil {
			return r, err
		}
		if try == tries {
			r.Custom = b.baseline.Custom
		}
		b.asked = asked
		r.Links, err = b.links()
		return r, err
	}
}

// links lists dblink's named connections, if the database has dblink. A refusal
// means that there are none to see.
func (b *backend) links() ([]string, error) {
	sc := b.pool.schema.Load()
	if sc == nil || sc.dblink == "" {
		return nil, nil
	}
	rows, err := b.ask(question{name: linksName, sql: `select ` + residue.InUTF8("'dblink ' operator(pg_catalog.||) name") + ` from pg_catalog.unnest(` + sc.dblink + `.dblink_get_connections()) name order by name`, persistent: true})
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list dblink's connections: %w", err)
	}
	var names []string
	for _, row := range rows {
		names = append(names, row...)
	}
	return names, nil
}

// glance returns a hash of everything that the session holds, or "" if the
// server refused to answer: because the role may not read a setting, or because
// a cancel request came late.
func (b *backend) glance() (string, error) {
	var settable []string
	if sc := b.pool.schema.Load(); sc != nil {
		settable = sc.settable
	}
	hash, err := b.askOne(glanceQuestion, textArray(b.pool.settingNames()), textArray(settable))
	if _, ok := errors.AsType[*pgconn.PgError](err); ok {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("hash what a server connection holds: %w", err)
	}
	links, err := b.links()
	return hash + strings.Join(links, " "), err
}

// textArray returns a text[] in text form.
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

package hostile

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// question is a query of our own, which leaves the client's statements alone, the unnamed one
// too: it is parsed under a name, and kept by it if it is asked often.
type question struct {
	name, sql  string
	persistent bool
}

// Names of our own statements on server connections. The first two stay there.
const (
	residueName = "poolproof_residue"
	glanceName  = "poolproof_glance"
	schemaName  = "poolproof_schema"
)

var (
	residueQuestion = question{name: residueName, sql: residueSQL, persistent: true}
	glanceQuestion  = question{name: glanceName, sql: glanceSQL, persistent: true}
)

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

// ask runs one simple query on a backend that nobody has, and gives its rows.
func (b *backend) runSimple(sql string) ([][]string, error) {
	return b.roundTrip(func() { send(b.w, &pgproto3.Query{String: sql}) })
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

// inUTF8 is an expression for a text that the client's encoding does not touch:
// another may lack its characters, which is an error. A database that has no
// encoding gives its bytes.
func inUTF8(sql string) string {
	return `pg_catalog.convert_to(` + sql + `, case when pg_catalog.getdatabaseencoding() operator(pg_catalog.=) 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end)`
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

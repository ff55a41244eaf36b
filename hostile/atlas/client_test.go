package atlas

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// patience is how long a server may take over one answer before the test gives
// up on it.
const patience = 60 * time.Second

// client is a connection that speaks the protocol message by message, so that
// it can be left in any state.
type client struct {
	conn     net.Conn
	front    *pgproto3.Frontend
	pid      uint32
	status   byte              // of the last ReadyForQuery
	reported map[string]string // settings that the server reports

	statements map[string]bool // our own that stay on the connection
}

// connect opens a connection; the caller closes it.
func connect(ctx context.Context, url string) (*client, error) {
	c, err := pgconn.Connect(ctx, url)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	h, err := c.Hijack()
	if err != nil {
		return nil, fmt.Errorf("take the connection over: %w", err)
	}
	return &client{conn: h.Conn, front: h.Frontend, pid: h.PID, status: h.TxStatus, reported: h.ParameterStatuses}, nil
}

// dial is connect for a test, which closes the connection at its end.
func dial(t *testing.T, url string) *client {
	t.Helper()
	c, err := connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}

func (c *client) close() { _ = c.conn.Close() } // the server sees it; whatever was wrong is of no matter any more

// answer is what the server says to one unit.
type answer struct {
	rows    [][]string // null is the text "null"
	columns []string
	failure *pgproto3.ErrorResponse // the first, or nil
}

// text returns the answer's one value, or the SQLSTATE of its error. More
// values are joined.
func (a answer) text() string {
	if a.failure != nil {
		return "error " + a.failure.Code
	}
	var lines []string
	for _, row := range a.rows {
		lines = append(lines, strings.Join(row, " "))
	}
	return strings.Join(lines, "\n")
}

// send writes messages and flushes them.
func (c *client) send(messages ...pgproto3.FrontendMessage) error {
	for _, m := range messages {
		c.front.Send(m)
	}
	_ = c.conn.SetWriteDeadline(time.Now().Add(patience))
	return c.front.Flush()
}

// query runs a simple query. If it is COPY … FROM STDIN, copyData is what it
// gets.
func (c *client) query(sql, copyData string) (answer, error) {
	if err := c.send(&pgproto3.Query{String: sql}); err != nil {
		return answer{}, err
	}
	return c.receive(copyData)
}

// receive reads up to ReadyForQuery.
func (c *client) receive(copyData string) (answer, error) {
	var a answer
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		m, err := c.front.Receive()
		if err != nil {
			return a, fmt.Errorf("read the answer: %w", err)
		}
		switch m := m.(type) {
		case *pgproto3.RowDescription:
			a.columns = nil
			for _, f := range m.Fields {
				a.columns = append(a.columns, string(f.Name))
			}
		case *pgproto3.DataRow:
			row := make([]string, len(m.Values))
			for i, v := range m.Values {
				row[i] = string(v)
				if v == nil {
					row[i] = "null"
				}
			}
			a.rows = append(a.rows, row)
		case *pgproto3.CopyInResponse:
			err := c.send(&pgproto3.CopyData{Data: []byte(copyData)}, &pgproto3.CopyDone{})
			if err != nil {
				return a, err
			}
		case *pgproto3.ParameterStatus:
			c.reported[m.Name] = m.Value
		case *pgproto3.ErrorResponse:
			if a.failure == nil {
				failure := *m
				a.failure = &failure
			}
			if m.Severity == "FATAL" {
				return a, fmt.Errorf("the server ends the connection: %s", m.Message)
			}
		case *pgproto3.ReadyForQuery:
			c.status = m.TxStatus
			return a, nil
		}
	}
}

// must runs a simple query that may not fail.
func (c *client) must(t *testing.T, sql string) answer {
	t.Helper()
	a, err := c.query(sql, "")
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	if a.failure != nil {
		t.Fatalf("%s: %s %s", sql, a.failure.Code, a.failure.Message)
	}
	return a
}

// extended runs a unit of the extended protocol: the messages and a Sync.
func (c *client) extended(t *testing.T, messages ...pgproto3.FrontendMessage) answer {
	t.Helper()
	if err := c.send(append(messages, &pgproto3.Sync{})...); err != nil {
		t.Fatal(err)
	}
	a, err := c.receive("")
	if err != nil {
		t.Fatal(err)
	}
	return a
}

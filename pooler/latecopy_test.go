//go:build unix

package pooler_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestLateCopy measures what the table of faults says of data that come after the error of a COPY. Two such clients
// before a pool of two: is a third one served? query_wait_timeout answers it otherwise.
func TestLateCopy(t *testing.T) {
	forms := []struct {
		name string
		more []pgproto3.FrontendMessage // after the client has read the error and ReadyForQuery
		ends string                     // then: "idle", "asks", "leaves"
		held map[pgtest.Kind]bool
	}{
		{"rows and CopyDone, then idle", []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("2\n")}, &pgproto3.CopyDone{}}, "idle", everywhere},
		{"rows, then idle", []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("2\n")}}, "idle", everywhere},
		{"CopyDone, then idle", []pgproto3.FrontendMessage{&pgproto3.CopyDone{}}, "idle", everywhere},
		{"nothing, then idle", nil, "idle", map[pgtest.Kind]bool{pgtest.PgBouncer126Transaction: true, pgtest.PgBouncer126Statement: true}},
		{"rows and CopyDone, then the next query", []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("2\n")}, &pgproto3.CopyDone{}}, "asks", map[pgtest.Kind]bool{pgtest.PgBouncer124Transaction: true}},
		{"rows and CopyDone, then it leaves", []pgproto3.FrontendMessage{&pgproto3.CopyData{Data: []byte("2\n")}, &pgproto3.CopyDone{}}, "leaves", nil},
	}
	kinds := []pgtest.Kind{pgtest.PgBouncer126Transaction}
	if !pgtest.Soak() {
		forms = forms[:1]
	} else {
		kinds = []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer124Transaction, pgtest.PgBouncer126Transaction, pgtest.PgBouncer126Statement}
	}
	for _, kind := range kinds {
		for _, form := range forms {
			t.Run(kind.String()+"/"+form.name, func(t *testing.T) {
				t.Parallel()
				owner := pgtest.Database(t)
				conn := dial(t, owner)
				if _, err := conn.Exec(t.Context(), "create table copied (i int)").ReadAll(); err != nil {
					t.Fatal(err)
				}
				url, _ := pgtest.PrivatePooler(t, owner, kind, map[string]string{"query_wait_timeout": "3"})
				for range 2 {
					c := dial(t, url)
					fe := c.Frontend()
					fe.SendQuery(&pgproto3.Query{String: "copy copied from stdin"})
					until(t, c, fe, 'G')
					fe.Send(&pgproto3.CopyData{Data: []byte("no number\n")})
					until(t, c, fe, 'Z')
					for _, m := range form.more {
						fe.Send(m)
					}
					if err := fe.Flush(); err != nil {
						t.Fatal(err)
					}
					switch form.ends {
					case "asks":
						fe.SendQuery(&pgproto3.Query{String: "select 1"})
						until(t, c, fe, 'Z')
					case "leaves":
						if err := c.Close(t.Context()); err != nil {
							t.Fatal(err)
						}
					}
				}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				third := dial(t, url)
				_, err := third.Exec(ctx, "select 1").ReadAll()
				if err != nil && !strings.Contains(err.Error(), "query_wait_timeout") {
					t.Fatal(err)
				}
				if held := err != nil; held != form.held[kind] {
					t.Errorf("held: %v, want %v", held, form.held[kind])
				}
			})
		}
	}
}

var everywhere = map[pgtest.Kind]bool{pgtest.PgBouncer118Transaction: true, pgtest.PgBouncer124Transaction: true, pgtest.PgBouncer126Transaction: true, pgtest.PgBouncer126Statement: true}

func dial(t *testing.T, url string) *pgconn.PgConn {
	t.Helper()
	c, err := pgconn.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Conn().Close() })
	return c
}

// until reads up to a message of this type.
func until(t *testing.T, c *pgconn.PgConn, fe *pgproto3.Frontend, kind byte) {
	t.Helper()
	if err := fe.Flush(); err != nil {
		t.Fatal(err)
	}
	_ = c.Conn().SetReadDeadline(time.Now().Add(time.Minute))
	defer c.Conn().SetReadDeadline(time.Time{}) //nolint:errcheck // it is read again or given up
	for {
		m, err := fe.Receive()
		if err != nil {
			t.Fatal(err)
		}
		switch m.(type) {
		case *pgproto3.CopyInResponse:
			if kind == 'G' {
				return
			}
		case *pgproto3.ReadyForQuery:
			if kind == 'Z' {
				return
			}
		}
	}
}

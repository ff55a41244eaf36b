package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Mode is how statements reach the server.
type Mode int32

const (
	// Exec sends statements unnamed, with text parameters whose types the server infers.
	Exec Mode = iota
	// CacheDescribe sends them unnamed, with types known from an earlier description and binary values.
	CacheDescribe
	// CacheStatement sends them named, to be kept on the server, with binary values.
	CacheStatement
)

// Statement is a caller's SQL with its arguments.
type Statement struct {
	SQL  string
	Args []any
	// NoRows: the caller wants the command tag only, so no description is asked for and rows are dropped.
	NoRows bool
	// Text asks for all results in text format, whatever the mode.
	Text bool
	// Formats, if set, chooses the result formats by column or by type.
	Formats func(fields []pgconn.FieldDescription) []int16
}

// description is what is known of a statement's text: where it is kept on the
// server and its types.
type description struct {
	sql, name string
	paramOIDs []uint32
	fields    []pgconn.FieldDescription
}

// Fixed is a statement whose text and types never change and whose result is
// looked at by its first column only: BEGIN, COMMIT, the scope.
type Fixed struct{ description }

// NewFixed makes a fixed statement with n parameters of type text.
func NewFixed(sql string, n int) *Fixed {
	oids := make([]uint32, n)
	for i := range oids {
		oids[i] = pgtype.TextOID
	}
	return &Fixed{description{sql: sql, name: StatementName(sql), paramOIDs: oids}}
}

// StatementName is the name of a statement on the server: the same for the same text in every process, so that a
// statement that crosses over to another client through a pooler is at least
// the one it says it is.
func StatementName(sql string) string {
	sum := sha256.Sum256([]byte(sql))
	return "poolproof_" + hex.EncodeToString(sum[:12])
}

// Descriptions are the statement descriptions that the connections of a pool
// share. Safe for concurrent use.
type Descriptions struct {
	mu       sync.RWMutex
	capacity int
	bySQL    map[string]*description
}

// NewDescriptions keeps at most capacity descriptions.
func NewDescriptions(capacity int) *Descriptions {
	return &Descriptions{capacity: capacity, bySQL: map[string]*description{}}
}

func (d *Descriptions) get(sql string) *description {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.bySQL[sql]
}

func (d *Descriptions) put(desc *description) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.bySQL) >= d.capacity {
		for sql := range d.bySQL { // any: a map's order is as good as a clock's here
			delete(d.bySQL, sql)
			break
		}
	}
	d.bySQL[desc.sql] = desc
}

func (d *Descriptions) forget(sql string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.bySQL, sql)
}

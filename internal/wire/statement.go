package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Mode is how statements reach the server.
type Mode int32

const (
	// Exec sends statements unnamed, with text parameters whose types the server infers. A statement with arguments whose
	// text depends on the parameter's type is described once before, and sent as in CacheDescribe.
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
	// Rider, if it has a type, is bound after Args to a parameter that the text does not name. Only the first statement of
	// a pipeline without calls may have one.
	Rider Rider
}

// Rider is a parameter that rides along with a statement whose text does not
// name it. PostgreSQL converts it all the same when the statement is bound: it
// calls the type's input function, which for a domain makes its checks, in the
// statement's transaction and before the statement is planned.
type Rider struct {
	OID   uint32 // of the type; 0: there is no rider
	Value []byte // in binary format
}

// MaxParams is how many parameters a statement can have, a rider included.
const MaxParams = 65535

// description is what is known of a statement's text: where it is kept on the
// server and its types.
type description struct {
	sql, name string
	paramOIDs []uint32
	fields    []pgconn.FieldDescription
	ridden    atomic.Pointer[description] // the same with a rider's type after the parameters'; nil: not needed yet
}

// withRider is the description of the same text with a rider.
func (d *description) withRider(oid uint32) *description {
	if r := d.ridden.Load(); r != nil && r.paramOIDs[len(r.paramOIDs)-1] == oid {
		return r
	}
	r := &description{sql: d.sql, name: RiddenName(d.sql, oid), paramOIDs: append(slices.Clone(d.paramOIDs), oid), fields: d.fields}
	d.ridden.Store(r) // where two connections come here at once, one of them parses anew the next time
	return r
}

// RiddenName is StatementName with a rider of the type: it differs from
// that of the text alone, whose parameters are fewer, and between types.
func RiddenName(sql string, oid uint32) string {
	return StatementName(sql + "\x00" + strconv.FormatUint(uint64(oid), 10))
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

// StatementName returns the name of a statement on the server. It is a hash of the
// text, so if a pooler hands it to another client, that client still runs the
// text it asked for.
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

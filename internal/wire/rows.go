package wire

import (
	"errors"
	"fmt"
	"reflect"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Rows reads one result of an exchange as pgx.Rows. Where finish is set it
// runs once, when the rows are closed, and what it returns is Err: it is where
// an owner reads to ReadyForQuery and releases the connection.
//
// Rows that are held longer than their exchange answer an error, never bytes
// that are not theirs: each row is copied, and the exchange is asked before it
// is read.
type Rows struct {
	x      *Exchange
	result int // of x
	conn   *Conn
	fields []pgconn.FieldDescription
	finish func(error) error

	row    RowCopy
	onRow  bool // row holds the current one
	tag    pgconn.CommandTag
	err    error
	closed atomic.Bool

	plans []scanPlan
}

// scanPlan is how a column is scanned into destinations of a type.
type scanPlan struct {
	pgtype.ScanPlan
	into reflect.Type
}

var _ pgx.Rows = (*Rows)(nil)

// Rows returns the current result as rows. finish may be nil.
func (x *Exchange) Rows(finish func(error) error) *Rows {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := &x.rows
	if r.x != nil {
		r = &Rows{}
	}
	r.x, r.result, r.conn, r.fields, r.finish = x, x.result, x.conn, x.fields, finish
	return r
}

// FailedRows returns closed rows that carry an error.
func FailedRows(err error) *Rows {
	r := &Rows{err: err}
	r.closed.Store(true)
	return r
}

// Next reads the next row. It returns false at the end, when the rows are closed
// and Err says how it ended.
func (r *Rows) Next() bool {
	if r.closed.Load() {
		return false
	}
	if r.onRow = r.x.NextRow(r.result, &r.row); !r.onRow {
		r.Close()
	}
	return r.onRow
}

// Close reads the rest of the result and finishes. It may be called often.
func (r *Rows) Close() {
	if !r.closed.CompareAndSwap(false, true) {
		return
	}
	r.onRow = false
	r.tag = r.x.rest(r.result)
	if r.err == nil {
		r.err = r.x.Err()
	}
	if r.finish != nil {
		r.err = r.finish(r.err)
	}
	if gone := r.x.gone(); gone != nil && r.err == nil {
		r.err = gone
	}
	if r.err != nil {
		r.tag = pgconn.CommandTag{} // what it says did not come to pass
	}
}

// Err is the first error, that of the Sync included once the rows are closed.
func (r *Rows) Err() error { return r.err }

// CommandTag is known once the rows are closed, and empty where there was an
// error.
func (r *Rows) CommandTag() pgconn.CommandTag { return r.tag }

// FieldDescriptions describe the columns.
func (r *Rows) FieldDescriptions() []pgconn.FieldDescription { return r.fields }

// RawValues are the current row's bytes, valid until the next call of Next; nil
// if there is no row.
func (r *Rows) RawValues() [][]byte {
	if !r.onRow || r.x.gone() != nil {
		return nil
	}
	return r.row.Values()
}

// current returns the current row, or why there is none.
func (r *Rows) current(method string) ([][]byte, error) {
	if r.onRow {
		if gone := r.x.gone(); gone != nil {
			return nil, r.abort(gone)
		}
		return r.row.Values(), nil
	}
	if r.err != nil {
		return nil, r.err
	}
	return nil, fmt.Errorf("%s without a row: call Next first", method)
}

// Conn is the connection that the rows are read from. It is not to be used
// before they are closed, and not to be kept.
func (r *Rows) Conn() *pgx.Conn {
	if r.conn == nil {
		return nil
	}
	return r.conn.pgx
}

// TypeMap decodes the values.
func (r *Rows) TypeMap() *pgtype.Map {
	if r.conn == nil {
		return nil
	}
	return r.conn.pgx.TypeMap()
}

// abort closes the rows because of an error of the reader's own.
func (r *Rows) abort(err error) error {
	if r.err == nil {
		r.err = err
	}
	r.Close()
	return err
}

// Scan decodes the current row. A destination that is nil is skipped; a single
// pgx.RowScanner takes the whole row.
func (r *Rows) Scan(dest ...any) error {
	row, err := r.current("Scan")
	if err != nil {
		return err
	}
	if len(dest) == 1 {
		if whole, ok := dest[0].(pgx.RowScanner); ok {
			if err := whole.ScanRow(r); err != nil {
				return r.abort(err)
			}
			return nil
		}
	}
	fields := r.fields
	if len(dest) != len(fields) || len(dest) != len(row) {
		return r.abort(fmt.Errorf("the row has %d columns, %d destinations were given", len(fields), len(dest)))
	}
	if r.plans == nil {
		r.plans = make([]scanPlan, len(dest))
	}
	for i, d := range dest {
		if d == nil {
			continue
		}
		if t := reflect.TypeOf(d); r.plans[i].into != t {
			r.plans[i] = scanPlan{r.TypeMap().PlanScan(fields[i].DataTypeOID, fields[i].Format, d), t}
		}
		if err := r.plans[i].Scan(row[i], d); err != nil {
			return r.abort(pgx.ScanArgError{ColumnIndex: i, FieldName: fields[i].Name, Err: err})
		}
	}
	return nil
}

// Values decodes the current row into the Go types that pgx chooses for the
// columns' types: text or bytes for a type that it does not know.
func (r *Rows) Values() ([]any, error) {
	row, err := r.current("Values")
	if err != nil {
		return nil, err
	}
	if len(row) != len(r.fields) {
		return nil, r.abort(fmt.Errorf("the row has %d columns, %d were described", len(row), len(r.fields)))
	}
	values := make([]any, len(row))
	for i, src := range row {
		f := r.fields[i]
		switch t, known := r.TypeMap().TypeForOID(f.DataTypeOID); {
		case src == nil:
		case known:
			v, err := t.Codec.DecodeValue(r.TypeMap(), f.DataTypeOID, f.Format, src)
			if err != nil {
				return nil, r.abort(pgx.ScanArgError{ColumnIndex: i, FieldName: f.Name, Err: err})
			}
			values[i] = v
		case f.Format == pgtype.TextFormatCode:
			values[i] = string(src)
		default:
			values[i] = append([]byte{}, src...)
		}
	}
	return values, nil
}

// Row reads a single row: pgx.ErrNoRows if there is none, further ones are
// dropped.
type Row struct{ Rows *Rows }

var _ pgx.Row = Row{}

// Scan decodes the row and finishes its result.
func (r Row) Scan(dest ...any) error {
	defer r.Rows.Close()
	for _, d := range dest {
		if _, ok := d.(*pgtype.DriverBytes); ok {
			return r.Rows.abort(errors.New("a single row cannot be scanned into *pgtype.DriverBytes: its memory is gone on return"))
		}
	}
	if !r.Rows.Next() {
		if err := r.Rows.Err(); err != nil {
			return err
		}
		return pgx.ErrNoRows
	}
	if err := r.Rows.Scan(dest...); err != nil {
		return err
	}
	r.Rows.Close()
	return r.Rows.Err()
}

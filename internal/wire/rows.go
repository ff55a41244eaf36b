package wire

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Rows reads one result of an exchange as pgx.Rows. Where Finish is set it
// runs once, when the rows are closed, and what it returns is Err: it is where
// an owner reads to ReadyForQuery and gives the connection back.
type Rows struct {
	x      *Exchange
	conn   *Conn
	finish func(error) error

	row    [][]byte
	tag    pgconn.CommandTag
	err    error
	closed bool

	plans []pgtype.ScanPlan
	types []reflect.Type
}

var _ pgx.Rows = (*Rows)(nil)

// Rows gives the current result as rows. finish may be nil.
func (x *Exchange) Rows(finish func(error) error) *Rows {
	return &Rows{x: x, conn: x.conn, finish: finish}
}

// FailedRows are closed rows that carry an error.
func FailedRows(err error) *Rows { return &Rows{err: err, closed: true} }

// Next reads the next row; false at the end, when the rows are closed and Err
// tells how it ended.
func (r *Rows) Next() bool {
	if r.closed {
		return false
	}
	if r.row = r.x.NextRow(); r.row == nil {
		r.Close()
		return false
	}
	return true
}

// Close reads the rest of the result and finishes. It may be called often.
func (r *Rows) Close() {
	if r.closed {
		return
	}
	r.closed, r.row = true, nil
	for r.x.NextRow() != nil {
	}
	r.tag = r.x.Tag()
	if r.err == nil {
		r.err = r.x.Err()
	}
	if r.finish != nil {
		r.err = r.finish(r.err)
	}
}

// Err is the first error, that of the Sync included once the rows are closed.
func (r *Rows) Err() error { return r.err }

// CommandTag is known once the rows are closed.
func (r *Rows) CommandTag() pgconn.CommandTag { return r.tag }

// FieldDescriptions describe the columns.
func (r *Rows) FieldDescriptions() []pgconn.FieldDescription {
	if r.x == nil {
		return nil
	}
	return r.x.Fields()
}

// RawValues are the current row's bytes, valid until the next call of Next.
func (r *Rows) RawValues() [][]byte { return r.row }

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
	if r.row == nil {
		if r.err != nil {
			return r.err
		}
		return errors.New("Scan without a row: call Next first")
	}
	if len(dest) == 1 {
		if whole, ok := dest[0].(pgx.RowScanner); ok {
			if err := whole.ScanRow(r); err != nil {
				return r.abort(err)
			}
			return nil
		}
	}
	fields := r.x.fields
	if len(dest) != len(fields) || len(dest) != len(r.row) {
		return r.abort(fmt.Errorf("the row has %d columns, %d destinations were given", len(fields), len(dest)))
	}
	if r.plans == nil {
		r.plans, r.types = make([]pgtype.ScanPlan, len(dest)), make([]reflect.Type, len(dest))
	}
	for i, d := range dest {
		if d == nil {
			continue
		}
		if t := reflect.TypeOf(d); r.types[i] != t {
			r.plans[i], r.types[i] = r.TypeMap().PlanScan(fields[i].DataTypeOID, fields[i].Format, d), t
		}
		if err := r.plans[i].Scan(r.row[i], d); err != nil {
			return r.abort(pgx.ScanArgError{ColumnIndex: i, FieldName: fields[i].Name, Err: err})
		}
	}
	return nil
}

// Values decodes the current row into the Go types that pgx chooses for the
// columns' types: text or bytes for a type that it does not know.
func (r *Rows) Values() ([]any, error) {
	if r.row == nil {
		return nil, errors.New("Values without a row: call Next first")
	}
	values := make([]any, len(r.row))
	for i, src := range r.row {
		f := r.x.fields[i]
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

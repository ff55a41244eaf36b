package poolproof

import (
	"bytes"
	"database/sql/driver"
	"fmt"
	"io"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/poolproof/poolproof/internal/wire"
)

// sqlRows returns a result in text format as database/sql wants it.
type sqlRows struct {
	rows    *wire.Rows
	fields  []pgconn.FieldDescription
	decode  []func(text []byte) (driver.Value, error)
	columns []string
}

var (
	_ driver.RowsColumnTypeDatabaseTypeName = (*sqlRows)(nil)
	_ driver.RowsColumnTypeLength           = (*sqlRows)(nil)
	_ driver.RowsColumnTypePrecisionScale   = (*sqlRows)(nil)
	_ driver.RowsColumnTypeScanType         = (*sqlRows)(nil)
)

func newSQLRows(rows *wire.Rows) *sqlRows {
	r := &sqlRows{rows: rows, fields: rows.FieldDescriptions()}
	r.decode = make([]func([]byte) (driver.Value, error), len(r.fields))
	r.columns = make([]string, len(r.fields))
	for i, f := range r.fields {
		r.decode[i], r.columns[i] = decoder(f.DataTypeOID), f.Name
	}
	return r
}

func (r *sqlRows) Columns() []string { return r.columns }

// Close tells the error of the transaction's end as well.
func (r *sqlRows) Close() error {
	r.rows.Close()
	return classify("query", r.rows.Err())
}

// Next returns io.EOF only once the transaction has ended well.
func (r *sqlRows) Next(dest []driver.Value) error {
	if !r.rows.Next() {
		if err := r.rows.Err(); err != nil {
			return classify("query", err)
		}
		return io.EOF
	}
	for i, text := range r.rows.RawValues() {
		if dest[i] = nil; text == nil {
			continue
		}
		var err error
		if dest[i], err = r.decode[i](text); err != nil {
			return fmt.Errorf("read column %q: %w", r.columns[i], err)
		}
	}
	return nil
}

// decoder returns what makes a driver.Value of a type's text. Values must not
// share the text's memory, which the next row overwrites.
func decoder(oid uint32) func(text []byte) (driver.Value, error) {
	switch oid {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.OIDOID, pgtype.XIDOID, pgtype.CIDOID:
		return func(text []byte) (driver.Value, error) { return strconv.ParseInt(string(text), 10, 64) }
	case pgtype.Float4OID, pgtype.Float8OID:
		return func(text []byte) (driver.Value, error) { return strconv.ParseFloat(string(text), 64) }
	case pgtype.BoolOID:
		return func(text []byte) (driver.Value, error) { return string(text) == "t", nil }
	case pgtype.ByteaOID:
		return byCodec(pgtype.ByteaCodec{}, oid)
	case pgtype.JSONOID, pgtype.JSONBOID:
		// Bytes, because database/sql puts a string into no json.RawMessage, which is what sqlc's models hold.
		return func(text []byte) (driver.Value, error) { return bytes.Clone(text), nil }
	case pgtype.DateOID:
		return byCodec(pgtype.DateCodec{}, oid)
	case pgtype.TimestampOID:
		return byCodec(&pgtype.TimestampCodec{}, oid)
	case pgtype.TimestamptzOID:
		// The codec gives local time whatever the server connection's TimeZone is, and 'infinity' as a string.
		return byCodec(&pgtype.TimestamptzCodec{}, oid)
	default:
		return func(text []byte) (driver.Value, error) { return string(text), nil }
	}
}

func byCodec(codec pgtype.Codec, oid uint32) func(text []byte) (driver.Value, error) {
	return func(text []byte) (driver.Value, error) {
		return codec.DecodeDatabaseSQLValue(nil, oid, pgtype.TextFormatCode, text)
	}
}

// ColumnTypeDatabaseTypeName is the type's name in upper case, such as UUID or
// _TEXT for an array of text; the OID's digits for types that pgx does not know.
func (r *sqlRows) ColumnTypeDatabaseTypeName(index int) string {
	oid := r.fields[index].DataTypeOID
	if m := r.rows.TypeMap(); m != nil {
		if t, ok := m.TypeForOID(oid); ok {
			return strings.ToUpper(t.Name)
		}
	}
	return strconv.FormatUint(uint64(oid), 10)
}

// The server counts the four bytes of a length word into type modifiers.
const modifierHeader = 4

// ColumnTypeLength is the greatest length in characters, bytes or bits;
// math.MaxInt64 where the type sets none.
func (r *sqlRows) ColumnTypeLength(index int) (int64, bool) {
	f := r.fields[index]
	switch f.DataTypeOID {
	case pgtype.TextOID, pgtype.ByteaOID:
		return math.MaxInt64, true
	case pgtype.VarcharOID, pgtype.BPCharOID:
		if f.TypeModifier < modifierHeader {
			return math.MaxInt64, true
		}
		return int64(f.TypeModifier - modifierHeader), true
	case pgtype.VarbitOID:
		if f.TypeModifier < 0 {
			return math.MaxInt64, true
		}
		return int64(f.TypeModifier), true
	}
	return 0, false
}

// ColumnTypePrecisionScale is numeric's; not ok where the column sets none.
func (r *sqlRows) ColumnTypePrecisionScale(index int) (precision, scale int64, ok bool) {
	f := r.fields[index]
	if f.DataTypeOID != pgtype.NumericOID || f.TypeModifier < modifierHeader {
		return 0, 0, false
	}
	modifier := int64(f.TypeModifier - modifierHeader)
	// The scale is a signed number of eleven bits: numeric(2, -3) rounds to thousands.
	return modifier >> 16 & 0xffff, (modifier&0x7ff ^ 0x400) - 0x400, true
}

// ColumnTypeScanType is a type that holds every value of the column but NULL.
// It is string for numeric, which no float holds without loss.
func (r *sqlRows) ColumnTypeScanType(index int) reflect.Type {
	switch r.fields[index].DataTypeOID {
	case pgtype.Int2OID:
		return reflect.TypeFor[int16]()
	case pgtype.Int4OID:
		return reflect.TypeFor[int32]()
	case pgtype.Int8OID, pgtype.OIDOID, pgtype.XIDOID, pgtype.CIDOID:
		return reflect.TypeFor[int64]()
	case pgtype.Float4OID:
		return reflect.TypeFor[float32]()
	case pgtype.Float8OID:
		return reflect.TypeFor[float64]()
	case pgtype.BoolOID:
		return reflect.TypeFor[bool]()
	case pgtype.ByteaOID, pgtype.JSONOID, pgtype.JSONBOID:
		return reflect.TypeFor[[]byte]()
	case pgtype.DateOID, pgtype.TimestampOID, pgtype.TimestamptzOID:
		return reflect.TypeFor[time.Time]()
	default:
		return reflect.TypeFor[string]()
	}
}

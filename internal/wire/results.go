package wire

import (
	"bytes"
	"errors"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// Skip reads the result of the next call and returns its command tag, and a copy
// of its row if the row's first column is not empty.
func (x *Exchange) Skip() (row [][]byte, tag string, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for {
		msg, err := x.receive()
		if err != nil {
			return nil, "", err
		}
		switch msg := msg.(type) {
		case *pgproto3.DataRow:
			if len(msg.Values) > 0 && len(msg.Values[0]) > 0 {
				for _, v := range msg.Values {
					row = append(row, bytes.Clone(v))
				}
			}
		case *pgproto3.CommandComplete:
			return row, string(msg.CommandTag), nil
		default:
			return nil, "", x.unexpected(msg)
		}
	}
}

// NextResult goes to the next statement's result and reads so far that an
// error in parsing, binding or beginning it is known.
func (x *Exchange) NextResult() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for !x.concluded {
		_, _ = x.nextRow()
	}
	if x.err != nil {
		return x.err
	}
	if len(x.sent) == 0 {
		return errors.New("the batch has no further result")
	}
	desc := x.sent[0].desc
	x.fields, x.tag, x.ahead, x.concluded = x.sent[0].fields, pgconn.CommandTag{}, false, false
	if x.columns = len(x.fields); x.fields == nil {
		x.columns = anyNumber
	}
	x.sent = x.sent[1:]
	x.result++
	for {
		msg, err := x.receive()
		if err != nil {
			x.concluded = true
			return err
		}
		switch msg := msg.(type) {
		case *pgproto3.RowDescription:
			if desc.fields != nil && !describedBy(desc.fields, msg) {
				x.conn.shared.forget(desc.sql) // what we knew is out of date
			}
			if !describedBy(x.conn.fields, msg) {
				x.conn.fields = fieldDescriptions(msg)
			}
			x.fields = x.conn.fields
			x.columns = len(x.fields)
			return nil
		case *pgproto3.NoData:
			x.fields, x.columns = nil, noRows
		case *pgproto3.DataRow:
			if !x.fits(msg) {
				x.concluded = true
				return x.unexpected(msg)
			}
			x.row, x.ahead = msg.Values, true
			return nil
		case *pgproto3.CommandComplete:
			x.tag, x.concluded = pgconn.NewCommandTag(string(msg.CommandTag)), true
			return nil
		case *pgproto3.EmptyQueryResponse:
			x.concluded = true
			return nil
		default:
			x.concluded = true
			return x.unexpected(msg)
		}
	}
}

// NextRow copies the next row of the result with this number into row, and
// reports whether there was one: not at the result's end, when it is not the
// current one any more, or on an error, which Err and Close return.
func (x *Exchange) NextRow(result int, row *RowCopy) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if result != x.result {
		return false
	}
	values, ok := x.nextRow()
	if ok {
		row.take(values)
	}
	return ok
}

// RowCopy is a row in memory of its own. The connection's read buffer is soon
// somebody else's, and a result may be held for longer than it is open.
type RowCopy struct {
	values [][]byte
	memory []byte

	few   [4][]byte // where values begins
	short [64]byte  // where memory begins
}

// Values are the columns' values, nil for NULL. They are valid until the next row
// is read into the same memory.
func (r *RowCopy) Values() [][]byte { return r.values }

func (r *RowCopy) take(values [][]byte) {
	size := 0
	for _, v := range values {
		size += len(v)
	}
	if r.memory == nil {
		r.values, r.memory = r.few[:0], r.short[:0] // not nil: an empty value is not NULL
	}
	r.values, r.memory = r.values[:0], slices.Grow(r.memory[:0], size)
	for _, v := range values {
		if v == nil {
			r.values = append(r.values, nil)
			continue
		}
		start := len(r.memory)
		r.memory = append(r.memory, v...)
		r.values = append(r.values, r.memory[start:len(r.memory):len(r.memory)])
	}
}

// What columns is where it is no number of them.
const (
	anyNumber = -1
	noRows    = -2
)

// fits reports whether a row has the columns that were described.
func (x *Exchange) fits(row *pgproto3.DataRow) bool {
	return x.columns == anyNumber || x.columns == len(row.Values)
}

// nextRow returns the current result's next row, in the read buffer.
func (x *Exchange) nextRow() (values [][]byte, ok bool) {
	if x.ahead {
		x.ahead = false
		return x.row, true
	}
	if x.concluded {
		return nil, false
	}
	msg, err := x.receive()
	if err != nil {
		x.concluded = true
		return nil, false
	}
	switch msg := msg.(type) {
	case *pgproto3.DataRow:
		if x.fits(msg) {
			return msg.Values, true
		}
		_ = x.unexpected(msg)
	case *pgproto3.CommandComplete:
		x.tag = pgconn.NewCommandTag(string(msg.CommandTag))
	case *pgproto3.EmptyQueryResponse:
	default:
		_ = x.unexpected(msg) // kept in x.err
	}
	x.concluded = true
	return nil, false
}

// rest reads the result with this number to its end, if it is still the current
// one, and returns its command tag.
func (x *Exchange) rest(result int) pgconn.CommandTag {
	x.mu.Lock()
	defer x.mu.Unlock()
	if result != x.result {
		return pgconn.CommandTag{}
	}
	for !x.concluded {
		_, _ = x.nextRow()
	}
	return x.tag
}

// Tag is the current result's command tag, known once it was read to its end.
func (x *Exchange) Tag() pgconn.CommandTag {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.tag
}

func fieldDescriptions(msg *pgproto3.RowDescription) []pgconn.FieldDescription {
	fields := make([]pgconn.FieldDescription, len(msg.Fields))
	for i, f := range msg.Fields {
		fields[i] = pgconn.FieldDescription{
			Name: string(f.Name), TableOID: f.TableOID, TableAttributeNumber: f.TableAttributeNumber,
			DataTypeOID: f.DataTypeOID, DataTypeSize: f.DataTypeSize, TypeModifier: f.TypeModifier, Format: f.Format,
		}
	}
	return fields
}

// describedBy reports whether the server's description is one that we have.
func describedBy(fields []pgconn.FieldDescription, msg *pgproto3.RowDescription) bool {
	if len(fields) != len(msg.Fields) {
		return false
	}
	for i := range fields {
		f, m := &fields[i], &msg.Fields[i]
		if f.DataTypeOID != m.DataTypeOID || f.Format != m.Format || f.Name != string(m.Name) || f.TypeModifier != m.TypeModifier ||
			f.DataTypeSize != m.DataTypeSize || f.TableOID != m.TableOID || f.TableAttributeNumber != m.TableAttributeNumber {
			return false
		}
	}
	return true
}

package poolproof_test

import (
	"bytes"
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

var sqlModes = []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement}

// TestSQLValues: each type arrives as the one Go type that Connector names, in
// every mode of sending.
func TestSQLValues(t *testing.T) {
	f := newFixture(t, 1)
	f.exec(t, "create type mood as enum ('fine'); create domain amount as numeric(10,2)")
	moment := time.Date(2024, 2, 29, 12, 30, 15, 123456000, time.UTC)
	values := []struct {
		expression string
		want       any
	}{
		{"32767::int2", int64(32767)}, {"-5::int4", int64(-5)}, {"9223372036854775807", int64(math.MaxInt64)}, {"4294967295::oid", int64(math.MaxUint32)},
		{"0.1::float4", 0.1}, {"0.1::float8", 0.1}, {"'-Infinity'::float8", math.Inf(-1)},
		{"true", true}, {"false", false},
		{`'\x00ff'::bytea`, []byte{0, 255}}, {"''::bytea", []byte{}},
		{"date '2024-02-29'", time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)},
		{"timestamp '2024-02-29 12:30:15.123456'", moment}, {"timestamptz '2024-02-29 14:30:15.123456+02'", moment.Local()}, {"timestamptz 'infinity'", "infinity"},
		{"'text'::text", "text"}, {"'ab'::varchar(5)", "ab"}, {"'ab'::char(3)", "ab "}, {"'x'::name", "x"},
		{"12345678901234567890.123456789::numeric", "12345678901234567890.123456789"}, {"1.5::amount", "1.50"},
		{"'550e8400-e29b-41d4-a716-446655440000'::uuid", "550e8400-e29b-41d4-a716-446655440000"},
		{`'{"a": 1}'::json`, []byte(`{"a": 1}`)}, {`'{"a":1}'::jsonb`, []byte(`{"a": 1}`)}, {"array[1,null,3]", "{1,NULL,3}"}, {"array['a b']", `{"a b"}`},
		{"time '12:30'", "12:30:00"}, {"interval '1 day'", "1 day"}, {"inet '10.0.0.1'", "10.0.0.1"}, {"'fine'::mood", "fine"}, {"row(1, 'a')", "(1,a)"},
		{"null::int4", nil}, {"null", nil}, {"null::bytea", nil},
	}
	expressions := make([]string, len(values))
	for i, v := range values {
		expressions[i] = v.expression
	}
	for _, m := range sqlModes {
		t.Run(string(m), func(t *testing.T) {
			db := openSQL(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer124Transaction)+"&timezone=Asia/Tokyo", mode(m))
			for range 2 { // the second time the description is known
				got, pointers := make([]any, len(values)), make([]any, len(values))
				for i := range got {
					pointers[i] = &got[i]
				}
				if err := db.QueryRowContext(as(t, 0), "select "+strings.Join(expressions, ", ")).Scan(pointers...); err != nil {
					t.Fatal(err)
				}
				for i, v := range values {
					if gotTime, ok := got[i].(time.Time); ok {
						wantTime, _ := v.want.(time.Time)
						if !gotTime.Equal(wantTime) || gotTime.Location() != wantTime.Location() {
							t.Errorf("%s is %v instead of %v", v.expression, gotTime, v.want)
						}
						continue
					}
					if !reflect.DeepEqual(got[i], v.want) {
						t.Errorf("%s is %T %v instead of %T %v", v.expression, got[i], got[i], v.want, v.want)
					}
				}
			}
		})
	}
}

// label is a driver.Valuer and an sql.Scanner.
type label struct{ text string }

func (l label) Value() (driver.Value, error) { return "label:" + l.text, nil }

func (l *label) Scan(src any) error {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("a label from %T", src)
	}
	l.text = strings.TrimPrefix(text, "label:")
	return nil
}

type status string

// TestSQLArguments sends Go values through every mode and reads them back into
// their own types.
func TestSQLArguments(t *testing.T) {
	f := newFixture(t, 1)
	moment := time.Date(2024, 2, 29, 12, 30, 15, 123456000, time.UTC)
	id := uuid.MustParse("550e8400-e29b-41d4-a716-446655440000")
	text := "pointed at"
	arguments := []struct {
		typ  string
		give any
		want string // PostgreSQL's text of it; NULL for null
	}{
		{"int4", 42, "42"}, {"int8", int64(math.MinInt64), "-9223372036854775808"}, {"int8", uint8(7), "7"}, {"float8", 0.25, "0.25"}, {"float4", float32(0.1), "0.1"},
		{"bool", true, "true"}, {"text", "it's", "it's"}, {"text", status("new"), "new"}, {"text", &text, text}, {"text", (*string)(nil), "NULL"}, {"int4", nil, "NULL"},
		{"bytea", []byte{0, 255}, `\x00ff`}, {"timestamptz", moment, "2024-02-29 12:30:15.123456+00"}, {"date", moment, "2024-02-29"}, {"timestamp", moment, "2024-02-29 12:30:15.123456"},
		{"uuid", id, id.String()}, {"uuid", uuid.NullUUID{}, "NULL"}, {"uuid", id.String(), id.String()}, {"uuid", pgtype.UUID{Bytes: id, Valid: true}, id.String()},
		{"text[]", []string{"a b", `"`}, `{"a b","\""}`}, {"int4[]", []int32{1, 2}, "{1,2}"}, {"int8[]", []int64{}, "{}"}, {"uuid[]", []string{id.String()}, "{" + id.String() + "}"}, {"uuid[]", []uuid.UUID{id}, "{" + id.String() + "}"},
		{"jsonb", map[string]any{"a": 1}, `{"a": 1}`}, {"json", json.RawMessage(`{"b":[2]}`), `{"b":[2]}`}, {"jsonb", `{"c":3}`, `{"c": 3}`},
		{"text", label{"red"}, "label:red"}, {"text", sql.NullString{}, "NULL"}, {"int8", sql.Null[int64]{V: 5, Valid: true}, "5"}, {"timestamptz", sql.NullTime{Time: moment, Valid: true}, "2024-02-29 12:30:15.123456+00"},
		{"numeric", "1.10", "1.10"}, {"numeric", pgtype.Numeric{Int: nil, Valid: false}, "NULL"}, {"interval", time.Minute, "00:01:00"},
	}
	for _, m := range sqlModes {
		t.Run(string(m), func(t *testing.T) {
			db := openSQL(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer124Transaction), mode(m))
			for _, a := range arguments {
				for range 2 {
					var got string
					err := db.QueryRowContext(as(t, 0), "select coalesce(($1::"+a.typ+")::text, 'NULL') from (values (set_config('TimeZone', 'UTC', true))) as utc", a.give).Scan(&got)
					if err != nil || got != a.want {
						t.Errorf("%T as %s: %q instead of %q, %v", a.give, a.typ, got, a.want, err)
					}
				}
			}
			var named string
			err := db.QueryRowContext(as(t, 0), "select @a::text || @b::text", pgx.NamedArgs{"a": "x", "b": "y"}).Scan(&named)
			if err != nil || named != "xy" {
				t.Errorf("pgx.NamedArgs: %q, %v", named, err)
			}
			_, err = db.ExecContext(as(t, 0), "select $1::text", sql.Named("a", "x"))
			wantKind(t, "sql.Named", err, poolproof.ErrStatementRefused)
			if err = db.QueryRowContext(as(t, 0), "select $1::text", pgx.QueryExecModeSimpleProtocol, "it's").Scan(&named); err != nil || named != "it's" {
				t.Errorf("a leading exec mode: %q, %v", named, err)
			}
			if _, err = db.ExecContext(as(t, 0), "select $1::int4", "x"); err == nil {
				t.Error("a value of another type was taken")
			}
			for _, args := range [][]any{nil, {1, 2}} {
				if _, err = db.ExecContext(as(t, 0), "select $1::int4", args...); err == nil {
					t.Errorf("%d arguments for one parameter were taken", len(args))
				}
			}
		})
	}
}

// TestSQLScan reads into the Go types that database/sql's users use.
func TestSQLScan(t *testing.T) {
	f := newFixture(t, 1)
	forKinds(t, f, func(t *testing.T, _ pgtest.Kind, url string) {
		db := openSQL(t, url)
		var got struct {
			ID      uuid.UUID
			None    uuid.NullUUID
			Label   label
			JSON    json.RawMessage
			Float   float32
			Int     int
			Text    sql.NullString
			When    sql.NullTime
			Numbers []int64
			Raw     []byte
		}
		typeMap := pgtype.NewMap()
		err := db.QueryRowContext(as(t, 0), `select '550e8400-e29b-41d4-a716-446655440000'::uuid, null::uuid, 'label:red', '{"a":1}'::json, 0.1::float4, 7::int2, null::text,
			timestamp '2024-02-29 12:00', array[1,2]::int8[], '\x01'::bytea`).Scan(
			&got.ID, &got.None, &got.Label, &got.JSON, &got.Float, &got.Int, &got.Text, &got.When, typeMap.SQLScanner(&got.Numbers), &got.Raw)
		if err != nil {
			t.Fatal(err)
		}
		want := got
		want.ID, want.None, want.Label, want.JSON = uuid.MustParse("550e8400-e29b-41d4-a716-446655440000"), uuid.NullUUID{}, label{"red"}, json.RawMessage(`{"a":1}`)
		want.Float, want.Int, want.Text, want.Numbers, want.Raw = 0.1, 7, sql.NullString{}, []int64{1, 2}, []byte{1}
		want.When = sql.NullTime{Time: time.Date(2024, 2, 29, 12, 0, 0, 0, time.UTC), Valid: true}
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(label{})); diff != "" {
			t.Error(diff)
		}

		// Values stay what they are when further rows are read, and a conversion that fails releases the connection.
		rows, err := db.QueryContext(as(t, 0), `select decode(lpad(to_hex(n), 2, '0'), 'hex'), n::text from generate_series(1, 200) n`)
		if err != nil {
			t.Fatal(err)
		}
		var all [][]byte
		for rows.Next() {
			var b []byte
			var s string
			if err := rows.Scan(&b, &s); err != nil {
				t.Fatal(err)
			}
			all = append(all, b)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil || len(all) != 200 {
			t.Fatalf("%d rows, %v", len(all), err)
		}
		for i, b := range all {
			if !bytes.Equal(b, []byte{byte(i + 1)}) {
				t.Fatalf("row %d is %x", i+1, b)
			}
		}
		var n int
		if err := db.QueryRowContext(as(t, 0), "select 'x' from generate_series(1, 10)").Scan(&n); err == nil {
			t.Error("x is no number")
		}
		if err := db.QueryRowContext(as(t, 0), "select 1 where false").Scan(&n); !errors.Is(err, sql.ErrNoRows) {
			t.Errorf("no rows: %v", err)
		}
	})
}

// TestSQLErrors: PostgreSQL's errors come through, early and in the middle of
// rows; a result tells what was changed and no last insert id.
func TestSQLErrors(t *testing.T) {
	f := newFixture(t, 1)
	forKinds(t, f, func(t *testing.T, _ pgtest.Kind, url string) {
		db := openSQL(t, url, func(c *poolproof.Config) { c.MaxConns = 1 })
		for sql, code := range map[string]string{"selec": "42601", "select 1/0": "22012", "select 1/(50 - n) from generate_series(1, 100) n": "22012", "select 1; select 2": "42601"} {
			rows, err := db.QueryContext(as(t, 0), sql)
			if err == nil {
				for rows.Next() {
				}
				err = errors.Join(rows.Err(), rows.Close())
			}
			_, execErr := db.ExecContext(as(t, 0), sql)
			for _, err := range []error{err, execErr} {
				if pgErr, ok := errors.AsType[*pgconn.PgError](err); !ok || pgErr.Code != code {
					t.Errorf("%s: %v", sql, err)
				}
			}
		}
		result, err := db.ExecContext(as(t, 0), "update documents set body = body")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := result.RowsAffected(); n != 10 || err != nil {
			t.Errorf("%d rows, %v", n, err)
		}
		if _, err := result.LastInsertId(); err == nil || !strings.Contains(err.Error(), "RETURNING") {
			t.Errorf("last insert id: %v", err)
		}
		_, err = db.ExecContext(as(t, 0), "begin")
		wantKind(t, "begin as text", err, poolproof.ErrStatementRefused)
	})
}

// TestSQLColumnTypes describes columns, of results without rows too.
func TestSQLColumnTypes(t *testing.T) {
	f := newFixture(t, 1)
	f.exec(t, "create type mood as enum ('fine')")
	columns := []struct{ expression, want string }{
		{"null::int2", "INT2 int16"}, {"null::int4", "INT4 int32"}, {"null::int8", "INT8 int64"}, {"null::oid", "OID int64"},
		{"null::float4", "FLOAT4 float32"}, {"null::float8", "FLOAT8 float64"}, {"null::bool", "BOOL bool"},
		{"null::numeric", "NUMERIC string"}, {"null::numeric(10,2)", "NUMERIC string (10,2)"}, {"null::numeric(2,-3)", "NUMERIC string (2,-3)"},
		{"null::varchar(5)", "VARCHAR string [5]"}, {"null::varchar", "VARCHAR string [9223372036854775807]"}, {"null::char(3)", "BPCHAR string [3]"}, {"null::varbit(9)", "VARBIT string [9]"},
		{"null::varbit", "VARBIT string [9223372036854775807]"},
		{"null::text", "TEXT string [9223372036854775807]"}, {"null::bytea", "BYTEA []uint8 [9223372036854775807]"},
		{"null::uuid", "UUID string"}, {"null::jsonb", "JSONB []uint8"}, {"null::text[]", "_TEXT string"},
		{"null::date", "DATE time.Time"}, {"null::timestamp", "TIMESTAMP time.Time"}, {"null::timestamptz", "TIMESTAMPTZ time.Time"},
		{"null::mood", fmt.Sprintf("%d string", f.count(t, "select 'mood'::regtype::oid::int8"))},
	}
	sql := "select "
	for i, c := range columns {
		sql += fmt.Sprintf("%s as c%d, ", c.expression, i)
	}
	sql = strings.TrimSuffix(sql, ", ") + " where false"
	for _, m := range sqlModes {
		t.Run(string(m), func(t *testing.T) {
			db := openSQL(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer124Transaction), mode(m))
			rows, err := db.QueryContext(as(t, 0), sql)
			if err != nil {
				t.Fatal(err)
			}
			types, err := rows.ColumnTypes()
			if err != nil {
				t.Fatal(err)
			}
			for i, c := range columns {
				got := types[i].DatabaseTypeName() + " " + types[i].ScanType().String()
				if precision, scale, ok := types[i].DecimalSize(); ok {
					got += fmt.Sprintf(" (%d,%d)", precision, scale)
				}
				if length, ok := types[i].Length(); ok {
					got += fmt.Sprintf(" [%d]", length)
				}
				if name := fmt.Sprintf("c%d", i); types[i].Name() != name || got != c.want {
					t.Errorf("%s: %s %q instead of %q", c.expression, types[i].Name(), got, c.want)
				}
			}
			if rows.Next() || rows.Err() != nil || rows.Close() != nil {
				t.Errorf("rows: %v", rows.Err())
			}
		})
	}
}

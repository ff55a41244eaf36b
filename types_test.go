package poolproof_test

import (
	"database/sql"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// Arguments as programs have them: of named types, with methods, behind pointers.
type (
	named     string
	number    int32
	stringer  int32
	blob      []byte
	point     struct{ X, Y int }
	marshaler struct{ n int }
	valued    struct{ v driver.Value }
	tags      []string
	labels    map[string]string
)

func (stringer) String() string                  { return "seven" }
func (m marshaler) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `{"n":%d}`, m.n), nil }
func (v valued) Value() (driver.Value, error)    { return v.v, nil }

// argument is a Go value for the tables of the tests.
type argument struct {
	name  string
	value any
	// text: it is sent as text, whatever the parameter's type, in exec mode, so that PostgreSQL may take what pgx refuses.
	text bool
}

func arguments() []argument {
	east := time.Date(2024, 5, 6, 1, 30, 0, 123456000, time.FixedZone("east", 3*3600))
	id := uuid.MustParse("6f1f3b1e-8a51-4a4e-9d3c-0c5d1f6a7b8c")
	return []argument{
		{"nil", nil, true}, {"nil []byte", []byte(nil), false}, {"nil *string", (*string)(nil), true}, {"nil map", map[string]any(nil), false},
		{"nil *struct", (*point)(nil), false}, {"nil []string", []string(nil), false}, {"nil json.RawMessage", json.RawMessage(nil), false},
		{"string", "word", true}, {"empty string", "", true}, {"string of JSON", `{"a": 1}`, true}, {"string of an array", "{a,b}", true}, {"*string", new("word"), true},
		{"named string", named("word"), false}, {"*named string", new(named("word")), false},
		{"[]byte of JSON", []byte(`{"a": [1, "\\x41"]}`), false}, {"[]byte of text", []byte("word"), false}, {"[]byte of escapes", []byte(`a\\b\101`), false},
		{"[]byte, empty", []byte{}, false}, {"*[]byte", new([]byte(`[1]`)), false}, {"[]byte of XML", []byte("<a>b</a>"), false}, {"[]byte of digits", []byte("12"), false},
		{"named []byte", blob(`{"a":1}`), false}, {"json.RawMessage", json.RawMessage(`{"a":"\n"}`), false}, {"*json.RawMessage", new(json.RawMessage(`[]`)), false},
		{"int", 7, true}, {"int16", int16(-7), true}, {"int64", int64(math.MaxInt64), true}, {"uint8", uint8(200), false}, {"uint64", uint64(math.MaxUint64), true}, {"*int", new(7), true},
		{"named int", number(7), false}, {"named int with String", stringer(7), false},
		{"float64", 0.1, false}, {"float64 without fraction", 3.0, false}, {"float32", float32(0.1), false}, {"float64 NaN", math.NaN(), false}, {"large float64", 1e22, false},
		{"bool", true, true}, {"*bool", new(false), true}, {"nil *bool", (*bool)(nil), true}, {"nil []int32", []int32(nil), false}, {"nil *time", (*time.Time)(nil), false},
		{"time in UTC", east.UTC(), false}, {"time elsewhere", east, false}, {"*time", new(east), false}, {"zero time", time.Time{}, false}, {"duration", 90 * time.Minute, false},
		{"uuid.UUID", id, true}, {"[16]byte", [16]byte(id), false}, {"*uuid.UUID", &id, false}, {"[]uuid.UUID", []uuid.UUID{id}, false},
		{"[]string", []string{"a", "b,c", `d"e`}, false}, {"[]string, empty", []string{}, false}, {"named []string", tags{"x", "y"}, false}, {"[]*string", []*string{nil, new("z")}, false},
		{"[]int", []int{1, 2}, false}, {"[]int32", []int32{3}, false}, {"[]float64", []float64{0.5}, false}, {"[]bool", []bool{true, false}, false},
		{"[]time.Time", []time.Time{east}, false}, {"[][]string", [][]string{{"a"}, {"b"}}, false}, {"[][]byte", [][]byte{[]byte("ab"), []byte("{}")}, false}, {"[]any", []any{1, "two", nil}, false},
		{"map", map[string]any{"k": []int{1}}, false}, {"map of strings", map[string]string{"k": "v"}, false}, {"named map", labels{"k": "v"}, false}, {"map of *string", map[string]*string{"k": nil}, false},
		{"struct", point{1, 2}, false}, {"*struct", &point{1, 2}, false}, {"[]struct", []point{{1, 2}}, false}, {"json.Marshaler", marshaler{5}, false}, {"json.Number", json.Number("12"), false},
		{"Valuer of []byte", valued{[]byte(`{"a":1}`)}, false}, {"Valuer of string", valued{"word"}, false}, {"Valuer of nil", valued{nil}, false}, {"Valuer of int64", valued{int64(7)}, false},
		{"Valuer of time", valued{east}, false}, {"Valuer of bool", valued{true}, false}, {"*Valuer", &valued{[]byte(`[1]`)}, false}, {"nil *Valuer", (*valued)(nil), false},
		{"sql.NullString", sql.NullString{String: "word", Valid: true}, false}, {"sql.NullString, null", sql.NullString{}, false}, {"sql.NullInt64", sql.NullInt64{Int64: 7, Valid: true}, false}, {"sql.NullTime", sql.NullTime{Time: east, Valid: true}, false},
		{"pgtype.Text", pgtype.Text{String: "word", Valid: true}, false}, {"pgtype.Text, null", pgtype.Text{}, false}, {"pgtype.Int8", pgtype.Int8{Int64: 7, Valid: true}, false},
		{"pgtype.Numeric", pgtype.Numeric{Int: big.NewInt(125), Exp: -2, Valid: true}, false}, {"pgtype.Timestamptz", pgtype.Timestamptz{Time: east, Valid: true}, false},
		{"pgtype.Timestamp", pgtype.Timestamp{Time: east, Valid: true}, false}, {"pgtype.Date", pgtype.Date{Time: east, Valid: true}, false}, {"pgtype.UUID", pgtype.UUID{Bytes: id, Valid: true}, false},
		{"pgtype.Interval", pgtype.Interval{Months: 1, Days: 2, Microseconds: 3, Valid: true}, false}, {"pgtype.FlatArray", pgtype.FlatArray[string]{"a"}, false},
		{"netip.Addr", netip.MustParseAddr("10.0.0.1"), false}, {"netip.Prefix", netip.MustParsePrefix("10.0.0.0/8"), false}, {"net.IP", net.ParseIP("10.0.0.1"), false},
		{"net.IPNet", net.IPNet{IP: net.IP{10, 0, 0, 0}, Mask: net.CIDRMask(8, 32)}, false}, {"net.HardwareAddr", net.HardwareAddr{1, 2, 3, 4, 5, 6}, false}, {"*big.Int", big.NewInt(99), false},
	}
}

// parameterTypes are asked of exec mode; those that are common, of every way.
var (
	commonTypes    = []string{"text", "jsonb", "bytea", "int4", "timestamp", "citext", "hstore", "text[]", "mood[]"}
	parameterTypes = append([]string{
		"varchar", `"char"`, "xml", "json", "bool", "int8", "float8", "numeric", "date", "time", "timestamptz", "interval", "uuid", "inet", "cidr", "macaddr",
		"bit varying", "tsvector", "int4range", "int4[]", "uuid[]", "jsonb[]", "bytea[]", "timestamp[]", "float8[]", "mood", "pair", "short",
	}, commonTypes...)
)

const parameterTypesSQL = `create extension citext; create extension hstore;
	create type mood as enum ('word', 'sad'); create type pair as (x int, y int); create domain short as text check (length(value) < 9)`

// answer is a value's text, as PostgreSQL has it, or that there is none.
type answer struct {
	text sql.NullString
	err  error
}

func (a answer) String() string {
	switch {
	case a.err != nil:
		return "error: " + a.err.Error()
	case !a.text.Valid:
		return "null"
	}
	return fmt.Sprintf("%q", a.text.String)
}

func (a answer) is(b answer) bool { return (a.err != nil) == (b.err != nil) && a.text == b.text }

// TestArgumentsAsPgx: every mode answers for every Go value and parameter type
// what pgx answers in its best mode, directly. What exec mode leaves to
// PostgreSQL, strings, integers, bools and UUIDs, differs in four ways: PostgreSQL
// may take what pgx refuses; it refuses a UUID for bits; pgx marshals an integer or
// a bool to an element of XML; and for text of a type that pgx does not know, such
// as citext, a bool is true instead of t.
func TestArgumentsAsPgx(t *testing.T) {
	f := newFixture(t, 1)
	f.exec(t, parameterTypesSQL)
	peerConfig, err := pgx.ParseConfig(f.url)
	if err != nil {
		t.Fatal(err)
	}
	peerConfig.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	peer, err := pgx.ConnectConfig(t.Context(), peerConfig)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = peer.Close(t.Context()) }()

	const viaSQL = "database/sql, exec"
	ways := map[string]func(sql string, arg any) answer{}
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
		kind := pgtest.PgBouncer118Transaction
		if m == poolproof.ModeCacheStatement {
			kind = pgtest.PgBouncer124Transaction
		}
		s := open(t, pgtest.Pooled(t, f.url, kind), mode(m)).Tenant(tenant(0))
		ways[string(m)] = func(sql string, arg any) (a answer) {
			a.err = s.QueryRow(t.Context(), sql, arg).Scan(&a.text)
			return a
		}
	}
	sqlDB := openSQL(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction), mode(poolproof.ModeExec))
	ways[viaSQL] = func(sql string, arg any) (a answer) {
		a.err = sqlDB.QueryRowContext(as(t, 0), sql, arg).Scan(&a.text)
		return a
	}
	unknownText := map[string]bool{"citext": true, "short": true}
	answered := 0
	for _, typ := range parameterTypes {
		sql := "select ($1::" + typ + ")::text"
		for _, arg := range arguments() {
			var want answer
			if want.err = peer.QueryRow(t.Context(), sql, arg.value).Scan(&want.text); want.err == nil {
				answered++
			}
			for way, ask := range ways {
				exec := way == string(poolproof.ModeExec) || way == viaSQL
				if way != string(poolproof.ModeExec) && !slices.Contains(commonTypes, typ) {
					continue
				}
				got := ask(sql, arg.value)
				known := exec && arg.text && (want.err != nil || got.err != nil && typ == "bit varying" || typ == "xml" || unknownText[typ] && strings.HasSuffix(arg.name, "bool"))
				if !got.is(want) && !known {
					t.Errorf("%s for %s in %s: %v; pgx: %v", arg.name, typ, way, got, want)
				}
			}
		}
	}
	if answered < 800 {
		t.Errorf("pgx answered %d only", answered)
	}
}

// What sqlc and others pass for jsonb reaches every way of sending in the mode that
// ModeAuto picks behind a pooler that tracks nothing; it costs a round trip once,
// and what exec mode knows without asking costs none.
func TestBytesOfJSON(t *testing.T) {
	f := newFixture(t, 1)
	f.exec(t, "create table facts (tenant_id uuid not null, id int, fact jsonb, raw bytea); grant select, insert on facts to public")
	url, syncs := pgtest.CountSyncs(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction))
	db := open(t, url, func(c *poolproof.Config) { c.MaxConns = 1 })
	if db.Mode() != poolproof.ModeExec {
		t.Fatalf("mode %s", db.Mode())
	}
	s, ctx := db.Tenant(tenant(0)), t.Context()
	const insert = "insert into facts values ($1, $2, $3, $4)"
	fact, raw := []byte(`{"a": "\\x41"}`), []byte{0, '\\', 255}
	row := func(id int) []any { return []any{uuid.MustParse(tenant(0)), id, fact, raw} }
	ways := []func(id int) error{
		func(id int) error { _, err := s.Exec(ctx, insert, row(id)...); return err },
		func(id int) error {
			b := &pgx.Batch{}
			b.Queue(insert, row(id)...)
			return s.SendBatch(ctx, b).Close()
		},
		func(id int) error {
			_, err := s.CopyFrom(ctx, pgx.Identifier{"facts"}, []string{"tenant_id", "id", "fact", "raw"}, pgx.CopyFromRows([][]any{row(id)}))
			return err
		},
		func(id int) error {
			return s.InTx(ctx, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, insert+" returning id", row(id)...); err != nil {
					return err
				}
				_, err := tx.CopyFrom(ctx, pgx.Identifier{"facts"}, []string{"id", "fact", "raw", "tenant_id"}, pgx.CopyFromRows([][]any{{id, map[string]any{"a": `\x41`}, raw, tenant(0)}}))
				return err
			})
		},
	}
	for id, way := range ways {
		if err := way(id); err != nil {
			t.Errorf("%d: %v", id, err)
		}
	}
	if n := f.count(t, `select count(*) from facts where fact->>'a' = '\x41' and raw = '\x005cff'`); n != len(ways)+1 {
		t.Errorf("%d rows are as they were sent", n)
	}
	b := &pgx.Batch{} // where it cannot be done, as the guide says
	b.Queue("create table made (fact jsonb)")
	b.Queue("insert into made values ($1)", fact)
	if pgErr, ok := errors.AsType[*pgconn.PgError](s.SendBatch(ctx, b).Close()); !ok || pgErr.Code != "42P01" {
		t.Errorf("a []byte for a table of the same batch: %v", pgErr)
	}
	for _, c := range []struct {
		sql   string
		want  int // round trips, the first time
		value any
	}{{"select 1, $1::text", 1, "a"}, {"select 2, $1::text", 1, 7}, {"select 3, $1::uuid", 1, uuid.New()}, {"select 4, $1::jsonb", 2, fact}, {"select 4, $1::jsonb", 1, fact}} {
		before := syncs()
		if _, err := s.Exec(ctx, c.sql, c.value); err != nil {
			t.Fatal(err)
		}
		if got := syncs() - before; got != c.want {
			t.Errorf("%s: %d round trips instead of %d", c.sql, got, c.want)
		}
	}
}

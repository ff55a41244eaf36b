package poolproof_test

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"reflect"
	"runtime"
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

// everything is a row of most types that programs use, with its Go side.
type everything struct {
	Small  int16
	Big    int64
	Float  float64
	Flag   bool
	Text   string
	Bytes  []byte
	At     time.Time
	Day    pgtype.Date
	Num    pgtype.Numeric
	ID     uuid.UUID
	Doc    map[string]any
	List   []int32
	Texts  []string
	Span   pgtype.Interval
	Addr   netip.Prefix
	None   *string
	Nested []*time.Time
}

const selectEverything = `select 7::int2 as small, 9007199254740993::int8 as big, 1.5::float8 as float, true as flag, 'höß'::text as text, '\x00ff'::bytea as bytes,
	'2026-11-23 10:11:12.131415+00'::timestamptz as at, '2024-02-29'::date as day, 12345678901234567890.123456789::numeric as num,
	'550e8400-e29b-41d4-a716-446655440000'::uuid as id, '{"a": [1, null, "x"]}'::jsonb as doc, array[1,2,-3]::int4[] as list, array['a','b,"c"']::text[] as texts,
	'1 day 02:03:04'::interval as span, '10.0.0.0/8'::cidr as addr, null::text as none, array[null, '2026-01-01'::timestamptz] as nested where $1::int = 1`

// TestResultsAreAsRichAsPgx decodes in every mode what pgx itself decodes.
func TestResultsAreAsRichAsPgx(t *testing.T) { forForms(t, testResultsAreAsRichAsPgx) }

func testResultsAreAsRichAsPgx(t *testing.T, form option) {
	f := newFixture(t, 1)
	rows, err := f.owner.Query(t.Context(), selectEverything, 1)
	if err != nil {
		t.Fatal(err)
	}
	want, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[everything])
	if err != nil {
		t.Fatal(err)
	}
	compare := []cmp.Option{cmp.Comparer(func(a, b *big.Int) bool { return a.Cmp(b) == 0 }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })}
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
		t.Run(string(m), func(t *testing.T) {
			s := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer124Transaction), form, mode(m)).Tenant(tenant(0))
			for range 3 {
				rows, err := s.Query(t.Context(), selectEverything, 1)
				if err != nil {
					t.Fatal(err)
				}
				format := rows.FieldDescriptions()[1].Format
				if binary := m != poolproof.ModeExec; binary != (format == pgx.BinaryFormatCode) {
					t.Errorf("format %d in mode %s", format, m)
				}
				got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[everything])
				if err != nil {
					t.Fatal(err)
				}
				if d := cmp.Diff(want, got, compare...); d != "" {
					t.Errorf("differs from pgx: %s", d)
				}
			}
			var text string
			if err := s.QueryRow(t.Context(), "select @greeting || @name", pgx.NamedArgs{"greeting": "hello ", "name": "you"}).Scan(&text); err != nil || text != "hello you" {
				t.Errorf("named arguments: %q, %v", text, err)
			}
			rows, err := s.Query(t.Context(), selectEverything, 1)
			if err != nil {
				t.Fatal(err)
			}
			rows.Next()
			values, err := rows.Values()
			rows.Close()
			if err != nil || len(values) != 17 || values[0] != int16(7) || values[15] != nil || !reflect.DeepEqual(values[10], map[string]any{"a": []any{1.0, nil, "x"}}) {
				t.Errorf("Values: %v, %v", values, err)
			}
			if err := s.QueryRow(t.Context(), "select 1 where false").Scan(&text); !errors.Is(err, pgx.ErrNoRows) {
				t.Errorf("no row: %v", err)
			}
			if err := s.QueryRow(t.Context(), "select 'x'").Scan(new(int)); err == nil || !strings.Contains(err.Error(), "dest[0]") {
				t.Errorf("a wrong destination: %v", err)
			}
			if err := s.QueryRow(t.Context(), "select 1, 2").Scan(new(int)); err == nil {
				t.Error("too few destinations were taken")
			}
			if _, err := s.Exec(t.Context(), "select $1::int"); err == nil {
				t.Error("a missing argument was taken")
			}
			var n int
			if err := s.QueryRow(t.Context(), "select count(*) from documents").Scan(&n); err != nil || n != 10 {
				t.Errorf("after errors: %d rows, %v", n, err)
			}
		})
	}
}

// dbtx is sqlc's DBTX for pgx: what sessions and transactions have in common.
type dbtx interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

// TestSQLCInterface holds Session to sqlc's DBTX.
func TestSQLCInterface(*testing.T) {
	var _ dbtx = poolproof.Session{}
}

// TestLargeResultsStream reads 256 MB and must not hold them.
func TestLargeResultsStream(t *testing.T) {
	f := newFixture(t, 1)
	s := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction)).Tenant(tenant(0))
	rows, err := s.Query(t.Context(), "select n, repeat('x', 262144) from generate_series(1, 1000) n")
	if err != nil {
		t.Fatal(err)
	}
	var peak uint64
	n := 0
	for ; rows.Next(); n++ {
		if n%100 == 99 {
			var mem runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&mem)
			peak = max(peak, mem.HeapAlloc)
		}
	}
	if rows.Err() != nil || n != 1000 {
		t.Errorf("%d rows, %v", n, rows.Err())
	}
	if peak > 32<<20 {
		t.Errorf("%d MB were held", peak>>20)
	}
}

// TestLargePipelines sends and gets more at once than sockets buffer: writing
// must not wait for answers that nobody reads.
func TestLargePipelines(t *testing.T) { forForms(t, testLargePipelines) }

func testLargePipelines(t *testing.T, form option) {
	f := newFixture(t, 1)
	for _, kind := range pgtest.Kinds {
		if kind != pgtest.Direct && kind != pgtest.PgBouncer118Transaction && !pgtest.Soak() {
			continue
		}
		t.Run(kind.String(), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			s := open(t, pgtest.Pooled(t, f.url, kind), form).Tenant(tenant(0))
			big := strings.Repeat("y", 1<<20)
			b := &pgx.Batch{}
			for range 16 {
				b.Queue("select $1::text || 'z'", big).QueryRow(func(row pgx.Row) error {
					var got string
					if err := row.Scan(&got); err != nil {
						return err
					}
					if len(got) != len(big)+1 {
						return fmt.Errorf("%d bytes came back", len(got))
					}
					return nil
				})
			}
			if err := s.SendBatch(ctx, b).Close(); err != nil {
				t.Errorf("a batch of 16 MB: %v", err)
			}
			many := pgtest.Pick(int64(2_000), 20_000)
			n, err := s.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"}, pgx.CopyFromSlice(int(many), func(i int) ([]any, error) {
				return []any{tenant(0), fmt.Sprintf("row %d %s", i, kind)}, nil
			}))
			if err != nil || n != many {
				t.Errorf("copied %d rows: %v", n, err)
			}
			broken := errors.New("the source broke")
			_, err = s.CopyFrom(ctx, pgx.Identifier{"documents"}, []string{"tenant_id", "body"}, pgx.CopyFromSlice(int(many), func(i int) ([]any, error) {
				if i == int(many)-1 {
					return nil, broken
				}
				return []any{tenant(0), "half a copy"}, nil
			}))
			if !errors.Is(err, broken) {
				t.Errorf("a source that breaks: %v", err)
			}
			if n := f.count(t, "select count(*) from documents where body = 'half a copy'"); n != 0 {
				t.Errorf("%d rows of half a copy", n)
			}
			if err := s.QueryRow(ctx, "select count(*) from documents where body like '%'||$1", kind.String()).Scan(&n); err != nil || n != many {
				t.Errorf("%d rows, %v", n, err)
			}
		})
	}
}

// TestTypesThatChange alters a table under statements that are described or
// prepared: the caller may get one error, never a wrong value, and goes on.
func TestTypesThatChange(t *testing.T) { forForms(t, testTypesThatChange) }

func testTypesThatChange(t *testing.T, form option) {
	for _, m := range []poolproof.Mode{poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
		t.Run(string(m), func(t *testing.T) {
			f := newFixture(t, 1)
			f.exec(t, "create table changing (v int4 not null); insert into changing values (42); grant select on changing to "+loginOf(t, f.url))
			s := open(t, f.url, form, mode(m), func(c *poolproof.Config) { c.MaxConns = 2 }).Tenant(tenant(0))
			read := func() (v string, err error) {
				rows, err := s.Query(t.Context(), "select * from changing")
				if err != nil {
					return "", err
				}
				values, err := pgx.CollectOneRow(rows, func(row pgx.CollectableRow) ([]any, error) { return row.Values() })
				return fmt.Sprint(values), err
			}
			for _, change := range []struct{ ddl, want string }{
				{"select 1", "[42]"},
				{"alter table changing alter v type text using v::text", "[42]"},
				{"alter table changing add w float8 default 0.5", "[42 0.5]"},
				{"alter table changing drop v", "[0.5]"},
			} {
				f.exec(t, change.ddl)
				var got string
				var err error
				for range 4 {
					if got, err = read(); err == nil && got != change.want {
						t.Errorf("after %s: %s", change.ddl, got)
					}
				}
				if err != nil || got != change.want {
					t.Errorf("after %s: %s, %v", change.ddl, got, err)
				}
			}
		})
	}
}

package poolproof_test

import (
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// TestCopyFromIsLikeExec: CopyFrom encodes what Exec encodes, in every mode, in a
// transaction and alone, and makes a span of its own.
func TestCopyFromIsLikeExec(t *testing.T) {
	f := newFixture(t, 1)
	f.exec(t, "create table things (n int, data jsonb, tags text[]); grant all on things to "+loginOf(t, f.url))
	type thing struct {
		Name string `json:"name"`
	}
	rows := [][]any{
		{1, map[string]any{"name": "a"}, []string{"x"}},
		{2, nil, nil},
		{3, thing{"c"}, []string{}},
	}
	backwards := [][]any{rows[1], rows[0], rows[2]} // begins with values that say nothing of those to come
	for _, m := range []poolproof.Mode{poolproof.ModeExec, poolproof.ModeCacheDescribe, poolproof.ModeCacheStatement} {
		t.Run(string(m), func(t *testing.T) {
			spans := tracetest.NewSpanRecorder()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
			db := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer124Transaction), mode(m), func(c *poolproof.Config) { c.TracerProvider = provider })
			ctx, request := provider.Tracer("test").Start(t.Context(), "request")
			defer request.End()
			s := db.Shared()
			copies := map[string]func(rows [][]any) (int64, error){
				"a session": func(rows [][]any) (int64, error) {
					return s.CopyFrom(ctx, pgx.Identifier{"things"}, []string{"n", "data", "tags"}, pgx.CopyFromRows(rows))
				},
				"a transaction": func(rows [][]any) (n int64, err error) {
					err = s.InTx(ctx, func(tx pgx.Tx) error {
						n, err = tx.CopyFrom(ctx, pgx.Identifier{"things"}, []string{"n", "data", "tags"}, pgx.CopyFromRows(rows))
						return err
					})
					return n, err
				},
			}
			for name, copyRows := range copies {
				for _, rows := range [][][]any{rows, backwards, nil} {
					if n, err := copyRows(rows); err != nil || n != int64(len(rows)) {
						t.Errorf("%s: %d rows of %d, %v", name, n, len(rows), err)
					}
				}
			}
			if n := f.count(t, "select count(*) from things where n = 1 and data ->> 'name' = 'a' and tags = '{x}' or n = 2 and data is null or n = 3 and data ->> 'name' = 'c'"); n != 12 {
				t.Errorf("%d rows of 12", n)
			}
			f.exec(t, "truncate things")
			n := 0
			for _, span := range spans.Ended() {
				for _, a := range span.Attributes() {
					if strings.HasPrefix(a.Value.AsString(), `insert into "things"`) {
						n++
					}
				}
			}
			if n != 6 {
				t.Errorf("six CopyFroms made %d spans", n)
			}
		})
	}
}

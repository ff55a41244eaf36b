package hostile

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func codes(p *Pooler) string {
	var all []string
	for _, f := range p.Report().Findings {
		s := string(f.Code)
		if f.Subject != "" {
			s += " " + f.Subject
		}
		all = append(all, s)
	}
	return strings.Join(all, "; ")
}

func TestSmoke(t *testing.T) {
	for mode, want := range map[string]string{"exec": "", "cache_describe": "", "simple_protocol": "", "cache_statement": "PP002", "describe_exec": "PP001"} {
		t.Run(mode, func(t *testing.T) {
			p, url := start(t, Config{Upstream: pgtest.Database(t)})
			c, err := pgx.Connect(t.Context(), url+"&default_query_exec_mode="+mode)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close(context.Background())
			for i := range 5 {
				var n int
				err := c.QueryRow(t.Context(), "select $1::int + 1", i).Scan(&n)
				t.Log(n, err)
			}
			_, err = c.Exec(t.Context(), "set app.tenant = 'x'")
			t.Log(err)
			_, err = c.Exec(t.Context(), "create temp table tt(a int)")
			t.Log(err)
			_, err = c.Exec(t.Context(), "do $$begin perform set_config('work_mem','5MB',false); perform pg_advisory_lock(7); end$$")
			t.Log(err)
			_, err = c.Exec(t.Context(), "select 1")
			t.Log(codes(p), want)
			r := p.Report()
			t.Logf("%+v", r.Findings)
		})
	}
}

package corpus

import (
	"slices"
	"sync"
	"testing"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// judged are programs that see for themselves whether they were served right.
var judged = []string{
	"python/wire.py", "node/pg_claims.cjs", "node/pg_late.cjs", "node/pg_named.cjs", "node/pg_setting.cjs",
	"python/psycopg2_timeout.py", "python/psycopg_deallocate.py", "python/psycopg_helper.py",
}

// What prove says of one copy is what several at once suffer through real
// PgBouncers with two server connections: an error where one of them fails,
// nothing worse than a warning where all are served right. Strict and observing,
// prove speaks of both PgBouncers; as pgbouncer-1.24, of that. What is strict, and
// PgBouncer 1.18, TestProve and TestBehindPgBouncer ask as well: here only the
// soak does. It asks about all programs that see for themselves, and all forms that
// are right; make test about one program.
func TestCopies(t *testing.T) {
	copies, rounds, soak := pgtest.Pick(3, 8), pgtest.Pick(1, 20), pgtest.Soak()
	for _, r := range table {
		switch {
		case soak && (len(r.want) == 0 || slices.Contains(judged, r.program)), !soak && r.program == judged[0]:
		default:
			continue
		}
		t.Run(r.program+" "+r.form, func(t *testing.T) {
			t.Parallel()
			for range rounds {
				strict, on118 := len(r.want) > 0, len(r.want) > 0
				if soak {
					strict = r.accused(t, hostile.Config{})
					on118 = r.suffers(t, pgtest.PgBouncer118Transaction, copies, strict)
				}
				observing, as124 := r.accused(t, hostile.Config{Observe: true}), r.accused(t, hostile.Config{Profile: "pgbouncer-1.24"})
				on124 := r.suffers(t, pgtest.PgBouncer124Transaction, copies, as124)
				t.Logf("an error: strict %t, observing %t, as pgbouncer-1.24 %t; one of %d fails: through 1.18 %t, through 1.24 %t", strict, observing, as124, copies, on118, on124)
				if strict != (on118 || on124) || observing != strict || as124 != on124 {
					t.Error("what is said is not what is suffered")
				}
			}
		})
	}
}

// suffers reports whether one of several copies fails. Where that is expected,
// it may take a few tries.
func (r row) suffers(t *testing.T, kind pgtest.Kind, copies int, expected bool) bool {
	t.Helper()
	direct := database(t)
	pooled := pgtest.Pooled(t, direct, kind)
	for range tries {
		var mu sync.Mutex
		failed := 0
		together(copies, func(int) run {
			ran := execute(t, r.program, r.form, pooled, direct)
			if ran.exit != 0 {
				mu.Lock()
				failed++
				mu.Unlock()
			}
			return ran
		})
		if failed > 0 || !expected {
			return failed > 0
		}
	}
	return false
}

// accused reports whether prove finds an error in one copy.
func (r row) accused(t *testing.T, cfg hostile.Config) bool {
	t.Helper()
	cfg.Upstream = database(t)
	p, pooled := pooler(t, cfg)
	execute(t, r.program, r.form, pooled, cfg.Upstream)
	return slices.ContainsFunc(p.Report().Findings, func(f hostile.Finding) bool { return f.Severity == hostile.Error })
}

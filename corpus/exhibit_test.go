package corpus

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// fixed is the exhibit's fix.
const fixed = "&binary_parameters=yes"

// Two ordinary programs on lib/pq. One only reads rows 1 to 500, the other only
// deletes ids that do not exist. Behind a real PgBouncer 1.18 rows vanish, without
// an error; with binary_parameters=yes none does.
func TestExhibitRowsVanish(t *testing.T) {
	for _, tc := range []struct {
		name, option string
		vanish       bool
	}{{"default", "", true}, {"binary_parameters", fixed, false}} {
		t.Run(tc.name, func(t *testing.T) {
			direct := database(t)
			pooled := pgtest.Pooled(t, direct, pgtest.PgBouncer118Transaction) + tc.option
			left := 500
			for try := range tries {
				var both sync.WaitGroup
				for _, program := range []string{"go/reader", "go/cleaner"} {
					both.Go(func() { execute(t, program, "", pooled, direct, "CORPUS_SECONDS=1") })
				}
				both.Wait()
				left = count(t, direct)
				if left < 500 || !tc.vanish && try == 2 {
					break
				}
			}
			t.Logf("%d of 500 rows are left", left)
			if (left < 500) != tc.vanish {
				t.Errorf("%d of 500 rows are left", left)
			}
		})
	}
}

// poolproof prove finds the cause on each of the two programs alone, names the
// fix, and finds nothing once it is applied.
func TestExhibitProve(t *testing.T) {
	for _, program := range []string{"reader", "cleaner"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			findings, exit := proveByCommand(t, program, "")
			if exit != 66 || len(findings) != 1 {
				t.Fatalf("exit %d, %d findings: %+v; want 66 and one", exit, len(findings), findings)
			}
			f := findings[0]
			if f.Code != hostile.ForeignUnnamed || !strings.Contains(f.Fix, "binary_parameters=yes") || f.First.Client.Driver != "lib/pq" || !strings.Contains(f.First.SQL, "FROM item WHERE id = $1") {
				t.Errorf("%+v", f)
			}
			if findings, exit = proveByCommand(t, program, fixed); exit != 0 || len(findings) != 0 {
				t.Errorf("with the fix: exit %d, %+v", exit, findings)
			}
		})
	}
}

// proveByCommand runs a program as a person would.
func proveByCommand(t *testing.T, program, option string) ([]hostile.Finding, int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(t.Context(), pgtest.Program(t), "prove", "--upstream", database(t), "--json", file,
		"--env", "DATABASE_URL={url}"+option, "--", filepath.Join(built(t).golang, program))
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var report struct{ Findings []hostile.Finding }
	if err := json.Unmarshal(raw, &report); err != nil {
		t.Fatal(err)
	}
	if t.Failed() || len(report.Findings) > 1 {
		t.Logf("%s", out)
	}
	return report.Findings, cmd.ProcessState.ExitCode()
}

func count(t *testing.T, url string) (n int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close(t.Context()) }()
	if err := c.QueryRow(t.Context(), "select count(*) from item").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

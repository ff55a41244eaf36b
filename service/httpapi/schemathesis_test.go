package httpapi

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/migrations"
)

// schemathesisVersion is what scripts/setup installs.
const schemathesisVersion = "4.32.5"

// Schemathesis asks every operation of the served document with data that fits
// it and data that does not, with and without a token, follows its links, and
// checks each answer against it: as the platform's administrator what only that
// one may do, the rest as a tenant's SUPER_ADMIN, each on a database of its own; in
// the soak both ask everything.
func TestSchemathesis(t *testing.T) {
	cache, err := devdb.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(cache, "schemathesis-"+schemathesisVersion, "bin", "schemathesis")
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("Schemathesis is not installed; install what the tests need: make setup (%v)", err)
	}
	config, err := filepath.Abs("testdata/schemathesis.toml")
	if err != nil {
		t.Fatal(err)
	}
	// One worker: Hypothesis parses its own source, which CPython 3.11 sometimes
	// cannot in several threads ("AST constructor recursion depth mismatch").
	//
	// The same requests each time, one for each operation; the soak has those at the
	// edges of the schemas too, and random ones.
	const platforms = `^((create|update|delete)(Feature|Permission|SidebarItem)|[a-z]+Tenants?)$`
	more := pgtest.Pick([]string{"--max-examples", "1", "--seed", "1", "--phases", "examples,fuzzing"}, []string{"--max-examples", "50"})
	all := len(theContract().operations) - 1 // but the one that the document came by
	var asked atomic.Int64
	t.Cleanup(func() {
		if n := int(asked.Load()); n != pgtest.Pick(1, 2)*all {
			t.Errorf("%d operations were asked, of %d", n, all)
		}
	})
	for name, as := range map[string]struct {
		user, tenant uuid.UUID
		which        string
	}{
		"SUPER_ADMIN":  {super, migrations.DemoTenant, "--exclude-operation-id-regex"},
		"GLOBAL_ADMIN": {migrations.DemoPlatformAdmin, migrations.DemoPlatform, "--include-operation-id-regex"},
	} {
		more := slices.Clone(more)
		if !pgtest.Soak() {
			more = append(more, as.which, platforms)
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each has a process, a service and a database of its own
			s := newService(t, through(t, pgtest.PgBouncer118Transaction))
			cmd := exec.CommandContext(t.Context(), program, append([]string{"--no-color", "--config-file", config,
				"run", s.url + "/openapi.json", "--workers", "1", "--continue-on-failure"}, more...)...)
			cmd.Dir = t.TempDir() // it leaves a cache behind
			cmd.Env = append(os.Environ(), "POOLPROOF_TOKEN="+signed(t, as.user, ""), "POOLPROOF_TENANT="+as.tenant.String(), "COLUMNS=160")
			out, err := cmd.CombinedOutput()
			tested := regexp.MustCompile(`Tested: (\d+)`).FindSubmatch(out)
			if err != nil || tested == nil {
				t.Fatalf("%v: %s", err, out)
			}
			t.Logf("%s", out)
			n, _ := strconv.Atoi(string(tested[1])) // digits
			asked.Add(int64(n))
			if strings.Contains(s.log.String(), `"level":"ERROR"`) {
				t.Errorf("the log holds errors: %s", s.log)
			}
		})
	}
}

package httpapi

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
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
// checks each answer against it. Once as a tenant's SUPER_ADMIN, once as the
// platform's administrator, each on a database of its own.
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
	// The same requests each time, but for the soak: few examples of random data
	// beside the document's own and those at the edges of its schemas.
	more := []string{"--max-examples", "3", "--seed", "1"}
	if os.Getenv("POOLPROOF_SOAK") != "" {
		more = []string{"--max-examples", "50"}
	}
	for name, as := range map[string]struct{ user, tenant uuid.UUID }{
		"SUPER_ADMIN":  {super, migrations.DemoTenant},
		"GLOBAL_ADMIN": {migrations.DemoPlatformAdmin, migrations.DemoPlatform},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each has a process, a service and a database of its own
			s := newService(t, through(t, pgtest.PgBouncer118Transaction))
			cmd := exec.CommandContext(t.Context(), program, append([]string{"--no-color", "--config-file", config,
				"run", s.url + "/openapi.json", "--workers", "1", "--continue-on-failure"}, more...)...)
			cmd.Dir = t.TempDir() // it leaves a cache behind
			cmd.Env = append(os.Environ(), "POOLPROOF_TOKEN="+signed(t, as.user, ""), "POOLPROOF_TENANT="+as.tenant.String(), "COLUMNS=160")
			out, err := cmd.CombinedOutput()
			// All but the one that the document came by, which it leaves out.
			all := "Tested: " + strconv.Itoa(len(theContract().operations)-1)
			if err != nil || !strings.Contains(string(out), all) {
				t.Fatalf("%v: %s", err, out)
			}
			t.Logf("%s", out)
			if strings.Contains(s.log.String(), `"level":"ERROR"`) {
				t.Errorf("the log holds errors: %s", s.log)
			}
		})
	}
}

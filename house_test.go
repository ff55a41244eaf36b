package poolproof_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const modulePath = "github.com/poolproof/poolproof"

// serviceLevels is service/ from the bottom up: a package imports packages of
// lower levels, and of no other level of service/.
var serviceLevels = [][]string{
	{"service/tenancy", "service/internal/exactjson", "service/internal/oracle", "service/httpapi/openapi", "service/console", "service/checkup"},
	{"service/internal/guarded", "service/httpapi/token", "service/migrations"},
	{"service/internal/migrated", "service/audit", "service/feature", "service/platform", "service/rbac"},
	{"service/legacy", "service/httpapi"},
}

// The house has three doors. The library, prove's packages and what all share
// know nothing of the service; only the command opens every door. Inside
// service/ no import runs upward.
func TestThreeDoors(t *testing.T) {
	level := map[string]int{}
	for i, packages := range serviceLevels {
		for _, p := range packages {
			level[p] = i
		}
	}
	listing := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports", "./...")
	out, err := listing.Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, modulePath), "/") // "": the library
		seen[name] = true
		inService := strings.HasPrefix(name, "service/")
		if _, known := level[name]; inService && !known {
			t.Errorf("%s has no level: give it one in serviceLevels", name)
		}
		for _, imported := range p.Imports {
			other, ours := strings.CutPrefix(imported, modulePath+"/")
			if !ours || !strings.HasPrefix(other, "service/") {
				continue
			}
			switch {
			case inService:
				if level[other] >= level[name] {
					t.Errorf("%s imports %s, which is not below it", name, other)
				}
			case name != "cmd/poolproof":
				t.Errorf("%q imports %s: only service/ and the command may", name, other)
			}
		}
	}
	for _, want := range slices.Concat([]string{"", "pooler", "hostile", "doctor"}, slices.Concat(serviceLevels...)) {
		if !seen[want] {
			t.Errorf("go list has no package %q", want)
		}
	}
}

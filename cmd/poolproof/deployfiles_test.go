package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// Prometheus' own tool reads the alerting rules.
func TestAlertRules(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "promtool", "check", "rules", deploy+"alerts.yml").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "SUCCESS") {
		t.Errorf("promtool (%q installs it): %v\n%s", "make setup", err, out)
	}
}

// What rules and dashboard ask for is what /metrics has.
func TestMonitoredMetricsExist(t *testing.T) {
	d := newDatabase(t)
	s := serve(t, pgtest.Pooled(t, d.url, pgtest.PgBouncer118Transaction))
	s.wantReady(t)
	s.ask(t.Context(), "GET", rolesPath, "")
	_, _, metrics := s.ask(t.Context(), "GET", "/metrics", "")
	dashboard := readFile(t, deploy+"grafana.json")
	if !json.Valid([]byte(dashboard)) {
		t.Error("grafana.json is not JSON")
	}
	asked := regexp.MustCompile(`poolproof_\w+`).FindAllString(dashboard+readFile(t, deploy+"alerts.yml"), -1)
	if len(asked) < 10 {
		t.Fatalf("only %v is asked for", asked)
	}
	for _, name := range asked {
		if !strings.Contains(metrics, "\n"+name+" ") && !strings.Contains(metrics, "\n"+name+"{") {
			t.Errorf("there is no %s", name)
		}
	}
}

// PgBouncer starts with the lines to copy, and a statement goes through.
func TestPgBouncerLines(t *testing.T) {
	d := newDatabase(t)
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer126Transaction} {
		settings := map[string]string{}
		for _, line := range regexp.MustCompile(`(?m)^(;?)(\w+) = (\w+)$`).FindAllStringSubmatch(readFile(t, deploy+"pgbouncer.ini"), -1) {
			if line[2] != "pool_mode" && (line[1] == "" || kind == pgtest.PgBouncer126Transaction) { // the fixture's own; commented lines are for later versions
				settings[line[2]] = line[3]
			}
		}
		if len(settings) < 2 {
			t.Fatalf("the lines are %v", settings)
		}
		url, _ := pgtest.PrivatePooler(t, d.url, kind, settings)
		conn, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Exec(t.Context(), "select 1"); err != nil {
			t.Error(err)
		}
		_ = conn.Close(t.Context())
	}
}

// The manifests name variables that serve reads, paths that it answers, and the
// port that it is told.
func TestKubernetesManifests(t *testing.T) {
	text := readFile(t, deploy+"kubernetes.yaml")
	names := serveVariables(t)
	found := regexp.MustCompile(`\b(?:POOLPROOF_[A-Z_]+|DATABASE_URL)\b`).FindAllString(text, -1)
	if len(found) < 5 {
		t.Fatalf("the variables are %v", found)
	}
	for _, name := range found {
		if !slices.Contains(names, name) {
			t.Errorf("serve does not read %s", name)
		}
	}
	for _, want := range []string{"path: /healthz", "path: /readyz", `value: "0.0.0.0:8000"`, "containerPort: 8000"} {
		if !strings.Contains(text, want) {
			t.Errorf("the manifests lack %s", want)
		}
	}
	if strings.Contains(text, "\t") {
		t.Error("a tab in YAML")
	}
	if _, err := os.Stat(filepath.Join(deploy, "Containerfile")); err != nil {
		t.Error(err)
	}
}

// The types of k8s.io/api take the manifests, and refuse what is broken in them.
func TestKubernetesTakesTheManifests(t *testing.T) {
	dir := t.TempDir()
	check := filepath.Join(dir, "check")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", check, ".") //nolint:gosec // our own
	build.Dir = deploy + "check"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build deploy/check: %v\n%s\nhint: go -C deploy/check mod download", err, out)
	}
	readFile(t, deploy+"check/main.go") // so that go test runs this again when it has changed
	good := readFile(t, deploy+"kubernetes.yaml")
	for name, c := range map[string]struct{ old, new, want string }{
		"as it is":                {"", "", ""},
		"a misspelt field":        {"readinessProbe:", "readynessProbe:", `unknown field "spec.template.spec.containers[0].readynessProbe"`},
		"a string for a number":   {"replicas: 2", `replicas: "2"`, "cannot unmarshal string into Go struct field"},
		"a number for a string":   {`value: "10"`, "value: 10", "cannot unmarshal number into Go struct field"},
		"a field twice":           {"replicas: 2", "replicas: 2\n  replicas: 3", `key "replicas" already set`},
		"a field in another's":    {"  maxUnavailable: 1", "  replicas: 1", `unknown field "spec.replicas"`},
		"a quantity that is none": {"cpu: 100m", "cpu: lots", "quantities must match"},
		"a version that is none":  {"apiVersion: policy/v1", "apiVersion: policy/v3", `"policy/v3 PodDisruptionBudget" is none of the kinds`},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(good, c.old, c.new, 1)
			if (text == good) != (c.want == "") {
				t.Fatalf("the manifests lack %q", c.old)
			}
			file := filepath.Join(dir, strings.ReplaceAll(name, " ", "_")+".yaml")
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), check, file).CombinedOutput()
			switch {
			case c.want == "" && (err != nil || string(out) != "Deployment poolproof\nService poolproof\nPodDisruptionBudget poolproof\n"):
				t.Errorf("%v\n%s", err, out)
			case c.want != "" && (err == nil || !strings.Contains(string(out), c.want)):
				t.Errorf("%v, without %q:\n%s", err, c.want, out)
			}
		})
	}
}

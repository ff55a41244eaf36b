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
// port that it is told. No tool of Kubernetes has read them.
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

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/judge"
)

// The exit status says how it went, and the password is in none of the texts.
func TestJudge(t *testing.T) {
	direct := pgtest.Database(t)
	pooled := pgtest.Pooled(t, direct, pgtest.PgBouncer118Transaction)
	const closed = "postgres://app:pa55word@127.0.0.1:1/app"
	for name, tc := range map[string]struct {
		args           []string
		code           int
		stdout, stderr string
	}{
		"all right":   {[]string{direct, "--only", "simple-query"}, 0, "no pooler: of 1 trials 1 right", ""},
		"leaks":       {[]string{pooled, "--only", "session-set,simple-query"}, 1, "  leaks  session-set   another client met it", ""},
		"closed port": {[]string{closed}, 2, "", "connection refused"},
		"no URL":      {[]string{"postgres://app:pa55word@[/app"}, 2, "", "the URL cannot be read"},
		"no trial":    {[]string{closed, "--only", "nosuch"}, 2, "", `there is no such trial: "nosuch"`},
		"list":        {[]string{"--list"}, 0, "one-sync-scope", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := command(t, append([]string{"judge"}, tc.args...)...)
			if r.code != tc.code || !strings.Contains(r.stdout, tc.stdout) || !strings.Contains(r.stderr, tc.stderr) || tc.stderr == "" && r.stderr != "" {
				t.Errorf("exit code %d, printed %q, and %q", r.code, r.stdout, r.stderr)
			}
			if strings.Contains(r.stdout+r.stderr, "pa55word") {
				t.Error("the password is shown")
			}
		})
	}
	r := command(t, "judge", direct, "--only", "simple-query", "--json")
	var report judge.Report
	if err := json.Unmarshal([]byte(r.stdout), &report); err != nil || r.code != 0 || report.Version != judge.Version || !report.AllRight() {
		t.Errorf("exit code %d, %v: %s", r.code, err, r.stdout)
	}
}

//go:build unix

package main

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// A program that does not end by itself is stopped, with what it started; that
// is no failure of it. The report says who connected.
func TestProveService(t *testing.T) {
	up := pgtest.Database(t)
	for _, tc := range []struct {
		name, sql string
		args      []string
		want      int
	}{
		{"quiet, with a finding", "set app.tenant = 'x'", []string{"--until-quiet=1500ms"}, 66},
		{"quiet, observed", "set app.tenant = 'x'", []string{"--until-quiet=1500ms", "--observe"}, 66},
		{"at work", "select pg_sleep(3), set_config('app.tenant', 'x', false)", []string{"--until-quiet=1s"}, 66}, // not stopped before it has its answer
		{"after a time, nothing found", "select 1", []string{"--minutes", "0.1"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("TEST_SQL", tc.sql)
			r := prove(t, "service", append([]string{"--upstream", up}, tc.args...)...)
			if r.code != tc.want || !strings.Contains(r.stdout, "got terminated") {
				t.Errorf("exit status %d, want %d: %s%s", r.code, tc.want, r.stdout, r.stderr)
			}
			for _, want := range []string{
				`(?m)^The program was stopped, so its exit status does not count\.$`,
				`(?m)^Connected with the run's password:\n  \d+ .*poolproof\S* \(1 connection\)$`,
				`(?m)^Started, and did not connect:\n(  \d+ .*\n)*?  \d+ sh -c trap`,
			} {
				if !regexp.MustCompile(want).MatchString(r.stderr) {
					t.Errorf("the report does not say %s: %s", want, r.stderr)
				}
			}
			m := regexp.MustCompile(`child (\d+)`).FindStringSubmatch(r.stdout)
			if m == nil {
				t.Fatalf("it started no child: %s", r.stdout)
			}
			pid, err := strconv.Atoi(m[1])
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, 20*time.Second, "its child is gone", func() bool { return gone(pid) })
		})
	}
}

// gone reports whether a process has ended. Whoever inherited it may not have
// noticed yet.
func gone(pid int) bool {
	return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || commandLine(pid) == ""
}

// --faults plays a bad day and says so; it is no flag for --observe.
func TestProveFaults(t *testing.T) {
	up := pgtest.Database(t)
	for _, tc := range []struct {
		args []string
		want int
		says string
	}{
		{[]string{"--faults"}, 0, "Faults played (seed 1): "},
		{[]string{"--faults=7,cut,answer"}, 0, "Faults played (seed 7): "},
		{[]string{"--faults=no"}, 2, `there is no fault "no"`},
		{[]string{"--faults", "--observe"}, 2, "--observe breaks nothing"},
		{[]string{"--until-quiet=soon"}, 2, "is no time"},
		{[]string{"--minutes=-1"}, 2, "is no time"},
		{[]string{"--listen", "0.0.0.0:0"}, 2, "the bridge's"},
	} {
		r := prove(t, "steady", append([]string{"--upstream", up}, tc.args...)...)
		if r.code != tc.want || !strings.Contains(r.stderr, tc.says) {
			t.Errorf("%v: exit status %d, want %d and %q: %s", tc.args, r.code, tc.want, tc.says, r.stderr)
		}
	}
}

// Command lines are shown without the passwords in them.
func TestWithoutSecrets(t *testing.T) {
	for line, want := range map[string]string{
		"psql postgres://app:pa55w0rd@127.0.0.1/app -c x":        "psql postgres://app:…@127.0.0.1/app -c x",
		"psql host=127.0.0.1 password=pa55w0rd user=app":         "psql host=127.0.0.1 password=… user=app",
		"server --db-password pa55w0rd --port 1":                 "server --db-password … --port 1",
		"java -Durl=jdbc:postgresql://h/d?password=pa55w0rd&x=1": "java -Durl=jdbc:postgresql://h/d?password=…&x=1",
		"API_TOKEN=pa55w0rd node server.js":                      "API_TOKEN=… node server.js",
		"node server.js --port 3000":                             "node server.js --port 3000",
	} {
		if got := withoutSecrets(line); got != want {
			t.Errorf("%q becomes %q, want %q", line, got, want)
		}
	}
}

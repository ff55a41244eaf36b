package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/migrations"
)

// asPoolproof in the environment makes a process of this binary the program
// itself, with the tests' race detector: nothing has to be built.
const asPoolproof = "POOLPROOF_TEST_MAIN"

// shellVariables may stand in a developer's shell: what commands read.
var shellVariables = []string{
	"DATABASE_URL", "DIRECT_URL", "POOLPROOF_ADDR", "POOLPROOF_ROLE", "POOLPROOF_MAX_CONNS", "POOLPROOF_MAX_REQUESTS_PER_TENANT",
	"POOLPROOF_CORS_ORIGINS", "POOLPROOF_CHECK_EVERY",
	"POOLPROOF_JWT_SECRET", "POOLPROOF_JWKS_URL", "POOLPROOF_JWT_ISSUER", "POOLPROOF_JWT_AUDIENCE", "POOLPROOF_PROXY_PASSWORD",
	"POOLPROOF_OIDC_CLIENT_ID", "POOLPROOF_OIDC_ISSUER", "POOLPROOF_OIDC_SCOPES", "POOLPROOF_OIDC_TOKEN",
}

func TestMain(m *testing.M) {
	if os.Getenv(asPoolproof) != "" {
		if err := os.Unsetenv(asPoolproof); err != nil { // what it starts is not
			panic(err)
		}
		main()
	}
	if what := os.Getenv("POOLPROOF_TEST_PROGRAM"); what != "" {
		os.Exit(testProgram(what)) // prove runs this binary as its program
	}
	// What stands in a developer's shell must not decide a test.
	for _, name := range shellVariables {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	pgtest.Main(m)
}

const (
	testIssuer   = "https://issuer.test"
	testAudience = "authenticated"
	testSecret   = "the-secret-of-the-commands'-tests----"
	testUser     = "5b0d1c5e-8f0a-4b6e-9c5e-2b8a3f1d7e10"
	testTenant   = "550e8400-e29b-41d4-a716-446655440000"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func setTokenEnv(t *testing.T) {
	t.Setenv("POOLPROOF_JWT_SECRET", testSecret)
	t.Setenv("POOLPROOF_JWT_ISSUER", testIssuer)
	t.Setenv("POOLPROOF_JWT_AUDIENCE", testAudience)
}

// self is this binary's path: see [asPoolproof] and [testProgram].
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// result is what a command line did.
type result struct {
	code           int
	stdout, stderr string
}

func command(t *testing.T, args ...string) result {
	t.Helper()
	var stdout, stderr logBuffer // both a program and poolproof may write to them
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	code := run(ctx, args, strings.NewReader(""), &stdout, &stderr)
	return result{code, stdout.String(), stderr.String()}
}

// wantError checks the form of every error: "poolproof: …" in one line, then a
// hint, and nothing else.
func (r result) wantError(t *testing.T, code int, texts ...string) {
	t.Helper()
	if r.code != code {
		t.Errorf("exit code %d, want %d; %s", r.code, code, r.stderr)
	}
	var own []string
	for line := range strings.Lines(r.stderr) {
		if !strings.HasPrefix(line, "time=") { // log lines
			own = append(own, line)
		}
	}
	if len(own) != 2 || !strings.HasPrefix(own[0], "poolproof: ") || !strings.HasPrefix(own[1], "hint: ") {
		t.Errorf("standard error is not one error and one hint: %q", own)
	}
	if r.stdout != "" {
		t.Errorf("standard output: %q", r.stdout)
	}
	for _, text := range texts {
		if !strings.Contains(strings.Join(own, ""), text) {
			t.Errorf("the error does not say %q: %s", text, r.stderr)
		}
	}
}

func TestHelp(t *testing.T) {
	r := command(t, "--help")
	if r.code != 0 || r.stderr != "" {
		t.Fatalf("exit code %d: %s", r.code, r.stderr)
	}
	for _, name := range []string{"serve", "migrate up", "migrate status", "bootstrap", "token", "prove", "proxy", "judge", "demo", "version", "--log-format"} {
		if !strings.Contains(r.stdout, name) {
			t.Errorf("--help does not name %s: %s", name, r.stdout)
		}
	}
	for _, name := range []string{"serve", "migrate up", "migrate status", "bootstrap", "token", "prove", "proxy", "judge", "demo", "doctor", "explain", "version"} {
		r := command(t, append(strings.Fields(name), "--help")...)
		if r.code != 0 || !strings.Contains(r.stdout, "Example:") || !strings.Contains(r.stdout, "poolproof "+name) {
			t.Errorf("%s --help, exit code %d, has no example: %s", name, r.code, r.stdout)
		}
	}
}

func TestUsageErrors(t *testing.T) {
	setTokenEnv(t)
	t.Setenv("DATABASE_URL", "postgres://app:pa55word@127.0.0.1:1/app")
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"no command":            {nil, "expected one of"},
		"unknown command":       {[]string{"frobnicate"}, "frobnicate"},
		"unknown flag":          {[]string{"token", "--colour"}, "poolproof token --help"},
		"bad log format":        {[]string{"--log-format", "xml", "version"}, "--log-format"},
		"token, no user":        {[]string{"token"}, "--user"},
		"token, bad tenant":     {[]string{"token", "--user", testUser, "--tenant", "last-apple"}, "is not a UUID"},
		"token, no time":        {[]string{"token", "--user", testUser, "--expires", "0s"}, "--expires"},
		"token, past":           {[]string{"token", "--user", testUser, "--expires=-1h"}, "--expires"},
		"migrate, no URL":       {[]string{"migrate", "up"}, "DIRECT_URL"},
		"status, no URL":        {[]string{"migrate", "status"}, "DIRECT_URL"},
		"bootstrap, no URL":     {[]string{"bootstrap", "--user", testUser, "--email", "a@b.example"}, "DIRECT_URL"},
		"bootstrap, no user":    {[]string{"bootstrap", "--direct-url", "postgres://x", "--email", "a@b.example"}, "--user"},
		"bootstrap, an address": {[]string{"bootstrap", "--direct-url", "postgres://127.0.0.1:1/x", "--user", testUser, "--email", "a\u202e@b.example"}, "not shown"},
		"tenant, hidden name":   {[]string{"tenant", "create", "Last\u200b Apple", "--direct-url", "postgres://127.0.0.1:1/x", "--admin", testUser}, "not shown"},
		"tenant, no name":       {[]string{"tenant", "create", "\u2800", "--slug", "x", "--direct-url", "postgres://127.0.0.1:1/x", "--admin", testUser}, "must not be blank"},
		"tenant, an address":    {[]string{"tenant", "create", "x", "--email", "a\u200b@b", "--direct-url", "postgres://127.0.0.1:1/x", "--admin", testUser}, "not shown"},
		"migrate, half of one":  {[]string{"migrate"}, "expected one of"},
	} {
		t.Run(name, func(t *testing.T) {
			r := command(t, tc.args...)
			r.wantError(t, exitUsage, tc.want)
			if strings.Contains(r.stderr, "pa55word") || strings.Contains(r.stderr, testSecret) {
				t.Errorf("a secret is shown: %s", r.stderr)
			}
		})
	}
}

func TestServeBadConfiguration(t *testing.T) {
	const url = "postgres://app:pa55word@127.0.0.1:1/app"
	for name, tc := range map[string]struct {
		args []string
		env  map[string]string
		code int
		want string
	}{
		"no database":      {nil, map[string]string{}, exitUsage, "DATABASE_URL"},
		"no audience":      {nil, map[string]string{"DATABASE_URL": url, "POOLPROOF_JWT_AUDIENCE": ""}, exitUsage, "POOLPROOF_JWT_AUDIENCE"},
		"short secret":     {nil, map[string]string{"DATABASE_URL": url, "POOLPROOF_JWT_SECRET": testSecret[:20]}, exitUsage, "20 bytes"},
		"secret and keys":  {[]string{"--jwks-url", "https://issuer.test/jwks"}, map[string]string{"DATABASE_URL": url}, exitUsage, "both"},
		"another audience": {nil, map[string]string{"DATABASE_URL": url, "POOLPROOF_OIDC_CLIENT_ID": "console", "POOLPROOF_OIDC_ISSUER": "https://id.example", "POOLPROOF_OIDC_TOKEN": "id_token"}, exitUsage, "audience of ID tokens"},
		"plain provider":   {[]string{"--oidc-client-id", "console", "--oidc-issuer", "http://id.example"}, map[string]string{"DATABASE_URL": url}, exitUsage, "not https"},
		"check every":      {[]string{"--check-every=-1s"}, map[string]string{"DATABASE_URL": url}, exitUsage, "--check-every 5m"},
		"address in vain":  {[]string{"--addr", "203.0.113.1:80"}, map[string]string{"DATABASE_URL": url}, exitFailure, "--addr"},
		"malformed URL":    {nil, map[string]string{"DATABASE_URL": "postgres://app:pa55word@host:port/x"}, exitFailure, "postgres://user"},
		"dangerous option": {nil, map[string]string{"DATABASE_URL": url + "?default_query_exec_mode=describe_exec"}, exitFailure, "default_query_exec_mode"},
	} {
		t.Run(name, func(t *testing.T) {
			setTokenEnv(t)
			t.Setenv("POOLPROOF_ADDR", "127.0.0.1:0")
			for k, v := range tc.env {
				t.Setenv(k, v)
			}
			r := command(t, append([]string{"serve"}, tc.args...)...)
			r.wantError(t, tc.code, tc.want)
			for _, secret := range []string{"pa55word", testSecret[:20]} {
				if strings.Contains(r.stderr, secret) {
					t.Errorf("a secret is shown: %s", r.stderr)
				}
			}
		})
	}
}

func TestToken(t *testing.T) {
	r := command(t, "token", "--user", testUser)
	r.wantError(t, exitUsage, "POOLPROOF_JWT_SECRET")
	t.Setenv("POOLPROOF_JWT_SECRET", testSecret)
	r = command(t, "token", "--user", testUser)
	r.wantError(t, exitUsage, "POOLPROOF_JWT_ISSUER")

	setTokenEnv(t)
	v, err := token.NewVerifier(t.Context(), token.Config{Issuer: testIssuer, Audience: testAudience, Secret: []byte(testSecret)})
	if err != nil {
		t.Fatal(err)
	}
	r = command(t, "token", "--user", testUser, "--tenant", strings.ToUpper(testTenant), "--expires", "15m")
	if r.code != 0 || strings.Count(r.stdout, "\n") != 1 {
		t.Fatalf("exit code %d: %q %s", r.code, r.stdout, r.stderr)
	}
	id, err := v.Verify(t.Context(), strings.TrimSpace(r.stdout))
	if err != nil {
		t.Fatal(err)
	}
	if id.User.String() != testUser || id.Tenant != testTenant {
		t.Errorf("identity %+v", id)
	}
	// An identity provider's own id, and no tenant.
	r = command(t, "token", "--user", "auth0|42")
	id, err = v.Verify(t.Context(), strings.TrimSpace(r.stdout))
	if err != nil || id.Tenant != "" || id.User != token.UserID(testIssuer, "auth0|42") {
		t.Errorf("identity %+v, %v", id, err)
	}
}

func TestMigrateAndBootstrap(t *testing.T) {
	owner := pgtest.Database(t)
	t.Setenv("DIRECT_URL", pgtest.Owned(t, owner))
	if r := command(t, "migrate", "status"); r.code != 0 || !strings.Contains(r.stdout, "not yet") {
		t.Fatalf("status before: %d %s %s", r.code, r.stdout, r.stderr)
	}
	command(t, "bootstrap", "--user", testUser, "--email", "a@b.example").wantFailure(t, "migrate up")
	login := "app_" + strings.ReplaceAll(uuid.NewString(), "-", "")
	r := command(t, "migrate", "up", "--login", login)
	if r.code != 0 || !strings.Contains(r.stdout, "applied ") || strings.Count(r.stdout, "\nDATABASE_URL=postgres") != 1 {
		t.Fatalf("up: %d %s %s", r.code, r.stdout, r.stderr)
	}
	dropLogin(t, owner, login)
	if strings.Contains(r.stderr, "DATABASE_URL") {
		t.Errorf("the login's URL is in the log: %s", r.stderr)
	}
	if r := command(t, "migrate", "up"); r.code != 0 || !strings.Contains(r.stdout, "up to date") || strings.Contains(r.stdout, "DATABASE_URL") {
		t.Errorf("up again: %d %s %s", r.code, r.stdout, r.stderr)
	}
	if r := command(t, "migrate", "status"); r.code != 0 || strings.Contains(r.stdout, "not yet") || !strings.Contains(r.stdout, "VERSION") {
		t.Errorf("status after: %d %s %s", r.code, r.stdout, r.stderr)
	}
	for range 2 { // the second time changes nothing
		if r := command(t, "bootstrap", "--user", testUser, "--email", "a@b.example"); r.code != 0 || !strings.Contains(r.stdout, testUser) {
			t.Errorf("bootstrap: %d %s %s", r.code, r.stdout, r.stderr)
		}
	}
	command(t, "bootstrap", "--user", uuid.NewString(), "--email", "x@b.example").wantFailure(t, "GLOBAL_ADMIN")
	command(t, "bootstrap", "--user", "auth0|42", "--email", "x@b.example").wantError(t, exitUsage, "POOLPROOF_JWT_ISSUER")
	derived := token.UserID("https://issuer.test", "auth0|42").String() // a sub of this form is mapped, too
	command(t, "bootstrap", "--user", derived, "--email", "x@b.example").wantError(t, exitUsage, "POOLPROOF_JWT_ISSUER")
	if got := scalar(t, owner, `select count(*)::text from poolproof.platform`); got != "1" {
		t.Errorf("%s platform tenants", got)
	}
}

// wantFailure is wantError for errors whose hint is part of their text.
func (r result) wantFailure(t *testing.T, text string) {
	t.Helper()
	if r.code != exitFailure || !strings.Contains(r.stderr, "poolproof: ") || !strings.Contains(r.stderr, text) {
		t.Errorf("exit code %d, want 1 and %q: %s", r.code, text, r.stderr)
	}
}

func TestVersion(t *testing.T) {
	if r := command(t, "version"); r.code != 0 || !strings.HasPrefix(r.stdout, "poolproof ") || !strings.Contains(r.stdout, "schema ") {
		t.Errorf("%d %q %s", r.code, r.stdout, r.stderr)
	}
	var got buildVersion
	r := command(t, "version", "--json")
	if err := json.Unmarshal([]byte(r.stdout), &got); err != nil || strings.Count(r.stdout, "\n") != 1 {
		t.Fatalf("%d %q %s: %v", r.code, r.stdout, r.stderr, err)
	}
	if got.Version == "" || got.Go != runtime.Version() || got.Platform != runtime.GOOS+"/"+runtime.GOARCH || got.Schema != migrations.Version {
		t.Errorf("%+v", got)
	}
}

// interruptible is a context and what Ctrl-C makes of main's.
func interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	return ctx, func() { cancel(stoppedBy{os.Interrupt}) }
}

// The program itself: log lines as JSON, and a SIGTERM that ends it well.
func TestProcess(t *testing.T) {
	binary := self(t)
	log := &logBuffer{}
	cmd := exec.CommandContext(t.Context(), binary, "serve", "--log-format", "json", "--addr", "127.0.0.1:0")
	cmd.Env = []string{
		"DATABASE_URL=postgres://app:pa55word@127.0.0.1:1/app", "POOLPROOF_JWT_SECRET=" + testSecret,
		"POOLPROOF_JWT_ISSUER=" + testIssuer, "POOLPROOF_JWT_AUDIENCE=" + testAudience, asPoolproof + "=1",
	}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "waiting for the database", func() bool {
		return strings.Contains(log.String(), "waiting for the database")
	})
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v", err)
	}
	for line := range strings.Lines(log.String()) {
		if !json.Valid([]byte(line)) {
			t.Errorf("not JSON: %s", line)
		}
	}
	for _, secret := range []string{"pa55word", testSecret} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("the log shows a secret: %s", log)
		}
	}
}

package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// Generators of clients read the document that is served. What they make
// compiles, lists the roles page by page, creates one, and gets the refusal of a
// second one of the same name with its code.
func TestGeneratedClients(t *testing.T) {
	s := newService(t, through(t, pgtest.PgBouncer118Transaction))
	address := serve(t, s.login)
	document := filepath.Join(t.TempDir(), "openapi.json")
	if err := os.WriteFile(document, []byte(send(t, address, "GET", "/openapi.json", nil).body), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := append(os.Environ(), "POOLPROOF_URL="+address, "POOLPROOF_TOKEN="+signed(t, super, ""), "POOLPROOF_TENANT="+testTenant,
		"GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0")
	// In dir, and returns what it prints.
	run := func(t *testing.T, dir, name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		cmd.Dir, cmd.Env = dir, environ
		var complaints strings.Builder
		cmd.Stderr = &complaints
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("%s %s: %v\n%s%s", filepath.Base(name), strings.Join(args, " "), err, out, complaints.String())
		}
		return string(out)
	}
	compiled := func(t *testing.T, dir, which, role string) string {
		t.Helper()
		run(t, dir, "go", "build", "-trimpath", "-o", "client", "./"+which) // trimpath: cached while the document stays
		return run(t, dir, filepath.Join(dir, "client"), role)
	}
	for generator, use := range map[string]func(t *testing.T, role string) string{
		"oapi-codegen": func(t *testing.T, role string) string {
			dir, tools := clientOf(t, "go", "go.mod", "go.sum")
			if err := os.Mkdir(filepath.Join(dir, "oapi", "api"), 0o700); err != nil {
				t.Fatal(err)
			}
			run(t, dir, filepath.Join(tools, "oapi-codegen"), "-generate", "types,client", "-package", "api", "-o", "oapi/api/api.go", document)
			return compiled(t, dir, "oapi", role)
		},
		"ogen": func(t *testing.T, role string) string {
			dir, tools := clientOf(t, "go", "go.mod", "go.sum")
			run(t, dir, filepath.Join(tools, "ogen"), "--config", "ogen.yml", "--target", "ogen/api", "--package", "api", document)
			return compiled(t, dir, "ogen", role)
		},
		"openapi-typescript": func(t *testing.T, role string) string {
			dir, tools := clientOf(t, "typescript", "package.json")
			modules := filepath.Join(tools, "node_modules")
			if err := os.Symlink(modules, filepath.Join(dir, "node_modules")); err != nil {
				t.Fatal(err)
			}
			// As an ES module, which the program is.
			if err := os.WriteFile(filepath.Join(dir, "package.json"), []byte(`{"type": "module"}`), 0o600); err != nil {
				t.Fatal(err)
			}
			run(t, dir, "node", filepath.Join(modules, "openapi-typescript", "bin", "cli.js"), document, "--output", "api.d.ts")
			run(t, dir, "node", filepath.Join(modules, "typescript", "bin", "tsc"))
			return run(t, dir, "node", filepath.Join("out", "client.js"), role)
		},
		"openapi-python-client": func(t *testing.T, role string) string {
			dir, tools := clientOf(t, "python", "requirements.txt")
			python := filepath.Join(tools, "bin", "python")
			run(t, dir, python, "-m", "openapi_python_client", "generate", "--path", document, "--meta", "none", "--output-path", "poolproof_client")
			return run(t, dir, python, "client.py", role)
		},
	} {
		t.Run(generator, func(t *testing.T) {
			role := "Made by " + generator
			var said struct {
				Before, After []string
				ID            int32
				Problem       string
			}
			out := use(t, role)
			if err := json.Unmarshal([]byte(out), &said); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			if len(said.Before) < 6 || slices.Contains(said.Before, role) || !slices.Equal(said.After, append(said.Before, role)) || said.Problem != "name_taken" {
				t.Errorf("it says %+v", said)
			}
			if got := s.text(t, `select count(*)::text from poolproof.roles where tenant_id = $1 and id = $2 and name = $3 and description = 'Made by a generated client.'`,
				testTenant, said.ID, role); got != "1" {
				t.Errorf("the database has %s such roles", got)
			}
		})
	}
}

// serve starts the program itself as "poolproof serve", waits until it is ready, and
// returns its address. It ends with the test.
func serve(t *testing.T, database string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), pgtest.Program(t), "serve", "--log-format", "json", "--addr", "127.0.0.1:0")
	cmd.Env = []string{"DATABASE_URL=" + database, "POOLPROOF_JWT_SECRET=" + string(testSecret), "POOLPROOF_JWT_ISSUER=" + testIssuer, "POOLPROOF_JWT_AUDIENCE=" + testAudience}
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	lines := json.NewDecoder(log)
	for {
		var line struct{ Msg, Addr, Cause string }
		if err := lines.Decode(&line); err != nil {
			t.Fatalf("serve ended before it was ready: %v", err)
		}
		if line.Msg == "waiting for the database" {
			t.Fatalf("serve waits: %s", line.Cause)
		}
		if line.Msg == "ready" {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return "http://" + line.Addr
		}
	}
}

// clientOf copies the program of a language to a folder of its own, and returns
// the folder into which scripts/setup has put its tools: see pinned_folder there.
func clientOf(t *testing.T, language string, manifests ...string) (dir, tools string) {
	t.Helper()
	from, dir := filepath.Join("testdata", "clients", language), t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, name := range manifests {
		content, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		h.Write(content)
	}
	cache, err := devdb.CacheDir()
	if err != nil {
		t.Fatal(err)
	}
	tools = filepath.Join(cache, "clients-"+language+"-"+hex.EncodeToString(h.Sum(nil))[:12])
	if _, err := os.Stat(tools); err != nil {
		t.Fatalf("the generator is not installed; install what the tests need: make setup (%v)", err)
	}
	return dir, tools
}

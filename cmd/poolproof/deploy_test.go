package main

import (
	"context"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"

	"github.com/poolproof/poolproof/internal/pgtest"
)

const deploy = "../../deploy/"

// serveVariables are those that serve reads.
func serveVariables(t *testing.T) []string {
	t.Helper()
	var cli commands
	parser, err := kong.New(&cli, helpVars(), kong.BindTo(t.Context(), (*context.Context)(nil)))
	if err != nil {
		t.Fatal(err)
	}
	names := []string{"POOLPROOF_JWT_SECRET"} // has no flag
	for _, command := range parser.Model.Children {
		if command.Name == "serve" {
			for _, flag := range command.Flags {
				names = append(names, flag.Envs...)
			}
		}
	}
	if !slices.Contains(names, "DATABASE_URL") {
		t.Fatalf("the variables of serve: %q", names)
	}
	return names
}

// The guide has every variable of serve and each metric by its name, and the
// example of the environment file has no other variable.
func TestDocumentedNames(t *testing.T) {
	guide := readFile(t, "../../docs/production.md")
	names := serveVariables(t)
	_, table, _ := strings.Cut(guide, "## Variables of `serve`\n")
	table, _, _ = strings.Cut(table, "\n`migrate`")
	for _, name := range names {
		if !strings.Contains(table, "`"+name+"`") {
			t.Errorf("the table of variables lacks %s", name)
		}
		if !slices.Contains(shellVariables, name) {
			t.Errorf("shellVariables lacks %s: a developer's shell decides the tests", name)
		}
	}
	for _, name := range regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(table, -1) {
		if !slices.Contains(names, name[1]) {
			t.Errorf("serve does not read %s", name[1])
		}
	}
	for _, name := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=`).FindAllStringSubmatch(readFile(t, deploy+"poolproof.env"), -1) {
		if !slices.Contains(names, name[1]) {
			t.Errorf("poolproof.env: serve does not read %s", name[1])
		}
	}

	d := newDatabase(t)
	s := serve(t, pgtest.Pooled(t, d.url, pgtest.PgBouncer118Transaction))
	s.wantReady(t)
	s.ask(t.Context(), "GET", rolesPath, "")
	_, _, metrics := s.ask(t.Context(), "GET", "/metrics", "")
	has := make(map[string]bool)
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (poolproof_\w+) `).FindAllStringSubmatch(metrics, -1) {
		has[m[1]] = true
		if !strings.Contains(guide, m[1]) {
			t.Errorf("the guide lacks the metric %s", m[1])
		}
	}
	for _, name := range regexp.MustCompile(`poolproof_\w+(_total|_seconds|_in_flight)`).FindAllString(guide, -1) {
		if !has[name] {
			t.Errorf("there is no metric %s", name)
		}
	}
}

// systemd itself reads the unit, and rates what a broken-in service could do:
// 0 is nothing, 10 everything.
func TestSystemdUnit(t *testing.T) {
	const installed = "/usr/local/bin/poolproof"
	dir := t.TempDir()
	program := filepath.Join(dir, "poolproof")
	if err := os.WriteFile(program, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	unit := filepath.Join(dir, "poolproof.service")
	text := readFile(t, deploy+"poolproof.service")
	if strings.Count(text, installed) != 1 {
		t.Fatalf("the unit does not run %s", installed)
	}
	if err := os.WriteFile(unit, []byte(strings.Replace(text, installed, program, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"verify", "--man=no", unit}, {"security", "--offline=true", "--threshold=15", "--no-pager", unit}} {
		out, err := exec.CommandContext(t.Context(), "systemd-analyze", args...).CombinedOutput()
		if err != nil || args[0] == "verify" && strings.Contains(string(out), unit) {
			t.Errorf("systemd-analyze %s (%q installs it): %v\n%s", args[0], "make setup", err, out)
		}
	}
}

// There is no container engine here. So the first stage's instructions are
// carried out in a folder, and the second one's sources must be there then.
func TestContainerfile(t *testing.T) {
	image := t.TempDir()
	work, stage := image, 0
	var user, entry string
	for line := range strings.Lines(readFile(t, deploy+"Containerfile")) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		words := strings.Fields(rest)
		switch instruction {
		case "", "#", "ARG", "ENV", "EXPOSE", "CMD":
		case "FROM":
			stage++
		case "WORKDIR":
			work = filepath.Join(image, rest)
		case "USER":
			user = rest
		case "ENTRYPOINT":
			entry = rest
		case "COPY":
			if words[0] == "--from=build" {
				source := filepath.Join(image, words[1])
				if strings.HasPrefix(words[1], "/etc/") {
					source = words[1] // the base image's, a Debian, as here
				}
				if _, err := os.Stat(source); err != nil {
					t.Errorf("%s: %v", strings.TrimSpace(line), err)
				}
				continue
			}
			for _, source := range words[:len(words)-1] {
				copyContext(t, source, work)
			}
		case "RUN":
			cmd := exec.CommandContext(t.Context(), "sh", "-euc", strings.ReplaceAll(rest, "/out/", image+"/out/"))
			cmd.Dir, cmd.Env = work, append(os.Environ(), "VERSION=v1.2.3", "GOFLAGS=")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s: %v\n%s", rest, err, out)
			}
		default:
			t.Errorf("unknown to this test: %s", line)
		}
	}
	if stage != 2 || user != "65532:65532" || entry != `["/poolproof"]` {
		t.Errorf("%d stages, user %q, entry point %q", stage, user, entry)
	}
	out, err := exec.CommandContext(t.Context(), image+"/out/poolproof", "version").CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "poolproof v1.2.3, ") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(work + "/.git"); err == nil {
		t.Error("the image's context holds .git")
	}
}

// copyContext copies a source of a COPY, without what .dockerignore leaves out.
func copyContext(t *testing.T, source, to string) {
	t.Helper()
	const root = "../.."
	ignored := strings.Fields(readFile(t, root+"/.dockerignore"))
	err := filepath.WalkDir(filepath.Join(root, source), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if slices.Contains(ignored, name) {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, 0o644)
	})
	if err != nil {
		t.Errorf("COPY %s: %v", source, err)
	}
}

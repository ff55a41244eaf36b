package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/pgtest"
)

const source = "../.."

// TestReproducible builds a release twice, the second time from a copy of the
// source in another folder and in other surroundings, and compares every byte.
// In the soak it is all targets, and the second build compiles everything anew;
// else it is this machine's, and only linking is done twice. The program runs
// without the race detector, under which most of the time went into compressing.
func TestReproducible(t *testing.T) {
	systems := []target{{"linux", runtime.GOARCH}}
	args := []string{"-target", systems[0].String()}
	soak := pgtest.Soak()
	if soak {
		systems, args = targets, nil
	}
	program := filepath.Join(t.TempDir(), "release")
	if _, err := output(exec.CommandContext(t.Context(), "go", "build", "-o", program, ".")); err != nil {
		t.Fatal(err)
	}
	// Where the checkout has changes the version says so. The copy is no checkout,
	// and takes what it is given.
	const asked = "v1.2.3-test"
	version, err := describe(t.Context(), source, asked)
	if err != nil {
		t.Fatal(err)
	}
	release := func(source, version, out string) (names []string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), program, append(args, "-version", version, "-out", out)...) //nolint:gosec // our own
		cmd.Dir = source
		said, err := output(cmd)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(said, "\n")[1:]
	}
	first := t.TempDir()
	names := release(source, asked, first)

	copied := filepath.Join(t.TempDir(), "somewhere else", "src")
	copySource(t, copied)
	t.Setenv("TZ", "Asia/Tokyo")
	t.Setenv("GOFLAGS", "-race")
	t.Setenv("CGO_ENABLED", "1")
	t.Setenv("GOAMD64", "v3")
	if soak {
		t.Setenv("GOCACHE", t.TempDir())
	}
	second := t.TempDir()
	again := release(copied, version, second)

	if want := 2*len(systems) + 1; len(names) != want || !slices.Equal(names, again) {
		t.Fatalf("files %q and %q, want %d", names, again, want)
	}
	for _, name := range names {
		a, b := read(t, first, name), read(t, second, name)
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs: %s and %s", name, sum(a), sum(b))
		}
	}
	if t.Failed() {
		return
	}
	folder := strings.TrimSuffix(names[0], ".tar.gz")
	files := unpack(t, filepath.Join(first, names[0]))
	t.Run("files", func(t *testing.T) {
		inspect(t, first, files, version, systems[0], copied)
	})
	t.Run("another version", func(t *testing.T) { // the comparison sees a difference
		path := filepath.Join(t.TempDir(), "poolproof")
		if err := compile(t.Context(), source, path, "v1.2.4", systems[0]); err != nil {
			t.Fatal(err)
		}
		if bytes.Equal(files[folder+"/poolproof"], read(t, filepath.Dir(path), filepath.Base(path))) {
			t.Error("v1.2.4 is the same program")
		}
	})
}

// inspect looks into the files of one target's archive and beside it, and runs
// the program.
func inspect(t *testing.T, dir string, files map[string][]byte, version string, system target, copied string) {
	t.Helper()
	name := "poolproof_" + version + "_linux_" + runtime.GOARCH
	cmd := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}

	program := files[name+"/poolproof"]
	if len(files) != 3 || len(program) == 0 || !strings.Contains(string(files[name+"/LICENSE"]), "Apache License") {
		t.Fatalf("the archive holds %d files", len(files))
	}
	for _, text := range []string{"github.com/jackc/pgx/v5 v", "Copyright (c) 2013-2021 Jack Christensen", "stdlib go", "Copyright 2009 The Go Authors", "swagger-ui-dist 5.", "SmartBear Software Inc.", "Jed Watson", "oauth4webapi 3.", "Filip Skokan"} {
		if !strings.Contains(string(files[name+"/THIRD-PARTY-LICENSES"]), text) {
			t.Errorf("THIRD-PARTY-LICENSES lacks %q", text)
		}
	}
	here, err := filepath.Abs(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range []string{here, copied, os.TempDir() + "/poolproof-release-"} {
		if bytes.Contains(program, []byte(folder)) {
			t.Errorf("the program names the folder %s", folder)
		}
	}
	binary, err := elf.NewFile(bytes.NewReader(program))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range binary.Progs {
		if p.Type == elf.PT_INTERP || p.Type == elf.PT_DYNAMIC {
			t.Errorf("the program is not static: %v", p.Type)
		}
	}
	path := filepath.Join(t.TempDir(), "poolproof")
	if err := os.WriteFile(path, program, 0o700); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), path, "version", "--json").Output()
	if err != nil || !strings.Contains(string(out), `"version":"`+version+`"`) || !strings.Contains(string(out), `"platform":"linux/`+runtime.GOARCH+`"`) {
		t.Errorf("version: %v: %s", err, out)
	}

	var b bom
	if err := json.Unmarshal(read(t, dir, name+".cdx.json"), &b); err != nil {
		t.Fatal(err)
	}
	described := b.Metadata.Component
	if b.Format != "CycloneDX" || described.Version != version || len(described.Hashes) != 1 || described.Hashes[0].Content != sum(program) ||
		described.PURL != "pkg:golang/"+modulePath+"@"+version+"?goos="+system.os+"&goarch="+system.arch {
		t.Errorf("the bill describes %+v", described)
	}
	licences := make(map[string]string)
	for _, c := range append(b.Components, described) {
		if len(c.Licences) != 1 {
			t.Errorf("nobody has read the licence of %s: read it, and add it to texts", c.Name)
			continue
		}
		id := c.Licences[0].Expression
		if l := c.Licences[0].Licence; l != nil {
			id = l.ID + l.Name
		}
		licences[c.Name] = id
	}
	for module, want := range map[string]string{
		modulePath: "Apache-2.0", "stdlib": "BSD-3-Clause", "github.com/jackc/pgx/v5": "MIT", "github.com/google/uuid": "BSD-3-Clause",
		"go.opentelemetry.io/otel/trace": "Apache-2.0 AND BSD-3-Clause", "github.com/xi2/xz": "Public domain", "golang.org/x/sys": "BSD-3-Clause", "swagger-ui-dist": "Apache-2.0", "oauth4webapi": "MIT",
		"github.com/chromedp/chromedp": "", // of tests only
	} {
		if got := licences[module]; got != want {
			t.Errorf("the licence of %s is %q, want %q", module, got, want)
		}
	}
}

// unpack reads an archive, and checks that nothing in it tells who made it, or
// when.
func unpack(t *testing.T, path string) map[string][]byte {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	if !plain.ModTime.IsZero() || plain.Name != "" {
		t.Errorf("the archive was made at %s as %q", plain.ModTime, plain.Name)
	}
	files := make(map[string][]byte)
	for archive := tar.NewReader(plain); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(time.Unix(0, 0)) || header.Uid != 0 || header.Gid != 0 || header.Uname+header.Gname != "" {
			t.Errorf("%s: of %s, owner %d:%d %s:%s", header.Name, header.ModTime, header.Uid, header.Gid, header.Uname, header.Gname)
		}
		mode := int64(0o644)
		if strings.HasSuffix(header.Name, "/poolproof") {
			mode = 0o755
		}
		if header.Mode != mode {
			t.Errorf("%s: mode %o, want %o", header.Name, header.Mode, mode)
		}
		if files[header.Name], err = io.ReadAll(archive); err != nil {
			t.Fatal(err)
		}
	}
}

// copySource copies what the program is built from: no hidden files, and
// nothing that was built.
func copySource(t *testing.T, to string) {
	t.Helper()
	err := filepath.WalkDir(source, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(source, path)
		if err != nil {
			return err
		}
		switch {
		case name != "." && strings.HasPrefix(d.Name(), "."), name == "bin", name == "dist":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o755)
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), content, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestDescribe takes versions from a checkout, step by step.
func TestDescribe(t *testing.T) {
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		args = append([]string{"-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false", "-c", "tag.gpgsign=false"}, args...)
		if _, err := git(t.Context(), dir, args...); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte("package x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want := func(when, asked, pattern string) {
		t.Helper()
		got, err := describe(t.Context(), dir, asked)
		if ok, _ := filepath.Match(pattern, got); err != nil || !ok {
			t.Errorf("%s: version %q, want %s: %v", when, got, pattern, err)
		}
	}
	if got, err := describe(t.Context(), dir, ""); err == nil || !strings.Contains(err.Error(), "VERSION=") {
		t.Errorf("outside a checkout: %q, %v", got, err)
	}
	want("outside a checkout", "v1.0.0", "v1.0.0")

	run("init", "--quiet")
	write("one.go")
	run("add", ".")
	run("commit", "--quiet", "--message", "one")
	want("without a tag", "", strings.Repeat("[0-9a-f]", 12))
	run("tag", "v1.0.0")
	want("at a tag", "", "v1.0.0")
	write("two.go")
	want("with a new file", "", "v1.0.0-dirty")
	want("with a new file, and a version", "v2.0.0", "v2.0.0-dirty")
	run("add", ".")
	want("with a file staged", "", "v1.0.0-dirty")
	run("commit", "--quiet", "--message", "two")
	want("after a tag", "", "v1.0.0-1-g"+strings.Repeat("[0-9a-f]", 12))
	for _, asked := range []string{"v1 -X main.version=v2", "../v1", "-v1", "v1;x"} {
		if got, err := describe(t.Context(), dir, asked); err == nil {
			t.Errorf("version %q was taken as %q", asked, got)
		}
	}
	run("tag", "release/1")
	if got, err := describe(t.Context(), dir, ""); err == nil {
		t.Errorf("the tag release/1 was taken as %q", got)
	}
}

// Only the same words are the same licence.
func TestIdentify(t *testing.T) {
	own := read(t, source, "LICENSE")
	for name, tc := range map[string]struct {
		file, text, want string
	}{
		"as it stands":     {"LICENSE", string(own), "Apache-2.0"},
		"of somebody else": {"LICENSE.txt", "Copyright 2020 Somebody\n\n" + string(own), "Apache-2.0"},
		"laid out":         {"COPYING", strings.ReplaceAll(string(own), "\n", "\r\n  "), "Apache-2.0"},
		"with a condition": {"LICENSE", string(own) + "\nNot for use on Sundays.\n", ""},
		"shortened":        {"LICENSE", strings.Replace(string(own), "irrevocable", "", 1), ""},
		"no licence":       {"NOTICE", string(own), ""},
	} {
		if got := identify([]licence{{tc.file, []byte(tc.text)}}); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
	if _, err := readLicences(t.TempDir()); err == nil {
		t.Error("a module without a licence is released")
	}
}

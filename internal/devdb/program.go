//go:build unix

package devdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Program is a pooler's program to run: its path, and the arguments that come
// before all others.
type Program struct {
	Path string
	Args []string
}

// ErrNoProgram says that a pooler's program (of the version asked for) is not
// there; the error's text says how to get it.
var ErrNoProgram = errors.New("the pooler is not installed")

// The programs that FindProgram knows.
const (
	PgBouncerProgram = "pgbouncer"
	OdysseyProgram   = "odyssey"
	PgpoolProgram    = "pgpool"
)

// FindPgBouncer returns the installed PgBouncer, whatever its version.
func FindPgBouncer(ctx context.Context) (Program, error) {
	return FindProgram(ctx, PgBouncerProgram, "")
}

// FindProgram returns a program of a version such as "1.24": the installed one
// if it has it, else the one that "make setup" has put into CacheDir. "" takes
// any that is installed.
func FindProgram(ctx context.Context, name, version string) (Program, error) {
	paths := []string{"/usr/sbin/" + name, "/usr/local/sbin/" + name} // not on an ordinary user's PATH
	if found, err := exec.LookPath(name); err == nil {
		paths = append([]string{found}, paths...)
	}
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		p := Program{Path: path}
		if version == "" {
			return p, nil
		}
		if got, err := p.Version(ctx); err == nil && strings.HasPrefix(got, version+".") {
			return p, nil
		}
	}
	if version == "" {
		return Program{}, fmt.Errorf("%w: run \"apt-get install %s\", or \"make setup\"", ErrNoProgram, name)
	}
	cache, err := CacheDir()
	if err != nil {
		return Program{}, err
	}
	p := unpacked(filepath.Join(cache, name+"-"+version), name)
	if got, err := p.Version(ctx); err != nil || !strings.HasPrefix(got, version+".") {
		return Program{}, fmt.Errorf("%w: %s %s: run \"make setup\"", ErrNoProgram, name, version)
	}
	return p, nil
}

// unpacked is a program that the set-up script has unpacked from another
// release's packages. It runs with that release's own loader and libraries, so
// that it does not matter which C library this machine has.
func unpacked(dir, name string) Program {
	return Program{
		Path: filepath.Join(dir, "ld.so"),
		Args: []string{"--library-path", filepath.Join(dir, "lib"), filepath.Join(dir, name)},
	}
}

var versionNumber = regexp.MustCompile(`^[^0-9\n]*([0-9]+(?:\.[0-9]+)+)`)

// Version is what the program says of itself, such as "1.18.0".
func (p Program) Version(ctx context.Context) (string, error) {
	// pgpool-II says it on its standard error.
	out, err := exec.CommandContext(ctx, p.Path, append(append([]string{}, p.Args...), "--version")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", p.Path, err)
	}
	found := versionNumber.FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("ask %s for its version: it answered %q", p.Path, out)
	}
	return string(found[1]), nil
}

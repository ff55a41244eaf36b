//go:build unix

package devdb

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Pooler is a program to run: its path, and the arguments that come before its
// configuration file.
type Pooler struct {
	Path string
	Args []string
}

// ErrNoPgBouncer says that no PgBouncer (of the version asked for) is there; the
// error's text says how to get one.
var ErrNoPgBouncer = errors.New("PgBouncer is not installed")

// FindPgBouncer returns the installed PgBouncer, whatever its version.
func FindPgBouncer(ctx context.Context) (Pooler, error) {
	return FindPgBouncerVersion(ctx, "")
}

// FindPgBouncerVersion returns a PgBouncer of a version such as "1.24": the
// installed one if it has it, else the one that "make setup" has put into
// CacheDir. "" takes any.
func FindPgBouncerVersion(ctx context.Context, version string) (Pooler, error) {
	paths := []string{"/usr/sbin/pgbouncer", "/usr/local/sbin/pgbouncer"} // not on an ordinary user's PATH
	if found, err := exec.LookPath("pgbouncer"); err == nil {
		paths = append([]string{found}, paths...)
	}
	for _, path := range paths {
		if _, err := os.Stat(path); err != nil {
			continue
		}
		p := Pooler{Path: path}
		if version == "" {
			return p, nil
		}
		if got, err := p.Version(ctx); err == nil && strings.HasPrefix(got, version+".") {
			return p, nil
		}
	}
	if version == "" {
		return Pooler{}, fmt.Errorf("%w: run \"apt-get install pgbouncer\", or \"make setup\"", ErrNoPgBouncer)
	}
	cache, err := CacheDir()
	if err != nil {
		return Pooler{}, err
	}
	p := unpacked(filepath.Join(cache, "pgbouncer-"+version))
	if got, err := p.Version(ctx); err != nil || !strings.HasPrefix(got, version+".") {
		return Pooler{}, fmt.Errorf("%w in version %s: run \"make setup\"", ErrNoPgBouncer, version)
	}
	return p, nil
}

// unpacked is a PgBouncer that the set-up script has unpacked from another
// release's packages. It runs with that release's own loader and libraries, so
// that it does not matter which C library this machine has.
func unpacked(dir string) Pooler {
	return Pooler{
		Path: filepath.Join(dir, "ld.so"),
		Args: []string{"--library-path", filepath.Join(dir, "lib"), filepath.Join(dir, "pgbouncer")},
	}
}

// Version is what the program says of itself, such as "1.18.0".
func (p Pooler) Version(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, p.Path, append(append([]string{}, p.Args...), "--version")...).Output()
	if err != nil {
		return "", fmt.Errorf("ask %s for its version: %w", p.Path, err)
	}
	first, _, _ := strings.Cut(string(out), "\n")
	version, ok := strings.CutPrefix(first, "PgBouncer ")
	if !ok {
		return "", fmt.Errorf("ask %s for its version: it answered %q", p.Path, first)
	}
	return strings.TrimSpace(version), nil
}

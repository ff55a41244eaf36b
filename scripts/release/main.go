// Release builds what a release consists of, into dist/:
//
//	go run ./scripts/release [-version v1.2.3] [-out dist] [-target linux/amd64]
//
//	poolproof_v1.2.3_linux_amd64.tar.gz     the program, our licence, and the licences of what is in it
//	poolproof_v1.2.3_linux_amd64.cdx.json   a bill of materials (CycloneDX), read out of the built program
//	…                                       the same for linux/arm64, darwin/amd64, darwin/arm64
//	SHA256SUMS                              for sha256sum -c
//
// The same source, version and Go give the same bytes, on any machine and in
// any folder: no path, time, user or state of the checkout gets into a file.
// What the checkout knows is said by the version alone: the tag, how far from
// it, the commit, and "-dirty" where files differ from the commit.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"slices"
	"strings"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	version := flags.String("version", "", "the version (default: what git describe says)")
	out := flags.String("out", "dist", "the folder that takes the files")
	only := flags.String("target", "", "the one system to build for (default: each of a release)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	systems := targets
	if *only != "" {
		at := slices.IndexFunc(targets, func(t target) bool { return t.String() == *only })
		if at < 0 {
			return fmt.Errorf("%q is no target of a release: take one of %v", *only, targets)
		}
		systems = targets[at : at+1]
	}
	named, err := describe(ctx, ".", *version)
	if err != nil {
		return err
	}
	files, err := build(ctx, ".", *out, named, systems)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(os.Stdout, "in "+*out+":\n"+strings.Join(files, "\n"))
	return err
}

// versionForm is what may stand in a file's name and in a linker flag.
var versionForm = regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z.+_-]*$`)

// describe returns the version of the checkout in dir: the one that is asked
// for, or else the tag, or else the commit. Files that differ from the commit,
// new ones included, add "-dirty" in any case. Outside a checkout a version
// must be asked for.
func describe(ctx context.Context, dir, asked string) (string, error) {
	if asked != "" && !versionForm.MatchString(asked) {
		return "", fmt.Errorf("%q is not a version: write it like v1.2.3", asked)
	}
	status, err := git(ctx, dir, "status", "--porcelain")
	if err != nil {
		if asked == "" {
			return "", fmt.Errorf("no version: this is no git checkout, so name one, as VERSION=v1.2.3 (%w)", err)
		}
		return asked, nil
	}
	version := asked
	if version == "" {
		if version, err = git(ctx, dir, "describe", "--tags", "--always", "--abbrev=12"); err != nil {
			return "", err
		}
		if !versionForm.MatchString(version) {
			return "", fmt.Errorf("the tag %q is not a version: write it like v1.2.3", version)
		}
	}
	if status != "" {
		version += "-dirty"
	}
	return version, nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	return output(cmd)
}

// output runs a command; its error holds what the command said.
func output(cmd *exec.Cmd) (string, error) {
	out, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(string(exit.Stderr)))
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}

package report

import (
	"os"
	"path/filepath"
	"strings"
)

// Tree is where the program's source is. The zero Tree means that it is not
// known.
type Tree struct {
	Root     string // the repository's folder
	Dir      string // the folder that files of findings are relative to
	Manifest string // stands for findings whose own file is not known
}

// manifests are files from which a program is built. Almost every repository
// has one of them.
var manifests = []string{
	"go.mod", "package.json", "pyproject.toml", "requirements.txt", "setup.py", "Pipfile", "Gemfile", "pom.xml", "build.gradle", "build.gradle.kts",
	"Cargo.toml", "composer.json", "mix.exs", "cpanfile", "Makefile", "Dockerfile",
}

// FindTree finds the repository that dir is in, and the nearest manifest in it.
// If there is no manifest, workflow takes its place: GitHub's
// GITHUB_WORKFLOW_REF, "owner/repository/.github/workflows/ci.yml@ref", or "".
func FindTree(dir, workflow string) Tree {
	t := Tree{Root: dir, Dir: dir}
	for d := dir; ; d = filepath.Dir(d) {
		if _, err := os.Stat(filepath.Join(d, ".git")); err == nil {
			t.Root = d
			break
		}
		if d == filepath.Dir(d) {
			break
		}
	}
	for d := dir; t.Manifest == ""; d = filepath.Dir(d) {
		for _, name := range manifests {
			if info, err := os.Stat(filepath.Join(d, name)); err == nil && info.Mode().IsRegular() {
				t.Manifest = filepath.Join(d, name)
				break
			}
		}
		if d == t.Root || d == filepath.Dir(d) {
			break
		}
	}
	if path, _, ok := strings.Cut(workflow, "@"); ok && t.Manifest == "" {
		if _, path, ok = strings.Cut(path, "/.github/"); ok {
			t.Manifest = filepath.Join(t.Root, ".github", filepath.FromSlash(path))
		}
	}
	return t
}

// inRepository returns a file relative to the repository, or as it is if it is
// not in it.
func (t Tree) inRepository(file string) string {
	if t.Root == "" {
		return file
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(t.Dir, file)
	}
	if rel, err := filepath.Rel(t.Root, file); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return file
}

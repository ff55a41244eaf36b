package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// target is a system that the program is built for.
type target struct{ os, arch string }

// String is the target as go tool dist names it: "linux/amd64".
func (t target) String() string { return t.os + "/" + t.arch }

// targets are those of a release.
var targets = []target{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

// build makes the files of a release of the module in the folder source, and
// returns their names. Other files in out stay as they are.
func build(ctx context.Context, source, out, version string, targets []target) ([]string, error) {
	if err := os.MkdirAll(out, 0o750); err != nil {
		return nil, err
	}
	scratch, err := os.MkdirTemp("", "poolproof-release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(scratch) //nolint:errcheck // the system's temporary folder is swept anyway
	own, err := os.ReadFile(filepath.Join(source, "LICENSE"))
	if err != nil {
		return nil, err
	}
	known, err := moduleFolders(ctx, source)
	if err != nil {
		return nil, err
	}
	files, err := embedded(source)
	if err != nil {
		return nil, err
	}
	var names []string
	var sums strings.Builder
	write := func(name string, content []byte) error {
		if err := os.WriteFile(filepath.Join(out, name), content, 0o644); err != nil { //nolint:gosec // made to be given away
			return err
		}
		names = append(names, name)
		fmt.Fprintf(&sums, "%s  %s\n", sum(content), name)
		return nil
	}
	for _, t := range targets {
		name := "poolproof_" + version + "_" + t.os + "_" + t.arch
		path := filepath.Join(scratch, name)
		if err := compile(ctx, source, path, version, t); err != nil {
			return nil, err
		}
		program, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		parts, err := contents(program, known)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		parts = append(parts, files...)
		archive, err := pack([]entry{
			{name + "/poolproof", 0o755, program},
			{name + "/LICENSE", 0o644, own},
			{name + "/THIRD-PARTY-LICENSES", 0o644, thirdParty(parts)},
		})
		if err != nil {
			return nil, err
		}
		bill, err := billOfMaterials(version, t, program, own, parts)
		if err != nil {
			return nil, err
		}
		if err := write(name+".tar.gz", archive); err != nil {
			return nil, err
		}
		if err := write(name+".cdx.json", bill); err != nil {
			return nil, err
		}
	}
	return names, write("SHA256SUMS", []byte(sums.String()))
}

// compile builds the program. The checkout's state is left out (-buildvcs): it
// would make a checkout and an unpacked archive of the same commit differ.
// Variables that choose instructions or features are set to Go's defaults.
func compile(ctx context.Context, source, path, version string, t target) error {
	path, err := filepath.Abs(path)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false",
		"-ldflags", "-s -w -X main.version="+version, "-o", path, "./cmd/poolproof")
	cmd.Dir = source
	cmd.Env = append(os.Environ(), "GOOS="+t.os, "GOARCH="+t.arch, "CGO_ENABLED=0",
		"GOFLAGS=-mod=readonly", "GOWORK=off", "GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off")
	_, err = output(cmd)
	return err
}

// entry is a file of an archive.
type entry struct {
	name    string
	mode    int64
	content []byte
}

// pack makes a compressed archive of the entries, in their order: no time, and
// nobody's files.
func pack(entries []entry) ([]byte, error) {
	var packed bytes.Buffer
	compressor := gzip.NewWriter(&packed)
	archive := tar.NewWriter(compressor)
	for _, e := range entries {
		header := &tar.Header{Format: tar.FormatUSTAR, Typeflag: tar.TypeReg, Name: e.name, Mode: e.mode, Size: int64(len(e.content))}
		if err := archive.WriteHeader(header); err != nil {
			return nil, fmt.Errorf("pack %s: %w", e.name, err)
		}
		if _, err := archive.Write(e.content); err != nil {
			return nil, fmt.Errorf("pack %s: %w", e.name, err)
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	if err := compressor.Close(); err != nil {
		return nil, err
	}
	return packed.Bytes(), nil
}

// thirdParty is the text that travels with the program: each part's licences,
// as they stand in its source.
func thirdParty(parts []part) []byte {
	var text bytes.Buffer
	text.WriteString("This program contains the following software.\n")
	for _, p := range parts {
		fmt.Fprintf(&text, "\n%s\n%s %s\n", strings.Repeat("=", 80), p.name, p.version)
		for _, l := range p.licences {
			fmt.Fprintf(&text, "\n--- %s\n\n%s\n", l.file, bytes.TrimSpace(bytes.ReplaceAll(l.text, []byte("\r\n"), []byte("\n"))))
		}
	}
	return text.Bytes()
}

func sum(content []byte) string {
	h := sha256.Sum256(content)
	return hex.EncodeToString(h[:])
}

package source

import (
	"bufio"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/poolproof/poolproof/hostile"
)

//go:embed shim
var shim embed.FS

// Recorder collects where in its source a program calls its driver. It has a
// temporary folder until it is closed. Create one with New.
type Recorder struct{ dir string }

// New makes the folder, and puts the scripts into it.
func New() (*Recorder, error) {
	dir, err := os.MkdirTemp("", "poolproof-source-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the calls: %w", err)
	}
	r := &Recorder{dir}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the scripts are for whoever the program runs as
		return nil, errors.Join(fmt.Errorf("make a folder for the calls: %w", err), r.Close())
	}
	files, err := shim.ReadDir("shim")
	if err != nil { // [unexpected] it is embedded
		return nil, errors.Join(err, r.Close())
	}
	for _, f := range files {
		raw, err := shim.ReadFile("shim/" + f.Name())
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, f.Name()), raw, 0o644) //nolint:gosec // the program may run as another user
		}
		if err != nil {
			return nil, errors.Join(fmt.Errorf("write the script for the calls: %w", err), r.Close())
		}
	}
	if err := os.WriteFile(r.calls(), nil, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make the file for the calls: %w", err), r.Close())
	}
	return r, nil
}

// Close removes the folder.
func (r *Recorder) Close() error { return os.RemoveAll(r.dir) }

func (r *Recorder) calls() string { return filepath.Join(r.dir, "calls") }

// Environ returns a program's environment with what makes the program report
// its calls. It extends NODE_OPTIONS and PYTHONPATH, and sets POOLPROOF_CALLS.
func (r *Recorder) Environ(env []string) []string {
	required := "--require " + strconv.Quote(filepath.Join(r.dir, "poolproof.cjs"))
	out := make([]string, 0, len(env)+3)
	node, python := required, r.dir
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		switch {
		case name == "NODE_OPTIONS" && value != "":
			node = value + " " + required
		case name == "PYTHONPATH" && value != "":
			python = r.dir + string(os.PathListSeparator) + value
		case name != "NODE_OPTIONS" && name != "PYTHONPATH" && name != "POOLPROOF_CALLS":
			out = append(out, e)
		}
	}
	return append(out, "NODE_OPTIONS="+node, "PYTHONPATH="+python, "POOLPROOF_CALLS="+r.calls())
}

// call is one line of the file.
type call struct {
	SQL  string   `json:"sql"`
	File string   `json:"file"` // "" if the program's own is not on the stack: a library's background work
	Line int      `json:"line"`
	Via  []string `json:"via"` // the packages on the stack, the driver first
}

// How many bytes of the file are read, and how long a line may be.
const (
	maxRead = 64 << 20
	maxLine = 1 << 20
)

// Locate sets the files, lines and libraries of a report's findings to those that
// the program reported. If it reported none for a finding, sqlcommenter's tags
// may say where it was. Files in dir become relative to it. The error says that
// what the program reported could not be read.
func (r *Recorder) Locate(report *hostile.Report, dir string) error {
	f, err := os.Open(r.calls())
	if err != nil {
		return fmt.Errorf("read the calls: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	sites := map[string]call{}
	lines := bufio.NewScanner(io.LimitReader(f, maxRead))
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var c call
		if json.Unmarshal(lines.Bytes(), &c) != nil || len(c.Via) == 0 {
			continue // a process may have died in the middle of one
		}
		if have, known := sites[key(c.SQL)]; !known || have.File == "" && c.File != "" {
			sites[key(c.SQL)] = c
		}
	}
	if err := lines.Err(); err != nil && !errors.Is(err, bufio.ErrTooLong) {
		return fmt.Errorf("read the calls: %w", err)
	}
	connected := connects(sites)
	via := map[uint32][]string{} // of each client the longest way that a statement of it took
	for i := range report.Findings {
		o := &report.Findings[i].First
		if o.File != "" || o.SQL == "" {
			if report.Findings[i].Code == hostile.StartupParameter {
				report.Findings[i].SentBy(connected...)
			}
			continue
		}
		if c, ok := sites[key(o.SQL)]; ok {
			o.File, o.Line = c.File, c.Line
			way := c.Via
			if c.File == "" && within(way, connected) { // what a driver sends when it connects is for all that stands on it
				way = connected
			}
			report.Findings[i].SentBy(way...)
			if len(way) > len(via[o.Client.ID]) {
				via[o.Client.ID] = way
			}
		}
		if o.File == "" {
			o.File, o.Line = tagged(o.Tags)
		}
		if rel, err := filepath.Rel(dir, o.File); o.File != "" && err == nil && filepath.IsLocal(rel) {
			o.File = rel
		}
	}
	// What a library's hook sent, which is the program's own, comes through the
	// library all the same.
	for i := range report.Findings {
		o := &report.Findings[i].First
		if c, ok := sites[key(o.SQL)]; ok && len(via[o.Client.ID]) > len(c.Via) && within(c.Via, via[o.Client.ID]) {
			report.Findings[i].SentBy(via[o.Client.ID]...)
		}
	}
	return nil
}

// connects returns the packages that the program connects through, the driver
// first: those of all calls if each took a part of the same way, or else what
// all ways have in common.
func connects(sites map[string]call) []string {
	var longest, common []string
	for _, c := range sites {
		if len(c.Via) > len(longest) {
			longest = c.Via
		}
		if common == nil {
			common = c.Via
		}
		common = slices.DeleteFunc(slices.Clone(common), func(name string) bool { return !slices.Contains(c.Via, name) })
	}
	for _, c := range sites {
		if !within(c.Via, longest) {
			return common
		}
	}
	return longest
}

// within reports whether all names are among others.
func within(names, others []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return !slices.Contains(others, name) })
}

// key returns what is compared of a text. Drivers may trim it, and the pooler
// keeps only the beginning of a long one.
func key(sql string) string {
	const most = 1500
	sql = strings.Join(strings.Fields(sql), " ")
	if len(sql) > most {
		sql = sql[:most]
		for !utf8.ValidString(sql[max(0, len(sql)-utf8.UTFMax):]) && len(sql) > most-utf8.UTFMax {
			sql = sql[:len(sql)-1]
		}
	}
	return strings.TrimRight(sql, "; ")
}

// tagged reads file and line from sqlcommenter's tags, under the names that
// frameworks use: file and line, or both in one ("app/models/user.rb:12:in …").
func tagged(tags map[string]string) (file string, line int) {
	if n, err := strconv.Atoi(tags["line"]); err == nil && tags["file"] != "" {
		return tags["file"], n
	}
	for _, name := range []string{"file", "line", "source_location"} {
		file, rest, ok := strings.Cut(tags[name], ":")
		rest, _, _ = strings.Cut(rest, ":")
		if n, err := strconv.Atoi(rest); ok && err == nil && file != "" {
			return file, n
		}
	}
	return "", 0
}

package matrix

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Verdict is what a cell comes to: the worst that happened in it.
type Verdict string

// The verdicts, from good to bad.
const (
	Right  Verdict = "right"
	Errors Verdict = "errors" // at least one operation failed, and said so
	Hung   Verdict = "hung"   // at least one operation did not end in its time
	Wrong  Verdict = "wrong"  // at least one answer was wrong, without an error
)

var verdicts = []Verdict{Right, Errors, Hung, Wrong}

// Form is how a driver's program is written.
type Form string

// The forms.
const (
	Default Form = "default" // as the driver's first page shows it
	Recipe  Form = "recipe"  // with what prove and doctor advise
)

// Work is what a driver's program does.
type Work string

// The kinds of work.
const (
	Statements Work = "statements" // by parameters only
	Settings   Work = "settings"   // under row-level security, which reads a setting
)

// Basis is how a cell is known.
type Basis string

// The bases.
const (
	Measured   Basis = "measured"   // by this package, at Results.Place
	Documented Basis = "documented" // Source says where; nothing was run by this package
)

// Key names a cell.
type Key struct {
	Driver  string `json:"driver"`
	Version string `json:"version"` // as the driver says it; "" in a documented cell: any
	Way     string `json:"way"`     // to the database: "direct", "pgbouncer-1.18-transaction"
	Form    Form   `json:"form"`
	Work    Work   `json:"work"`
}

// Cell is a result.
type Cell struct {
	Key
	Basis   Basis   `json:"basis"`
	Verdict Verdict `json:"verdict"`
	Counts
	Seconds float64 `json:"seconds,omitempty"`
	// FirstError and FirstWrong are the first of their kind, in the program's words.
	FirstError string `json:"first_error,omitempty"`
	FirstWrong string `json:"first_wrong,omitempty"`
	// Found are the codes that the hostile pooler reported, where that was the way.
	Found []string `json:"found,omitempty"`
	// Source is where a documented cell is from, and what stands there.
	Source string `json:"source,omitempty"`
}

// Counts are a cell's operations by how they ended.
type Counts struct {
	Right  int `json:"right"`
	Errors int `json:"errors"`
	Hung   int `json:"hung"`
	Wrong  int `json:"wrong"`
}

// All is how many operations there were.
func (c Counts) All() int { return c.Right + c.Errors + c.Hung + c.Wrong }

// Verdict is the worst that happened. No operation at all is an error.
func (c Counts) Verdict() Verdict {
	switch {
	case c.Wrong > 0:
		return Wrong
	case c.Hung > 0:
		return Hung
	case c.Errors > 0 || c.Right == 0:
		return Errors
	}
	return Right
}

// Way is a way to the database that results are about.
type Way struct {
	Name    string `json:"name"`
	Title   string `json:"title"`             // as people say it
	Version string `json:"version,omitempty"` // as the program says it
}

// Results is a file of results.
type Results struct {
	Schema     int    `json:"schema"` // 1
	Date       string `json:"date"`   // 2026-11-27, of the last cell
	Place      string `json:"place"`  // "here", or where it was measured
	Machine    string `json:"machine,omitempty"`
	PostgreSQL string `json:"postgresql,omitempty"`
	Clients    int    `json:"clients,omitempty"` // at once
	Servers    int    `json:"servers,omitempty"` // connections that the pooler has to the server
	Ways       []Way  `json:"ways"`
	Cells      []Cell `json:"cells"`
}

// Put adds a cell, or replaces the one of the same key, and keeps the order that
// makes two runs comparable.
func (r *Results) Put(c Cell) {
	if i := slices.IndexFunc(r.Cells, func(old Cell) bool { return old.Key == c.Key }); i >= 0 {
		r.Cells[i] = c
		return
	}
	r.Cells = append(r.Cells, c)
	slices.SortFunc(r.Cells, func(a, b Cell) int { return a.compare(b.Key) })
}

// Has reports whether there is a measured cell of this key.
func (r *Results) Has(k Key) bool {
	return slices.ContainsFunc(r.Cells, func(c Cell) bool { return c.Key == k && c.Basis == Measured })
}

func (k Key) compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Driver, o.Driver), cmp.Compare(k.Version, o.Version), cmp.Compare(k.Way, o.Way), cmp.Compare(k.Form, o.Form), cmp.Compare(k.Work, o.Work))
}

// check returns an error for what a file of results must not have: a page made of
// it would say more than is known.
func (r *Results) check() error {
	if r.Schema != 1 {
		return fmt.Errorf("schema %d is not known", r.Schema)
	}
	if len(r.Date) != len("2026-11-27") || r.Place == "" {
		return errors.New("a file of results says its date and place")
	}
	for _, c := range r.Cells {
		name := strings.Join([]string{c.Driver, c.Version, c.Way, string(c.Form), string(c.Work)}, " ")
		if !slices.ContainsFunc(r.Ways, func(w Way) bool { return w.Name == c.Way }) {
			return fmt.Errorf("%s: no such way", name)
		}
		switch c.Basis {
		case Measured:
			if c.Version == "" || c.Verdict != c.Counts.Verdict() || c.All() == 0 {
				return fmt.Errorf("%s: a measured cell has a version, counts, and the verdict that they make", name)
			}
		case Documented:
			if c.Source == "" || c.All() > 0 || !slices.Contains(verdicts, c.Verdict) {
				return fmt.Errorf("%s: a documented cell has a source, a verdict, and no counts", name)
			}
		default:
			return fmt.Errorf("%s: the basis is %q", name, c.Basis)
		}
	}
	return nil
}

// Read reads a file of results. Where there is none, the results are empty.
func Read(name string) (*Results, error) {
	r := &Results{Schema: 1}
	raw, err := os.ReadFile(name)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	} else if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if err := r.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return r, nil
}

// ReadAll reads every file of results of a folder, by date and name.
func ReadAll(dir string) ([]*Results, error) {
	names, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []*Results
	for _, name := range names {
		r, err := Read(name)
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	slices.SortStableFunc(all, func(a, b *Results) int { return cmp.Compare(a.Date, b.Date) })
	return all, nil
}

// Write writes the results, whole or not at all.
func (r *Results) Write(name string) error {
	if err := r.check(); err != nil {
		return err
	}
	raw, err := r.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // it is committed
		return err
	}
	if err := os.WriteFile(name+".new", raw, 0o644); err != nil { //nolint:gosec // it is committed
		return err
	}
	return os.Rename(name+".new", name)
}

// encode is JSON with one cell a line, so that a change of one is a change of one line.
func (r *Results) encode() ([]byte, error) {
	head := *r
	head.Cells = nil
	top, err := json.MarshalIndent(head, "", "  ")
	if err != nil {
		return nil, err
	}
	var b strings.Builder
	b.WriteString(strings.TrimSuffix(string(top), "null\n}"))
	b.WriteString("[")
	for i, c := range r.Cells {
		line, err := json.Marshal(c)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n    ")
		b.Write(line)
	}
	b.WriteString("\n  ]\n}\n")
	return []byte(b.String()), nil
}

package matrix

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The page's parts. The page is one file, and asks nothing of any network.
var (
	//go:embed page/page.html
	pageHTML string
	//go:embed page/page.css
	pageCSS string
	//go:embed page/page.js
	pageJS string

	pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"word": word}).Parse(pageHTML))
)

// Folder and Page are where the results and the page are, in the repository.
const (
	Folder = "docs/matrix"
	Page   = "docs/matrix.html"
)

// WritePage makes the page from all files of results in the repository at root.
func WritePage(root string) error {
	page, err := Render(root)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(root, Page), page, 0o644) //nolint:gosec // it is committed
}

// Render returns the page of all files of results in the repository at root.
func Render(root string) ([]byte, error) {
	all, err := ReadAll(filepath.Join(root, Folder))
	if err != nil {
		return nil, err
	}
	t, err := newTable(root, all)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := pageTemplate.Execute(&out, t); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// table is the page's.
type table struct {
	Ways   []column
	Groups []group
	Data   template.JS // what the script shows of a cell
	Runs   []string    // what was measured, where and when
	Counts map[string]int
	Cells  int
	Style  template.CSS
	Script template.JS
	Policy string
}

// column is a way to the database.
type column struct {
	Way
	Measured bool
}

// group are the drivers of a language.
type group struct {
	Language string
	Rows     []row
}

// row is a driver in one version.
type row struct {
	ID, Driver, Version string
	Current             bool // the corpus's own version
	Cells               []box
}

// box is a row's place in a column: what the two forms come to.
type box struct {
	ID, Way, Title  string
	Default, Recipe half
	Known           bool
}

// half is one form: the verdict of each work, and of both.
type half struct {
	Both, Statements, Settings Verdict
	Documented                 bool
}

// word is a verdict as the page says it.
func word(v Verdict) string {
	if v == "" {
		return "·"
	}
	return string(v)
}

// detail is what the page shows of a box.
type detail struct {
	Driver  string `json:"driver"`
	Version string `json:"version"`
	Way     string `json:"way"`
	Cells   []told `json:"cells"`
	Program string `json:"program"`
}

// told is a cell, with where and when it was measured or read.
type told struct {
	Cell
	Date  string `json:"date"`
	Place string `json:"place"`
	Fix   string `json:"fix"`
}

// newTable arranges the results: of two cells of one key the later one counts, and
// a measured one before a documented one.
func newTable(root string, all []*Results) (*table, error) {
	t := &table{Counts: map[string]int{}, Style: template.CSS(pageCSS), Script: template.JS(pageJS)} //nolint:gosec // our own files
	t.Policy = "default-src 'none'; style-src " + hash(pageCSS) + "; script-src " + hash(pageJS)
	cells := map[Key]told{}
	versions := map[string][]string{} // of a driver, the current one first
	measuredWays := map[string]Way{}
	var otherWays []Way
	for _, r := range all {
		for _, c := range r.Cells {
			old, ok := cells[c.Key]
			if ok && old.Basis == Measured && c.Basis != Measured {
				continue
			}
			cells[c.Key] = told{Cell: c, Date: r.Date, Place: r.Place}
			if c.Basis == Measured && !slices.Contains(versions[c.Driver], c.Version) {
				versions[c.Driver] = append(versions[c.Driver], c.Version)
			}
		}
		for _, w := range r.Ways {
			if slices.Contains(WayNames(), w.Name) {
				measuredWays[w.Name] = w
			} else if !slices.ContainsFunc(otherWays, func(o Way) bool { return o.Name == w.Name }) {
				otherWays = append(otherWays, w)
			}
		}
		if r.Clients > 0 {
			run := fmt.Sprintf("%d clients on %d server connections, PostgreSQL %s, %s, %s", r.Clients, r.Servers, r.PostgreSQL, r.Date, r.Place)
			if !slices.Contains(t.Runs, run) {
				t.Runs = append(t.Runs, run)
			}
		}
	}
	for _, name := range WayNames() {
		if w, ok := measuredWays[name]; ok {
			t.Ways = append(t.Ways, column{w, true})
		}
	}
	for _, w := range otherWays {
		measured := false
		for k, c := range cells {
			measured = measured || k.Way == w.Name && c.Basis == Measured
		}
		t.Ways = append(t.Ways, column{w, measured})
	}
	details := map[string]detail{}
	sources := map[string]string{}
	for _, d := range Drivers {
		if len(versions[d.Name]) == 0 {
			continue
		}
		source, err := d.Source(root)
		if err != nil {
			return nil, err
		}
		sources[d.Program] = source
		if len(t.Groups) == 0 || t.Groups[len(t.Groups)-1].Language != d.Language {
			t.Groups = append(t.Groups, group{Language: d.Language})
		}
		g := &t.Groups[len(t.Groups)-1]
		newestFirst(versions[d.Name])
		for i, version := range versions[d.Name] {
			line := row{ID: fmt.Sprintf("r%d-%d", len(t.Groups), len(g.Rows)), Driver: d.Name, Version: version, Current: i == 0}
			for _, w := range t.Ways {
				b := box{ID: line.ID + "-" + w.Name, Way: w.Name, Title: d.Name + " " + version + " through " + w.Title}
				shown := detail{Driver: d.Name, Version: version, Way: w.Title, Program: d.Program}
				for _, form := range []Form{Default, Recipe} {
					h := &b.Default
					if form == Recipe {
						h = &b.Recipe
					}
					for _, work := range []Work{Statements, Settings} {
						c, ok := find(cells, Key{d.Name, version, w.Name, form, work}, i == 0, d.Library != "")
						if !ok {
							continue
						}
						b.Known = true
						c.Fix = d.Advice(work)
						shown.Cells = append(shown.Cells, c)
						h.add(work, c.Cell)
						if c.Basis == Measured {
							t.Cells++
							t.Counts[string(c.Verdict)]++
						}
					}
				}
				if b.Known {
					details[b.ID] = shown
				}
				line.Cells = append(line.Cells, b)
			}
			g.Rows = append(g.Rows, line)
		}
	}
	raw, err := json.Marshal(map[string]any{"cells": details, "programs": sources})
	if err != nil {
		return nil, err
	}
	t.Data = template.JS(raw) //nolint:gosec // json.Marshal escapes what would end the script
	return t, nil
}

// find returns the cell of a key: its own, or for a driver's current version one
// that is documented of any version, or of any driver that does as it is told.
func find(cells map[Key]told, k Key, current, general bool) (told, bool) {
	if c, ok := cells[k]; ok {
		return c, true
	}
	k.Version = ""
	if c, ok := cells[k]; ok && current {
		return c, true
	}
	k.Driver = ""
	c, ok := cells[k]
	return c, ok && current && general
}

// add adds a cell to what its form comes to. Where one work is not known, both are
// not, unless the other is wrong already.
func (h *half) add(w Work, c Cell) {
	if w == Statements {
		h.Statements = c.Verdict
	} else {
		h.Settings = c.Verdict
	}
	h.Both = ""
	if h.Statements != "" && h.Settings != "" || h.Statements == Wrong || h.Settings == Wrong {
		h.Both = verdicts[max(slices.Index(verdicts, h.Statements), slices.Index(verdicts, h.Settings))]
	}
	h.Documented = h.Documented || c.Basis == Documented
}

// newestFirst sorts versions by their numbers.
func newestFirst(versions []string) {
	slices.SortFunc(versions, func(a, b string) int {
		as, bs := strings.FieldsFunc(a, notDigit), strings.FieldsFunc(b, notDigit)
		for i := range min(len(as), len(bs)) {
			if len(as[i]) != len(bs[i]) {
				return len(bs[i]) - len(as[i])
			}
			if as[i] != bs[i] {
				return strings.Compare(bs[i], as[i])
			}
		}
		return len(bs) - len(as)
	})
}

func notDigit(r rune) bool { return r < '0' || r > '9' }

// hash is a source of a content security policy.
func hash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}

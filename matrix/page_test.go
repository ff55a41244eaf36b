package matrix

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/chromium"
)

var update = flag.Bool("update", false, "write docs/matrix.html")

// docs/matrix.html is what the committed results make, and asks no network.
func TestPage(t *testing.T) {
	want, err := Render("..")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := WritePage(".."); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(filepath.Join("..", Page))
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != string(want) {
		t.Error("docs/matrix.html is not what the results make: go test ./matrix -run TestPage -update writes it")
	}
	start := strings.Index(string(want), `id="data"`)
	for _, bad := range []string{"src=", "href=", "@import", "url(", " onclick", "javascript:"} {
		if strings.Contains(string(want)[:start], bad) {
			t.Errorf("there is %q in the page", bad)
		}
	}
}

// The committed results have what must be there: a judge that never says "wrong"
// proves nothing.
func TestResults(t *testing.T) {
	all, err := ReadAll(filepath.Join("..", Folder))
	if err != nil {
		t.Fatal(err)
	}
	cells := map[string]Cell{}
	for _, r := range all {
		for _, c := range r.Cells {
			if c.Basis == Measured && r.Place == "here" {
				cells[strings.Join([]string{c.Driver, c.Version, c.Way, string(c.Work), string(c.Form)}, " ")] = c
			}
		}
	}
	// The recipe's option is of a later version. The driver says so, and nothing goes wrong in silence.
	const without = "SQLAlchemy on asyncpg 2.0.9 "
	has := func(pattern string, verdict Verdict) {
		t.Helper()
		re, found := regexp.MustCompile("^"+pattern+"$"), 0
		for name, c := range cells {
			if !re.MatchString(name) || verdict != Errors && strings.HasPrefix(name, without) && strings.HasSuffix(name, string(Recipe)) {
				continue
			}
			found++
			if c.Verdict != verdict {
				t.Errorf("%s: %s, want %s: %v", name, c.Verdict, verdict, c.Counts)
			}
		}
		if found == 0 {
			t.Errorf("there is no %s", pattern)
		}
	}
	has(`(pgx|lib/pq|asyncpg|psycopg|node-postgres) \S+ pgbouncer-1.18-transaction settings default`, Wrong)
	has(`(lib/pq|asyncpg) \S+ pgbouncer-1.18-transaction statements default`, Wrong)
	has(`lib/pq \S+ pgbouncer-1.24-transaction statements default`, Wrong)
	has(`.* (pgbouncer-1.18-transaction|pgbouncer-1.24-transaction|hostile) (statements|settings) recipe`, Right)
	has(`poolproof of this tree (direct|pgbouncer\S+|odyssey\S+|hostile) (statements|settings) \S+`, Right)
	has(`.* direct (statements|settings) (default|recipe)`, Right)
	has(without+`.* recipe`, Errors)
}

// A recipe is what prove and doctor advise: the knob stands in the advice and in
// the program.
func TestRecipes(t *testing.T) {
	for _, d := range Drivers {
		source, err := d.Source("..")
		if err != nil {
			t.Error(err)
			continue
		}
		if d.Library == "" {
			continue
		}
		if !slices.ContainsFunc(hostile.Libraries(), func(l hostile.Library) bool { return l.Name == d.Library }) {
			t.Errorf("%s: prove knows no library %q", d.Name, d.Library)
		}
		if (d.Knob == "") != (d.Advised == "") {
			t.Errorf("%s: knob %q, advice %q", d.Name, d.Knob, d.Advised)
		}
		if !strings.Contains(source, d.Knob) {
			t.Errorf("%s: the program has no %s", d.Name, d.Knob)
		}
		if fix := d.Advice(Statements); !strings.Contains(fix, d.Advised) {
			t.Errorf("%s: the advice is %q, which has no %q", d.Name, fix, d.Advised)
		}
		if fix := d.Advice(Settings); !strings.Contains(fix, "set_config") || !strings.Contains(source, "set_config") {
			t.Errorf("%s: the advice is %q; both it and the program have set_config", d.Name, fix)
		}
	}
}

// The page in a browser: it filters, a cell shows its numbers, its fix and its
// program, axe finds nothing, in light and dark, and a phone's width is enough.
func TestPageInBrowser(t *testing.T) {
	file, err := filepath.Abs(filepath.Join("..", Page))
	if err != nil {
		t.Fatal(err)
	}
	ctx, axe := chromium.OpenFile(t, file, 3*time.Minute), chromium.Axe(t)
	look := func(script string) string {
		t.Helper()
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](script))
		if err != nil {
			t.Fatal(script, err)
		}
		return got
	}
	violations := func(rules string) string {
		t.Helper()
		got, err := chromedp.Run(ctx, chromedp.Evaluate[string](`axe.run(document.querySelector('dialog[open]') ?? document, `+rules+`).then((r) =>
			r.violations.flatMap((v) => v.nodes.slice(0, 3).map((n) => v.id + ': ' + n.target.join(' ') + ' ' + n.failureSummary.replace(/\s+/g, ' '))).join('; '))`, chromedp.EvalAwaitPromise))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	// Contrast alone is what differs between light and dark.
	const every, contrast = `{}`, `{ runOnly: ['color-contrast'] }`
	for _, window := range []struct {
		name          string
		width, height int64
		scheme, rules string
	}{{"desktop, light", 1440, 900, "light", every}, {"desktop, dark", 1440, 900, "dark", contrast}, {"phone, light", 360, 740, "light", every}, {"phone, dark", 360, 740, "dark", contrast}} {
		if _, err := chromedp.Run(ctx, chromedp.EmulateViewport(window.width, window.height)); err != nil {
			t.Fatal(err)
		}
		params := emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: window.scheme}}}
		if _, err := chromedp.Call(ctx, emulation.SetEmulatedMedia, params); err != nil {
			t.Fatal(err)
		}
		if _, err := chromedp.Run(ctx, chromedp.Reload()); err != nil {
			t.Fatal(err)
		}
		look(axe + "; ''")
		if got := look(`String(document.documentElement.scrollWidth)`); got != fmt.Sprint(window.width) {
			t.Errorf("%s: the page is %s wide", window.name, got)
		}
		if bad := violations(window.rules); bad != "" {
			t.Errorf("%s: axe: %s", window.name, bad)
		}
		// A click shows the cell.
		got := look(`(() => {
			document.querySelector('tr[data-driver="pgx"] td[data-way="pgbouncer-1.18-transaction"] button').click()
			return document.querySelector('dialog[open]').innerText
		})()`)
		for _, want := range []string{"pgx", "PgBouncer 1.18", "First wrong answer", "default_query_exec_mode=exec", "set_config", "func settings"} {
			if !strings.Contains(got, want) {
				t.Errorf("%s: the cell does not show %q: %s", window.name, want, got)
			}
		}
		if bad := violations(window.rules); bad != "" {
			t.Errorf("%s, a cell: axe: %s", window.name, bad)
		}
		look(`document.querySelector('dialog[open] .close').click(); ''`)
		// Filters leave what they name.
		got = look(`(() => {
			const set = (id, value) => { const e = document.getElementById(id); e.value = value; e.dispatchEvent(new Event('change')) }
			set('driver', 'pgx'); set('way', 'direct')
			return [...document.querySelectorAll('tbody button')].filter((b) => b.checkVisibility()).map((b) => b.dataset.title.replace(/[\d.]+/, 'N')).filter((x, i, all) => all.indexOf(x) === i).join('; ')
		})()`)
		if got != "pgx N through PostgreSQL, direct" {
			t.Errorf("%s: the filters leave %s", window.name, got)
		}
	}
	// axe would see a fault.
	if bad := look(`document.body.append(document.createElement('input')); ''`) + violations(every); !strings.Contains(bad, "label: ") {
		t.Errorf("axe does not see a field without a label: %s", bad)
	}
}

package hostile

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
)

// However much a program sends, what is kept of it is bounded in number and
// bytes. The first finding of each code is kept; what is not kept is counted.
func TestKept(t *testing.T) {
	l := newLedger()
	long := strings.Repeat("x", 5_000)
	calls := 0
	l.onFinding = func(Finding, bool) { calls++ }
	add := func(code Code, i int) {
		l.add(fault{code: code, subject: fmt.Sprintf("%d %s", i, long), first: Occurrence{
			SQL: shorten(fmt.Sprintf("select %d %s", i, long)), Types: make([]string, 2000), Client: Client{ApplicationName: long}, Tags: map[string]string{long: long},
			Trace: make([]Step, 24),
		}})
	}
	for i := range 2000 {
		add(SessionSetting, i)
	}
	for i := range 2000 {
		add(StartupParameter, i%2800)
	}
	for _, code := range Codes() {
		add(code, 1)
	}
	for range 50 {
		add(SessionSetting, 1) // known: counted, whatever there is no room for
	}
	findings, _, left := l.list()
	codes := map[Code]int{}
	seen := 0
	for _, f := range findings {
		codes[f.Code]++
		seen += f.Count
	}
	for _, n := range left {
		seen += n
	}
	if len(codes) != len(Codes()) || codes[SessionSetting] != MaxFindings || codes[StartupParameter] > MaxFindings {
		t.Errorf("kept %v", codes)
	}
	if want := 2000 + 2000 + len(Codes()) + 50; seen != want || left[SessionSetting] != 2000-MaxFindings {
		t.Errorf("%d of %d are counted, left out %v", seen, want, left)
	}
	raw, err := json.Marshal(findings)
	if err != nil || len(raw) > 1<<20 {
		t.Errorf("the report takes %d bytes, %v", len(raw), err)
	}
	if calls > seen-left[SessionSetting]-left[StartupParameter] {
		t.Errorf("%d calls", calls)
	}
}

// The texts that are kept are bounded in bytes, too.
func TestTextsKept(t *testing.T) {
	c := newTexts()
	const texts = 2 * maxTextsKept / maxTextKept
	for range 2 {
		for i := range texts {
			sql := fmt.Appendf(nil, "select %d, '%s'", i, strings.Repeat("x", maxTextKept-100))
			c.of(sql, false)
			c.of(sql, false)
		}
	}
	if size := len(c.known) * (maxTextKept - 100); size > maxTextsKept || len(c.known) < 100 || c.size > maxTextsKept {
		t.Errorf("%d texts of %d bytes, said to be %d", len(c.known), size, c.size)
	}
}

// What is kept of one client is bounded, too, and what is not kept accuses
// nobody.
func TestKeptOfOneClient(t *testing.T) {
	p, err := New(Config{Upstream: "postgres://localhost/"})
	if err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	defer a.Close() //nolint:errcheck // a pipe
	defer b.Close() //nolint:errcheck // a pipe
	s := p.newSession(a)
	begin, last := scan("begin", false), scan("commit", false)
	s.keepOfUnitLocked(begin)
	var x transaction
	for i := range 2 * maxPrepared {
		name := fmt.Sprintf("name_%d", i)
		s.keepPreparedLocked(name, &preparedStatement{})
		s.keepParsedLocked(name)
		s.keepOfUnitLocked(scan("select 1", false))
		x.keepSettings([]string{"app.read_" + name}, []string{"app.set_" + name})
	}
	s.keepOfUnitLocked(last)
	if len(s.prepared) != maxPrepared || len(s.parsedHere) != maxParsedHere || len(s.unit) != maxOfUnit || len(x.settingsRead) != maxSettings || len(x.settingsSet) != maxSettings {
		t.Errorf("%d statements, %d names, %d texts, %d and %d settings", len(s.prepared), len(s.parsedHere), len(s.unit), len(x.settingsRead), len(x.settingsSet))
	}
	if !s.unitHasLocked("begin") || s.lastTextLocked() != last {
		t.Error("the first or the last text of the unit is not kept")
	}
	if !x.setsUnknown {
		t.Error("a transaction that set more than is kept is said not to have set the rest")
	}
}

package judge_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/judge"
)

var update = flag.Bool("update", false, "write the table in docs/judge.md")

// columns are the poolers of the document's table. The others are as one of these.
var columns = []struct {
	title string
	kinds []pgtest.Kind
}{
	{"PgBouncer 1.18", []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer118RoundRobin}},
	{"1.24, 1.26", []pgtest.Kind{pgtest.PgBouncer124Transaction, pgtest.PgBouncer126Transaction}},
	{"1.18 reset always", []pgtest.Kind{pgtest.PgBouncer118ResetAlways}},
	{"1.18 session", []pgtest.Kind{pgtest.PgBouncer118Session}},
	{"Odyssey 1.5", []pgtest.Kind{pgtest.Odyssey15}},
	{"`pool_discard no`", []pgtest.Kind{pgtest.Odyssey15NoDiscard}},
	{"session", []pgtest.Kind{pgtest.Odyssey15Session}},
	{"pgpool-II 4.3", []pgtest.Kind{pgtest.Pgpool43Streaming}},
	{"4.3 raw", []pgtest.Kind{pgtest.Pgpool43}},
	{"4.6 raw", []pgtest.Kind{pgtest.Pgpool46}},
}

func cell(o []judge.Outcome) string {
	var words []string
	for _, outcome := range o {
		words = append(words, string(outcome))
	}
	if len(words) == 1 && words[0] == string(judge.Right) {
		return ""
	}
	return strings.Join(words, " or ")
}

func table(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| trial |")
	for _, c := range columns {
		b.WriteString(" " + c.title + " |")
		for _, kind := range c.kinds[1:] {
			for _, trial := range judge.Trials() {
				if one, other := cell(expected[c.kinds[0]][trial.Name]), cell(expected[kind][trial.Name]); one != other {
					t.Errorf("%s: %v is %s, %v is %s", trial.Name, c.kinds[0], one, kind, other)
				}
			}
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(columns)) + "\n")
	for _, trial := range judge.Trials() {
		line, right := "| "+trial.Name+" |", true
		for _, c := range columns {
			text := cell(expected[c.kinds[0]][trial.Name])
			right = right && text == ""
			line += " " + text + " |"
		}
		if !right {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

// docs/judge.md has the table of what the tests expect, and the number of trials.
func TestDocument(t *testing.T) {
	const path = "../docs/judge.md"
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begins := strings.Cut(string(text), "-update -->\n")
	_, after, ends := strings.Cut(rest, "<!-- end -->")
	if !begins || !ends {
		t.Fatal("the document has no place for the table")
	}
	want := before + "-update -->\n" + table(t) + "<!-- end -->" + after
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(text) {
		t.Error("the table in docs/judge.md is not what the tests expect: go test ./judge -run TestDocument -update")
	}
	if !strings.Contains(want, fmt.Sprintf("%d trials", len(judge.Trials()))) {
		t.Errorf("the document does not say that there are %d trials", len(judge.Trials()))
	}
}

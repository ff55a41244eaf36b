package explain

import (
	"regexp"
	"regexp/syntax"
	"slices"
	"strings"
	"sync"
)

// Explanation says what a message means.
type Explanation struct {
	// ID names the kind of message, "statement-missing"; it is stable.
	ID string `json:"id"`
	// Speaker is who says it: "PostgreSQL", "PgBouncer", a driver ….
	Speaker string `json:"speaker"`
	// Cause is why it is said, Consequence what follows for the program, Next what to run or change now.
	Cause       string `json:"cause"`
	Consequence string `json:"consequence"`
	Next        string `json:"next"`
}

// longest is how much of a text is looked at, in bytes: a message with its
// traceback.
const longest = 64 << 10

// Explain explains a message, as a driver or a log prints it. It reports false if
// it knows none of its words. Where several fit, the most special counts: they
// are tried in the order of the table.
func Explain(text string) (Explanation, bool) {
	if len(text) > longest {
		text = text[:longest]
	}
	text = strings.ReplaceAll(strings.Join(strings.Fields(text), " "), `\"`, `"`) // logs break lines, and quote messages
	plain := folded(text)
	for i, m := range matchers() {
		if m.matches(text, plain) {
			return messages[i].Explanation, true
		}
	}
	return Explanation{}, false
}

// All returns every explanation that there is, in the order of the table.
func All() []Explanation {
	all := make([]Explanation, len(messages))
	for i, m := range messages {
		all[i] = m.Explanation
	}
	return all
}

// message is an explanation with the words, a regular expression, by which it is
// known.
type message struct {
	words string
	Explanation
}

func says(id, speaker, words, cause, consequence, next string) message {
	return message{`(?i)` + words, Explanation{ID: id, Speaker: speaker, Cause: cause, Consequence: consequence, Next: next}}
}

// matcher is a message's expression.
type matcher struct {
	words *regexp.Regexp
	// needed are literal texts, folded; whatever matches words has one of them. With
	// them 64 KiB of a log take 6 ms instead of 405 (2026-11-28).
	needed []string
}

// matchers are those of messages, in their order. They are made when they are
// first asked for, because that takes 3 ms, which no other command shall wait.
var matchers = sync.OnceValue(func() []matcher {
	all := make([]matcher, len(messages))
	for i, m := range messages {
		parsed, err := syntax.Parse(m.words, syntax.Perl)
		if err != nil {
			panic(err) // as MustCompile does
		}
		all[i] = matcher{regexp.MustCompile(m.words), literals(parsed)}
	}
	return all
})

func (m matcher) matches(text, plain string) bool {
	return slices.ContainsFunc(m.needed, func(words string) bool { return strings.Contains(plain, words) }) && m.words.MatchString(text)
}

// folded makes texts equal that differ in case only, as (?i) sees it.
func folded(s string) string { return strings.ToLower(strings.ToUpper(s)) }

// literals returns texts, folded, one of which every match of the expression
// contains: of what follows one another the longest, of alternatives all. Without
// such a text it returns "", which every text contains.
func literals(re *syntax.Regexp) []string {
	switch re.Op {
	case syntax.OpLiteral:
		return []string{folded(string(re.Rune))}
	case syntax.OpCapture, syntax.OpPlus:
		return literals(re.Sub[0])
	case syntax.OpAlternate:
		var all []string
		for _, sub := range re.Sub {
			all = append(all, literals(sub)...)
		}
		return all
	case syntax.OpConcat:
		best := []string{""}
		for _, sub := range re.Sub {
			if these := literals(sub); shortest(these) > shortest(best) {
				best = these
			}
		}
		return best
	}
	return []string{""}
}

func shortest(texts []string) int {
	least := len(texts[0])
	for _, text := range texts {
		least = min(least, len(text))
	}
	return least
}

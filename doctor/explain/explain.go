package explain

import (
	"regexp"
	"strings"
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
	for _, m := range messages {
		if m.words.MatchString(text) {
			return m.Explanation, true
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

// message is an explanation with the words by which it is known.
type message struct {
	words *regexp.Regexp
	Explanation
}

func says(id, speaker, words, cause, consequence, next string) message {
	return message{regexp.MustCompile(`(?i)` + words), Explanation{ID: id, Speaker: speaker, Cause: cause, Consequence: consequence, Next: next}}
}

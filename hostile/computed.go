package hostile

import (
	"regexp"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/internal/sqltext"
)

// PostgreSQL lists no custom settings: only who knows a name can ask for its
// value. Programs put such names together, from strings of a statement or a
// function and from parameters. What these can make is asked for, too. A name
// that is computed otherwise matters to others only if somebody reads it: by its
// name, and then it is asked for from then on; or by a name that is computed as
// well, which judgeComputed reports.

// nameParts are strings of which the name of a custom setting could be put
// together: "app." and "tenant".
type nameParts struct {
	prefixes []string // with their dot, in lower case
	names    []string // in lower case
}

// keep keeps a string that could be a part of a name.
func (p *nameParts) keep(text string) {
	text = strings.ToLower(text)
	begun, ends := strings.CutSuffix(text, ".")
	first := begun[1+strings.LastIndexFunc(begun, notInName):] // of "set app."
	switch {
	case ends && isWholeName(first) && len(p.prefixes) < maxMaybe:
		p.prefixes = appendNew(p.prefixes, first+".")
	case isWholeName(text) && len(p.names) < maxMaybe:
		p.names = appendNew(p.names, text)
	}
}

// add adds another text's parts.
func (p *nameParts) add(other nameParts) {
	for _, n := range other.prefixes {
		p.keep(n)
	}
	for _, n := range other.names {
		p.keep(n)
	}
}

// composed appends the names that these prefixes and names make, up to maxMaybe
// in all.
func composed(list, prefixes, names []string) []string {
	for _, p := range prefixes {
		for _, n := range names {
			if len(list) >= maxMaybe {
				return list
			}
			list = appendNew(list, p+n)
		}
	}
	return list
}

// isWholeName reports whether a text is a part of a setting's name, and nothing
// else.
func isWholeName(text string) bool { return isName(text) && strings.IndexFunc(text, notInName) < 0 }

// notInName reports whether a character is in no part of a setting's name.
func notInName(r rune) bool {
	return r != '_' && r != '$' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

// makesSet matches a string that begins a SET for the session whose name
// follows, as for EXECUTE: "set ", "set app.", "set %I = %L".
var makesSet = regexp.MustCompile(`(?i)^\s*set\s+(?:session\s+)?(?:[a-z_.]*%|[a-z_]+\.$|$)`)

// keepString records what a string holds of a custom setting's name; after
// stands right behind it.
func (t *queryText) keepString(text string, after sqltext.Scanner) {
	t.maybeSettings = appendNames(t.maybeSettings, text)
	if more := concatenated(&after); more != "" {
		t.maybeSettings = appendNames(t.maybeSettings, text+more)
	}
	t.parts.keep(text)
}

// concatenated reads the constants that || appends to the one that was read
// last.
func concatenated(s *sqltext.Scanner) string {
	var all strings.Builder
	for {
		ahead := *s
		first, second, tok := ahead.Next(), ahead.Next(), ahead.Next()
		if !first.Is("|") || !second.Is("|") || tok.Kind != sqltext.String {
			return all.String()
		}
		all.WriteString(tok.Text)
		*s = ahead
	}
}

// computes reports whether a statement may set a setting for the session whose
// name it computes, and whether it reads one, by itself or through a function.
// The server's own settings, which it lists, are none of them.
func (s *schema) computes(t *queryText) (sets, reads bool) {
	if slices.Contains(t.words, "pg_settings") {
		return false, false
	}
	sets, reads = t.computesSet, t.computesRead
	if s == nil || len(s.computing) == 0 {
		return sets, reads
	}
	for _, w := range t.words {
		if f := s.computing[unqualified(w)]; f != nil {
			sets, reads = sets || f.computesSet, reads || f.computesRead
		}
	}
	return sets, reads
}

// computedName is the subject of a setting that is left and read by names which
// are computed.
const computedName = "with a computed name"

// judgeComputed reports a setting whose name is computed if, in another
// transaction, one is read whose name is computed as well: nobody can tell that
// they are two. left reports whether it is known what the transaction left.
func (p *Pooler) judgeComputed(t *transaction, sc *schema, left bool) {
	var set, read *queryText
	for _, x := range t.texts {
		sets, reads := sc.computes(x)
		if sets {
			set = x
		}
		if reads {
			read = x
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case set != nil && !left:
		if p.computedSet == nil {
			o := t.occurrence(set)
			p.computedSet = &o
		}
	case set == nil && read != nil && !t.setsUnknown:
		p.computedRead = true
	}
	if p.computedSet != nil && p.computedRead {
		p.report(fault{code: SessionSetting, subject: computedName, first: *p.computedSet})
		p.computedSet, p.computedRead = nil, false
	}
}

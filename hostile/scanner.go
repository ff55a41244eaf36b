package hostile

import (
	"hash/maphash"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/poolproof/poolproof/internal/sqltext"
)

// queryText is what the words of a query say. This is not a parser. It knows
// strings, comments and where statements end. That is enough to say that a text
// cannot leave anything behind. If it cannot say so, the server is asked
// (package residue).
type queryText struct {
	sql           string
	statements    []statement
	mayLeaveState bool              // only the server can tell whether it leaves something behind
	words         []string          // in lower case, each once: they may name tables or functions
	settingsRead  []string          // custom settings that it reads by name
	strictReads   []string          // those of them that it reads without missing_ok
	settingsSet   []string          // custom settings that it sets, for the session or the transaction
	readsParams   []int             // parameters that name a setting that it reads: 1 is $1
	setsParams    []int             // parameters that name a setting that it sets
	setsUnknown   bool              // it sets a setting whose name is not in the text
	runsAny       bool              // it runs SQL that it puts together: EXECUTE in a DO block or a function
	maybeSettings []string          // what its strings hold that could be the name of a custom setting
	parts         nameParts         // what its strings hold of which one could be put together
	computesSet   bool              // it may set a setting for the session whose name it computes
	computesRead  bool              // it reads one whose name it computes
	keeps         []string          // what it keeps for the session (keepers.go)
	undoes        []string          // what of that it takes away
	usesSequence  bool              // nextval, setval or INSERT
	readsSequence bool              // currval or lastval
	asksPID       bool              // pg_backend_pid
	namesPID      bool              // pg_cancel_backend or pg_terminate_backend
	tags          map[string]string // of a trailing sqlcommenter comment
	sender        string            // the library that sends such texts; "" if none is known

	// leftNothingUnder is the schema under which the server was asked in full about a transaction with this text, and the
	// transaction had left nothing. From then on a glance is enough.
	leftNothingUnder atomic.Pointer[schema]
}

// statement is one statement of a text.
type statement struct {
	kind    string    // its first word, in lower case: "select", "set"
	words   [4]string // its first words, the same one included
	selects bool      // it has the word SELECT
}

// local reports whether it is SET LOCAL.
func (s statement) local() bool { return s.kind == "set" && s.words[1] == "local" }

// temporary reports whether it is CREATE TEMPORARY TABLE, VIEW or SEQUENCE.
func (s statement) temporary() bool {
	scope := s.words[1]
	if scope == "local" || scope == "global" { // which PostgreSQL ignores
		scope = s.words[2]
	}
	return s.kind == "create" && (scope == "temp" || scope == "temporary")
}

// deallocates returns the name of the statement that a DEALLOCATE removes.
func (s statement) deallocates() string {
	if s.words[1] == "prepare" && s.words[2] != "" {
		return s.words[2]
	}
	return s.words[1]
}

// defines reports whether a statement only defines something, as CREATE POLICY
// does. CREATE TABLE … AS also runs a query; then it may name a default, too.
func defines(s statement) bool {
	if s.kind != "create" {
		return s.kind == "alter"
	}
	table := slices.Contains(s.words[:], "table") || slices.Contains(s.words[:], "materialized")
	return !table || !s.selects
}

// statelessCommands are first words of statements that leave nothing on a
// server connection, unless a function that they call does.
var statelessCommands = map[string]bool{
	"select": true, "insert": true, "update": true, "delete": true, "merge": true, "with": true, "values": true, "table": true,
	"begin": true, "start": true, "commit": true, "end": true, "rollback": true, "abort": true, "savepoint": true, "release": true,
	"show": true, "explain": true, "fetch": true, "move": true, "close": true, "copy": true, "lock": true, "truncate": true,
	"analyze": true, "vacuum": true, "notify": true, "": true,
}

// statefulWords are words with which a statement may leave something behind,
// wherever they stand.
var statefulWords = map[string]bool{
	"set_config": true, "temp": true, "temporary": true, "pg_temp": true, "hold": true,
	"pg_advisory_lock": true, "pg_advisory_lock_shared": true, "pg_try_advisory_lock": true, "pg_try_advisory_lock_shared": true,
	"pg_advisory_unlock": true, "pg_advisory_unlock_shared": true, "pg_advisory_unlock_all": true,
	"dblink": true, "dblink_connect": true, "dblink_exec": true, "set_limit": true, // pg_trgm's
	"pg_create_physical_replication_slot": true, "pg_create_logical_replication_slot": true,
	"pg_copy_physical_replication_slot": true, "pg_copy_logical_replication_slot": true,
}

// maxWords bounds the words that are kept of one text.
const maxWords = 100

// scan reads a text. truncated says that it is only the beginning of one; then
// the text may leave anything.
func scan(sql string, truncated bool) *queryText {
	t := &queryText{sql: sql, mayLeaveState: truncated, sender: driverBySQL(sql)}
	var st statement
	n := 0                 // words of the statement at hand
	reads, stricts := 0, 0 // settings that the statements before it read
	finish := func() {
		if n == 0 {
			return
		}
		st.kind = st.words[0]
		fine := statelessCommands[st.kind] || st.local() || st.kind == "set" && (st.words[1] == "transaction" || st.words[1] == "constraints")
		t.mayLeaveState = t.mayLeaveState || !fine
		if st.kind == "insert" {
			t.usesSequence = true
		}
		if defines(st) { // what it names is read later, by others
			t.settingsRead, t.strictReads = t.settingsRead[:reads], t.strictReads[:stricts]
		}
		reads, stricts = len(t.settingsRead), len(t.strictReads)
		t.setStatement(st.words)
		t.statements = append(t.statements, st)
		st, n = statement{}, 0
	}
	sc := sqltext.New(sql)
	for {
		tok := sc.Next()
		switch tok.Kind {
		case sqltext.End:
			finish()
			t.tags = sqlcommenter(sc.Comment())
			return t
		case sqltext.Semicolon:
			finish()
			continue
		case sqltext.Word, sqltext.Quoted:
			w := tok.Text
			if n < len(st.words) {
				st.words[n] = w
			}
			n++
			st.selects = st.selects || w == "select" && tok.Kind == sqltext.Word
			if statefulWords[w] || strings.HasPrefix(unqualified(w), "dblink") && statefulWords[unqualified(w)] {
				t.mayLeaveState = true
			}
			switch w {
			case "nextval", "setval", "insert":
				t.usesSequence = true
			case "currval", "lastval":
				t.readsSequence = true
			case "pg_backend_pid":
				t.asksPID = true
			case "pg_cancel_backend", "pg_terminate_backend":
				t.namesPID = true
			}
			t.settingCall(w, sc)
			if st.selects || !namesFunctions[st.words[0]] {
				t.keepCall(w, sc)
			}
			if len(t.words) < maxWords {
				t.words = appendNew(t.words, w)
			}
		case sqltext.String:
			if st.words[0] == "do" {
				t.include(scanFunctionBody(tok.Text))
			} else {
				t.keepString(tok.Text, sc)
			}
		default:
			if n == 0 && tok.Kind == sqltext.Other && !tok.Is("(") { // "(select …)" begins with select
				n++
			}
		}
	}
}

// scanFunctionBody reads the body of a function. There statements also begin
// after words such as BEGIN and THEN, and EXECUTE may run anything.
func scanFunctionBody(body string) *queryText {
	t := &queryText{sql: body}
	sc := sqltext.New(body)
	start, mayMakeSet := true, false
	for {
		tok := sc.Next()
		if tok.Kind == sqltext.End {
			t.computesSet = t.computesSet || mayMakeSet && t.runsAny
			return t
		}
		w := tok.Text
		switch {
		case tok.Kind == sqltext.Semicolon:
			start = true
			continue
		case tok.Kind == sqltext.String:
			t.keepString(tok.Text, sc)
			mayMakeSet = mayMakeSet || makesSet.MatchString(tok.Text)
			start = false
			continue
		case tok.Kind != sqltext.Word:
			start = false
			continue
		}
		t.words = append(t.words, w)
		t.settingCall(w, sc)
		t.keepCall(w, sc)
		t.runsAny = t.runsAny || w == "execute"
		switch {
		case w == "set_config":
			local, _ := sc.Local()
			t.mayLeaveState = t.mayLeaveState || !local
		case statefulWords[w] && w != "hold", w == "execute": // dynamic SQL may be anything
			t.mayLeaveState = true
		case start:
			switch w {
			case "set":
				ahead := sc
				next := ahead.Next()
				if next.Text != "local" && next.Text != "transaction" && next.Text != "constraints" {
					t.mayLeaveState = true
				}
				t.setStatement([4]string{w, next.Text, ahead.Next().Text})
			case "reset", "listen", "unlisten", "prepare", "deallocate", "discard", "load":
				t.mayLeaveState = true
			}
		}
		start = w == "begin" || w == "then" || w == "else" || w == "loop"
	}
}

// setStatement records the custom setting that a SET with these first words
// sets, or that it sets the seed of random().
func (t *queryText) setStatement(words [4]string) {
	if words[0] != "set" {
		return
	}
	name := words[1]
	if name == "local" || name == "session" {
		name = words[2]
	}
	if strings.Contains(name, ".") {
		t.settingsSet = appendNew(t.settingsSet, name)
	}
	if name == "seed" {
		t.keeps = appendNew(t.keeps, seedKept)
	}
}

// settingCall records what a function does to a setting; sc stands right after
// its name.
func (t *queryText) settingCall(function string, sc sqltext.Scanner) {
	switch function {
	case "current_setting":
		name, param, alone := settingNamed(sc)
		switch {
		case param > 0:
			t.readsParams = append(t.readsParams, param)
		case strings.Contains(name, "."):
			t.settingsRead = appendNew(t.settingsRead, name)
			if alone {
				t.strictReads = appendNew(t.strictReads, name)
			}
		case name == "":
			t.computesRead = true
		}
	case "set_config":
		name, param, _ := settingNamed(sc)
		switch {
		case param > 0:
			t.setsParams = append(t.setsParams, param)
		case strings.Contains(name, "."):
			t.settingsSet = appendNew(t.settingsSet, name)
		case name == "seed":
			t.keeps = appendNew(t.keeps, seedKept)
		default:
			t.setsUnknown = true
			local, _ := sc.Local()
			t.computesSet = t.computesSet || !local
		}
	}
}

// include adds what a DO block does to what the text says.
func (t *queryText) include(block *queryText) {
	for _, n := range block.settingsRead {
		t.settingsRead = appendNew(t.settingsRead, n)
	}
	for _, n := range block.strictReads {
		t.strictReads = appendNew(t.strictReads, n)
	}
	for _, n := range block.settingsSet {
		t.settingsSet = appendNew(t.settingsSet, n)
	}
	for _, n := range block.maybeSettings {
		t.maybeSettings = appendNew(t.maybeSettings, n)
	}
	t.parts.add(block.parts)
	t.computesSet = t.computesSet || block.computesSet
	t.computesRead = t.computesRead || block.computesRead
	t.setsUnknown = t.setsUnknown || block.setsUnknown
	t.runsAny = t.runsAny || block.runsAny
	for _, n := range block.keeps {
		t.keeps = appendNew(t.keeps, n)
	}
	for _, n := range block.undoes {
		t.undoes = appendNew(t.undoes, n)
	}
}

// maxMaybe bounds the names that are kept of one text's strings.
const maxMaybe = 20

// appendNames appends what could be names of custom settings in a string: words
// with a dot in them, in lower case.
func appendNames(list []string, text string) []string {
	if !strings.Contains(text, ".") || len(text) > maxTextKept {
		return list
	}
	for _, w := range strings.FieldsFunc(text, func(r rune) bool { return r != '.' && notInName(r) }) {
		if first, rest, dotted := strings.Cut(w, "."); len(list) < maxMaybe && dotted && isName(first) && isName(rest) {
			list = appendNew(list, strings.ToLower(w))
		}
	}
	return list
}

// isName reports whether a part of a setting's name begins as one.
func isName(part string) bool {
	return part != "" && len(part) < 64 && (part[0] == '_' || part[0] >= 'a' && part[0] <= 'z' || part[0] >= 'A' && part[0] <= 'Z')
}

// appendNew appends s unless it is in the list.
func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// settingNamed looks ahead at the arguments of a call that names a setting. It
// returns the name in lower case if it is a plain string, or the number of the
// parameter that it is, and whether it is the only argument.
func settingNamed(s sqltext.Scanner) (name string, param int, alone bool) {
	if tok := s.Next(); !tok.Is("(") {
		return "", 0, false
	}
	switch tok := s.Next(); {
	case tok.Kind == sqltext.String:
		name = strings.ToLower(tok.Text + concatenated(&s))
	case tok.Is("$"):
		param = s.Number()
	default:
		return "", 0, false
	}
	for depth := 1; ; {
		switch tok := s.Next(); {
		case tok.Kind == sqltext.End, tok.Is(",") && depth == 1:
			return name, param, false
		case tok.Is("("):
			depth++
		case tok.Is(")"):
			if depth--; depth == 0 {
				return name, param, true
			}
		case tok.Is("|") && depth == 1: // only the beginning of a name
			return "", 0, false
		}
	}
}

// sqlcommenter reads a comment of the form /*key='value',…*/ (sqlcommenter's
// specification, version 1.0). It returns nil for any other comment.
func sqlcommenter(comment string) map[string]string {
	inner, ok := strings.CutPrefix(comment, "/*")
	if !ok || !strings.Contains(inner, "='") {
		return nil
	}
	inner = strings.TrimSpace(strings.TrimSuffix(inner, "*/"))
	tags := map[string]string{}
	for pair := range strings.SplitSeq(inner, ",") {
		key, value, ok := strings.Cut(pair, "=")
		value = strings.TrimSpace(value)
		if !ok || len(value) < 2 || value[0] != '\'' || value[len(value)-1] != '\'' {
			return nil
		}
		k, err1 := url.QueryUnescape(strings.TrimSpace(key))
		v, err2 := url.QueryUnescape(value[1 : len(value)-1])
		if err1 != nil || err2 != nil || len(tags) >= 20 {
			return nil
		}
		tags[k] = v
	}
	return tags
}

// textCache keeps what was read from texts. It is safe for concurrent use.
type textCache struct {
	mu    sync.RWMutex
	known map[string]*queryText
	size  int // bytes of the texts in known
	seed  maphash.Seed
	once  [maxTexts]atomic.Uint64 // hashes of texts that were seen once: only what comes again is kept
	seen  atomic.Int64            // different texts, more or less
}

// What is kept of texts.
const (
	maxTexts     = 4096
	maxTextKept  = 8 << 10 // bytes of one
	maxTextsKept = 2 << 20 // bytes of all
)

// newTexts returns an empty cache.
func newTexts() *textCache {
	return &textCache{known: map[string]*queryText{}, seed: maphash.MakeSeed()}
}

// of returns what a text says. sql may lie in a buffer that will be used again.
func (c *textCache) of(sql []byte, truncated bool) *queryText {
	c.mu.RLock()
	t := c.known[string(sql)]
	c.mu.RUnlock()
	if t != nil {
		return t
	}
	t = scan(string(sql), truncated)
	hash := maphash.Bytes(c.seed, sql)
	again := c.once[hash%maxTexts].Swap(hash) == hash
	if !again {
		c.seen.Add(1)
	}
	if truncated || len(sql) > maxTextKept {
		t.sql = shorten(t.sql)
		return t
	}
	if !again {
		return t
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if known := c.known[t.sql]; known != nil { // another client was first
		return known
	}
	c.size += len(t.sql)
	for k := range c.known { // any one goes: counting uses would cost more than it saves
		if len(c.known) < maxTexts && c.size <= maxTextsKept {
			break
		}
		c.size -= len(k)
		delete(c.known, k)
	}
	c.known[t.sql] = t
	return t
}

// count returns how many different texts there were, more or less.
func (c *textCache) count() int { return int(c.seen.Load()) }

// shorten bounds a text that is kept for people.
func shorten(sql string) string {
	const most = 2000
	if len(sql) <= most {
		return sql
	}
	return strings.ToValidUTF8(sql[:most], "") + " …"
}

package poolproof

import (
	"fmt"
	"strings"

	"github.com/poolproof/poolproof/internal/sqltext"
)

// refuseInScope returns an error for a statement that a scope must not carry: one
// that ends the scope's transaction, so that what follows runs as the tenant
// somebody leaked, one that may do so from within (CALL, DO: measured with a
// procedure that commits), and one that leaves state behind on a server
// connection that the next client inherits.
func refuseInScope(sql string) error {
	st := read(sql)
	switch first := st.words[0]; first {
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "call", "do":
		return refusedTransaction(first)
	case "prepare":
		if st.words[1] == "transaction" {
			return refusedTransaction("prepare transaction")
		}
	}
	return st.refuseState()
}

// refuseInTx is the same for a statement inside InTx, where savepoints are
// harmless and PostgreSQL itself keeps CALL and DO from committing.
func refuseInTx(sql string) error {
	st := read(sql)
	first, second := st.words[0], st.words[1]
	switch first {
	case "begin", "start", "commit", "end", "abort":
		return refusedInTx(first)
	case "prepare":
		if second == "transaction" {
			return refusedInTx("prepare transaction")
		}
	case "rollback":
		toSavepoint := second == "to" || (second == "work" || second == "transaction") && st.words[2] == "to"
		if !toSavepoint {
			return refusedInTx(first)
		}
	}
	return st.refuseState()
}

// statementText is what the check of a statement wants to know of its text.
type statementText struct {
	words [5]string // the first ones, in lower case, past EXPLAIN and its options; a quoted name keeps a quote before it
	left  string    // what it leaves behind wherever it stands in the text; "" for nothing
	hint  string    // what to do instead
	hold  bool      // WITH HOLD
}

// leaving are functions that leave something on the server connection, with
// what to use instead.
var leaving = map[string]string{
	"pg_advisory_lock": useXactLock, "pg_advisory_lock_shared": useXactLock,
	"pg_try_advisory_lock": useXactLock, "pg_try_advisory_lock_shared": useXactLock,
	"pg_advisory_unlock": useXactLock, "pg_advisory_unlock_shared": useXactLock, "pg_advisory_unlock_all": useXactLock,
	"dblink_connect": nameNone, "dblink_connect_u": nameNone,
	"pg_replication_origin_session_setup": "run it over a direct connection",
	"setseed":                             "order by a column of random numbers, or run it over a direct connection",
	"set_limit":                           "use set_config('pg_trgm.similarity_threshold', …, true) inside InTx",
}

const (
	useXactLock = "use pg_advisory_xact_lock, inside InTx: it goes with the transaction"
	nameNone    = "give dblink the connection string instead of a connection's name"
	useWith     = "use Session.With for a scope's settings, or set_config(…, true) inside InTx"
	useCTE      = "use a common table expression, or a table with row-level security"
)

// telltales are what every text contains that leaves something past its first
// words. Most texts contain none, and need not be read further.
var telltales = []string{"temp", "advisory", "set_config", "hold", "dblink_connect", "setseed", "set_limit", "settings", "session_setup"}

func tells(sql string) bool {
	for i := range len(sql) {
		switch first := sql[i] | 0x20; first { // in lower case
		case 't', 'a', 's', 'h', 'd':
			for _, t := range telltales {
				if t[0] == first && len(sql)-i >= len(t) && strings.EqualFold(sql[i:i+len(t)], t) {
					return true
				}
			}
		}
	}
	return false
}

// read reads a text once. As it has one statement, words decide what it is;
// strings, dollar quotes and comments are none.
func read(sql string) (st statementText) {
	sc, all := sqltext.New(sql), tells(sql)
	n := 0
	previous, before := sqltext.Token{}, sqltext.Token{}
	explaining := false
	leaves := func(what, hint string) {
		if st.left == "" {
			st.left, st.hint = what, hint
		}
	}
	for all || n < len(st.words) {
		tok := sc.Next()
		switch tok.Kind {
		case sqltext.End:
			return st
		case sqltext.Semicolon: // of an empty statement, or the last
			continue
		case sqltext.Word, sqltext.Quoted:
			w := tok.Text
			switch {
			case tok.Kind == sqltext.Quoted:
				w = `"` + w
			case n == 0 && w == "explain":
				explaining = true
				continue
			case n == 0 && explaining && (w == "analyze" || w == "analyse" || w == "verbose"):
				continue
			}
			if n < len(st.words) {
				st.words[n] = w
			}
			n++
			if inTempSchema(tok.Text) || inTempSchema(tok.Text+".") && dotted(sc) {
				leaves("an object in pg_temp", useCTE)
			}
			name := tok.Text[strings.LastIndexByte(tok.Text, '.')+1:] // quoted or not, it is the function's
			if hint, leaving := leaving[name]; leaving && calls(sc) && !st.defines() {
				leaves(name, hint)
			}
			switch {
			case name == "set_config" && calls(sc) && !st.defines():
				if local, certain := sc.Local(); certain && !local {
					leaves("set_config(…, false)", useWith)
				}
			case tok.Text == "pg_settings" && previous.Kind == sqltext.Word && (previous.Text == "update" || previous.Text == "only" && before.Text == "update"): // the view sets them
				leaves("update of pg_settings", useWith)
			case w == "hold" && previous.Kind == sqltext.Word && previous.Text == "with":
				st.hold = true
			case previous.Kind == sqltext.Word && previous.Text == "into" && before.Text != "insert" && before.Text != "merge":
				if isTemp(afterScope(w, sc)) {
					leaves("select into temporary", useCTE)
				}
			}
		default:
			switch {
			case n == 0 && tok.Is("(") && explaining:
				skipParentheses(&sc)
				continue
			case n == 0 && tok.Is("("):
				continue // a SELECT in parentheses
			case tok.Is(".") && n < len(st.words):
				st.words[n] = "." // "set local .name" makes no local setting
				n++
			default:
				n = max(n, len(st.words))
			}
		}
		before, previous = previous, tok
	}
	return st
}

// defines reports whether the statement creates what only later statements run:
// a function in SQL, a view, a policy.
func (st *statementText) defines() bool {
	kind := st.words[1:]
	if kind[0] == "or" { // or replace
		kind = kind[2:]
	}
	switch kind[0] {
	case "function", "procedure", "view", "recursive", "policy", "rule", "trigger":
		return st.words[0] == "create"
	}
	return false
}

// calls reports whether a parenthesis comes next.
func calls(sc sqltext.Scanner) bool { return sc.Next().Is("(") }

// dotted reports whether a dot comes next, behind white space.
func dotted(sc sqltext.Scanner) bool { return sc.Next().Is(".") }

// afterScope returns the word past LOCAL or GLOBAL, which change nothing.
func afterScope(word string, sc sqltext.Scanner) string {
	if word == "local" || word == "global" {
		return sc.Next().Text
	}
	return word
}

func isTemp(word string) bool { return word == "temp" || word == "temporary" }

// skipParentheses reads on past the parenthesis that closes the one just read.
func skipParentheses(sc *sqltext.Scanner) {
	for depth := 1; depth > 0; {
		switch tok := sc.Next(); {
		case tok.Kind == sqltext.End:
			return
		case tok.Is("("):
			depth++
		case tok.Is(")"):
			depth--
		}
	}
}

// inTempSchema reports whether a name is qualified by pg_temp, or by pg_temp_3
// and its like.
func inTempSchema(name string) bool {
	schema, _, qualified := strings.Cut(name, ".")
	rest, temp := strings.CutPrefix(schema, "pg_temp")
	return qualified && temp && strings.Trim(rest, "_0123456789") == ""
}

// refuseState returns an error for a statement that leaves state behind.
func (st *statementText) refuseState() error {
	first, second := st.words[0], st.words[1]
	refuse := func(what, hint string) error {
		return &Error{Kind: ErrStatementRefused, Op: "check the statement", Hint: hint,
			Err: fmt.Errorf("%s leaves state on a server connection that other clients share", strings.ToUpper(what))}
	}
	switch first {
	case "set":
		switch second {
		case "local", "transaction", "constraints":
			if st.words[2] != "." { // else it is the first part of a setting's name
				return nil
			}
		}
		return refuse(first, "use Session.With for a scope's settings, or SET LOCAL inside InTx")
	case "declare":
		if st.hold {
			return refuse("declare with hold", "leave WITH HOLD out and fetch inside InTx")
		}
	case "create":
		kind := st.words[1:]
		if kind[0] == "or" { // or replace
			kind = kind[2:]
		}
		if kind[0] == "local" || kind[0] == "global" {
			kind = kind[1:]
		}
		if isTemp(kind[0]) {
			return refuse("create temporary", useCTE)
		}
	case "reset", "discard", "load":
		return refuse(first, "run it over a direct connection, if at all")
	case "listen", "unlisten":
		return refuse(first, "LISTEN over a direct connection: through a pooler other clients get the notifications")
	case "prepare", "execute", "deallocate":
		return refuse(first, "leave preparing to Config.Mode")
	case "copy":
		return &Error{Kind: ErrStatementRefused, Op: "check the statement", Hint: "use Session.CopyFrom, or a SELECT",
			Err: fmt.Errorf("COPY cannot be part of a pipeline, and COPY FROM is refused on tables with row-level security")}
	}
	if st.left != "" {
		return refuse(st.left, st.hint)
	}
	return nil
}

func refusedTransaction(word string) error {
	return &Error{Kind: ErrStatementRefused, Op: "check the statement", Hint: "use Session.InTx for a transaction of several steps",
		Err: fmt.Errorf("%s would end the transaction that holds the tenant", strings.ToUpper(word))}
}

func refusedInTx(word string) error {
	return &Error{Kind: ErrStatementRefused, Op: "check the statement", Hint: "return from InTx's function: nil commits, an error rolls back; tx.Begin nests",
		Err: fmt.Errorf("%s would end the transaction that holds the tenant", strings.ToUpper(word))}
}

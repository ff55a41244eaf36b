package hostile

import (
	"regexp"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/internal/sqltext"
)

// keeper is a function that keeps something for the session of which the server
// cannot be asked, or not without a question for each transaction. So it is found
// by its name.
type keeper struct {
	subject string
	undo    string // the function that takes it away again; "": none does
}

const seedKept, unnamedLink = "setseed", "dblink, unnamed"

// Subjects of what extensions keep in the backend's memory: pg_variables, whose
// functions have a name for each type, and orafce.
const pgVariables, oracleOutput, oracleFiles = "pg_variables", "dbms_output", "utl_file"

// keepers are these functions, by name (PostgreSQL's documentation, "System
// Administration Functions", and those of dblink and HypoPG). pg_start_backup is
// pg_backup_start's name before 15.
var keepers = map[string]keeper{
	"setseed":                             {seedKept, ""},
	"dblink_connect":                      {unnamedLink, "dblink_disconnect"}, // where it has one argument
	"dblink_connect_u":                    {unnamedLink, "dblink_disconnect"},
	"hypopg_create_index":                 {"hypopg_create_index", "hypopg_reset"},
	"pg_backup_start":                     {"pg_backup_start", "pg_backup_stop"},
	"pg_start_backup":                     {"pg_start_backup", "pg_stop_backup"},
	"pg_replication_origin_session_setup": {"pg_replication_origin_session_setup", "pg_replication_origin_session_reset"},
	"pgv_set":                             {pgVariables, "pgv_remove"},
	"pgv_insert":                          {pgVariables, "pgv_remove"},
	"dbms_output.enable":                  {oracleOutput, "dbms_output.disable"},
	"dbms_output.serveroutput":            {oracleOutput, "dbms_output.disable"},
	"dbms_alert.register":                 {"dbms_alert", "dbms_alert.remove"},
	"utl_file.fopen":                      {oracleFiles, "utl_file.fclose"},
}

// namesFunctions are first words of statements that name functions and do not
// call them, unless they have a SELECT.
var namesFunctions = map[string]bool{"create": true, "alter": true, "drop": true, "grant": true, "revoke": true, "comment": true, "security": true}

// keeperOf is, by the name of the function that takes it away, what it takes.
var keeperOf = func() map[string]string {
	all := map[string]string{}
	for _, k := range keepers {
		if k.undo != "" {
			all[k.undo] = k.subject
		}
	}
	all["pgv_free"] = pgVariables
	all["dbms_alert.removeall"] = "dbms_alert"
	all["utl_file.fclose_all"] = oracleFiles
	return all
}()

// keeperName returns a function's name as keepers has it: without its schema,
// unless only that says whose it is, and pg_variables' without the type.
func keeperName(function string) string {
	for _, schema := range []string{"dbms_output.", "dbms_alert.", "utl_file."} {
		if strings.HasPrefix(function, schema) {
			return function
		}
	}
	function = unqualified(function)
	if strings.HasPrefix(function, "pgv_set_") {
		return "pgv_set"
	}
	return function
}

// keepCall records that a function keeps something for the session, or takes it
// away; args stands right after its name.
func (t *queryText) keepCall(function string, args sqltext.Scanner) {
	function = keeperName(function)
	k, keeps := keepers[function]
	undone := keeperOf[function]
	if !keeps && undone == "" {
		return
	}
	n := arguments(args)
	switch {
	case n < 0: // no call
	case keeps && (k.subject != unnamedLink || n == 1): // a named connection the server lists
		t.keeps = appendNew(t.keeps, k.subject)
	case undone != "" && (undone != unnamedLink || n == 0):
		t.undoes = appendNew(t.undoes, undone)
	}
}

// arguments counts the arguments of a call, or returns -1 if this is none.
func arguments(s sqltext.Scanner) int {
	if tok := s.Next(); !tok.Is("(") {
		return -1
	}
	n, depth := 0, 1
	for {
		tok := s.Next()
		if n == 0 && !tok.Is(")") {
			n = 1
		}
		switch {
		case tok.Kind == sqltext.End:
			return n
		case tok.Is("("), tok.Is("["):
			depth++
		case tok.Is(","):
			if depth == 1 {
				n++
			}
		case tok.Is(")"), tok.Is("]"):
			if depth--; depth == 0 {
				return n
			}
		}
	}
}

// kept returns what a statement keeps for the session, and what it takes away, by
// itself or through a function; sc may be nil.
func (t *queryText) kept(sc *schema) (keeps, undoes []string) {
	keeps, undoes = t.keeps, t.undoes
	if sc == nil || len(sc.keptByFunction) == 0 {
		return keeps, undoes
	}
	for _, w := range t.words {
		if f := sc.keptByFunction[unqualified(w)]; f != nil {
			keeps, undoes = slices.Concat(keeps, f.keeps), slices.Concat(undoes, f.undoes)
		}
	}
	return keeps, undoes
}

// reportKept reports what a transaction keeps for the session and does not take
// away again.
func (p *Pooler) reportKept(t *transaction, sc *schema) {
	by := map[string]*queryText{}
	for _, x := range t.texts {
		keeps, undoes := x.kept(sc)
		for _, subject := range keeps {
			if by[subject] == nil {
				by[subject] = x
			}
		}
		for _, subject := range undoes {
			delete(by, subject)
		}
	}
	for subject, x := range by { // findings are sorted later
		p.report(fault{code: FunctionState, subject: subject, first: t.occurrence(x), other: strings.HasPrefix(subject, globalsOf)})
	}
}

// globalsOf begins the subject of what a function keeps in its language's global
// variables.
const globalsOf = "globals of "

// languageGlobals are how functions in these languages set such variables.
var languageGlobals = []struct {
	language string
	sets     *regexp.Regexp
}{
	{"plperl", regexp.MustCompile(`\$_SHARED\s*\{[^}]*\}\s*=[^=~]`)},
	{"plpython", regexp.MustCompile(`\bGD\s*\[[^\]]*\]\s*=[^=]`)},
	{"plv8", regexp.MustCompile(`\b(plv8|globalThis)(\.\w+|\[[^\]]*\])\s*=[^=>]`)},
	{"pllua", regexp.MustCompile(`\bsetshared\s*\(|\bshared(\.\w+|\[[^\]]*\])\s*=[^=]`)},
	{"plr", regexp.MustCompile(`<<-|\bassign\s*\([^)]*(\.GlobalEnv|globalenv)`)},
	{"pltcl", regexp.MustCompile(`\b(set|incr|append|lappend)\s+(::|GD\()|\bglobal\s[^;\n]+[;\n](?s:.*)\b(set|incr|append|lappend)\s`)},
}

// keepsGlobals records that a function sets a global variable of its language.
// source is the language's name, a line's end and the function's source.
func (s *schema) keepsGlobals(function, source string) {
	for _, l := range languageGlobals {
		if strings.HasPrefix(source, l.language) && l.sets.MatchString(source) {
			s.keeps(function, []string{globalsOf + l.language}, nil)
		}
	}
}

// keeps records what a function keeps, and what it takes away.
func (s *schema) keeps(function string, keeps, undoes []string) {
	if len(keeps)+len(undoes) == 0 {
		return
	}
	t := s.keptByFunction[function]
	if t == nil {
		t = &queryText{}
		s.keptByFunction[function] = t
	}
	t.keeps, t.undoes = append(t.keeps, keeps...), append(t.undoes, undoes...)
}

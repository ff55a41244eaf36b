package poolproof

import (
	"fmt"
	"regexp"
	"strings"
)

// refuseInScope gives an error for a statement that a scope must not carry: one
// that ends the scope's transaction, so that what follows runs as the tenant
// somebody leaked, one that may do so from within (CALL, DO: measured with a
// procedure that commits), and one that leaves state behind on a server
// connection that the next client inherits.
func refuseInScope(sql string) error {
	words := leadingWords(sql)
	first, second := words[0], words[1]
	switch first {
	case "begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release", "call", "do":
		return refusedTransaction(first)
	case "prepare":
		if second == "transaction" {
			return refusedTransaction("prepare transaction")
		}
	}
	return refuseSessionState(sql, words)
}

// refuseInTx is the same for a statement inside InTx, where savepoints are
// harmless and PostgreSQL itself keeps CALL and DO from committing.
func refuseInTx(sql string) error {
	words := leadingWords(sql)
	first, second := words[0], words[1]
	switch first {
	case "begin", "start", "commit", "end", "abort":
		return refusedInTx(first)
	case "prepare":
		if second == "transaction" {
			return refusedInTx("prepare transaction")
		}
	case "rollback":
		toSavepoint := second == "to" || (second == "work" || second == "transaction") && words[2] == "to"
		if !toSavepoint {
			return refusedInTx(first)
		}
	}
	return refuseSessionState(sql, words)
}

var withHold = regexp.MustCompile(`(?is)\bwith\b.*\bhold\b`)

func refuseSessionState(sql string, words [4]string) error {
	first, second := words[0], words[1]
	refuse := func(word, hint string) error {
		return &Error{Kind: ErrStatementRefused, Op: "check the statement", Hint: hint,
			Err: fmt.Errorf("%s leaves state on a server connection that other clients share", strings.ToUpper(word))}
	}
	switch first {
	case "set":
		switch second {
		case "local", "transaction", "constraints":
			if !strings.HasPrefix(words[2], ".") { // else it is the first part of a setting's name
				return nil
			}
		}
		return refuse(first, "use Session.With for a scope's settings, or SET LOCAL inside InTx")
	case "declare":
		if withHold.MatchString(sql) {
			return refuse("declare with hold", "leave WITH HOLD out and fetch inside InTx")
		}
	case "create":
		word := second
		switch second {
		case "global", "local":
			word = words[2]
		case "or": // or replace temp view
			word = words[3]
		}
		if strings.HasPrefix(word, "temp") {
			return refuse("create temporary", "use a common table expression, or a table with row-level security")
		}
	case "reset", "discard", "load":
		return refuse(first, "run it over a direct connection, if at all")
	case "listen", "unlisten":
		return refuse(first, "LISTEN over a direct connection: through a pooler others get the notifications")
	case "prepare", "execute", "deallocate":
		return refuse(first, "leave preparing to Config.Mode")
	case "copy":
		return &Error{Kind: ErrStatementRefused, Op: "check the statement", Hint: "use Session.CopyFrom, or a SELECT",
			Err: fmt.Errorf("COPY cannot be part of a pipeline, and COPY FROM is refused on tables with row-level security")}
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

// leadingWords gives the first words of a statement in lower case, past white
// space, comments and empty statements, as PostgreSQL's scanner sees them; ""
// where there is none.
func leadingWords(sql string) (words [4]string) {
	rest := skipBlank(sql, true)
	for i := range words {
		words[i], rest = word(rest)
		rest = skipBlank(rest, false)
	}
	return words
}

func word(s string) (w, rest string) {
	i := 0
	for i < len(s) && (s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z' || s[i] == '_' || s[i] == '.' || s[i] >= 0x80 || i > 0 && (s[i] >= '0' && s[i] <= '9' || s[i] == '$')) {
		i++
	}
	return strings.ToLower(s[:i]), s[i:]
}

// skipBlank drops white space and comments, which nest, and with empties also
// the semicolons of empty statements.
func skipBlank(s string, empties bool) string {
	for s != "" {
		switch {
		case strings.IndexByte(" \t\n\r\f\v", s[0]) >= 0 || empties && s[0] == ';':
			s = s[1:]
		case strings.HasPrefix(s, "--"):
			end := strings.IndexAny(s, "\n\r")
			if end < 0 {
				return ""
			}
			s = s[end:]
		case strings.HasPrefix(s, "/*"):
			depth, i := 1, 2
			for ; i < len(s) && depth > 0; i++ {
				switch {
				case strings.HasPrefix(s[i:], "/*"):
					depth++
					i++
				case strings.HasPrefix(s[i:], "*/"):
					depth--
					i++
				}
			}
			s = s[i:]
		default:
			return s
		}
	}
	return ""
}

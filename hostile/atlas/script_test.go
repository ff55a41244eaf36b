package atlas

import (
	"regexp"
	"strings"
)

// step is one step of a script for psql.
type step struct {
	sql      string // "" if the step is a command of psql's own
	copyData string // of COPY … FROM STDIN, in the script
	command  string // of psql, without its backslash, that ends the statement or stands alone: "gset"
	argument string // the rest of its line
	line     int    // where it begins; the first line is 1
}

// script reads a script for psql, step by step, as psql's own lexer does: a
// statement ends at a semicolon that is in no string, comment, parenthesis or
// body of a function, or at a backslash command.
type script struct {
	text string
	at   int
	vars map[string]string // psql's variables, which the caller sets
	buf  strings.Builder   // the statement so far
}

var (
	dollarTag = regexp.MustCompile(`^\$([A-Za-z_\x80-\xff][A-Za-z0-9_\x80-\xff]*)?\$`)
	variable  = regexp.MustCompile(`^:(?:'([A-Za-z0-9_]+)'|"([A-Za-z0-9_]+)"|([A-Za-z_][A-Za-z0-9_]*))`)
	word      = regexp.MustCompile(`^[A-Za-z_\x80-\xff][A-Za-z0-9_$\x80-\xff]*`)
	fromStdin = regexp.MustCompile(`(?is)^\s*copy\b.*\bfrom\s+stdin\b`)
	comments  = regexp.MustCompile(`(?s)^(\s+|--[^\n]*(\n|$)|/\*.*?\*/)*`)
)

// next returns the next step; ok is false at the end.
func (s *script) next() (st step, ok bool) {
	var words []string // the first ones, which say whether a function's body may follow
	parens, bodies := 0, 0
	st.line = 1 + strings.Count(s.text[:s.at], "\n")
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch c := rest[0]; {
		case strings.HasPrefix(rest, "--"):
			s.take(lineLength(rest))
		case strings.HasPrefix(rest, "/*"):
			s.take(commentLength(rest))
		case c == '\'':
			s.take(quotedLength(rest, '\'', s.escaped()))
		case c == '"':
			s.take(quotedLength(rest, '"', false))
		case c == '$' && dollarTag.MatchString(rest):
			tag := dollarTag.FindString(rest)
			if end := strings.Index(rest[len(tag):], tag); end >= 0 {
				s.take(len(tag) + end + len(tag))
			} else {
				s.take(len(rest))
			}
		case c == '(':
			parens++
			s.take(1)
		case c == ')':
			parens--
			s.take(1)
		case c == ';' && parens <= 0 && bodies == 0:
			s.take(1)
			if sql := s.statement(); sql != "" {
				st.sql = sql
				if fromStdin.MatchString(sql) {
					st.copyData = s.data()
				}
				return st, true
			}
			st.line, words, parens = 1+strings.Count(s.text[:s.at], "\n"), nil, 0
		case c == '\\' && strings.HasPrefix(rest, `\;`):
			s.at++
			s.take(1)
		case c == '\\':
			n := lineLength(rest)
			st.command, st.argument, _ = strings.Cut(strings.TrimSpace(rest[1:n]), " ")
			s.at += n
			switch st.command {
			case "g", "gx", "gset", "gdesc", "gexec", "crosstabview", "watch":
				st.sql = s.statement()
			}
			return st, true
		case c == ':' && strings.HasPrefix(rest, "::"):
			s.take(2)
		case c == ':' && variable.MatchString(rest):
			m := variable.FindStringSubmatch(rest)
			value, known := s.vars[m[1]+m[2]+m[3]]
			switch {
			case !known:
				s.take(len(m[0]))
				continue
			case m[1] != "":
				value = "'" + strings.ReplaceAll(value, "'", "''") + "'"
			case m[2] != "":
				value = `"` + strings.ReplaceAll(value, `"`, `""`) + `"`
			}
			s.buf.WriteString(value)
			s.at += len(m[0])
		case word.MatchString(rest):
			w := word.FindString(rest)
			lower := strings.ToLower(w)
			if len(words) < 4 {
				words = append(words, lower)
			}
			if parens == 0 && makesFunction(words) {
				switch {
				case lower == "begin", lower == "case" && bodies > 0:
					bodies++
				case lower == "end" && bodies > 0:
					bodies--
				}
			}
			s.take(len(w))
		default:
			s.take(1)
		}
	}
	if sql := s.statement(); sql != "" {
		st.sql = sql
		return st, true
	}
	return st, false
}

// take moves n bytes to the statement.
func (s *script) take(n int) {
	s.buf.WriteString(s.text[s.at : s.at+n])
	s.at += n
}

// statement returns the statement so far, or "" if it has only comments, and
// begins another.
func (s *script) statement() string {
	sql := s.buf.String()
	s.buf.Reset()
	if rest := strings.TrimSpace(sql[len(comments.FindString(sql)):]); rest == "" || rest == ";" {
		return ""
	}
	return sql
}

// escaped reports whether the string that begins here is an E'…' string.
func (s *script) escaped() bool {
	if s.at == 0 || s.text[s.at-1]|0x20 != 'e' {
		return false
	}
	return s.at == 1 || !regexp.MustCompile(`[A-Za-z0-9_$\x80-\xff]`).MatchString(s.text[s.at-2:s.at-1])
}

// data reads the rows of COPY … FROM STDIN, up to the line \.
func (s *script) data() string {
	s.at += lineLength(s.text[s.at:])
	rest := s.text[s.at:]
	if strings.HasPrefix(rest, "\\.\n") {
		s.at += len("\\.\n")
		return ""
	}
	data, _, found := strings.Cut(rest, "\n\\.\n")
	if !found {
		s.at = len(s.text)
		return strings.TrimSuffix(rest, "\\.")
	}
	s.at += len(data) + len("\n\\.\n")
	return data + "\n"
}

// makesFunction reports whether a statement's first words make a function or a
// procedure, whose body may hold semicolons.
func makesFunction(words []string) bool {
	if len(words) < 2 || words[0] != "create" {
		return false
	}
	kind := words[1]
	if kind == "or" && len(words) == 4 {
		kind = words[3]
	}
	return kind == "function" || kind == "procedure"
}

// lineLength returns the length of the first line, its end included.
func lineLength(s string) int {
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		return i + 1
	}
	return len(s)
}

// commentLength returns the length of a comment, which may hold others.
func commentLength(s string) int {
	depth := 0
	for i := 0; i+1 < len(s); i++ {
		switch s[i : i+2] {
		case "/*":
			depth++
			i++
		case "*/":
			depth--
			i++
			if depth == 0 {
				return i + 1
			}
		}
	}
	return len(s)
}

// quotedLength returns the length of a string that begins with its quote.
func quotedLength(s string, quote byte, escapes bool) int {
	for i := 1; i < len(s); i++ {
		switch {
		case escapes && s[i] == '\\':
			i++
		case s[i] == quote && i+1 < len(s) && s[i+1] == quote:
			i++
		case s[i] == quote:
			return i + 1
		}
	}
	return len(s)
}

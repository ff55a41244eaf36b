package sqltext

import "strings"

// Kind is the kind of a token.
type Kind int

// The kinds of tokens.
const (
	End       Kind = iota // of the text
	Word                  // a name or a keyword, in lower case; a dotted name is one
	Quoted                // a name of which a part is quoted, without the quotes
	String                // a string constant of any form, without its quotes
	Semicolon             //
	Other                 // a number, as "0", or a single character
)

// Token is a piece of SQL.
type Token struct {
	Kind Kind
	Text string
}

// Is reports whether the token is this character.
func (t Token) Is(character string) bool { return t.Kind == Other && t.Text == character }

// New returns a scanner at the beginning of a text.
func New(sql string) Scanner { return Scanner{rest: sql} }

// Comment returns the last comment, if nothing came after it.
func (s *Scanner) Comment() string { return s.comment }

// Number reads the number that comes next, as after the $ of a parameter. It
// returns 0, and reads nothing, if there is none of at most five digits.
func (s *Scanner) Number() int {
	i, n := 0, 0
	for i < len(s.rest) && s.rest[i] >= '0' && s.rest[i] <= '9' {
		n = 10*n + int(s.rest[i]-'0')
		if i++; i > 5 {
			return 0
		}
	}
	s.rest = s.rest[i:]
	return n
}

// Local looks ahead, right after the word set_config, whether the call's last
// argument is true, so that the setting is the transaction's; certain reports
// whether it is a constant: true or false, a string that PostgreSQL reads as one of
// them, either in parentheses or cast to bool.
func (s Scanner) Local() (local, certain bool) {
	depth := 0
	var last []Token // the last argument
	for {
		tok := s.Next()
		switch {
		case tok.Kind == End:
			return false, false
		case tok.Is("("):
			if depth++; depth == 1 {
				continue
			}
		case tok.Is(")"):
			if depth--; depth <= 0 {
				return truth(last)
			}
		case tok.Is(",") && depth == 1:
			last = last[:0]
			continue
		}
		last = append(last, tok)
	}
}

// truth is the value of a constant of type bool.
func truth(expr []Token) (value, certain bool) {
	n := len(expr)
	isType := func(t Token) bool { return t.Kind == Word && (t.Text == "bool" || t.Text == "boolean") }
	switch {
	case n > 3 && isType(expr[n-1]) && expr[n-2].Is(":") && expr[n-3].Is(":"):
		return truth(expr[:n-3])
	case n > 2 && expr[0].Is("(") && expr[n-1].Is(")"):
		return truth(expr[1 : n-1])
	case n == 2 && isType(expr[0]) && expr[1].Kind == String:
		return truth(expr[1:])
	case n != 1 || expr[0].Kind != Word && expr[0].Kind != String:
		return false, false
	}
	text := strings.Trim(strings.ToLower(expr[0].Text), " \t\n\v\f\r")
	if text == "" {
		return false, false
	}
	switch { // PostgreSQL takes any beginning of a word that no other word has
	case text == "1", text == "on", strings.HasPrefix("true", text), strings.HasPrefix("yes", text): //nolint:gocritic // the text is the beginning, not the word
		return true, true
	case text == "0", text == "of", text == "off", strings.HasPrefix("false", text), strings.HasPrefix("no", text): //nolint:gocritic // as above
		return false, true
	}
	return false, false
}

// Scanner cuts SQL into tokens as PostgreSQL's does (its documentation,
// "Lexical Structure"), as far as is needed here. A dotted name is one word.
type Scanner struct {
	rest    string
	comment string // the last comment, if nothing came after it
}

// Next returns the next token; a copy of the scanner looks ahead.
func (s *Scanner) Next() Token {
	for s.rest != "" {
		c := s.rest[0]
		switch {
		case c == ' ' || c >= '\t' && c <= '\r':
			s.rest = s.rest[1:]
			continue
		case strings.HasPrefix(s.rest, "--"):
			end := strings.IndexAny(s.rest, "\n\r")
			if end < 0 {
				end = len(s.rest)
			}
			s.rest = s.rest[end:]
			continue
		case strings.HasPrefix(s.rest, "/*"):
			n := commentEnd(s.rest)
			s.comment, s.rest = s.rest[:n], s.rest[n:]
			continue
		}
		if c != ';' {
			s.comment = ""
		}
		switch {
		case c == ';':
			s.rest = s.rest[1:]
			return Token{Semicolon, ";"}
		case c == '\'':
			return Token{String, s.quoted('\'', false)}
		case (c == 'e' || c == 'E') && strings.HasPrefix(s.rest[1:], "'"):
			s.rest = s.rest[1:]
			return Token{String, s.quoted('\'', true)}
		case c == '$':
			if body, ok := s.dollar(); ok {
				return Token{String, body}
			}
			s.rest = s.rest[1:]
			return Token{Other, "$"}
		case isWordStart(c) || c == '"':
			return s.word()
		case c >= '0' && c <= '9':
			i := 1
			for i < len(s.rest) && (isWordPart(s.rest[i]) || s.rest[i] == '.') {
				i++
			}
			s.rest = s.rest[i:]
			return Token{Other, "0"}
		}
		s.rest = s.rest[1:]
		return Token{Other, string(c)}
	}
	return Token{}
}

// word reads a name with its dots: app.tenant, "Odd".name.
func (s *Scanner) word() Token {
	kind, name := Word, ""
	for {
		if strings.HasPrefix(s.rest, `"`) {
			kind = Quoted
			name += s.quoted('"', false)
		} else {
			i := 0
			for i < len(s.rest) && isWordPart(s.rest[i]) {
				i++
			}
			name += strings.ToLower(s.rest[:i])
			s.rest = s.rest[i:]
		}
		if len(s.rest) < 2 || s.rest[0] != '.' || !isWordStart(s.rest[1]) && s.rest[1] != '"' {
			break
		}
		name, s.rest = name+".", s.rest[1:]
	}
	// A schema before a function or a table says nothing here, but the first
	// part of a setting's name does, so the whole name is kept for SET and
	// stripped of pg_catalog only.
	return Token{kind, strings.TrimPrefix(name, "pg_catalog.")}
}

// quoted reads what stands in quotes, doubled ones meaning one.
func (s *Scanner) quoted(q byte, escapes bool) string {
	var b strings.Builder
	i := 1
	for i < len(s.rest) {
		switch c := s.rest[i]; {
		case c == q && i+1 < len(s.rest) && s.rest[i+1] == q:
			b.WriteByte(q)
			i += 2
			continue
		case c == q:
			s.rest = s.rest[i+1:]
			return b.String()
		case c == '\\' && escapes && i+1 < len(s.rest):
			b.WriteByte(s.rest[i+1])
			i += 2
			continue
		default:
			b.WriteByte(c)
		}
		i++
	}
	s.rest = ""
	return b.String()
}

// dollar reads $tag$ … $tag$.
func (s *Scanner) dollar() (string, bool) {
	i := 1
	for i < len(s.rest) && isWordPart(s.rest[i]) && s.rest[i] != '$' {
		i++
	}
	if i >= len(s.rest) || s.rest[i] != '$' || i > 1 && s.rest[1] >= '0' && s.rest[1] <= '9' {
		return "", false
	}
	tag := s.rest[:i+1]
	end := strings.Index(s.rest[len(tag):], tag)
	if end < 0 {
		body := s.rest[len(tag):]
		s.rest = ""
		return body, true
	}
	body := s.rest[len(tag) : len(tag)+end]
	s.rest = s.rest[len(tag)+end+len(tag):]
	return body, true
}

func commentEnd(s string) int {
	depth, i := 1, 2
	for i < len(s) && depth > 0 {
		switch {
		case strings.HasPrefix(s[i:], "/*"):
			depth++
			i += 2
		case strings.HasPrefix(s[i:], "*/"):
			depth--
			i += 2
		default:
			i++
		}
	}
	return i
}

func isWordStart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' || c >= 0x80
}

func isWordPart(c byte) bool { return isWordStart(c) || c >= '0' && c <= '9' || c == '$' }

// Statements returns the statements of a text, without their semicolons. What
// only has comments is none.
func Statements(sql string) []string {
	var all []string
	s, begin, words := New(sql), 0, 0
	for {
		tok := s.Next()
		end := len(sql) - len(s.rest)
		switch tok.Kind {
		case Semicolon, End:
			if words > 0 {
				all = append(all, strings.TrimSpace(strings.TrimSuffix(sql[begin:end], ";")))
			}
			if tok.Kind == End {
				return all
			}
			begin, words = end, 0
		default:
			words++
		}
	}
}

package tenancy

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// InvalidFields is an Invalid refusal that names the fields; nil for none.
func InvalidFields(fields ...Field) error {
	switch len(fields) {
	case 0:
		return nil
	case 1:
		return &Error{Code: Invalid, Detail: "The field " + fields[0].Pointer + " " + fields[0].Detail + ".", Fields: fields}
	}
	return &Error{Code: Invalid, Detail: "The request's fields are wrong.", Fields: fields}
}

// NotText is what is wrong with a text that [IsText] refuses.
const NotText = "must be text without control characters but tabs and line breaks, and without marks of direction"

// Name returns the form in which a name that people see is kept: in Unicode's
// normalisation form C, without white space around it. So names that only their
// encoding tells apart are one. Capitals count, and letters of different
// alphabets that look alike are different.
func Name(s string) string { return strings.TrimSpace(norm.NFC.String(s)) }

// CheckName brings the name at *name into its form, nil is none, and says what
// keeps it from being one: it has at most so many characters, is one line and,
// if required, is not blank. It is the rule for every text that people see as a
// name: of roles, tenants, people, e-mail addresses, titles.
func CheckName(pointer string, name *string, most int, required bool) []Field {
	if name == nil {
		return nil
	}
	*name = Name(*name)
	switch {
	case !IsLine(*name):
		return []Field{{pointer, "must not hold characters that are not shown or that turn others around"}}
	case required && isBlank(*name):
		return []Field{{pointer, "must not be blank"}}
	case utf8.RuneCountInString(*name) > most:
		return []Field{{pointer, "must have at most " + strconv.Itoa(most) + " characters"}}
	}
	return nil
}

// IsLine reports whether s can be stored and shown as one line: UTF-8 without
// control and format characters (of which some are invisible, such as U+200B,
// and some turn the text around them, such as U+202E), without line and
// paragraph separators, and without what shows nothing by definition.
func IsLine(s string) bool { return utf8.ValidString(s) && !strings.ContainsFunc(s, isHidden) }

func isHidden(r rune) bool {
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp, unicode.Other_Default_Ignorable_Code_Point, unicode.Noncharacter_Code_Point)
}

// isBlank reports whether nothing of s is seen: white space, selectors of
// variants of a character that is not there, and the empty pattern of Braille.
func isBlank(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool {
		return !unicode.IsSpace(r) && !unicode.Is(unicode.Variation_Selector, r) && r != '\u2800'
	})
}

// IsText reports whether s can be stored and shown as text of several lines:
// UTF-8 without control characters but tab, line feed and carriage return, and
// without marks that change the direction of the text around them. Joiners are
// fine, which some languages and emoji need.
func IsText(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, func(r rune) bool { return !isTextual(r) })
}

// Text returns s without what keeps it from being text.
func Text(s string) string {
	return strings.Map(func(r rune) rune {
		if !isTextual(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
}

func isTextual(r rune) bool {
	return r == '\t' || r == '\n' || r == '\r' || !unicode.In(r, unicode.Cc, unicode.Bidi_Control)
}

// IsStorable reports whether PostgreSQL can be asked for s: UTF-8 without the
// character U+0000.
func IsStorable(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

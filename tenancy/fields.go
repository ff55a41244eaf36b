package tenancy

import (
	"strings"
	"unicode"
	"unicode/utf8"
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

// IsLine tells whether s can be stored and shown as one line: UTF-8 without
// control characters.
func IsLine(s string) bool {
	return utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl)
}

// IsText tells whether s can be stored as text of several lines: UTF-8 without
// the character U+0000, which PostgreSQL does not have.
func IsText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

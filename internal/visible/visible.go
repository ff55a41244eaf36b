// Package visible makes what strangers say safe to show. A terminal obeys control
// characters (it clears its screen, or puts text into the clipboard), a reader is
// deceived by characters that turn the direction of text or have no width, and
// XML forbids most of them.
package visible

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text is a text whose every character can be seen: controls (C0, C1, DEL),
// format characters (among them those of direction and without width), line and
// paragraph separators, characters that Unicode does not know and bytes that are
// no UTF-8 stand as escapes in the manner of Go (\x1b, \u202e). Line ends and
// tabs stay.
func Text(s string) string { return shown(s, "\n\t") }

// Line is Text for one line: line ends and tabs stand as escapes too.
func Line(s string) string { return shown(s, "") }

// JSON is a JSON document whose every character can be seen. Its values stay what
// they are: the escapes are JSON's own.
func JSON(doc []byte) []byte {
	s := string(doc)
	if all(s, "\n\t") {
		return doc
	}
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		switch {
		case seen(r) || strings.ContainsRune("\n\t", r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return []byte(b.String())
}

func shown(s, keep string) string {
	if all(s, keep) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case invalid(s[i:], r):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case seen(r) || strings.ContainsRune(keep, r):
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// all reports whether nothing of a text needs an escape.
func all(s, keep string) bool {
	for i, r := range s {
		if invalid(s[i:], r) || !seen(r) && !strings.ContainsRune(keep, r) {
			return false
		}
	}
	return true
}

// seen reports whether a character has a picture of its own, or is a space.
func seen(r rune) bool { return unicode.IsGraphic(r) }

// invalid reports whether a text, whose first character reads as r, begins with a
// byte that is no UTF-8.
func invalid(s string, r rune) bool { return r == utf8.RuneError && !strings.HasPrefix(s, "\ufffd") }

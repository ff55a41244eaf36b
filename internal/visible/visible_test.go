package visible

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"select 'größe', '値', '😀'":  "select 'größe', '値', '😀'",
		"two\n\tlines":              "two\n\tlines",
		"\x1b]52;c;AAAA\a":          `\x1b]52;c;AAAA\x07`,
		"\x1b[2J\r\x7f\x00":         `\x1b[2J\r\x7f\x00`,
		"\u009b31m\u0085":           `\u009b31m\u0085`,
		"user\u202etxt\u2066\u200b": `user\u202etxt\u2066\u200b`,
		"\u2028\u2029\ufeff\u00ad":  `\u2028\u2029\ufeff\u00ad`,
		"\xff\x9b31m a\ufffdb":      `\xff\x9b31m a` + "\ufffdb",
		"\U000e0041\ufffe\ue000":    `\U000e0041\ufffe\ue000`,
		"a\u3000b\u00a0c":           "a\u3000b\u00a0c",
	} {
		if got := Text(in); got != want {
			t.Errorf("%q is shown as %s, want %s", in, got, want)
		}
	}
	if got := Line("a\n\tb\r"); got != `a\n\tb\r` {
		t.Errorf("a line: %s", got)
	}
}

// Whatever is said, nothing that a terminal or a reader obeys is left; a JSON
// document keeps its values.
func FuzzVisible(f *testing.F) {
	for _, s := range []string{"", "a", "\x1b[2J", "\u202e", "\xff\xfe", "\U000e0041", "\n\t\r"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for _, shown := range []string{Text(s), strings.NewReplacer("\n", "", "\t", "").Replace(Line(s))} {
			for _, r := range shown {
				if !unicode.IsGraphic(r) && r != '\n' && r != '\t' {
					t.Fatalf("%q is shown as %q", s, shown)
				}
			}
		}
		if strings.ContainsAny(Line(s), "\n\t") || !utf8.ValidString(Text(s)) {
			t.Fatalf("%q is the line %q", s, Line(s))
		}
		doc, err := json.Marshal(map[string]string{"said": s})
		if err != nil {
			t.Fatal(err)
		}
		var back map[string]string
		if err := json.Unmarshal(JSON(doc), &back); err != nil || back["said"] != strings.ToValidUTF8(s, "\ufffd") && utf8.ValidString(s) {
			t.Fatalf("%q comes back as %q, %v", s, back, err)
		}
		if string(JSON(doc)) != Text(string(JSON(doc))) {
			t.Fatalf("%q stands as %q", s, JSON(doc))
		}
	})
}

package tenancy

import (
	"strings"
	"testing"
)

func TestNames(t *testing.T) {
	for name, want := range map[string]string{
		"Editor":                       "Editor",
		"  Editor\u00a0\u3000":         "Editor",
		"Andre\u0301":                  "André",
		"\u212bngstr\u00f6m":           "Ångström", // the unit's sign is the letter in form C
		"Café ☕\ufe0f 👍🏽":              "Café ☕\ufe0f 👍🏽",
		"مدير":                         "مدير",
		"管理者\u3000東京":                  "管理者\u3000東京",
		"ﬁle":                          "ﬁle", // a compatible form is another name
		strings.Repeat("e\u0301", 100): strings.Repeat("é", 100),
	} {
		got := name
		if wrong := CheckName("/name", &got, 100, true); len(wrong) > 0 || got != want {
			t.Errorf("%+q became %+q, %v; want %+q", name, got, wrong, want)
		}
	}
	for name, want := range map[string]string{
		"":                       "blank",
		" \t\u2003":              "blank",
		"\u2800":                 "blank",
		"\ufe0f":                 "blank",
		"\u200b":                 "not shown",
		"\u200b \u200b":          "not shown",
		"Ed\u200bitor":           "not shown",
		"Ed\u200ditor":           "not shown",
		"Editor\ufeff":           "not shown",
		"Ed\u00aditor":           "not shown",
		"\u202erotidE":           "not shown",
		"\u2067rotidE\u2069":     "not shown",
		"\u061cEditor":           "not shown",
		"Ed\nitor":               "not shown",
		"Ed\u2028itor":           "not shown",
		"Ed\u2029itor":           "not shown",
		"Ed\u0085itor":           "not shown",
		"Ed\x1b[2Jitor":          "not shown",
		"Ed\x7fitor":             "not shown",
		"\u3164":                 "not shown", // a letter that shows nothing
		"Ed\U000e0041itor":       "not shown", // a tag
		"Ed\ufffeitor":           "not shown",
		"Ed\xffitor":             "not shown",
		strings.Repeat("e", 101): "100 characters",
	} {
		if wrong := CheckName("/name", &name, 100, true); len(wrong) != 1 || wrong[0].Pointer != "/name" || !strings.Contains(wrong[0].Detail, want) {
			t.Errorf("%+q: %v, want %q", name, wrong, want)
		}
	}
	blank := " \u2003"
	if wrong := CheckName("/email", &blank, 1, false); len(wrong) > 0 || blank != "" {
		t.Errorf("%q, %v", blank, wrong)
	}
	if wrong := CheckName("/email", nil, 1, true); len(wrong) > 0 {
		t.Errorf("what is not named: %v", wrong)
	}
}

func TestText(t *testing.T) {
	for text, want := range map[string]bool{
		"Several\r\n\tlines": true, "می\u200cخواهم": true, "👩\u200d💻": true, "": true,
		"a\x00": false, "a\x1b[2J": false, "a\u202eb": false, "a\u2066b": false, "a\u200fb": false, "a\u009bb": false, "\xff": false,
	} {
		if IsText(text) != want {
			t.Errorf("IsText(%+q) is %v", text, !want)
		}
		if clean := Text(text); !IsText(clean) || want && clean != text {
			t.Errorf("Text(%+q) is %+q", text, clean)
		}
	}
}

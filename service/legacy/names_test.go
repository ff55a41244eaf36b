package legacy

import (
	"testing"

	"github.com/poolproof/poolproof/service/httpapi/token"
)

// Names come over in the form that the API stores them in, or not at all; of
// descriptions only what is no text is left out.
func TestNamesOfTheSource(t *testing.T) {
	for from, want := range map[string]string{
		" Andre\u0301 ": "André", "Ada\u200b": "", "\u202eadA": "", "\u3164": "", "Ada\nB": "", "Adaline": "Adali", //nolint:gocritic // the white space is what is tested
	} {
		if got := line(from, 5); got != want {
			t.Errorf("%+q became %+q, want %+q", from, got, want)
		}
	}
	if got := text("a\u202eb\x1b\n\u200c", 10); got != "ab\n\u200c" {
		t.Errorf("%+q", got)
	}
}

// A profile whose id is the UUID that a sub was turned into would be that user's.
func TestNoProfileTakesADerivedID(t *testing.T) {
	if id := userOf(Row{"id": token.UserID("https://issuer.test", "alice").String()}); id != "" {
		t.Errorf("the profile is %s's", id)
	}
	if id := userOf(Row{"id": "5b0d1c5e-8f0a-4b6e-9c5e-2b8a3f1d7e10"}); id != "5b0d1c5e-8f0a-4b6e-9c5e-2b8a3f1d7e10" {
		t.Errorf("%q", id)
	}
}

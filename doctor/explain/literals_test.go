package explain

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// Whatever a message's expression matches has one of its literal texts, in any
// case and with any letter that counts as the same, so that no message is lost
// by looking for them first. All but one or two messages have such a text.
func TestLiteralsLoseNothing(t *testing.T) {
	without := 0
	for i, m := range matchers() {
		if slices.Contains(m.needed, "") {
			without++
		}
		texts := rapid.StringMatching(m.words.String())
		rapid.Check(t, func(t *rapid.T) {
			text := texts.Draw(t, "text")
			for _, text := range []string{text, strings.ToUpper(text), strings.ToLower(text), strings.NewReplacer("k", "\u212a", "s", "\u017f").Replace(text)} {
				if m.words.MatchString(text) && !m.matches(text, folded(text)) {
					t.Errorf("%s: %q has none of %q", messages[i].ID, text, m.needed)
				}
			}
		})
	}
	if without > 2 {
		t.Errorf("%d of %d messages have no literal text", without, len(messages))
	}
}

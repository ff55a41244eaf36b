package corpus

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/hostile"
)

// tried returns the program of the corpus with which advice was run, and its
// faulty and correct form; ok is false if the advice is documented only.
func tried(a hostile.Advice) (program, faulty, correct string, ok bool) {
	words := strings.Fields(a.Source)
	if len(words) != 3 || strings.HasPrefix(a.Source, "documented:") {
		return "", "", "", false
	}
	return words[0], words[1], words[2], true
}

// concerns reports whether a finding is what the advice is for.
func concerns(a hostile.Advice, code hostile.Code, subject string) bool {
	subject, _, _ = strings.Cut(subject, " in options")
	return slices.Contains(a.Codes, code) && (a.Setting == "" || a.Setting == subject)
}

// advises wants the words of each advice that was tried with this row's form in
// the fix of what was found.
func (r row) advises(t *testing.T, found []hostile.Finding) {
	t.Helper()
	for _, l := range hostile.Libraries() {
		for _, a := range l.Fixes {
			if program, faulty, _, ok := tried(a); !ok || program != r.program || faulty != r.form {
				continue
			}
			if !slices.ContainsFunc(found, func(f hostile.Finding) bool {
				return concerns(a, f.Code, f.Subject) && f.First.Client.Driver == l.Name && strings.HasSuffix(f.Fix, a.Text())
			}) {
				t.Errorf("nobody is told to do as %s's users: %s", l.Name, a.Text())
			}
		}
	}
}

// Each advice was tried: with a program that commits the fault, and with one that
// does what the advice says and no longer has it. TestProve runs both and sees
// that the first is told so. What could not be tried here says where it is
// documented, and when that was.
func TestAdvice(t *testing.T) {
	documented := regexp.MustCompile(`^documented: .+, 20\d\d-\d\d-\d\d$`)
	form := func(program, form string) *row {
		for _, r := range slices.Concat(table, libraryTable) {
			if r.program == program && r.form == form {
				return &r
			}
		}
		return nil
	}
	has := func(r *row, a hostile.Advice) bool {
		return slices.ContainsFunc(r.want, func(want string) bool {
			code, subject, _ := strings.Cut(want, " ")
			return concerns(a, hostile.Code(code), subject)
		})
	}
	run, all := 0, 0
	for _, l := range hostile.Libraries() {
		if len(l.Fixes) == 0 || l.Language == "" {
			t.Errorf("%s has no advice, or no language", l.Name)
		}
		for _, a := range l.Fixes {
			all++
			program, faulty, correct, ok := tried(a)
			if !ok {
				if !documented.MatchString(a.Source) {
					t.Errorf("%s, %s: the source is %q", l.Name, a.Knob, a.Source)
				}
				continue
			}
			run++
			if r := form(program, faulty); r == nil || !has(r, a) {
				t.Errorf("%s, %s: %s %s does not show the fault", l.Name, a.Knob, program, faulty)
			}
			if r := form(program, correct); r == nil || has(r, a) {
				t.Errorf("%s, %s: %s %s does not show that it helps", l.Name, a.Knob, program, correct)
			}
		}
	}
	t.Logf("%d libraries, %d knobs: %d were run here, %d are documented", len(hostile.Libraries()), all, run, all-run)
}

package corpus

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/hostile"
)

// trial is a program with which advice was run: a form that has the fault, and
// one that does what the advice says.
type trial struct {
	program, faulty, correct string
	recognized               bool // prove knows the library by this program's messages
}

// tracked is a trial's correct form where that is the faulty one behind a pooler
// that tracks statements: see TestTrackedStatements.
const trackedForm = "tracked"

// trialsOf returns the programs with which advice was run; none if it is
// documented only.
func trialsOf(a hostile.Advice) (trials []trial) {
	if !a.Run() {
		return nil
	}
	for source := range strings.SplitSeq(a.Source, "; ") {
		words := append(strings.Fields(source), "", "", "")
		trials = append(trials, trial{words[0], words[1], words[2], words[3] != "unrecognized"})
	}
	return trials
}

// concerns reports whether a finding is what the advice is for.
func concerns(a hostile.Advice, code hostile.Code, subject string) bool {
	subject, _, _ = strings.Cut(strings.ToLower(subject), " in options")
	return slices.Contains(a.Codes, code) && (a.Setting == "" || a.Setting == subject)
}

// advises wants the words of each advice that was tried with this row's form in
// the fix of what was found.
func (r row) advises(t *testing.T, found []hostile.Finding) {
	t.Helper()
	for _, l := range hostile.Libraries() {
		for _, a := range l.Fixes {
			// The first program is the library's own; in further ones another library stands before it.
			if trials := trialsOf(a); len(trials) == 0 || !trials[0].recognized || trials[0].program != r.program || trials[0].faulty != r.form {
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

// The walk over the table of libraries. Each knob was run: with a program that
// commits the fault and shows what it does behind PgBouncer, and with one that
// does what the advice says and no longer has it. TestProve runs both and sees
// that the first is told so; TestBehindPgBouncer runs both as well. What could not
// be run says where it is documented, of which version, and when that was read, and
// whoever is told so is told that it was not run.
func TestAdvice(t *testing.T) {
	documented := regexp.MustCompile(`^documented: .+ \d[\w.]*, .+, 20\d\d-\d\d-\d\d$`)
	form := func(program, form string) *row {
		for _, r := range slices.Concat(table, fieldTable, libraryTable) {
			if r.program == program && r.form == form {
				return &r
			}
		}
		for _, r := range badDays {
			if r.program == program && r.form == form {
				return &r.row
			}
		}
		return nil
	}
	has := func(r *row, a hostile.Advice) bool {
		return slices.ContainsFunc(r.want, func(want string) bool {
			code, subject, _ := strings.Cut(strings.TrimPrefix(want, maybe), " ")
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
			if !a.Run() {
				if !documented.MatchString(a.Source) {
					t.Errorf("%s, %s: the source is %q", l.Name, a.Knob, a.Source)
				}
				if !strings.Contains(a.Text(), "documented, not run here") {
					t.Errorf("%s: %s does not say that it was not run", l.Name, a.Text())
				}
				continue
			}
			run++
			for _, tried := range trialsOf(a) {
				faulty := form(tried.program, tried.faulty)
				if faulty == nil || !has(faulty, a) {
					t.Errorf("%s, %s: %s %s does not show the fault", l.Name, a.Knob, tried.program, tried.faulty)
				} else if faulty.shows == nil && !slices.Contains(a.Codes, hostile.NeverGivenBack) { // which TestBadDays shows
					t.Errorf("%s, %s: %s %s shows nothing behind PgBouncer", l.Name, a.Knob, tried.program, tried.faulty)
				}
				if tried.correct == trackedForm {
					if faulty != nil && !faulty.onlyTracked() {
						t.Errorf("%s, %s: %s %s is not right behind a pooler that tracks", l.Name, a.Knob, tried.program, tried.faulty)
					}
				} else if r := form(tried.program, tried.correct); r == nil || has(r, a) {
					t.Errorf("%s, %s: %s %s does not show that it helps", l.Name, a.Knob, tried.program, tried.correct)
				}
			}
		}
	}
	t.Logf("%d libraries, %d knobs: %d were run here, %d are documented", len(hostile.Libraries()), all, run, all-run)
}

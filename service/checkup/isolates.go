package checkup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/doctor"
)

// Isolates looks at an open database before anybody is served from it, and returns the doctor's report. An error of kind
// ErrConfig says that tenants are not isolated and what to do: by a fault that was measured, or policies that are not forced.
// What the doctor has only inferred, and what costs time but no isolation, is in the report alone. Other errors are those of a
// statement: the check could not be made.
func Isolates(ctx context.Context, db *poolproof.DB) (*doctor.Report, error) {
	report, err := doctor.ExamineDB(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("verify the isolation of tenants: %w", err)
	}
	if err := fault(report); err != nil {
		return nil, err
	}
	return report, nil
}

// fault is an error that names what breaks isolation by a report, with the hint of the first.
func fault(r *doctor.Report) error {
	var lines []string
	hint := ""
	for _, c := range r.Checks {
		if !breaksIsolation(c) {
			continue
		}
		if hint == "" {
			hint = c.Hint
		}
		lines = append(lines, fmt.Sprintf("%s: %s (%s)", c.Object, c.Title, c.ID))
	}
	if len(lines) == 0 {
		return nil
	}
	return &poolproof.Error{Kind: poolproof.ErrConfig, Op: "check isolation", Hint: hint, Err: errors.New("row-level security does not isolate tenants: " + strings.Join(lines, "; "))}
}

// isolation are the codes that mean, where they were measured, that tenants can reach each other's rows, or that only the
// owner's absence keeps them from it (NotForced).
var isolation = []doctor.Code{
	doctor.Superuser, doctor.BypassRLS, doctor.OwnsTable, doctor.RLSOff, doctor.NotForced, doctor.OpenWrite, doctor.OpenRead, doctor.OtherSetting,
	doctor.DefinerView, doctor.DefinerFunction, doctor.MatView, doctor.Trial,
}

// breaksIsolation reports whether a check has measured that tenants are not isolated.
func breaksIsolation(c doctor.Check) bool {
	return (c.Status == doctor.Fail || c.Status == doctor.Warn) && c.Basis == doctor.Measured && slices.Contains(isolation, c.ID)
}

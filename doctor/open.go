package doctor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
)

// ExamineDB is [Examine] for a database that is open, before a program serves from it: through the database's own connections, as the
// role and by the names of its configuration, in one round trip for the catalogue and three for each 25 tenant tables.
// What stands between is what [poolproof.Open] found; Report.NotLookedAt says what that leaves out.
//
//	report, err := doctor.ExamineDB(ctx, db)
//	if err == nil && report.Worst() == doctor.Fail {
//		err = errors.New(report.Verdict)
//	}
//
// It finds what [poolproof.Check] finds, and more. An error is that of a statement: the check could not be made.
func ExamineDB(ctx context.Context, db *poolproof.DB) (*Report, error) {
	names := db.Config()
	cfg := Config{TenantSetting: names.TenantSetting, TenantColumns: names.TenantColumns}
	report := newReport()
	report.join(brief(db.Report()))
	r := &reader{send: func(ctx context.Context, b *pgx.Batch) error { return db.Shared().SendBatch(ctx, b).Close() }}
	f, err := look(ctx, r, cfg)
	if err != nil {
		return nil, fmt.Errorf("look at the catalogue: %w", err)
	}
	f.pooled = db.Report().Present
	report.judge(ctx, r, f, cfg, []Check{{ID: BadOption, Status: Skip, Basis: NotLookedAt, Title: "the URL and the driver's options", Hint: "poolproof doctor URL looks at them", Page: Page(BadOption)}})
	report.conclude()
	return report, nil
}

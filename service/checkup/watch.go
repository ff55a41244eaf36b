package checkup

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"golang.org/x/time/rate"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/doctor"
)

// DefaultEvery is how often a database in use is looked at without another reason.
const DefaultEvery = 5 * time.Minute

const (
	tick      = time.Second     // between two glances at the pool's own figures, which ask nobody
	pingFor   = 2 * time.Second // how long the database has to answer after a connection was lost
	several   = 3               // looks in a row
	oneMoreIn = time.Minute     // and then one in this time
)

// Watch looks at a database again when there is reason to. All fields but Every are required.
type Watch struct {
	URL    string // of the database, as the service has it
	Role   string // that transactions take on, or ""
	Record *Record
	Logger *slog.Logger
	// Every is how often a database in use is looked at without another reason; 0: never.
	Every time.Duration
	// Reopen opens the database anew, because what stands before it has changed, and returns it when it serves; nil where it
	// cannot be reached just now. Its error ends Run.
	Reopen func(context.Context) (*poolproof.DB, error)

	told    bool // the first look's verdict is in the log
	another bool // what stands before the database is not what it was opened for
}

// Run looks at db at once, and then whenever a connection was lost and the database answers again, three times in a row and once
// a minute after that, and every w.Every while it is in use, until ctx ends: then it returns nil. It logs the first verdict, and then only what is not as it was at the last look.
//
// An error, of kind ErrConfig or Reopen's own, says that the database came back and must not be served from.
func (w *Watch) Run(ctx context.Context, db *poolproof.DB) error {
	limit := rate.NewLimiter(rate.Every(oneMoreIn), several)
	glance := time.NewTicker(tick)
	defer glance.Stop()
	gone, asked, looked, shaken := lost(db), int64(0), time.Time{}, true
	for ; ; waitFor(ctx, glance.C) {
		if ctx.Err() != nil {
			return nil
		}
		if now := lost(db); now != gone {
			shaken = shaken || now > gone
			gone = now
		}
		due := w.Every > 0 && time.Since(looked) >= w.Every && db.Stat().AcquireCount() != asked
		if !due && (!shaken || limit.Tokens() < 1) || !answers(ctx, db) {
			continue
		}
		if !due {
			limit.Allow()
		}
		next, reached, err := w.look(ctx, db)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		if next != nil {
			db = next
		}
		gone, asked, looked, shaken = lost(db), db.Stat().AcquireCount(), time.Now(), !reached
	}
}

func waitFor(ctx context.Context, c <-chan time.Time) {
	select {
	case <-ctx.Done():
	case <-c:
	}
}

// answers reports whether the database does. Its error is in the log lines of the requests that have it, too.
func answers(ctx context.Context, db *poolproof.DB) bool {
	ctx, cancel := context.WithTimeout(ctx, pingFor)
	defer cancel()
	return db.Ping(ctx) == nil
}

// lost counts the connections that ended out of turn: given up because they broke or because a caller did not wait, or
// found dead by the pool. The pool's figures are not of one moment, so the smaller of two readings counts.
func lost(db *poolproof.DB) int64 {
	once := func() int64 {
		s := db.Stat()
		return s.NewConnsCount() - int64(s.TotalConns()) - s.MaxLifetimeDestroyCount() - s.MaxIdleDestroyCount()
	}
	return min(once(), once())
}

// look looks once. It returns the database that serves from now on where that is another one, and whether it could look.
func (w *Watch) look(ctx context.Context, db *poolproof.DB) (next *poolproof.DB, reached bool, err error) {
	names := db.Config()
	found := doctor.Examine(ctx, doctor.Config{URL: w.URL, Role: w.Role, TenantSetting: names.TenantSetting, TenantColumns: names.TenantColumns, NoCancels: true})
	if !found.Reached {
		return nil, false, nil
	}
	changes := w.note(ctx, found)
	if !w.told {
		w.told = true
		w.Logger.LogAttrs(ctx, slog.LevelInfo, "the doctor has looked", slog.String("verdict", found.Verdict))
	}
	if fault(found) != nil { // another look, by the service's own connections, decides
		if _, err := Isolates(ctx, db); errors.Is(err, poolproof.ErrConfig) {
			return nil, true, err
		}
	}
	if w.another = w.another || asksForReopening(changes); !w.another {
		return nil, true, nil
	}
	if next, err = w.Reopen(ctx); next != nil {
		w.another = false
	}
	return next, next != nil, err // where it is nil the database that is open goes on
}

// Start takes over the report of Isolates.
func (w *Watch) Start(ctx context.Context, found *doctor.Report) { w.note(ctx, found) }

// note takes over a report, and logs what changed in one line, and a line for each finding that is new.
func (w *Watch) note(ctx context.Context, found *doctor.Report) []Change {
	changes, fresh := w.Record.Note(found, time.Now())
	if len(changes) > 0 {
		w.Logger.LogAttrs(ctx, slog.LevelWarn, "the database, or what stands before it, has changed", slog.String("changed", describe(changes)), slog.String("verdict", found.Verdict))
	}
	for _, f := range fresh {
		level := slog.LevelWarn
		if f.Severity == doctor.Fail {
			level = slog.LevelError
		}
		w.Logger.LogAttrs(ctx, level, "the doctor found something", slog.String("code", string(f.Code)), slog.String("title", f.Title), slog.String("object", f.Object),
			slog.String("detail", f.Detail), slog.String("hint", f.Fix))
	}
	return changes
}

package feature_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/tenancy"
)

var doomed = uuid.MustParse("dddddddd-dddd-4ddd-8ddd-dddddddddddd")

// A feature is switched while somebody deletes it: the switch waits before it
// holds anything that the deletion needs, and then finds nothing. Where it
// waited only for its own value of the feature it had locked the tenant's epoch
// by then, and one of them died of a deadlock.
func TestSwitchingWhatIsBeingDeleted(t *testing.T) {
	for name, call := range map[string]func(b *testBundle) error{
		"by name": func(b *testBundle) error { return only(b.store.Set(b.t.Context(), b.boss, "doomed", false)) },
		"by id": func(b *testBundle) error {
			_, _, err := b.store.SetStatus(b.t.Context(), b.boss, doomed, false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := setup(t, pgtest.PgBouncer118Statement)
			ctx := t.Context()
			b.exec(`insert into poolproof.features (id, name) values ($1, 'doomed')`, doomed)
			if err := only(b.store.Set(ctx, b.boss, "doomed", true)); err != nil {
				t.Fatal(err)
			}
			switched := make(chan error, 1)
			err := pgx.BeginFunc(ctx, b.owner, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, `select from poolproof.features f join poolproof.tenant_features t on t.feature_id = f.id
					where f.id = $1 for update`, doomed); err != nil {
					return err
				}
				go func() { switched <- call(b) }()
				b.awaitBlocked()
				_, err := tx.Exec(ctx, `delete from poolproof.features where id = $1`, doomed)
				return err
			})
			if err != nil {
				t.Errorf("the deletion: %v", err)
			}
			if err := <-switched; tenancy.CodeOf(err) != tenancy.NotFound {
				t.Errorf("the switch: %v", err)
			}
		})
	}
}

// awaitBlocked waits until a statement of the service waits for a lock.
func (b *testBundle) awaitBlocked() {
	b.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; {
		if ask[bool](b, `select exists (select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`) {
			return
		}
		if time.Now().After(deadline) {
			b.t.Fatal("nobody waits")
		}
	}
}

package rbac_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/tenancy"
)

// A permission is granted while somebody deletes it: the grant waits, and then
// there is nothing to grant.
func TestGrantingWhatIsBeingDeleted(t *testing.T) {
	b := setup(t, pgtest.PgBouncer118Statement)
	ctx := t.Context()
	doomed, role := uuid.New(), b.role("Granted", nil)
	b.exec(`insert into poolproof.permissions (id, name, resource_type, action) values ($1, 'use_doomed', 'doomed', 'use')`, doomed)
	granted := make(chan error, 1)
	err := pgx.BeginFunc(ctx, b.owner, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `delete from poolproof.permissions where id = $1`, doomed); err != nil {
			return err
		}
		go func() { granted <- only(b.store.GrantPermission(ctx, b.boss, role, doomed)) }()
		for deadline := time.Now().Add(20 * time.Second); !ask[bool](b, `select exists (
			select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')`); {
			if time.Now().After(deadline) {
				t.Fatal("nobody waits")
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("the deletion: %v", err)
	}
	if err := <-granted; tenancy.CodeOf(err) != tenancy.NotFound {
		t.Errorf("the grant: %v", err)
	}
}

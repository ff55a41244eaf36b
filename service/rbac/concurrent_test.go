package rbac_test

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/rbac"
	"github.com/poolproof/poolproof/service/tenancy"
)

func (b *testBundle) open(url string) *poolproof.DB {
	b.t.Helper()
	db, err := poolproof.Open(b.t.Context(), poolproof.Config{URL: url, MaxConns: 16, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(db.Close)
	return db
}

// Both of the last two managers are removed at once, again and again: one always
// stays. Without the tenant's lock both went in most rounds (measured).
func TestOneOfTwoManagersStays(t *testing.T) {
	b := setup(t, pgtest.PgBouncer118Statement)
	ctx := t.Context()
	second := b.member()
	remover := b.member(b.role("Removing", []string{"manage_users"}))
	for round := range pgtest.Pick(20, 200) {
		b.exec(`insert into poolproof.user_roles (tenant_id, user_id, role_id) values ($1, $2, 3), ($1, $3, 3) on conflict do nothing`, b.tenant, b.boss.User, second.User)
		var wg sync.WaitGroup
		var errs [2]error
		start := make(chan struct{})
		for i, who := range []uuid.UUID{b.boss.User, second.User} {
			wg.Go(func() {
				<-start
				errs[i] = only(b.store.UnassignRole(ctx, remover, who, roleSuperAdmin))
			})
		}
		close(start)
		wg.Wait()
		codes := []tenancy.Code{tenancy.CodeOf(errs[0]), tenancy.CodeOf(errs[1])}
		slices.Sort(codes)
		left := ask[int](b, `select count(*)::int from poolproof.user_roles where tenant_id = $1 and role_id = 3`, b.tenant)
		if left != 1 || codes[0] != "" || codes[1] != tenancy.LastManager {
			t.Fatalf("round %d: %d managers left, the removals ended with %v and %v", round, left, errs[0], errs[1])
		}
	}
}

// While a user writes from eight sides, their role is taken. No write that
// began after the withdrawal was acknowledged succeeds, and the audit log has
// none by them after it.
func TestARevokedUserWritesNoMore(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Statement, pgtest.PgBouncer124Transaction} {
		t.Run(kind.String(), func(t *testing.T) {
			b := setup(t, kind)
			ctx := t.Context()
			for round := range pgtest.Pick(4, 10) {
				c := b.member(roleSuperAdmin)
				type write struct {
					began time.Time
					err   error
				}
				var mu sync.Mutex
				var writes []write
				stop, running := make(chan struct{}), make(chan struct{}, 1000)
				var wg sync.WaitGroup
				for worker := range 8 {
					wg.Go(func() {
						for n := 0; ; n++ {
							select {
							case <-stop:
								return
							default:
							}
							w := write{began: time.Now()}
							_, w.err = valued(b.store.CreateRole(ctx, c, rbac.NewRole{Name: fmt.Sprintf("%d %d %d", round, worker, n)}))
							mu.Lock()
							writes = append(writes, w)
							mu.Unlock()
							select {
							case running <- struct{}{}:
							default:
							}
						}
					})
				}
				for range 20 { // well under way
					<-running
				}
				if err := only(b.store.UnassignRole(ctx, b.boss, c.User, roleSuperAdmin)); err != nil {
					t.Fatal(err)
				}
				acknowledged := time.Now()
				deadline := time.Now().Add(30 * time.Second)
				after := func() (n int) {
					mu.Lock()
					defer mu.Unlock()
					for _, w := range writes {
						if w.began.After(acknowledged) {
							n++
						}
					}
					return n
				}
				for after() < 20 && time.Now().Before(deadline) {
					<-running
				}
				close(stop)
				wg.Wait()
				succeeded := 0
				for _, w := range writes {
					switch {
					case w.err == nil:
						succeeded++
						if w.began.After(acknowledged) {
							t.Errorf("a write that began %s after the acknowledged withdrawal succeeded", w.began.Sub(acknowledged))
						}
					case tenancy.CodeOf(w.err) != tenancy.Forbidden:
						t.Errorf("a write: %v", w.err)
					}
				}
				if succeeded == 0 || after() < 20 {
					t.Fatalf("%d writes succeeded and %d began afterwards: the test proves nothing", succeeded, after())
				}
				late := ask[int](b, `select count(*)::int from poolproof.audit_log a where a.actor = $1 and a.id > (
					select id from poolproof.audit_log where action = 'user.role.unassign' and object = 'user/' || $1::text)`, c.User)
				if late != 0 {
					t.Errorf("the audit log has %d writes by the user after the withdrawal", late)
				}
			}
		})
	}
}

func TestIDsAreDistinct(t *testing.T) {
	each := pgtest.Pick(20, 50)
	all := 16 * each
	b := setup(t, pgtest.PgBouncer118Statement)
	var mu sync.Mutex
	seen := map[int32]bool{}
	var wg sync.WaitGroup
	for worker := range 16 {
		wg.Go(func() {
			for n := range each {
				r, err := valued(b.store.CreateRole(t.Context(), b.boss, rbac.NewRole{Name: fmt.Sprintf("%d %d", worker, n)}))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				if seen[r.ID] {
					t.Errorf("the id %d was given twice", r.ID)
				}
				seen[r.ID] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n := ask[int](b, `select count(distinct id)::int from poolproof.roles where tenant_id = $1 and id > 4`, b.tenant); n != all || len(seen) != all {
		t.Errorf("%d roles, %d ids told; want %d", n, len(seen), all)
	}
	if n := ask[int](b, `select count(*)::int from poolproof.audit_log where action = 'role.create'`); n != all {
		t.Errorf("%d audit rows for %d roles", n, all)
	}
}

// Sixteen writers of every kind on the same few rows, of two tenants: refused
// perhaps, deadlocked never.
func TestWritersNeverDeadlock(t *testing.T) {
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Statement} {
		t.Run(kind.String(), func(t *testing.T) {
			b := setup(t, kind)
			ctx := t.Context()
			x, y := b.role("X", nil), b.role("Y", nil)
			m, n := b.member(), b.member()
			p := b.permission("view_dashboard")
			var wg sync.WaitGroup
			for worker := range 16 {
				wg.Go(func() {
					for i := range pgtest.Pick(8, 40) {
						role, user, parent := x, m.User, y
						if (worker+i)%2 == 0 {
							role, user, parent = y, n.User, x
						}
						parents := []int32{parent}
						if i%3 == 0 {
							parents = nil
						}
						name := fmt.Sprintf("%d %d", worker, i%5)
						var err error
						switch (worker + i) % 8 {
						case 0:
							_, err = valued(b.store.CreateRole(ctx, b.boss, rbac.NewRole{Name: name}))
						case 1:
							_, err = valued(b.store.UpdateRole(ctx, b.boss, role, rbac.RolePatch{ParentIDs: &parents}, tenancy.Any))
						case 2:
							_, err = valued(b.store.UpdateRole(ctx, b.boss, role, rbac.RolePatch{Name: &name}, tenancy.Any))
						case 3:
							err = only(b.store.GrantPermission(ctx, b.boss, role, p))
						case 4:
							err = only(b.store.RevokePermission(ctx, b.boss, role, p))
						case 5:
							err = assigned(b.store.AssignRole(ctx, b.boss, user, role, nil))
						case 6:
							err = only(b.store.UnassignRole(ctx, b.boss, user, role))
						case 7:
							_, err = valued(b.store.CreateRole(ctx, b.otherBoss, rbac.NewRole{Name: name}))
						}
						if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
							t.Errorf("SQLSTATE %s: %v", pg.Code, err)
						} else if code := tenancy.CodeOf(err); code == tenancy.Internal {
							t.Error(err)
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

package oracle_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/internal/oracle"
	"github.com/poolproof/poolproof/service/tenancy"
)

// Sixteen callers at once ask whatever a history asks, most of them of one
// tenant, catalogues and tenants' deletions among it, through a pool of two
// connections and, as that keeps many of them apart, without one: every one
// gets an answer, none deadlocks, and what is left keeps the rules and is what
// the API says it is.
func TestSixteenCallers(t *testing.T) {
	each, kinds := pgtest.Pick(20, 700), []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement}
	if pgtest.Soak() {
		kinds = append(kinds, pgtest.Direct)
	}
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			g := newGround(t, kind)
			ctx := t.Context()
			begin, c := newCast(g.platform)
			if err := g.install(ctx, begin); err != nil {
				t.Fatal(err)
			}
			crowd := &crowd{ground: g, answers: map[string]int{}}
			crowd.latest.Store(begin)
			c.now = crowd.latest.Load
			logged := len(pgtest.ServerLog(t))
			seed := rapid.Int().Example()
			t.Logf("seed %d", seed)
			// Which answers come is chance; a round more makes up for one that lacks some.
			for round := 0; round < 4 && (round == 0 || len(crowd.lacks()) > 0); round++ {
				var wg sync.WaitGroup
				for caller := range 16 {
					wg.Go(func() {
						if err := crowd.ask(ctx, c, seed+(16*round+caller)*each, each); err != nil {
							t.Error(err)
						}
					})
				}
				wg.Wait()
			}

			for _, bad := range []string{"40P01", "deadlock"} {
				if _, after, found := strings.Cut(pgtest.ServerLog(t)[logged:], bad); found {
					t.Errorf("the server's log holds %s%s", bad, c.readable(after[:min(len(after), 2000)]))
				}
			}
			var deadlocks, gaps int
			err := g.owner.QueryRow(ctx, `select
				(select deadlocks from pg_stat_database where datname = current_database()),
				(select count(*) from (select max(id) - count(*) as gap from poolproof.audit_log group by tenant_id) x where gap <> 0)`).Scan(&deadlocks, &gaps)
			if err != nil || deadlocks != 0 || gaps != 0 {
				t.Errorf("%d deadlocks, %d audit logs with gaps, %v", deadlocks, gaps, err)
			}
			h := &history{ground: g, cast: c, codes: map[string]int{}}
			if h.world, err = g.read(ctx); err != nil {
				t.Fatal(err)
			}
			if faults := h.world.Broken(); len(faults) > 0 {
				t.Fatalf("broken rules: %s", c.readable(strings.Join(faults, "\n")))
			}
			h.look(ctx, t)
			h.readAll(ctx, t)

			for _, answer := range slices.Sorted(maps.Keys(crowd.answers)) {
				t.Logf("%5d %s", crowd.answers[answer], answer)
			}
			for _, must := range crowd.lacks() {
				t.Errorf("no %s: the test proves less than it says", must)
			}
		})
	}
}

// crowd is what callers at once share.
type crowd struct {
	*ground
	latest  atomic.Pointer[oracle.World] // read now and then, to know who may do something
	mu      sync.Mutex
	answers map[string]int
}

// lacks are the answers that must have come and have not.
func (w *crowd) lacks() []string {
	return slices.DeleteFunc([]string{"Assign 20", "CreateRole 20", "feature.delete 200", "DeleteTenant 200", "Grant 200", "Switch 200"}, func(must string) bool {
		for answer := range w.answers {
			if strings.HasPrefix(answer, must) {
				return true
			}
		}
		return false
	})
}

// ask makes one caller's requests, one after the other. Their epochs grow.
func (w *crowd) ask(ctx context.Context, c *cast, seed, n int) error {
	steps := rapid.OneOf(rapid.Custom(c.draw), rapid.Custom(c.drawHot))
	newest := map[uuid.UUID]tenancy.Epoch{}
	for i := range n {
		d := steps.Example(seed + i)
		if o, ok := d.op.(oracle.DeleteTenant); ok && (o.ID == c.first || !o.Force) {
			continue // it is where most of them are
		}
		got, err := w.ground.ask(ctx, d)
		if err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
		if got.Status >= 500 {
			return fmt.Errorf("%s: %d %s", d, got.Status, got.Code)
		}
		if list := c.list(d.op); list != nil && got.Status == 201 {
			c.note(list, got.made(), "")
		}
		if got.epoch != "" {
			now, err := tenancy.ParseEpoch(got.epoch)
			if err != nil {
				return fmt.Errorf("%s: %w", d, err)
			}
			before := newest[d.caller.Tenant]
			if now.Catalogue < newest[uuid.Nil].Catalogue || now.Tenant != 0 && now.Tenant < before.Tenant {
				return fmt.Errorf("%s: the epoch was %s and %s, and is %s", d, before, newest[uuid.Nil], now)
			}
			newest[uuid.Nil] = now
			if now.Tenant != 0 {
				newest[d.caller.Tenant] = now
			}
		}
		if err := w.count(ctx, d, got, i%20 == 19); err != nil {
			return err
		}
	}
	return nil
}

func (w *crowd) count(ctx context.Context, d drawn, got answered, look bool) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	name := strings.TrimPrefix(fmt.Sprintf("%T", d.op), "oracle.")
	if o, ok := d.op.(oracle.Delete); ok {
		name = o.Action
	}
	w.answers[strings.TrimSpace(fmt.Sprintf("%s %d %s", name, got.Status, got.Code))]++
	if !look {
		return nil
	}
	world, err := w.read(ctx)
	if err != nil {
		return fmt.Errorf("looking who may do something: %w", err)
	}
	w.latest.Store(world)
	return nil
}

// drawHot draws what meets other callers' work: by somebody who may, mostly in
// A, on what was made last.
func (c *cast) drawHot(t *rapid.T) drawn {
	home := c.first
	if rarely(t) {
		home = pick(t, c.any(&c.tenants)...)
	}
	keepers := c.now().Keepers(home, "manage_roles")
	if len(keepers) == 0 {
		home, keepers = c.first, c.now().Keepers(c.first, "manage_roles")
	}
	caller := oracle.Caller{Tenant: home, User: pick(t, keepers...)}
	last := func(list *[]uuid.UUID) uuid.UUID {
		all := c.any(list)
		return pick(t, all[len(all)-3:len(all)-1]...)
	}
	byPlatform := oracle.Caller{Tenant: c.platform, User: pick(t, c.now().Keepers(c.platform, "manage_tenants")...)}
	switch pick(t, "feature", "switch", "permission", "grant", "switch", "feature", "tenant", "assign", "role", "item", "switch") {
	case "feature":
		if pick(t, true, false) {
			return drawn{c, byPlatform, oracle.CreateFeature{Name: pick(t, "maps", "chat"), Default: pick(t, true, false)}}
		}
		return drawn{c, byPlatform, oracle.DeleteFeature(last(&c.features), nil)}
	case "permission":
		if pick(t, true, false) {
			return drawn{c, byPlatform, oracle.CreatePermission{Name: pick(t, "view_maps", "export")}}
		}
		return drawn{c, byPlatform, oracle.DeletePermission(last(&c.permissions), nil)}
	case "tenant":
		if pick(t, true, false) {
			return drawn{c, byPlatform, oracle.CreateTenant{Name: "New", Slug: pick(t, "new", "other"), Admin: user(t)}}
		}
		return drawn{c, byPlatform, oracle.DeleteTenant{ID: last(&c.tenants), Force: true}}
	case "item":
		path, title := pick(t, "/one", "/two"), "Hot"
		return drawn{c, byPlatform, oracle.CreateItem{ItemFields: oracle.ItemFields{Title: &title, Group: &title, Path: &path,
			Feature: oracle.Gate{Named: true, Value: last(&c.features).String()}, Permission: oracle.Gate{Named: true, Value: pick(t, "view_maps", "export")}}}}
	case "switch":
		return drawn{c, caller, oracle.Switch{Name: pick(t, "maps", "chat"), Enabled: pick(t, true, false)}}
	case "grant":
		if pick(t, true, true, false) {
			return drawn{c, caller, oracle.Grant{Role: pick(t, 1, 2, 5), Permission: last(&c.permissions)}}
		}
		return drawn{c, caller, oracle.Revoke{Role: pick(t, 1, 2, 5), Permission: last(&c.permissions)}}
	case "assign":
		if pick(t, true, false) {
			return drawn{c, caller, oracle.Assign{User: user(t), Role: pick(t, 1, 2, 3, 4), Until: until(t)}}
		}
		return drawn{c, caller, oracle.CreateProfile{User: user(t), Active: true}}
	}
	name := pick(t, "Red", "Green", "Blue")
	return drawn{c, caller, oracle.CreateRole{Name: &name, Parents: []int{1}}}
}

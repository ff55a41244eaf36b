package feature_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/service/feature"
	"github.com/poolproof/poolproof/service/internal/migrated"
	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/tenancy"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// testBundle is the demo data and a store that reaches it in one of the ways.
type testBundle struct {
	t     *testing.T
	owner *pgxpool.Pool
	url   string
	store *feature.Store
	boss  tenancy.Caller // SUPER_ADMIN of Last Apple
	other tenancy.Caller // SUPER_ADMIN of Voice Automated
}

func eachKind(t *testing.T, f func(b *testBundle)) {
	for _, kind := range pgtest.Kinds {
		t.Run(kind.String(), func(t *testing.T) { f(setup(t, kind)) })
	}
}

func setup(t *testing.T, kind pgtest.Kind) *testBundle {
	t.Helper()
	url, login := migrated.Demo(t)
	b := &testBundle{
		t: t, url: pgtest.Pooled(t, login, kind),
		boss:  tenancy.Caller{Tenant: migrations.DemoTenant, User: migrated.Super},
		other: tenancy.Caller{Tenant: migrations.DemoOtherTenant, User: migrations.DemoOtherAdmin},
	}
	var err error
	if b.owner, err = pgxpool.New(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.owner.Close)
	b.store = b.open(b.url)
	return b
}

// only drops the epoch of a write.
func only(_ tenancy.Epoch, err error) error { return err }

func (b *testBundle) open(url string) *feature.Store {
	b.t.Helper()
	db, err := poolproof.Open(b.t.Context(), poolproof.Config{URL: url, MaxConns: 16, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(db.Close)
	return feature.NewStore(db)
}

func (b *testBundle) exec(sql string, args ...any) {
	b.t.Helper()
	if _, err := b.owner.Exec(b.t.Context(), sql, args...); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
}

func ask[T any](b *testBundle, sql string, args ...any) T {
	b.t.Helper()
	var v T
	if err := b.owner.QueryRow(b.t.Context(), sql, args...).Scan(&v); err != nil {
		b.t.Fatalf("%s: %v", sql, err)
	}
	return v
}

// member adds a member of Last Apple with a role, by its name.
func (b *testBundle) member(role string) tenancy.Caller {
	b.t.Helper()
	c := tenancy.Caller{Tenant: b.boss.Tenant, User: uuid.New()}
	b.exec(`insert into poolproof.profiles (tenant_id, user_id) values ($1, $2)`, c.Tenant, c.User)
	b.exec(`insert into poolproof.user_roles (tenant_id, user_id, role_id) select $1, $2, id from poolproof.roles where tenant_id = $1 and name = $3`, c.Tenant, c.User, role)
	return c
}

func on(features map[string]bool) string {
	var names []string
	for name, enabled := range features {
		if enabled {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestTheValueIsTheTenantsElseTheDefault(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		read := func(c tenancy.Caller) string {
			b.t.Helper()
			features, err := b.store.Tenant(ctx, c)
			if err != nil || len(features) != 8 {
				b.t.Fatalf("%v, %v; want all eight features", features, err)
			}
			return on(features)
		}
		changes := func() string {
			return ask[string](b, `select count(*) || ' ' || coalesce(string_agg(object || ' ' || coalesce(before::text, '-') || ' ' || after, ', ' order by id), '')
				from poolproof.audit_log where action = 'feature.set'`)
		}
		set := func(name string, enabled bool) {
			b.t.Helper()
			if err := only(b.store.Set(ctx, b.boss, name, enabled)); err != nil {
				b.t.Errorf("set %s %v: %v", name, enabled, err)
			}
		}
		const others = "actionqueue emailhunter localminer socialradar"
		if got := read(b.boss); got != "contactlaunchpad contentmap frontendscout siteharvest" {
			b.t.Errorf("Last Apple has on: %s", got)
		}
		if got := read(b.other); got != others {
			b.t.Errorf("Voice Automated has on: %s", got)
		}
		b.exec(`update poolproof.features set default_enabled = true where name in ('socialradar', 'contentmap')`)
		if got := read(b.boss); got != "contactlaunchpad contentmap frontendscout siteharvest socialradar" {
			b.t.Errorf("with another default: %s", got)
		}
		set("socialradar", false) // on by default, off here
		set("contentmap", false)
		if got := read(b.member("USER")); got != "contactlaunchpad frontendscout siteharvest" {
			b.t.Errorf("switched off: %s", got)
		}
		want := `2 feature/socialradar - {"enabled": false}, feature/contentmap {"enabled": true} {"enabled": false}`
		if got := changes(); got != want {
			b.t.Errorf("audit: %s\nwant:  %s", got, want)
		}
		set("contentmap", false)
		if got := changes(); got != want {
			b.t.Errorf("setting what is set left a trace: %s", got)
		}
		set("contentmap", true)
		if got := read(b.boss); got != "contactlaunchpad contentmap frontendscout siteharvest" {
			b.t.Errorf("switched on again: %s", got)
		}
		if got := read(b.other); got != others+"" && got != "actionqueue contentmap emailhunter localminer socialradar" {
			b.t.Errorf("Voice Automated has on: %s", got)
		}
	})
}

func TestWhoMay(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		inactive := b.member("SUPER_ADMIN")
		b.exec(`update poolproof.profiles set active = false where user_id = $1`, inactive.User)
		expired := b.member("SUPER_ADMIN")
		b.exec(`update poolproof.user_roles set expires_at = $2 where user_id = $1`, expired.User, time.Now().Add(-time.Second))
		state := func() string {
			return ask[string](b, `select jsonb_build_array((select jsonb_agg(to_jsonb(x) order by x.tenant_id, x.feature_id) from poolproof.tenant_features x),
				(select count(*) from poolproof.audit_log), (select jsonb_agg(to_jsonb(x) order by x.tenant_id) from poolproof.epochs x))::text`)
		}
		before := state()
		for who, c := range map[string]struct {
			tenancy.Caller
			read, write tenancy.Code
		}{
			"a stranger":            {tenancy.Caller{Tenant: b.boss.Tenant, User: uuid.New()}, tenancy.NotAMember, tenancy.NotAMember},
			"another tenant's boss": {tenancy.Caller{Tenant: b.boss.Tenant, User: b.other.User}, tenancy.NotAMember, tenancy.NotAMember},
			"a tenant that is not":  {tenancy.Caller{Tenant: uuid.New(), User: b.boss.User}, tenancy.NotAMember, tenancy.NotAMember},
			"an inactive member":    {inactive, tenancy.NotAMember, tenancy.NotAMember},
			"one whose role ended":  {expired, "", tenancy.Forbidden},
			"an ADMIN":              {b.member("ADMIN"), "", tenancy.Forbidden},
		} {
			if _, err := b.store.Tenant(ctx, c.Caller); tenancy.CodeOf(err) != c.read {
				b.t.Errorf("Tenant by %s: %v, want %q", who, err, c.read)
			}
			if _, err := b.store.Sidebar(ctx, c.Caller); tenancy.CodeOf(err) != c.read {
				b.t.Errorf("Sidebar by %s: %v, want %q", who, err, c.read)
			}
			for _, name := range []string{"contentmap", "nonsense"} {
				if err := only(b.store.Set(ctx, c.Caller, name, false)); tenancy.CodeOf(err) != c.write {
					b.t.Errorf("Set %s by %s: %v, want %q", name, who, err, c.write)
				}
			}
		}
		for _, name := range []string{"nonsense", "", "ContentMap", "content\x00map", "\xff", "'; drop table poolproof.features --"} {
			if err := only(b.store.Set(ctx, b.boss, name, false)); tenancy.CodeOf(err) != tenancy.NotFound {
				b.t.Errorf("Set %q: %v, want not_found", name, err)
			}
		}
		// members were added in between, which moves the tenant's epoch, so only the rest is compared
		was, _, _ := strings.Cut(before, `]`)
		if is, _, _ := strings.Cut(state(), `]`); is != was {
			b.t.Errorf("refused calls changed the features:\n%s\n%s", was, is)
		}
		if n := ask[int](b, `select count(*)::int from poolproof.audit_log where action = 'feature.set'`); n != 0 {
			b.t.Errorf("refused calls left %d audit rows", n)
		}
	})
}

func TestAnItemShowsWhenAllItsGatesHold(t *testing.T) {
	eachKind(t, func(b *testBundle) {
		ctx := b.t.Context()
		titles := func(c tenancy.Caller) string {
			b.t.Helper()
			items, err := b.store.Sidebar(ctx, c)
			if err != nil {
				b.t.Fatal(err)
			}
			var names []string
			for i, item := range items {
				names = append(names, item.Title)
				if i > 0 && items[i-1].DisplayOrder >= item.DisplayOrder {
					b.t.Errorf("%s comes after %s", item.Title, items[i-1].Title)
				}
			}
			return strings.Join(names, ", ")
		}
		const open, last = "Status", "Dashboard, Query, Domains View"
		for c, want := range map[tenancy.Caller]string{
			b.boss:                     "ContentMap, FrontendScout, SiteHarvest, ContactLaunchpad, Status, Tasks, " + last,
			b.other:                    "LocalMiner, EmailHunter, ActionQueue, SocialRadar, Status, Tasks, " + last,
			b.member("USER"):           "ContentMap, FrontendScout, SiteHarvest, ContactLaunchpad, Status, " + last,
			b.member("Auditor"):        "ContentMap, FrontendScout, SiteHarvest, ContactLaunchpad, Status, " + last, // by inheritance
			b.member("Content editor"): "ContentMap, Status, " + last,
			b.member("none"):           open + ", " + last,
		} {
			if got := titles(c); got != want {
				b.t.Errorf("got:  %s\nwant: %s", got, want)
			}
		}
		if err := only(b.store.Set(ctx, b.boss, "contentmap", false)); err != nil {
			b.t.Fatal(err)
		}
		if got := titles(b.boss); strings.Contains(got, "ContentMap") {
			b.t.Errorf("with the feature off: %s", got)
		}
		platform := tenancy.Caller{Tenant: migrations.DemoPlatform, User: migrations.DemoPlatformAdmin}
		if got := titles(platform); got != "Status, Tasks, Configuration, Features, Tenants, SkyLab, "+last {
			b.t.Errorf("on the platform: %s", got)
		}
		items, err := b.store.Sidebar(ctx, b.other)
		if err != nil {
			b.t.Fatal(err)
		}
		i := items[0]
		if i.Path != "/localminer" || i.Icon == "" || i.Group != "Services" || i.FeatureID == nil || *i.RequiredPermission != "view_localminer" ||
			items[4].FeatureID != nil || items[4].RequiredPermission != nil {
			b.t.Errorf("%+v, %+v", i, items[4])
		}
	})
}

func TestEachCallIsOneSync(t *testing.T) {
	b := setup(t, pgtest.PgBouncer118Statement)
	url, count := pgtest.CountSyncs(t, b.url)
	b.store = b.open(url)
	if _, err := b.store.Tenant(t.Context(), b.boss); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"Tenant":  func() error { _, err := b.store.Tenant(t.Context(), b.boss); return err },
		"Sidebar": func() error { _, err := b.store.Sidebar(t.Context(), b.boss); return err },
		"Set":     func() error { return only(b.store.Set(t.Context(), b.boss, "contentmap", false)) },
	} {
		before := count()
		if err := call(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if n := count() - before; n != 1 {
			t.Errorf("%s took %d Syncs", name, n)
		}
	}
}

// Many switch the same feature for two tenants at once: each setting is one
// audit row that begins where the last one ended, and no tenant sees the other's.
func TestConcurrentSwitchesFormOneHistory(t *testing.T) {
	b := setup(t, pgtest.PgBouncer118Statement)
	var wg sync.WaitGroup
	for worker := range 16 {
		c := b.boss
		if worker%2 == 1 {
			c = b.other
		}
		wg.Go(func() {
			for i := range 25 {
				if err := only(b.store.Set(t.Context(), c, "localminer", (worker/2+i)%2 == 0)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	broken := ask[int](b, `select count(*)::int from (
		select before, lag(after) over (partition by tenant_id order by id) as previous, before = after as same from poolproof.audit_log where action = 'feature.set') x
		where same or previous is not null and before is distinct from previous`)
	if broken != 0 {
		t.Errorf("%d audit rows do not continue the one before", broken)
	}
	if n := ask[string](b, `select string_agg(n || '', ' ') from (select count(*) n from poolproof.audit_log where action = 'feature.set' group by tenant_id) x`); !strings.Contains(n, " ") {
		t.Errorf("audit rows per tenant: %s", fmt.Sprint(n))
	}
}

package migrations

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"pgregory.net/rapid"
)

// heldByPaths is poolproof.held as it was before: it follows each path with each
// expiry. It is slow, and plainly right.
const heldByPaths = `
	with recursive mine (role_id, until) as (
		select u.role_id, coalesce(u.expires_at, 'infinity')
		from poolproof.user_roles u
		join poolproof.profiles m on m.tenant_id = u.tenant_id and m.user_id = u.user_id and m.active
		where u.tenant_id = $1 and u.user_id = $2 and (u.expires_at is null or u.expires_at > clock_timestamp())
		union
		select i.parent_id, mine.until from mine join poolproof.role_parents i on i.tenant_id = $1 and i.role_id = mine.role_id
	)
	select g.permission_id::text, max(g.until)::text
	from (
		select rp.permission_id, mine.until from mine join poolproof.role_permissions rp on rp.tenant_id = $1 and rp.role_id = mine.role_id
		union all
		select a.id, mine.until
		from mine join poolproof.roles r on r.tenant_id = $1 and r.id = mine.role_id and r.holds_all
		cross join (select p.id from poolproof.permissions p where p.scope = 'tenant' union all select '00000000-0000-0000-0000-000000000000'::uuid) a
	) g
	group by g.permission_id order by 1`

const heldNow = `select h.permission_id::text, h.until::text from poolproof.held($1, $2) h order by 1`

// ladder makes roles in layers, each inheriting from parents roles of the layer
// above, with a permission each, and assigns assigned of them to a user with
// expiries of their own. It returns the user.
func ladder(t testing.TB, tx pgx.Tx, tenant string, layers, width, parents, assigned int) uuid.UUID {
	t.Helper()
	user := uuid.New()
	exec := func(sql string, args ...any) {
		t.Helper()
		if _, err := tx.Exec(t.Context(), sql, args...); err != nil {
			t.Fatal(err)
		}
	}
	exec(`update poolproof.bounds set assignments = 1000`)
	exec(`insert into poolproof.profiles (tenant_id, user_id) values ($1, $2)`, tenant, user)
	exec(`insert into poolproof.roles (tenant_id, id, name) select $1, n + 10, 'ladder ' || n from generate_series(0, $2::int - 1) n`, tenant, layers*width)
	exec(`insert into poolproof.role_permissions (tenant_id, role_id, permission_id)
		select $1, r.id, p.id from poolproof.roles r
		join (select id, row_number() over (order by name) n, count(*) over () of from poolproof.permissions where scope = 'tenant') p on p.n = r.id % p.of + 1
		where r.tenant_id = $1 and r.id >= 10`, tenant)
	exec(`insert into poolproof.role_parents (tenant_id, role_id, parent_id)
		select $1, 10 + l * $2::int + a, 10 + (l + 1) * $2::int + (a + b) % $2::int
		from generate_series(0, $3::int - 2) l, generate_series(0, $2::int - 1) a, generate_series(0, $4::int - 1) b`, tenant, width, layers, parents)
	exec(`insert into poolproof.user_roles (tenant_id, user_id, role_id, expires_at)
		select $1, $2, 10 + n, now() + interval '1 hour' * (n + 1) from generate_series(0, $3::int - 1) n`, tenant, user, assigned)
	return user
}

// What a user holds is what it was by the plain rule, over random roles,
// inheritance and expiries.
func TestHeldIsTheLatestExpiry(t *testing.T) {
	owner, _ := demoDatabase(t)
	conn := open(t, owner)
	rapid.Check(t, func(rt *rapid.T) {
		as(t, conn, DemoTenant.String(), func(tx pgx.Tx) {
			layers, width := rapid.IntRange(1, 4).Draw(rt, "layers"), rapid.IntRange(1, 6).Draw(rt, "width")
			user := ladder(t, tx, DemoTenant.String(), layers, width, rapid.IntRange(0, width).Draw(rt, "parents"), 0)
			for range rapid.IntRange(0, 6).Draw(rt, "assignments") {
				role := rapid.SampledFrom([]int{1, 2, 3, 10, 10 + layers*width - 1, 10 + rand.IntN(layers*width)}).Draw(rt, "role")
				var until *time.Time
				if hours := rapid.IntRange(-1, 3).Draw(rt, "hours"); hours > 0 {
					at := time.Now().Add(time.Duration(hours) * time.Hour)
					until = &at
				} else if hours == 0 { // over already
					at := time.Now().Add(-time.Hour)
					until = &at
				}
				if _, err := tx.Exec(t.Context(), `insert into poolproof.user_roles (tenant_id, user_id, role_id, expires_at) values ($1, $2, $3, $4)
					on conflict do nothing`, DemoTenant, user, role, until); err != nil {
					rt.Fatal(err)
				}
			}
			want, got := pairs(t, tx, heldByPaths, user), pairs(t, tx, heldNow, user)
			if diff := cmp.Diff(want, got); diff != "" {
				rt.Error(diff)
			}
		})
	})
}

func pairs(t testing.TB, tx pgx.Tx, sql string, user uuid.UUID) []string {
	t.Helper()
	rows, err := tx.Query(t.Context(), sql, DemoTenant, user)
	if err != nil {
		t.Fatal(err)
	}
	all, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (string, error) {
		var permission, until string
		err := row.Scan(&permission, &until)
		return permission + " until " + until, err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Each step of inheritance is taken once, whatever the number of expiries: the
// rows that PostgreSQL reads of role_parents do not grow with it.
func TestHeldIsLinear(t *testing.T) {
	owner, _ := demoDatabase(t)
	conn := open(t, owner)
	const layers, width, parents = 6, 30, 20
	reads := func(assigned int) (n int) {
		as(t, conn, DemoTenant.String(), func(tx pgx.Tx) {
			user := ladder(t, tx, DemoTenant.String(), layers, width, parents, assigned)
			const fetched = `select pg_stat_get_xact_tuples_fetched(c.oid) + pg_stat_get_xact_tuples_returned(c.oid)
				+ coalesce((select sum(pg_stat_get_xact_tuples_returned(i.indexrelid)) from pg_index i where i.indrelid = c.oid), 0)
				from pg_class c where c.oid = 'poolproof.role_parents'::regclass`
			var before, after int
			if err := tx.QueryRow(t.Context(), fetched).Scan(&before); err != nil {
				t.Fatal(err)
			}
			if len(pairs(t, tx, heldNow, user)) == 0 {
				t.Fatal("nothing is held")
			}
			if err := tx.QueryRow(t.Context(), fetched).Scan(&after); err != nil {
				t.Fatal(err)
			}
			n = after - before
		})
		return n
	}
	edges := (layers - 1) * width * parents
	one, many := reads(1), reads(width)
	if one == 0 || many > 4*edges {
		t.Errorf("%d steps of inheritance: %d rows were read for one expiry, %d for %d", edges, one, many, width)
	}
}

// The bounds hold for whoever writes, and say what they are.
func TestBounds(t *testing.T) {
	owner, _ := demoDatabase(t)
	conn := open(t, owner)
	const few = `update poolproof.bounds set roles = 12, parents = 2, depth = 3, assignments = 4`
	insertRoles := `insert into poolproof.roles (tenant_id, id, name) select $1, n, 'role ' || n from generate_series(10, $2::int + 9) n`
	for name, c := range map[string]struct {
		sql  []string
		want string // "" fits
	}{
		"as many roles as fit":       {[]string{few, fmt.Sprintf(strings.ReplaceAll(insertRoles, "$2::int", "%d"), 8)}, ""},
		"one role too many":          {[]string{few, fmt.Sprintf(strings.ReplaceAll(insertRoles, "$2::int", "%d"), 9)}, "A tenant has at most 12 roles."},
		"as many parents as fit":     {[]string{few, `insert into poolproof.role_parents values ($1, 1, 2), ($1, 1, 3)`}, ""},
		"one parent too many":        {[]string{few, `insert into poolproof.role_parents values ($1, 1, 2), ($1, 1, 3), ($1, 1, 4)`}, "A role inherits from at most 2 others."},
		"as deep as fits":            {[]string{few, `insert into poolproof.role_parents values ($1, 1, 2), ($1, 2, 3)`, `insert into poolproof.role_parents values ($1, 3, 4)`}, ""},
		"a step too deep, at once":   {[]string{few, fmt.Sprintf(strings.ReplaceAll(insertRoles, "$2::int", "%d"), 1), `insert into poolproof.role_parents values ($1, 1, 2), ($1, 2, 3), ($1, 3, 4), ($1, 4, 10)`}, "Roles inherit over at most 3 steps."},
		"a step too deep, between":   {[]string{few, fmt.Sprintf(strings.ReplaceAll(insertRoles, "$2::int", "%d"), 1), `insert into poolproof.role_parents values ($1, 1, 2), ($1, 3, 4), ($1, 4, 10)`, `insert into poolproof.role_parents values ($1, 2, 3)`}, "Roles inherit over at most 3 steps."},
		"a circle is still one":      {[]string{few, `insert into poolproof.role_parents values ($1, 1, 2), ($1, 2, 1)`}, "a role would inherit from itself"},
		"one assignment too many":    {[]string{few, fmt.Sprintf(strings.ReplaceAll(insertRoles, "$2::int", "%d"), 2), `insert into poolproof.user_roles (tenant_id, user_id, role_id) select $1, '00000000-0000-4000-8000-000000000001', r.id from poolproof.roles r where tenant_id = $1 limit 5`}, "A user has at most 4 roles in a tenant."},
		"as many assignments as fit": {[]string{few, `insert into poolproof.user_roles (tenant_id, user_id, role_id) select $1, '00000000-0000-4000-8000-000000000001', r.id from poolproof.roles r where tenant_id = $1 limit 4`}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			as(t, conn, DemoTenant.String(), func(tx pgx.Tx) {
				var err error
				if _, err = tx.Exec(t.Context(), `delete from poolproof.roles where tenant_id = $1 and id > 4`, DemoTenant); err != nil { // those of the demo
					t.Fatal(err)
				}
				_, err = tx.Exec(t.Context(), `insert into poolproof.profiles (tenant_id, user_id) values ($1, '00000000-0000-4000-8000-000000000001')`, DemoTenant)
				for _, sql := range c.sql {
					if err != nil {
						break
					}
					var args []any
					if strings.Contains(sql, "$1") {
						args = []any{DemoTenant}
					}
					sql = strings.ReplaceAll(sql, "role_parents values", "role_parents (tenant_id, role_id, parent_id) values")
					_, err = tx.Exec(t.Context(), sql, args...)
				}
				pgErr, refused := errors.AsType[*pgconn.PgError](err)
				switch {
				case c.want == "" && err != nil, c.want != "" && (!refused || pgErr.Message != c.want):
					t.Errorf("%v, wanted %q", err, c.want)
				}
			})
		})
	}
}

// BenchmarkHeld is what a user holds, in the case that once took a quarter of a
// second, and in the ordinary one.
func BenchmarkHeld(b *testing.B) {
	for name, shape := range map[string][4]int{"ordinary": {1, 2, 0, 1}, "worst": {8, 50, 50, 30}} {
		b.Run(name, func(b *testing.B) {
			owner, _ := demoDatabase(b)
			conn := open(b, owner)
			tx, err := conn.Begin(b.Context())
			if err != nil {
				b.Fatal(err)
			}
			if _, err := tx.Exec(b.Context(), `select set_config('app.current_tenant_id', $1, true)`, DemoTenant); err != nil {
				b.Fatal(err)
			}
			user := ladder(b, tx, DemoTenant.String(), shape[0], shape[1], shape[2], shape[3])
			if _, err := tx.Exec(b.Context(), `create function poolproof.held_by_paths(tenant uuid, member uuid) returns table (permission_id text, until text)
				language plpgsql stable rows 30 as $f$ begin return query `+strings.NewReplacer("$1", "tenant", "$2", "member").Replace(heldByPaths)+`; end $f$`); err != nil {
				b.Fatal(err)
			}
			for label, sql := range map[string]string{"by paths": "select * from poolproof.held_by_paths($1, $2)", "now": heldNow} {
				b.Run(label, func(b *testing.B) {
					for b.Loop() {
						pairs(b, tx, sql, user)
					}
				})
			}
		})
	}
}

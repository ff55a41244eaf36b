package migrations

import (
	"slices"
	"strings"
	"testing"
)

// Each table that has a tenant's rows is among tenantTables, so that the other
// tests ask about it, and a change of it raises the tenant's epoch. The epoch
// itself and the log of changes follow from a change.
func TestEveryTenantTableIsWatched(t *testing.T) {
	owner, _ := demoDatabase(t)
	conn := open(t, owner)
	const tables = `select coalesce(string_agg(c.relname, ' ' order by c.relname), '') from pg_class c
		join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'
		where c.relnamespace = 'poolproof'::regnamespace and c.relkind in ('r', 'p')`
	all := strings.Fields(one[string](t, conn, tables))
	if want := slices.Sorted(slices.Values(tenantTables)); !slices.Equal(all, want) {
		t.Errorf("tables of tenants are %q, tenantTables has %q", all, want)
	}
	unwatched := one[string](t, conn, tables+` and c.relname not in ('epochs', 'audit_log') and 3 > (
		select count(distinct g.tgtype & 28) from pg_trigger g join pg_proc p on p.oid = g.tgfoid
		where g.tgrelid = c.oid and p.proname like 'raise%epoch%')`) // insert, delete, update: bits 2 to 4
	if unwatched != "" {
		t.Errorf("not every change of %s raises the epoch", unwatched)
	}
}

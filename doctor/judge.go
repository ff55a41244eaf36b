package doctor

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// judge returns what is wrong by the facts, sorted by code as written here.
func judge(f *facts) []Check {
	var found []Check
	for _, about := range []func(*facts) []Check{aboutRole, aboutTables, aboutPolicies, aboutDetours, aboutServer} {
		found = append(found, about(f)...)
	}
	return found
}

// finding is a check that failed. fix is SQL that mends it; hint is a step, where no SQL does.
func finding(c Code, object, detail, fix, hint string) Check {
	k := catalogue[c]
	if hint == "" {
		hint = fix
	}
	return Check{ID: c, Status: k.status, Basis: k.basis, Title: k.title, Object: object, Detail: detail, Hint: hint, Fix: fix, Consequence: k.consequence, Page: Page(c)}
}

func aboutRole(f *facts) (found []Check) {
	r := f.role
	role := pgx.Identifier{r.Name}.Sanitize()
	if r.Super {
		found = append(found, finding(Superuser, r.Name, "", "alter role "+role+" nosuperuser;", "connect as another role, or: alter role "+role+" nosuperuser;"))
	}
	if r.Bypass && !r.Super {
		found = append(found, finding(BypassRLS, r.Name, "", "alter role "+role+" nobypassrls;", ""))
	}
	if !r.RowSecurity {
		found = append(found, finding(RowSecurityOff, r.Name, "as pg_dump sets it; somebody may have left it on a shared server connection", "alter role "+role+" reset row_security;",
			"see who sets it: select * from pg_db_role_setting; where nobody does, a client of the pooler left it: alter role "+role+" reset row_security;"))
	}
	return found
}

func aboutTables(f *facts) (found []Check) {
	for _, t := range f.tenantTables() {
		if t.Owner && !f.role.Super {
			found = append(found, finding(OwnsTable, t.Name, "role "+f.role.Name+" owns it, or is a member of its owner", "",
				"let another role own it: create role app_owner; alter table "+t.Name+" owner to app_owner; grant select, insert, update, delete on "+t.Name+" to "+pgx.Identifier{f.role.Name}.Sanitize()+";"))
		}
		if !t.Enabled {
			fix := "alter table " + t.Name + " enable row level security;\nalter table " + t.Name + " force row level security;"
			if len(t.policies) == 0 {
				fix += "\n" + f.policyFor(t)
			}
			detail := "it has the column " + t.quoted
			if t.Partition {
				detail += "; it is a partition, and its parent's policies bind only those who name the parent"
			}
			if len(t.policies) > 0 {
				detail += "; its policies do nothing until it is on"
			}
			found = append(found, finding(RLSOff, t.Name, detail, fix, ""))
		} else if !t.Forced {
			found = append(found, finding(NotForced, t.Name, "", "alter table "+t.Name+" force row level security;", ""))
		}
		if !slices.Contains(t.Leading, t.column) && !t.indexed() && !(t.Rows >= 0 && t.Rows < 1000) {
			found = append(found, finding(NoIndex, t.Name, "column "+t.quoted, "create index concurrently on "+t.Name+" ("+t.quoted+");", ""))
		}
	}
	return found
}

// indexed reports whether an index has the tenant column behind columns that each policy compares with a setting as well.
func (t table) indexed() bool {
	if len(t.policies) == 0 {
		return false
	}
	return slices.ContainsFunc(t.Indexes, func(index string) bool {
		before, _, ok := strings.Cut(","+index+",", ","+t.column+",")
		for column := range strings.SplitSeq(strings.TrimPrefix(before, ","), ",") {
			for _, p := range t.policies {
				ok = ok && slices.ContainsFunc(p.settings(), func(s string) bool { return slices.Contains(p.compared(s, t), column) })
			}
		}
		return ok
	})
}

// policyFor is the policy that a table lacks.
func (f *facts) policyFor(t table) string {
	is := t.quoted + " = " + f.tenantOf(t)
	return "create policy tenant on " + t.Name + "\n    using (" + is + ")\n    with check (" + is + ");"
}

// tenantOf is the current tenant as a table's column has it.
func (f *facts) tenantOf(t table) string {
	value := "nullif(current_setting(" + quoteLiteral(f.setting) + ", true), '')"
	if t.typ != "text" && t.typ != "character varying" {
		value += "::" + t.typ
	}
	return "(select " + value + ")"
}

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// restricted reports whether a restrictive policy keeps the tenants of a table
// apart for a command, whatever the permissive ones allow.
func (f *facts) restricted(t table, cmd string) bool {
	return slices.ContainsFunc(t.policies, func(p policy) bool { return !p.Permissive && p.covers(cmd) && p.reads(f.setting) })
}

func aboutPolicies(f *facts) (found []Check) {
	for _, t := range f.tenantTables() {
		if !t.Enabled {
			continue // they do nothing; that is said
		}
		if c, ok := f.otherSetting(t); ok {
			found = append(found, c)
		}
		for _, p := range t.policies {
			found = append(found, f.aboutPolicy(t, p)...)
		}
	}
	return found
}

// otherSetting is about a table whose policies read settings, and not the tenant's.
func (f *facts) otherSetting(t table) (Check, bool) {
	var others []string
	for _, p := range t.policies {
		if p.reads(f.setting) {
			return Check{}, false
		}
		if p.covers("r") {
			for _, s := range p.settings() {
				if len(p.compared(s, t)) > 0 && slices.Contains(p.compared(s, t), t.column) && !slices.Contains(others, s) {
					others = append(others, s)
				}
			}
		}
	}
	if len(others) == 0 {
		return Check{}, false
	}
	var fix strings.Builder
	fix.WriteString("begin;\n")
	for _, p := range t.policies {
		fix.WriteString("drop policy " + p.Name + " on " + t.Name + ";\n")
	}
	return finding(OtherSetting, t.Name, fmt.Sprintf("they read %s; the tenant's is %s", strings.Join(others, ", "), f.setting),
		fix.String()+f.policyFor(t)+"\ncommit;", ""), true
}

func (f *facts) aboutPolicy(t table, p policy) (found []Check) {
	object := p.Name + " on " + t.Name
	for _, name := range p.doors(f.setting) {
		found = append(found, finding(OtherDoor, object, "the setting "+name, "", "leave it out of the policy, and give the work that needs every tenant a role of its own, with a policy for that role"))
	}
	if p.Permissive {
		if t.Reads && p.covers("r") && trivial(p.Using, t.quoted) && !f.restricted(t, "r") {
			found = append(found, finding(OpenRead, object, "using ("+p.Using+")", "drop policy "+object+";", ""))
		}
		for _, w := range []struct {
			cmd     string
			allowed bool
		}{{"a", t.Inserts}, {"w", t.Updates}} {
			if w.allowed && p.covers(w.cmd) && ignoresTenant(p.check(), t.quoted) && !f.restricted(t, w.cmd) {
				is := "(" + t.quoted + " = " + f.tenantOf(t) + ")"
				found = append(found, finding(OpenWrite, object, "with check ("+p.check()+")", "alter policy "+object+" with check "+is+";", ""))
				break
			}
		}
	}
	if !p.reads(f.setting) {
		return found
	}
	text := p.all()
	if to := castsColumn(text, t.quoted, t.typ); to != "" {
		found = append(found, finding(CastsColumn, object, fmt.Sprintf("%s is %s, and the policy compares it as %s", t.quoted, t.typ, to), f.rewrite(t, p), ""))
	}
	if len(p.Volatile) > 0 {
		found = append(found, finding(VolatileFunction, object, strings.Join(p.Volatile, ", "), f.volatileFix(p), "where it only reads, declare it stable: "+f.volatileFix(p)))
	}
	if to := convertsEmpty(text + "\n" + p.Bodies); to != "" {
		fix, hint := f.rewrite(t, p), ""
		if convertsEmpty(text) == "" {
			fix, hint = "", "in the function that the policy calls: nullif(current_setting("+quoteLiteral(f.setting)+", true), '')::"+to
		}
		found = append(found, finding(NoNullif, object, "converted to "+to, fix, hint))
	}
	outside := outsideSelect(text, "current_setting")
	for _, name := range p.Unstable {
		outside = outside || outsideSelect(text, name)
	}
	if outside {
		fix := f.rewrite(t, p)
		hint := ""
		if len(p.Unstable) > 0 && !strings.Contains(text, "current_setting") {
			fix, hint = "", "write (select "+p.Unstable[0]+"()) in the policy, with alter policy "+object
		}
		found = append(found, finding(NoSubselect, object, "", fix, hint))
	}
	return found
}

// rewrite returns SQL that brings a policy into the form that bears everything: only where the
// policy is nothing but the comparison.
func (f *facts) rewrite(t table, p policy) string {
	is := "(" + t.quoted + " = " + f.tenantOf(t) + ")"
	sql := "alter policy " + p.Name + " on " + t.Name
	if p.Using != "" {
		sql += " using " + is
	}
	if p.Check != "" {
		sql += " with check " + is
	}
	if strings.Contains(p.all(), " AND ") || strings.Contains(p.all(), " OR ") {
		return "-- keep the rest of the policy: it says more than this\n" + sql + ";"
	}
	return sql + ";"
}

func (f *facts) volatileFix(p policy) string {
	var all []string
	for _, v := range p.Volatile {
		all = append(all, "alter function "+v+" stable;")
	}
	return strings.Join(all, "\n")
}

// aboutDetours is about what reads tenants' rows past the policies.
func aboutDetours(f *facts) (found []Check) {
	byOID := map[uint32]table{}
	for _, t := range f.allTenantTables() {
		byOID[t.OID] = t
	}
	said := map[string]bool{}
	for _, v := range f.views {
		t, ok := byOID[v.Table]
		if !ok || slices.Contains(settingsOf(v.Definition), f.setting) {
			continue
		}
		if v.Mat != "" {
			if !said[v.Mat] {
				said[v.Mat] = true
				found = append(found, finding(MatView, v.Mat, "it holds rows of "+t.Name, "revoke all on "+v.Mat+" from public, "+pgx.Identifier{f.role.Name}.Sanitize()+";",
					"take it away from the role and read it through a view that compares "+t.quoted+" with the setting: revoke all on "+v.Mat+" from public, "+pgx.Identifier{f.role.Name}.Sanitize()+";"))
			}
			continue
		}
		if !said[v.View] {
			said[v.View] = true
			fix := "alter view " + v.View + " set (security_invoker = true);"
			if f.role.VersionNum < 150000 {
				fix = ""
			}
			found = append(found, finding(DefinerView, v.View, "it reads "+t.Name+" as "+v.Owner, fix,
				map[bool]string{true: "", false: "PostgreSQL before 15 has no security_invoker: let a role own the view whom the policies bind"}[fix != ""]))
		}
	}
	for _, d := range f.functions {
		if len(settingsOf(d.Body)) > 0 {
			continue // it asks for a setting itself
		}
		for _, t := range f.allTenantTables() {
			if (d.Everywhere || slices.Contains(d.Owned, t.OID)) && mentions(d.Body, t) {
				found = append(found, finding(DefinerFunction, d.Name, "it names "+t.Name+" and works as "+d.Owner, "alter function "+d.Name+" security invoker;",
					"where it need not go around: alter function "+d.Name+" security invoker; otherwise let it compare "+t.quoted+" with the setting, or take execute from public"))
				break
			}
		}
	}
	for _, g := range f.grants {
		if g.Guarded {
			continue
		}
		in := ""
		if g.Schema != "" {
			in = " in schema " + g.Schema
		}
		if len(f.tenantTables()) == 0 {
			continue
		}
		found = append(found, finding(DefaultGrants, g.Creator+strings.Replace(in, " in schema ", " in ", 1), g.Privileges+" to "+g.Grantee,
			"alter default privileges for role "+g.Creator+in+" revoke "+g.Privileges+" on tables from "+g.Grantee+";", ""))
	}
	return found
}

// byRole reports whether what a policy lets through depends on the role.
func (f *facts) byRole() bool {
	return slices.ContainsFunc(f.policies, func(p policy) bool {
		return !slices.Equal(p.Roles, []string{"public"}) || namesRole.MatchString(p.all()+"\n"+p.Bodies)
	})
}

func aboutServer(f *facts) (found []Check) {
	r := f.role
	role := pgx.Identifier{r.Name}.Sanitize()
	for _, a := range advisories {
		if a.concerns(r.VersionNum) && (!a.byRole || f.byRole()) {
			found = append(found, finding(ServerVersion, a.ID, "PostgreSQL "+r.Version+": "+a.Text+" (fixed "+a.Date+")", "", "update PostgreSQL to the last minor version; "+a.Source))
		}
	}
	if r.IdleInTx == "0" {
		found = append(found, finding(NoTimeout, r.Name, "idle_in_transaction_session_timeout is 0", "alter role "+role+" set idle_in_transaction_session_timeout = '60s';", ""))
	}
	if r.Replica {
		found = append(found, finding(ReadOnly, "server", "it is a replica (pg_is_in_recovery)", "", "name the primary in the URL: psql \"$DATABASE_URL\" -c 'select pg_is_in_recovery()' prints f there"))
	} else if r.ReadOnly {
		found = append(found, finding(ReadOnly, r.Name, "default_transaction_read_only is on", "alter role "+role+" reset default_transaction_read_only;", ""))
	}
	return append(found, aboutFleet(f)...)
}

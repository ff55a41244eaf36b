// Package guarded runs statements that decide for themselves whether the
// caller may have what they do.
//
// A check that is a statement of its own can be outrun: between "may this user
// do that?" and doing it, somebody may revoke the right. So the check is part
// of the statement, and the statement's first column says how it decided:
//
//	Read    scope ─ select verdict, … from (may the caller read?) left join …           one Sync
//	Write   scope ─ may the caller write? then lock the tenant, else drop the scope ─
//	                with may as (…), change as (… where verdict = 'ok'),
//	                audit as (…) select verdict, detail, epoch, …                        one Sync
//
// A write takes its tenant's row lock first, and only a caller who may write
// takes it: whoever is refused, be it a stranger or a member without the
// permission, locks no row, takes no transaction id and waits for nobody who
// writes, and that costs the same for a tenant that is not there. The statement
// is planned all the same, and for that PostgreSQL locks its tables' names (ROW
// EXCLUSIVE at most: only changes of the schema wait for it). Whoever waits for the lock is
// asked again afterwards, by a snapshot taken after it: a right whose revocation
// was acknowledged is gone for every write that had not finished by then.
//
// What belongs to no tenant, the catalogues and the tenants themselves, is
// written under the platform tenant: its id is the scope, its row the lock, and
// the permission is looked for there, whatever tenant the request is for. That
// the caller is a member of the request's tenant is checked as well.
//
// Other tenants' writes and operators do not take that lock. What they change
// between a statement's check and its change, a unique index or a foreign key
// stops, and the answer is the check's: backs has each such constraint.
//
// Refusals that every statement shares become *tenancy.Error here; each
// store puts the others into words.
package guarded

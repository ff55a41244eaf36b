// Package guarded runs statements that decide for themselves whether the
// caller may have what they do.
//
// A check that is a statement of its own can be outrun: between "may this user
// do that?" and doing it, somebody may revoke the right. So the check is part
// of the statement, and the statement's first column says how it decided:
//
//	Read    scope ─ select verdict, … from (is the caller a member?) left join …        one Sync
//	Write   scope ─ lock the tenant ─ with may as (…), change as (… where verdict = 'ok'),
//	                audit as (…) select verdict, detail, …                               one Sync
//
// A write takes its tenant's row lock first. Whoever waits for it decides
// afterwards, by a snapshot taken after the lock: a right whose revocation was
// acknowledged is gone for every write that had not finished by then.
//
// Refusals that every statement shares become *tenancy.Error here; each
// store gives the words to the others.
package guarded

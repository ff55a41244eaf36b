// Package migrations holds the schema that the service runs on and brings a
// database to it, through a pooler if that is the only way in.
//
// # The data model
//
// Every tenant table's key starts with tenant_id, every reference between
// tenant tables carries it along, and row-level security is forced on all of
// them:
//
//	tenants ◄── profiles ◄── user_roles ──► roles ◄── role_permissions ──► permissions*
//	   ▲                                     ▲ ▲                                ▲
//	platform                          role_parents                       sidebar_items* ──► features*
//	                                                                                            ▲
//	epochs   audit_log   bounds   schema_migrations              tenants ◄── tenant_features ───┘
//
//	* catalogues: the same for every tenant, written under the platform tenant only
//
// bounds is one row: how much a tenant can have. Rules that hold for every
// writer are in the database, each with an SQLSTATE of its own:
//
//	PR001  a tenant keeps an active holder of manage_roles, and the platform one
//	       of manage_tenants
//	PR002  no role inherits from itself
//	PR003  what came with a migration is neither renamed nor deleted
//	PR004  no tenant grows beyond the bounds
//
// Every change raises the tenant's epoch in the same transaction.
//
// # One message per migration
//
// A transaction pooler hands each transaction to any server connection, and a
// statement pooler refuses BEGIN. So a migration is sent as one simple-protocol
// Query message, which PostgreSQL runs as one implicit transaction:
//
//	set transaction …; set local …;
//	select pg_advisory_xact_lock(…);     ten copies that start at once queue here
//	do $$ … raise 'already applied' … $$ the copies that come second end here
//	<the file>
//	insert into poolproof.schema_migrations …
//
// Nothing outlives it: no session setting, no session lock, no temporary
// table. A connection that dies on the way leaves a migration either applied
// and recorded or neither.
//
// # Writing a migration
//
// Add sql/NNNN_name.sql with the next number and raise [Version]. Write every
// name with its schema. A function sets its own search_path, and its execute right
// is revoked from public. A table forces row-level security. CREATE INDEX
// CONCURRENTLY cannot run in a transaction and so not here. The owner may write
// the catalogues (a policy says so), but rows of tenants only under their
// tenant's setting.
//
// From the first release on, migrations are append-only: a released one is
// never edited, renamed or removed, comments included. Databases record its
// checksum, and [Up] refuses another text. sums.txt holds the checksums, and a
// test compares them. Before the first release the files may be edited; a
// database that they migrated earlier has to be made anew.
//
// # The scope
//
// Migration 0009_scope is [poolproof.ScopeSQL]: the library owns the text, and
// this schema runs it as it is. When the library changes it after the first
// release, freeze the old text as sql/0009_scope.sql and give the new one the
// next number (scopeName). The text can run again over an older one, so a
// database comes to the new version from either.
package migrations

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
//	epochs   audit_log   schema_migrations                       tenants ◄── tenant_features ───┘
//
//	* catalogues: the same for every tenant, written under the platform tenant only
//
// Two rules are the database's, whoever writes: a tenant keeps an active
// holder of manage_roles (SQLSTATE PP001), and no role inherits from itself
// (PP002). Every change raises the tenant's epoch in the same transaction.
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
// Add sql/NNNN_name.sql with the next number; [Version] follows. Write every
// name with its schema. Never edit a file that was released: its checksum is
// recorded, and [Up] refuses. CREATE INDEX CONCURRENTLY cannot run in a
// transaction and so not here. The owner may write the catalogues (a policy
// says so), but rows of tenants only under their tenant's setting.
package migrations

// Package platform manages the tenants themselves.
//
// One tenant of an installation is the platform. Who holds manage_tenants there
// may make, rename and remove tenants, and sees their names, though nothing of
// what is in them:
//
//	caller ── member of the request's tenant? ── manage_tenants on the platform? ──► tenants
//
// The service's own role may neither make nor remove a tenant. Functions of the
// schema do, which ask these two questions themselves before they act.
package platform

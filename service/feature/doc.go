// Package feature is what a tenant has switched on, and what a member
// therefore sees.
//
// A feature's value is the tenant's own where it has set one, else the
// catalogue's default, so that a tenant can switch off what is on for all. An
// item of the sidebar shows when all its gates hold: its feature is on and its
// permission is held in this tenant.
//
//	features.default_enabled ◄── tenant_features.enabled      feature gate ─┐
//	                                                                        ├─ and ─► shows
//	held permissions (package rbac)                       permission gate ──┘
//
// Each call is one round trip that checks the caller's membership itself (see
// internal/guarded). Every refusal is a *tenancy.Error.
package feature

// Package tenancy says who is calling, for which tenant, and why a call was
// refused.
//
// Everything above it shares two types. A [Caller] is a user acting in one
// tenant: what the HTTP edge makes of a token and a header, and what every
// store takes as its first argument, so that no query can be written without
// one. An [Error] is a refusal with a stable [Code]: stores return it, the
// HTTP edge maps each code to a status in one table, and nothing else decides
// what a client sees.
//
//	token + X-Tenant-ID ──► Caller ──► rbac.Store, feature.Store ──► rows
//	                                        │
//	                                        └──► *Error{Code} ──► httpapi ──► problem+json
package tenancy

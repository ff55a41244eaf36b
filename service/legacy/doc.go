// Package legacy brings the tables of the application that poolproof replaces
// over into poolproof's own: tenants, members, roles and what they hold,
// features and the sidebar.
//
// Those tables differ between installations and disagree with each other. So
// the work has three steps, and only the last one writes:
//
//	Read            ──► Source ──────┐
//	                                 ├─► NewPlan (pure) ──► Plan ──► Apply: one transaction per tenant
//	ReadDestination ──► Destination ─┘
//
// A [Plan] only adds: what is in poolproof already stays as it is, and what an
// earlier import brought and somebody has removed since does not come back
// (the audit log knows, by [Actor]). Every row of the source that has no
// counterpart is in [Plan.Unmapped] with its reason, and every row about which
// the source disagrees with itself in [Plan.Decided].
//
// Nobody gains. A person gets a role only where it confers no more than the role
// did in the source; names, ranks and numbers of roles confer nothing. The
// platform tenant is never imported into, so nothing confers manage_tenants.
package legacy

// Package audit reads the record of changes.
//
// Whatever changes a tenant's roles, members or features writes a row in the
// same transaction, with what was before and what is after; a refused call
// writes none. The service's role may append and read, nothing else, so that
// not even a fault of its own rewrites history.
//
//	newest ──► id 42  2026-11-24T…  actor  role.update  role/7  {before}  {after}
//	           id 41  …
package audit

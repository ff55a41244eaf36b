// Package matrix measures which drivers are right behind which poolers, and makes
// the page that shows it.
//
//	drivers.go ── programs/ ─┐
//	                         ├─ run.go ─► docs/matrix/DATE-PLACE.json ─ page.go ─► docs/matrix.html
//	ways.go ── servers ──────┘                documented.json ──────────┘
//
// A cell is one driver in one version, one way to the database, one of two forms
// of the driver's program and one of two kinds of work:
//
//   - form default: as the driver's first page shows it, with the tenant SET for
//     the session; form recipe: with what prove and doctor advise for that driver
//     (hostile.FixFor), with the tenant set in the transaction;
//   - work statements: clients look rows up by id, write and read back; work
//     settings: they do so under row-level security, which reads a setting.
//
// Sixteen clients share two server connections. Each looks at every answer: whether
// the row is the one that it asked for and its own tenant's, whether what it wrote
// is there, whether the setting is its own. So a wrong answer counts as wrong,
// whatever the driver thought of it.
//
// Results are kept in dated files, each cell with the versions that the program and
// the pooler said themselves. What could not be run here is either measured
// elsewhere by the same command, or documented, with its source: a cell always
// says which.
package matrix

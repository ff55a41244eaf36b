// Package report writes what the hostile pooler found, for people and for
// machines.
//
//	hostile.Report ─► Baseline.Mark ─┬─► Text      a terminal: grouped by code, with consequence and fix
//	                                 ├─► HTML      one file, with the timeline of each finding
//	                                 ├─► JSON      the contract that scripts rely on
//	                                 ├─► SARIF     code scanning: rules, files and lines
//	                                 ├─► JUnit     a CI's list of tests
//	                                 └─► Markdown  a CI's summary page
//
// A finding that the baseline knows is in all of them, marked, and counts in
// none.
package report

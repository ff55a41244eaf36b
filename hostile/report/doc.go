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
// Each form has the findings that the baseline knows, marked as known, and counts
// them nowhere. Each function returns the error of writing to w.
package report

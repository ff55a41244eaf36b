// Package report writes what the hostile pooler found, for people and for
// machines: a terminal, JSON, and a baseline of what is known already.
//
//	hostile.Report ─► Baseline.Mark ─┬─► Text     grouped by code, with cause, consequence and fix
//	                                 ├─► JSON     the contract that scripts rely on
//	                                 └─► …        one file per form
package report

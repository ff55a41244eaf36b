// Package sqltext cuts SQL into words, strings and the rest, past comments, as
// PostgreSQL's own scanner does. It is no parser: it knows where a string or a
// comment ends, and therefore which words are words.
//
//	sql := "select 'temp' /* temp */ into temp t"
//	Word select · String temp · Word into · Word temp · Word t · End
//
// The library uses it to refuse statements that would leave state on a shared
// server connection; the hostile pooler to know which transactions can have left none.
package sqltext

package atlas

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Markdown returns docs/atlas.md: the table, and the last result of the
// differential test.
func Markdown(rows []Row, last Result) string {
	var b strings.Builder
	named, missing, harmless := 0, 0, 0
	for _, r := range rows {
		switch {
		case r.Missing != "":
			missing++
		case r.Harmless != "":
			harmless++
		default:
			named++
		}
	}
	fmt.Fprintf(&b, `# The atlas of session state

Everything that a PostgreSQL backend can keep from one transaction to the next, and everything by which a client can hold a server
connection: %d rows. `+"`poolproof prove`"+` names %d of them by a code, %d are harmless for the reason given, and %d are not found yet, or not in full.

This file is written from the table in `+"`hostile/atlas`"+` (`+"`go test ./hostile/atlas -run TestDocument -update`"+`). `+"`go test ./hostile/atlas`"+` makes each
row on PostgreSQL 15, asks its witness on that connection and on a fresh one, runs DISCARD ALL and the narrower command, and holds
`+"`prove`"+` in strict mode to the codes given here. Rows marked *documentation* were read, not run. No other version of PostgreSQL was run; by
their documentation 14 to 18 have what has no version here.

## What stays

| what | how it comes about | the next client | found by prove | DISCARD ALL | narrower |
|---|---|---|---|---|---|
`, len(rows), named, harmless, missing)
	for _, r := range rows {
		if r.Holds == "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", cell(r.Name), r.how(), cell(r.Sees), r.found(), r.DiscardAll, code(r.Narrower))
		}
	}
	b.WriteString(`
## What holds a server connection

Nobody else can run anything on it meanwhile, DISCARD ALL included.

| what | how it comes about | state of the backend | the next client | found by prove |
|---|---|---|---|---|
`)
	for _, r := range rows {
		if r.Holds != "" {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", cell(r.Name), r.how(), r.Holds, cell(r.Sees), r.found())
		}
	}
	b.WriteString("\n## Codes without a row\n\n")
	for _, c := range slices.Sorted(maps.Keys(elsewhere)) {
		fmt.Fprintf(&b, "- [%s](prove/%[1]s.md): %s.\n", c, elsewhere[c])
	}
	b.WriteString(`
## What poolers do

In transaction mode. *leaks*: the next client has it, and its own client loses it. *lost*: the pooler removes it. *tracked*: it
follows its client. *own*, *pins*: the client keeps its server connection. *holds*: the connection is held meanwhile. *?*: neither
measured nor documented. What SQL makes was run through PgBouncer 1.18 (with and without server_reset_query_always), 1.24 and 1.26,
Odyssey 1.5 (with and without pool_discard) and pgpool-II 4.3, with two server connections (` + "`TestFates`" + `, in ` + "`make soak`" + `). What messages of
the protocol make, and what Supavisor, PgCat, pgdog and RDS Proxy do, is from other measurements, their source or their documentation.

| what |`)
	for _, p := range Poolers() {
		fmt.Fprintf(&b, " %s |", p)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(Poolers())) + "\n")
	for _, r := range rows {
		if r.Holds != "" {
			continue
		}
		fmt.Fprintf(&b, "| %s |", cell(r.Name))
		for _, p := range Poolers() {
			fmt.Fprintf(&b, " %s |", r.FateBehind(p))
		}
		b.WriteString("\n")
	}
	b.WriteString(last.markdown(rows))
	return b.String()
}

// how says how the row comes about.
func (r Row) how() string {
	switch {
	case r.Documented != "":
		return "*documentation*: " + cell(r.Documented)
	case r.Wire != "":
		return cell(r.Wire)
	}
	var all []string
	if r.Versions != "" {
		all = append(all, "("+r.Versions+")")
	}
	for _, sql := range r.Make {
		all = append(all, code(sql))
	}
	return strings.Join(all, ", ")
}

// found says what prove makes of the row.
func (r Row) found() string {
	var codes []string
	for _, c := range r.Codes {
		codes = append(codes, "["+string(c)+"](prove/"+string(c)+".md)")
	}
	text := strings.Join(codes, " ")
	if r.As != "" {
		text += " as " + r.As
	}
	switch {
	case r.Missing != "":
		text = strings.TrimSpace(text + " **missing**: " + cell(r.Missing))
	case r.Harmless != "":
		text = strings.TrimSpace(text + " harmless: " + cell(r.Harmless))
	}
	if r.Wrong != nil {
		text += fmt.Sprintf(" (**a false alarm** today: %v)", r.Wrong)
	}
	return text
}

// markdown says what the differential test saw.
func (r Result) markdown(rows []Row) string {
	var b strings.Builder
	b.WriteString("\n## The differential test\n\n")
	if r.Date == "" {
		b.WriteString("It has not run yet: `POOLPROOF_SOAK=1 go test ./hostile/atlas -run TestEveryStatement -update`.\n")
		return b.String()
	}
	gaps := r.Gaps(rows)
	fmt.Fprintf(&b, `A used backend runs PostgreSQL's own regression statements (core, procedural languages, contrib), and after each that leaves no
transaction open it and a fresh backend of the same database are asked the same: settings with their sources, custom settings by every
name that a statement has said, role, locks, channels, cursors, statements, temporary objects of every catalogue, sequences, slots,
extensions' own functions. At the end of each script, after RESET ALL and again after DISCARD ALL, they are asked %d more functions and
views of the catalogue, and for the kinds of their memory. A twin on another server runs the same, to see seeds. What differs and has no row is a gap.

Last run: %s, PostgreSQL %s, scripts of %s. %d scripts, **%d statements** (%d of them answered with an error, as scripts test errors
and some want C code that is not built here), %d comparisons; %d commands of psql were left out, and %d connections ended on the way. Extensions: %s`,
		r.Questions, r.Date, r.Server, r.Source, r.Scripts, r.Statements, r.Failed, r.Comparisons, r.Skipped, r.Lost, strings.Join(r.Extensions, ", "))
	if len(r.Absent) > 0 {
		fmt.Fprintf(&b, "; not installed, and so not looked into: %s", strings.Join(r.Absent, ", "))
	}
	total := 0
	for _, d := range r.Differences {
		total += d.Count + d.AfterDiscard
	}
	fmt.Fprintf(&b, ".\n\n**%d differences of %d kinds, %d gaps.** A custom setting whose name no statement says is out of reach: PostgreSQL 15 lists none.\n\n", total, len(r.Differences), len(gaps))
	b.WriteString("| kind | seen | after DISCARD ALL | row | first |\n|---|---|---|---|---|\n")
	for _, d := range r.Differences {
		name := "**gap**"
		if row := explaining(rows, d.Kind); row != nil {
			name = cell(row.Name)
		}
		fmt.Fprintf(&b, "| %s | %d | %d | %s | %s |\n", cell(d.Kind), d.Count, d.AfterDiscard, name, d.Where)
	}
	return b.String()
}

// cell escapes a text for a cell of a table.
func cell(s string) string {
	return strings.NewReplacer("|", `\|`, "\n", " ", "*", `\*`, "_", `\_`, "<", `\<`).Replace(s)
}

// code returns SQL as code, in a cell.
func code(sql string) string {
	if sql == "" {
		return ""
	}
	return "`" + strings.ReplaceAll(strings.Join(strings.Fields(sql), " "), "|", `\|`) + "`"
}

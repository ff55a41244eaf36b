// Package checkup keeps the doctor's last report of the service's database, and has it look again when there is
// reason to.
//
//	start ─► Isolates                   refuses what an operator must change
//	      ─► Watch.Run ─► look ─► Record.Note ─► /readyz, console, log: what changed
//	           ▲             └─ another pooler, or another mode: Reopen
//	           └─ a connection was lost and the database answers again; or it is in use and Every is over
//
// A look is package doctor's, without what gets in others' way: at most four connections at a time, five seconds, one look at a
// time, three in a row and one a minute after that. No request waits for one.
package checkup

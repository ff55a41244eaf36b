package wire

import "github.com/jackc/pgx/v5/pgproto3"

// answer is what the server says to one message of ours if it succeeds. Whoever
// says anything else has lost step: a pooler that mixes clients, or repeats an
// answer after an error (Supavisor with named statements, Odyssey 1.5). Nothing
// that comes after can be trusted, so the connection is given up.
type answer byte

const (
	parsed     answer = iota // to Parse: ParseComplete
	bound                    // to Bind: BindComplete
	parameters               // to Describe of a statement: ParameterDescription, and then described
	described                // to Describe: RowDescription or NoData
	executed                 // to Execute: DataRow any number of times, then CommandComplete or EmptyQueryResponse
	closed                   // to Close: CloseComplete
)

// expected reports whether msg is what the server may say now, and notes that it
// was said. Errors, notices and the like may always come and are not asked about.
func (x *Exchange) expected(msg pgproto3.BackendMessage) bool {
	if ready, ok := msg.(*pgproto3.ReadyForQuery); ok {
		switch ready.TxStatus {
		case 'I', 'T', 'E':
			return x.refused || x.said == len(x.script)
		}
		return false
	}
	if x.refused {
		return false
	}
	if x.said == len(x.script) {
		if !x.inserting {
			return false
		}
		x.said, x.script = 0, append(x.script[:0], bound, executed)
	}
	said, done := false, true
	switch next := x.script[x.said]; msg.(type) {
	case *pgproto3.ParseComplete:
		said = next == parsed && len(x.parsing) > 0
	case *pgproto3.BindComplete:
		said = next == bound
	case *pgproto3.ParameterDescription:
		said = next == parameters
	case *pgproto3.RowDescription, *pgproto3.NoData:
		said = next == described
	case *pgproto3.DataRow:
		said, done = next == executed, false
	case *pgproto3.CommandComplete, *pgproto3.EmptyQueryResponse:
		said = next == executed
		x.executions++
	case *pgproto3.CloseComplete:
		said = next == closed && x.closesSent > 0
	}
	if said && done {
		x.said++
	}
	return said
}

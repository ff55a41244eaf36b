package hostile

import (
	"strings"
	"time"

	"github.com/poolproof/poolproof/internal/protocol"
)

// timeline holds the last things that happened on a client's connection. Every
// message makes one, so they are small. They are put into words only for a
// finding.
type timeline struct {
	ring [24]step
	n    int
}

// step is one of them.
type step struct {
	at     time.Time
	client uint32
	server int // which server connection
	kind   stepKind
	text   *queryText
	name   string // the statement's; of a ReadyForQuery the status
}

// stepKind is what happened.
type stepKind byte

const (
	stepAttached stepKind = iota // the client got the server connection
	stepQuery
	stepParse
	stepBind
	stepCall
	stepReady
	stepFault // we played one
)

// add records a step.
func (st *timeline) add(s *session, b *backend, kind stepKind, t *queryText, name string) {
	st.ring[st.n%len(st.ring)] = step{time.Now(), s.id, b.id, kind, t, name}
	st.n++
}

// list returns the steps in words, the oldest first.
func (st *timeline) list(p *Pooler) []Step {
	var all []Step
	for i := max(0, st.n-len(st.ring)); i < st.n; i++ {
		x := st.ring[i%len(st.ring)]
		all = append(all, Step{x.at.Sub(p.started), x.client, x.server, x.String()})
	}
	return all
}

// String returns what happened, as a person reads it.
func (x step) String() string {
	sql := ""
	if x.text != nil {
		sql = oneLine(x.text.sql, 160)
	}
	name := clip(x.name, 100)
	if name == "" {
		name = "unnamed"
	}
	switch x.kind {
	case stepAttached:
		return "gets the server connection"
	case stepQuery:
		return "Query: " + sql
	case stepParse:
		return "Parse " + name + ": " + sql
	case stepBind:
		return "Bind " + name + ": " + sql
	case stepFault:
		return "meets a fault (--faults): " + sql
	case stepCall:
		return "function call"
	default:
		switch x.name {
		case string(protocol.Idle):
			return "ReadyForQuery, idle: the server connection can be given to others"
		case string(protocol.FailedTransaction):
			return "ReadyForQuery, in a failed transaction"
		}
		return "ReadyForQuery, in a transaction"
	}
}

// oneLine returns a text in one line, of at most so many bytes.
func oneLine(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " …"
	}
	return s
}

package hostile

import (
	"strings"
	"time"

	"github.com/poolproof/poolproof/internal/protocol"
)

// steps are the last things that happened on a client's connection, kept small
// because every message makes one; they are put into words only for a finding.
type timeline struct {
	ring [24]step
	n    int
}

type step struct {
	at     time.Time
	client uint32
	server int
	kind   stepKind
	text   *queryText
	name   string
}

type stepKind byte

const (
	stepAttached stepKind = iota
	stepQuery
	stepParse
	stepBind
	stepCall
	stepReady
)

func (st *timeline) add(s *session, b *backend, kind stepKind, t *queryText, name string) {
	st.ring[st.n%len(st.ring)] = step{time.Now(), s.id, b.id, kind, t, name}
	st.n++
}

// list puts the steps into words, oldest first.
func (st *timeline) list(p *Pooler) []Step {
	var all []Step
	for i := max(0, st.n-len(st.ring)); i < st.n; i++ {
		x := st.ring[i%len(st.ring)]
		all = append(all, Step{x.at.Sub(p.started), x.client, x.server, x.String()})
	}
	return all
}

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

// oneLine shortens a text to one line of at most so many bytes.
func oneLine(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " …"
	}
	return s
}

package hostile

import "net"

// tellLetIn says that a client is let in, to whom wants to know.
func (p *Pooler) tellLetIn(conn net.Conn) {
	if p.cfg.LetIn != nil {
		p.cfg.LetIn(conn.LocalAddr(), conn.RemoteAddr())
	}
}

// AtWork reports whether a client waits for an answer.
func (p *Pooler) AtWork() bool {
	p.mu.Lock()
	sessions := make([]*session, 0, len(p.sessions))
	for _, s := range p.sessions {
		sessions = append(sessions, s)
	}
	p.mu.Unlock()
	for _, s := range sessions {
		s.mu.Lock()
		atWork := s.unanswered > 0
		s.mu.Unlock()
		if atWork {
			return true
		}
	}
	return false
}

// Transactions returns how many transactions were judged so far.
func (p *Pooler) Transactions() int { return int(p.transactions.Load()) }

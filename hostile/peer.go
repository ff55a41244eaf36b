package hostile

import "net"

// tellLetIn says that a client is let in, to whom wants to know.
func (p *Pooler) tellLetIn(conn net.Conn) {
	if p.cfg.LetIn != nil {
		p.cfg.LetIn(conn.LocalAddr(), conn.RemoteAddr())
	}
}

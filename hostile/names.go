package hostile

import (
	"bytes"
	"regexp"
	"strings"

	"github.com/poolproof/poolproof/internal/protocol"
)

// A pooler that does not track statements shares their names between all of its
// clients. A program runs in several copies, and another copy chooses the same
// names. So one client is enough to judge a name: a statement that it leaves on
// a server connection is in the way of the copy that gets the connection next.

// namesake is the client whose statements we parse in the name of another copy
// of the program. No client has this number.
const namesake = ^uint32(0)

// maxStatementsLeft bounds the names that are remembered.
const maxStatementsLeft = 10_000

// judgeLeftStatementsLocked reports the statements that the transaction, which
// is over, leaves on the server connection. One that it closed is in nobody's
// way, nor one whose name nobody else chooses.
func (s *session) judgeLeftStatementsLocked(b *backend) {
	for _, name := range s.parsedHere {
		ps := s.prepared[name]
		if ps == nil || b.statementOwners[name] != s.id || strings.HasPrefix(name, probeStatement) {
			continue
		}
		if another := s.p.claimStatement(name, s.id); another || !uniqueName(name, s.client.ApplicationName) {
			s.reportLocked(NameCollision, s.statementPattern(name), ps.text, ps.types)
		}
	}
	s.parsedHere = s.parsedHere[:0]
}

// claimStatement records that a client left a statement of this name, and
// reports whether another client has left one.
func (p *Pooler) claimStatement(name string, client uint32) (another bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	name = name[:min(len(name), 63)] // more of a name PostgreSQL does not keep either (NAMEDATALEN)
	owner, known := p.statementOwners[name]
	if !known && len(p.statementOwners) < maxStatementsLeft {
		p.statementOwners[name] = client
		p.statementsLeft.Store(true)
	}
	return known && owner != client
}

// namesakeMet is the last name that another's statement kept a client from. Whoever
// removes it and parses it again gets it: a pooler could as well have handed out the
// same server connection for both. PDO answers 42P05 by DEALLOCATE and the same
// Parse, as often as it takes, and would not end where no two meet.
type namesakeMet struct {
	name    string
	removed bool // the client has sent a DEALLOCATE or Close of it
}

// remove notes a DEALLOCATE or Close of this name.
func (n *namesakeMet) remove(name string) { n.removed = n.removed || name != "" && n.name == name }

// playNamesakeLocked parses a statement of this name ahead of the client's
// Parse, where some client has left one before: this server connection could as
// well be the one that has it. One that the client has removed is not in its way again.
func (s *session) playNamesakeLocked(b *backend, name string) {
	if !s.p.statementsLeft.Load() || s.p.cfg.Observe || s.p.profile.Plain || uniqueName(name, s.client.ApplicationName) {
		return
	}
	if s.namesake == (namesakeMet{name, true}) {
		s.namesake = namesakeMet{}
		s.closeOthersLocked(b, name)
		return
	}
	if b.statementOwners[name] == 0 {
		s.p.mu.Lock()
		_, left := s.p.statementOwners[name[:min(len(name), 63)]]
		s.p.mu.Unlock()
		if !left {
			return
		}
		s.sendParseLocked(b, name)
		b.statementOwners[name] = namesake
	}
	s.namesake = namesakeMet{name: name}
}

// Names that another copy of the program does not choose.
var (
	uuidPart = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}|(?:^|[^0-9a-f])[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}(?:$|[^0-9a-f])`) // version 4: random (RFC 9562)
	ofOneRun = regexp.MustCompile(`^dbdpg_p?[0-9]+_[0-9]+$`)                                                                                                                      // DBD::Pg's: the process's number
)

// uniqueName reports whether a name was made to be like no other: of random
// digits, or of the process's number. A counter or a hash of the text is the
// same in each copy. application is the client's application_name, which
// postgres.js sets to its own name if the program does not.
func uniqueName(name, application string) bool {
	return uuidPart.MatchString(name) || ofOneRun.MatchString(name) ||
		ofPostgresJS(name, application)
}

// ofPostgresJS reports whether a name is one of those that postgres.js makes,
// and not a person's word with a number behind it.
func ofPostgresJS(name, application string) bool {
	return postgresJSName.MatchString(name) && (application == driverPostgresJS || mixed.MatchString(name))
}

// mixed matches a digit before a letter, as among random ones.
var mixed = regexp.MustCompile(`[0-9][a-z]`)

// maxFailed bounds the names of failed statements that are kept of one client.
const maxFailed = 1000

// SQLSTATEs of errors that a client gets only where its pooler does not track
// statements: duplicate_prepared_statement and invalid_sql_statement_name.
const (
	duplicateStatement = "42P05"
	unknownStatement   = "26000"
)

// rememberFailedLocked remembers a statement whose Parse failed, or was skipped
// after an error. code is the error's.
func (s *session) rememberFailedLocked(name, code string) {
	if !s.p.profile.KeepsStatements || code == duplicateStatement || code == unknownStatement || len(s.failed) >= maxFailed {
		return
	}
	if s.failed == nil {
		s.failed = map[string]bool{}
	}
	s.failed[name] = true
}

// judgeParsedAgainLocked reports a Parse under the name of one that failed. As
// PgBouncer 1.24, which knows the name already, it hangs up.
func (s *session) judgeParsedAgainLocked(name string, ps *preparedStatement) {
	if !s.failed[name] {
		return
	}
	delete(s.failed, name)
	s.reportLocked(StaleStatement, s.statementPattern(name), ps.text, ps.types)
	if s.p.profile.TracksStatements && !s.p.cfg.Observe {
		s.fatal = "prepared statement name is already in use"
	}
}

// judgePlanLocked reports a named statement whose result DDL has changed. The
// error comes from the function that looks whether a kept plan still holds
// (PostgreSQL, plancache.c).
func (s *session) judgePlanLocked(code, routine string) {
	if code != "0A000" || routine != "RevalidateCachedQuery" || s.bound == "" || !s.p.profile.KeepsStatements {
		return
	}
	s.reportLocked(StaleStatement, s.statementPattern(s.bound), s.lastTextLocked(), nil)
}

// onDeallocateLocked handles the end of a DEALLOCATE of one statement.
func (s *session) onDeallocateLocked(b *backend) {
	for _, t := range s.unit {
		for _, st := range t.statements {
			if st.kind != "deallocate" {
				continue
			}
			delete(b.statementOwners, st.deallocates())
		}
	}
}

// errorOrigin returns the SQLSTATE of an ErrorResponse's body, and the server's
// function that it comes from.
func errorOrigin(body []byte) (code, routine string) {
	for len(body) > 1 {
		value, rest, ok := bytes.Cut(body[1:], []byte{0})
		if !ok {
			break
		}
		switch body[0] {
		case protocol.FieldCode:
			code = string(value)
		case protocol.FieldRoutine:
			routine = string(value)
		}
		body = rest
	}
	return code, routine
}

// base64Part matches what may be a hash in base64, of 16 bytes or more.
var base64Part = regexp.MustCompile(`[A-Za-z0-9+/_-]{22,}={0,2}`)

// replaceHashes replaces hashes in hexadecimal digits or in base64, and UUIDs.
func replaceHashes(name string) string {
	name = hexPart.ReplaceAllString(name, "…")
	return base64Part.ReplaceAllStringFunc(name, func(part string) string {
		if strings.HasSuffix(part, "=") || likeBase64(part) {
			return "…"
		}
		return part
	})
}

// likeBase64 reports whether a text of letters and digits is hardly words:
// upper case, lower case and digits are mixed.
func likeBase64(part string) bool {
	digits, turns := 0, 0
	for i, c := range []byte(part) {
		switch {
		case c >= '0' && c <= '9':
			digits++
		case i > 0 && c >= 'a' && c <= 'z' && part[i-1] >= '0' && part[i-1] <= '9':
			turns++
		}
	}
	return digits >= 2 && turns >= 1 && strings.ToLower(part) != part && strings.ToUpper(part) != part
}

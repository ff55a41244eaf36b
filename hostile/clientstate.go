package hostile

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// clientState is what a client's messages say about it: its prepared statements
// and the transaction under way. The session's lock guards it.
type clientState struct {
	client     Client
	attachment int64                         // counts the server connections that the client was given
	prepared   map[string]*preparedStatement // by name
	unnamed    *preparedStatement
	tx         *transaction // nil: none is under way
	history    timeline
	parsedHere []string        // names of statements that it parsed on the server connection that it has
	failed     map[string]bool // names of statements whose Parse failed, and that were not closed
	namesake   namesakeMet     // what was in the way of its last Parse under a name that is taken
	lastOfUnit *queryText      // the last text of the last unit
	bound      string          // the name of the statement that it bound last

	// The unit under way.
	extended      bool           // it is of the extended protocol
	unit          []*queryText   // its statements
	pendingParses []pendingParse // Parse messages that are not answered
	pendingCloses []bool         // Close messages that are not answered; true: ours, the client does not see the answer

	// Sending before the last answer has come.
	spokeEarly bool       // the client did
	early      bool       // the message is not forwarded yet
	earlyText  *queryText // what it sent; nil if that is no query
	gracesUsed int        // how many answers were held back a moment, to see whether it does
}

// pendingParse is a Parse message that is not answered.
type pendingParse struct {
	name      string
	statement *preparedStatement // nil: the message is ours, and the client does not see the answer
	owner     uint32             // whose statement of this name there was before; 0: nobody's
}

// preparedStatement is a statement that a client has parsed.
type preparedStatement struct {
	text         *queryText
	types        []uint32
	attachment   int64  // clientState's when it was parsed
	described    bool   // on the server connection that parsed it
	parseMessage []byte // kept only if the profile tracks statements
}

// transaction is what was seen of one, from the moment that the client got a
// server connection until it was taken away.
type transaction struct {
	client        Client
	texts         []*queryText // each once
	truncated     bool         // there were more texts than are kept
	mayLeaveState bool         // only the server can tell whether it left something
	ddl           bool         // it may have changed functions or policies
	usedSequence  bool
	settingsRead  []string // custom settings
	strictReads   []string // those of them that are read without missing_ok
	settingsSet   []string
	maybeSettings []string      // what could be one, if it may set any
	sqlPrepared   []string      // statements that it has prepared in SQL
	callsC        bool          // it may call a function in C of an extension
	setsUnknown   bool          // it may set any setting
	runsAny       bool          // it runs SQL that is put together only then
	settingLeft   bool          // it left a setting
	idleReported  bool          // it was reported as idle
	over          *atomic.Bool  // it has ended; nil until somebody wants to know
	tried         bool          // waitForIdle has waited for it
	waiter        *session      // the session that it has waited in vain for; nil: none
	history       func() []Step // what led to its end
}

// maxTextsOfOne bounds the texts that are kept of one transaction.
const maxTextsOfOne = 40

// maxSQLPrepared bounds the names that are kept of a transaction's PREPAREs.
const maxSQLPrepared = 1000

// beginTransactionLocked begins a transaction on a server connection that the
// client was given.
func (s *session) beginTransactionLocked(b *backend) {
	s.attachment++
	s.parsedHere = s.parsedHere[:0]
	s.tx = &transaction{client: s.client}
	s.history.add(s, b, stepAttached, nil, "")
}

// endTransactionLocked ends the transaction and returns it.
func (s *session) endTransactionLocked() *transaction {
	t := s.tx
	t.client, s.tx = s.client, nil
	if t.over != nil {
		t.over.Store(true)
	}
	t.history = func() []Step { return s.history.list(s.p) } // nothing is added to it before the transaction is judged
	return t
}

// reportLocked reports a fault, with the text that made it; t may be nil.
func (s *session) reportLocked(code Code, subject string, t *queryText, types []uint32) {
	s.p.report(fault{code: code, subject: subject, first: s.occurrenceLocked(t, types)})
}

// occurrenceLocked returns what the client does now as an occurrence of a fault.
func (s *session) occurrenceLocked(t *queryText, types []uint32) Occurrence {
	o := Occurrence{Client: s.client, Trace: s.history.list(s.p), Types: typeNames(types)}
	if t != nil {
		o.SQL, o.Tags = shorten(t.sql), t.tags
	}
	return o
}

// recognizeLocked notes which library the client was recognized as, "" if none,
// and mends the fixes of what it did before.
func (s *session) recognizeLocked(sender string) {
	known := s.client.Driver
	if s.client.Driver = better(known, sender); s.client.Driver != known {
		s.p.ledger.recognize(s.client)
	}
}

// recordLocked records a statement of the transaction under way, and reports
// what is a fault by its words.
func (s *session) recordLocked(t *queryText) {
	x := s.tx
	if x == nil {
		return
	}
	if len(x.texts) < maxTextsOfOne {
		if !slices.Contains(x.texts, t) {
			x.texts = append(x.texts, t)
		}
	} else {
		x.truncated = true
	}
	x.mayLeaveState = x.mayLeaveState || t.mayLeaveState
	reads, sets := t.settingsRead, t.settingsSet
	if sc := s.pool.schema.Load(); sc != nil {
		var unknown bool
		reads, sets, unknown = sc.settingsOf(t)
		x.setsUnknown = x.setsUnknown || unknown
		x.callsC = x.callsC || sc.callsC(t)
		x.noteMaybe(t, sc, unknown || sc.runsAny(t))
	}
	for _, n := range t.strictReads {
		x.strictReads = appendNew(x.strictReads, n)
	}
	x.keepSettings(reads, sets)
	if t.readsSequence && !t.usesSequence && !x.usedSequence {
		s.reportLocked(SequenceState, "", t, nil)
	}
	x.usedSequence = x.usedSequence || t.usesSequence
	s.recognizeLocked(t.sender)
	if t.asksPID && s.backend != nil {
		s.p.rememberPID(s.backend.pid, x)
	}
	if t.namesPID {
		s.judgePIDsLocked(t, pidsIn(t.sql))
	}
	for _, st := range t.statements {
		s.judgeStatementLocked(st, t, x)
	}
	s.keepOfUnitLocked(t)
}

// noteMaybe keeps what could be names of settings in the strings of a statement
// that may set any, or whose SQL is put together only then.
func (x *transaction) noteMaybe(t *queryText, sc *schema, may bool) {
	x.runsAny = x.runsAny || may
	if !x.runsAny {
		return
	}
	for _, n := range t.maybeSettings {
		if len(x.maybeSettings) < maxMaybe {
			x.maybeSettings = appendNew(x.maybeSettings, n)
		}
	}
	x.maybeSettings = composed(x.maybeSettings, t.parts.prefixes, t.parts.names)
	x.maybeSettings = composed(x.maybeSettings, sc.parts.prefixes, t.parts.names)
}

// noteParams records the settings that the parameters of a Bind name. params is
// the message after the statement's name, or the beginning of it.
func (x *transaction) noteParams(t *queryText, sc *schema, params []byte) {
	all := sc.runsAny(t) || x.setsUnknown
	if len(t.setsParams) == 0 && len(t.readsParams) == 0 && !all {
		return
	}
	values, whole := parseBound(params)
	for _, n := range t.setsParams {
		name, known := nthName(values, n)
		switch {
		case known && strings.Contains(name, "."):
			x.settingsSet = appendNew(x.settingsSet, name)
		case !known && !whole:
			x.setsUnknown = true
		}
	}
	for _, n := range t.readsParams {
		if name, known := nthName(values, n); known && strings.Contains(name, ".") {
			x.settingsRead = appendNew(x.settingsRead, name)
		}
	}
	if !all {
		return
	}
	for _, v := range values {
		if found := appendNames(nil, string(v.bytes)); len(x.maybeSettings)+len(found) <= maxMaybe {
			for _, n := range found {
				x.maybeSettings = appendNew(x.maybeSettings, n)
			}
		}
		if name := strings.ToLower(string(v.bytes)); isWholeName(name) {
			x.maybeSettings = composed(x.maybeSettings, t.parts.prefixes, []string{name})
			x.maybeSettings = composed(x.maybeSettings, sc.parts.prefixes, []string{name})
		}
	}
}

// judgeStatementLocked reports a statement that is a fault whatever it leaves.
func (s *session) judgeStatementLocked(st statement, t *queryText, x *transaction) {
	if isPoolReset(t.sql) {
		s.p.ledger.note("reset of "+s.client.Driver, "the driver sends it when a connection goes back to its own pool; harmless, but a round trip for nothing")
		return
	}
	switch st.kind {
	case "create", "alter", "drop", "do":
		x.ddl = x.ddl || !st.temporary() || slices.Contains(t.words, "current_setting")
	case "prepare":
		if st.words[1] != "transaction" && len(x.sqlPrepared) < maxSQLPrepared { // inspect reports it if it is left behind
			x.sqlPrepared = appendNew(x.sqlPrepared, st.words[1])
		}
	case "execute":
		s.judgeSQLPreparedLocked(st.words[1], t, x)
	case "deallocate":
		if st.words[1] == "all" || st.words[1] == "prepare" && st.words[2] == "all" {
			if s.p.profile.AnswersDeallocate && !s.extended {
				s.p.ledger.note("DEALLOCATE ALL", "psycopg sends it after a rollback; this pooler forgets the client's own statements and no others")
			} else {
				s.reportLocked(ResetsOthers, "DEALLOCATE ALL", t, nil)
			}
			s.unnamed = nil
			clear(s.prepared)
		} else {
			s.namesake.remove(st.deallocates())
			s.judgeSQLPreparedLocked(st.deallocates(), t, x)
		}
	case "discard":
		s.reportLocked(ResetsOthers, "DISCARD "+strings.ToUpper(st.words[1]), t, nil)
	case "reset":
		if st.words[1] == "all" {
			s.reportLocked(ResetsOthers, "RESET ALL", t, nil)
		}
	case "load":
		s.reportLocked(LoadedLibrary, "", t, nil)
	}
}

// judgeSQLPreparedLocked reports the use of a statement that the transaction has
// not prepared itself.
func (s *session) judgeSQLPreparedLocked(name string, t *queryText, x *transaction) {
	if !slices.Contains(x.sqlPrepared, name) {
		s.reportLocked(SQLPrepared, "", t, nil)
	}
}

// onQueryLocked handles a client's Query.
func (s *session) onQueryLocked(b *backend, f frame) {
	sql, _, whole := bodyString(f)
	t := s.p.texts.of(sql, !whole)
	s.extended = false
	s.history.add(s, b, stepQuery, t, "")
	s.unnamed = nil // a simple query destroys the unnamed statement
	b.unnamedOwner = nil
	s.recordLocked(t)
}

// onFunctionCallLocked handles a client's FunctionCall.
func (s *session) onFunctionCallLocked(b *backend) {
	s.history.add(s, b, stepCall, nil, "")
	if s.tx != nil {
		s.tx.mayLeaveState = true
	}
}

// onParseLocked handles a client's Parse.
func (s *session) onParseLocked(b *backend, f frame) {
	s.extended = true
	name, rest, _ := bodyString(f)
	sql, rest, whole := cutString(rest)
	t := s.p.texts.of(sql, !whole)
	var types []uint32
	if whole && len(rest) >= 2 {
		for n := int(binary.BigEndian.Uint16(rest)); n > 0 && len(rest) >= 6; n-- {
			types = append(types, binary.BigEndian.Uint32(rest[2:]))
			rest = rest[4:]
		}
	}
	ps := &preparedStatement{text: t, types: types, attachment: s.attachment}
	s.history.add(s, b, stepParse, t, string(name))
	if len(name) == 0 {
		s.pendingParses = append(s.pendingParses, pendingParse{statement: ps})
		s.unnamed, b.unnamedOwner = ps, s
		return
	}
	key := string(name)
	s.recognizeLocked(driverByStatement(key))
	s.recognizeLocked(t.sender)
	s.judgeParsedAgainLocked(key, ps)
	if s.p.profile.TracksStatements {
		if f.complete() {
			ps.parseMessage = slices.Clone(f.raw)
		}
		if _, mine := s.prepared[key]; !mine && !s.p.cfg.Observe {
			s.closeOthersLocked(b, key)
		}
	} else {
		s.playNamesakeLocked(b, key)
		s.keepParsedLocked(key)
	}
	s.pendingParses = append(s.pendingParses, pendingParse{key, ps, b.statementOwners[key]})
	s.keepPreparedLocked(key, ps)
	b.statementOwners[key] = s.id
}

// onBindLocked handles a client's Bind. It counts as running the statement.
func (s *session) onBindLocked(b *backend, f frame) {
	_, rest, ok := cutString(f.body())
	name, rest, ok2 := cutString(rest)
	if !ok || !ok2 {
		return // no statement's name is longer than the buffer
	}
	own := s.prepared[string(name)]
	if len(name) == 0 {
		own = s.unnamed
	}
	var t *queryText
	if own != nil {
		t = own.text
	}
	s.bound = string(name)
	s.history.add(s, b, stepBind, t, s.bound) // now, so that it is the last step of a fault that it makes
	if ps := s.useStatementLocked(b, s.bound); ps != nil {
		s.recordLocked(ps.text)
		if ps.text.namesPID {
			s.judgePIDsLocked(ps.text, pidsBound(rest))
		}
		if sc := s.pool.schema.Load(); s.tx != nil && sc != nil {
			s.tx.noteParams(ps.text, sc, rest)
			s.tx.setsUnknown = s.tx.setsUnknown || slices.ContainsFunc(ps.types, func(oid uint32) bool { return sc.settingDomains[oid] })
		}
		return
	}
	if s.tx != nil {
		s.tx.mayLeaveState = true // an unknown statement
	}
}

// onDescribeLocked handles a client's Describe.
func (s *session) onDescribeLocked(b *backend, f frame) {
	body := f.body()
	if len(body) < 2 || body[0] != protocol.Statement {
		return
	}
	if name, _, ok := cutString(body[1:]); ok {
		if ps := s.useStatementLocked(b, string(name)); ps != nil {
			ps.described = ps.attachment == s.attachment
		}
	}
}

// onCloseLocked handles a client's Close.
func (s *session) onCloseLocked(b *backend, f frame) {
	s.pendingCloses = append(s.pendingCloses, false)
	body := f.body()
	if len(body) < 2 || body[0] != protocol.Statement {
		return
	}
	if name, _, ok := cutString(body[1:]); ok {
		delete(s.prepared, string(name))
		delete(s.failed, string(name))
		delete(b.statementOwners, string(name))
		s.namesake.remove(string(name))
	}
}

// useStatementLocked returns the statement that the client is about to use, or
// nil. If using it goes wrong behind a pooler, it reports that, and makes it go
// wrong: another client's statement takes the place of the unnamed one. Under a
// profile that tracks statements, it parses a named one again where it is
// missing, as such a pooler does.
func (s *session) useStatementLocked(b *backend, name string) *preparedStatement {
	if name == "" {
		ps := s.unnamed
		if ps != nil && ps.attachment == s.attachment {
			return ps
		}
		var t *queryText
		var types []uint32
		if ps != nil {
			t, types = ps.text, ps.types
			if s.client.Driver == "" && ps.described {
				s.recognizeLocked(driverPgx) // in its mode describe_exec; libpq's PQprepare does not ask for a description
			}
		}
		s.reportLocked(ForeignUnnamed, "", t, types)
		if !s.p.cfg.Observe && !s.p.profile.Plain && (b.unnamedOwner == s || b.unnamedOwner == nil) {
			s.sendParseLocked(b, "")
			b.unnamedOwner = nil
		}
		return ps
	}
	ps := s.prepared[name]
	switch {
	case ps == nil:
		return nil // the client never parsed it: an error without any pooler, too
	case ps.attachment == s.attachment:
		return ps
	case s.p.profile.TracksStatements:
		if b.statementOwners[name] != s.id && ps.parseMessage != nil && !s.p.cfg.Observe {
			s.closeOthersLocked(b, name)
			s.sendRawParseLocked(b, name, ps.parseMessage)
			b.statementOwners[name] = s.id
		}
		return ps
	}
	if strings.HasPrefix(name, probeStatement) {
		s.p.ledger.note("a probe's statement", "a program tries out whether the pooler tracks named statements, as poolproof does when it opens a database")
	} else {
		s.reportLocked(MissingNamed, s.statementPattern(name), ps.text, ps.types)
	}
	ps.attachment = s.attachment // reported once per transaction
	return ps
}

// probeStatement begins the names of statements that package pooler uses on
// another server connection on purpose, to see what happens.
const probeStatement = "poolproof_probe_"

// foreignStatement is the statement that we leave in the name of another
// client. It takes no parameters and returns this text.
const foreignStatement = `select 'this is the answer to another client''s statement (PP001, PP003)'::text as poolproof`

// sendParseLocked parses foreignStatement ahead of the client's message, under
// a name or under none. The answer is not passed on.
func (s *session) sendParseLocked(b *backend, name string) {
	raw, err := (&pgproto3.Parse{Name: name, Query: foreignStatement}).Encode(nil)
	if err == nil {
		s.sendRawParseLocked(b, name, raw)
	}
}

// sendRawParseLocked sends a Parse message of ours for such a statement.
func (s *session) sendRawParseLocked(b *backend, name string, raw []byte) {
	s.pendingParses = append(s.pendingParses, pendingParse{name: name})
	_, _ = b.w.Write(raw) // bufio keeps the error for Flush
}

// closeOthersLocked closes a statement of this name that the server connection has, where
// it must not be in the client's way.
func (s *session) closeOthersLocked(b *backend, name string) {
	if _, there := b.statementOwners[name]; there {
		send(b.w, &pgproto3.Close{ObjectType: protocol.Statement, Name: name})
		s.pendingCloses = append(s.pendingCloses, true)
		delete(b.statementOwners, name)
	}
}

// onCloseCompleteLocked handles a CloseComplete, and reports whether it answers
// a Close of ours.
func (s *session) onCloseCompleteLocked() (ours bool) {
	if len(s.pendingCloses) == 0 {
		return false
	}
	ours = s.pendingCloses[0]
	s.pendingCloses = s.pendingCloses[1:]
	return ours
}

// onParseCompleteLocked handles a ParseComplete, and reports whether it answers
// a Parse of ours.
func (s *session) onParseCompleteLocked() (ours bool) {
	if len(s.pendingParses) == 0 {
		return false
	}
	ours = s.pendingParses[0].statement == nil
	s.pendingParses = s.pendingParses[1:]
	return ours
}

// onSyncLocked handles a client's Sync.
func (s *session) onSyncLocked() {
	s.extended, s.flushed = true, false
}

// noteEarlyLocked records that the client sent something before the last unit
// was answered.
func (s *session) noteEarlyLocked(f frame) {
	s.early = true
	if s.spokeEarly {
		return
	}
	s.spokeEarly, s.earlyText = true, nil
	switch f.typ {
	case protocol.Query:
		sql, _, whole := bodyString(f)
		s.earlyText = s.p.texts.of(sql, !whole)
	case protocol.Parse:
		_, rest, _ := bodyString(f)
		sql, _, whole := cutString(rest)
		s.earlyText = s.p.texts.of(sql, !whole)
	}
}

// A ReadyForQuery is held back for graceTime, after everything before it was
// sent, to see whether the client says more before it has it. Only the first
// graceTimes answers of a client are held back. The first longGraces of them
// are held back longer, because a busy machine may be slow to run the client.
const (
	graceTime  = time.Millisecond
	graceTimes = 30
	longGrace  = 4 * time.Millisecond
	longGraces = 4
)

// Of the observed clients of one program, only so many are held back, and then one
// of so many: what a program does its next clients do as well, and all of them
// wait. Programs are told apart by what their clients say they are.
const (
	graceClients  = 20
	graceSample   = 10
	gracePrograms = 100 // more are taken for one
)

// holdsBack reports whether to hold back a client's answers; it is asked once of
// each.
func (p *Pooler) holdsBack(program Client) bool {
	if !p.cfg.Observe {
		return true
	}
	program.ID, program.ApplicationName = 0, program.ApplicationName[:min(len(program.ApplicationName), 63)] // more of it PostgreSQL does not show
	p.mu.Lock()
	defer p.mu.Unlock()
	n, known := p.heldBack[program]
	if !known && len(p.heldBack) >= gracePrograms {
		program = Client{}
		n = p.heldBack[program]
	}
	p.heldBack[program] = n + 1
	return n < graceClients || n%graceSample == 0
}

// holdBackReady waits before a ReadyForQuery is sent, as the constants say.
func (s *session) holdBackReady() {
	s.mu.Lock()
	wait := !s.spokeEarly && s.gracesUsed < graceTimes && !s.unitOpen
	if wait && s.gracesUsed == 0 && !s.p.holdsBack(s.client) {
		s.gracesUsed, wait = graceTimes, false
	}
	long := s.gracesUsed < longGraces
	if wait {
		s.gracesUsed++
	}
	s.mu.Unlock()
	if !wait || s.flush() != nil {
		return
	}
	if long {
		time.Sleep(longGrace)
	} else {
		time.Sleep(graceTime)
	}
}

// judgeUnitLocked judges a unit that was answered. status is its
// ReadyForQuery's.
func (s *session) judgeUnitLocked(b *backend, status byte) {
	if s.spokeEarly && status == protocol.Idle && (s.early || s.unitOpen || s.unanswered > 0) {
		if s.p.profile.MixesUnits {
			s.reportLocked(SyncsInFlight, "", s.earlyText, nil)
		} else {
			s.p.ledger.note("queries before the last answer", "the program sends its next query before the last one was answered: right behind this pooler, but not behind Supavisor or PgBouncer 1.18 (PP019)")
		}
	}
	if status == protocol.Idle || s.unanswered == 0 {
		s.spokeEarly = false
	}
	if status == protocol.FailedTransaction && s.unitHasLocked("begin", "start") && s.unitHasLocked("commit", "end") {
		s.reportLocked(FailedPipeline, "", s.lastTextLocked(), nil)
	}
	s.history.add(s, b, stepReady, nil, string(status))
	s.lastOfUnit = s.lastTextLocked()
	s.unit, s.pendingParses, s.pendingCloses = s.unit[:0], nil, nil
}

// unitHasLocked reports whether the unit has a statement that begins with one
// of these words.
func (s *session) unitHasLocked(kinds ...string) bool {
	for _, t := range s.unit {
		for _, st := range t.statements {
			if slices.Contains(kinds, st.kind) {
				return true
			}
		}
	}
	return false
}

// lastTextLocked returns the unit's last text, or nil.
func (s *session) lastTextLocked() *queryText {
	if len(s.unit) == 0 {
		return nil
	}
	return s.unit[len(s.unit)-1]
}

// onCommandCompleteLocked handles a CommandComplete. Its tag shows what the
// words of a prepared statement may not.
func (s *session) onCommandCompleteLocked(b *backend, f frame) {
	tag, _, _ := cstring(f.body())
	if s.tx == nil {
		return
	}
	s.afterCommandLocked(tag)
	switch tag {
	case "DEALLOCATE ALL", "DISCARD ALL":
		clear(b.statementOwners)
		clear(b.ownStatements)
		clear(s.failed)
	case "DEALLOCATE":
		s.onDeallocateLocked(b)
	case "LISTEN", "PREPARE", "LOAD", "DO", "CALL", "CREATE FUNCTION", "CREATE TRIGGER", "CREATE POLICY":
		s.tx.mayLeaveState = true
	}
}

// outsideTransaction is the SQLSTATE of PostgreSQL's warning about SET LOCAL
// outside a transaction (no_active_sql_transaction).
const outsideTransaction = "25P01"

// onNoticeResponseLocked handles a NoticeResponse.
func (s *session) onNoticeResponseLocked(f frame) {
	if !f.complete() {
		return
	}
	var n pgproto3.NoticeResponse
	if n.Decode(f.body()) != nil || n.Code != outsideTransaction {
		return
	}
	for _, t := range s.unit {
		for _, st := range t.statements {
			if st.local() {
				s.reportLocked(LocalOutside, "", t, nil)
				return
			}
		}
	}
}

// onErrorResponseLocked handles an ErrorResponse: statements whose Parse was
// not answered do not exist.
func (s *session) onErrorResponseLocked(b *backend, f frame) {
	code, routine := errorOrigin(f.body())
	s.judgePlanLocked(code, routine)
	for _, p := range slices.Backward(s.pendingParses) { // the first of a name knows what was there before
		switch {
		case p.name == "" && s.unnamed == p.statement:
			s.unnamed = nil
		case p.name != "":
			if s.prepared[p.name] == p.statement {
				delete(s.prepared, p.name)
			}
			if p.owner == 0 {
				delete(b.statementOwners, p.name)
			} else {
				b.statementOwners[p.name] = p.owner
			}
			if p.statement != nil {
				s.rememberFailedLocked(p.name, code)
			}
		}
	}
	s.pendingParses, s.pendingCloses = nil, nil
}

// bodyString returns the first string of a message's body.
func bodyString(f frame) (first, rest []byte, whole bool) { return cutString(f.body()) }

// cutString cuts a string that ends with a zero byte off the front. ok is false
// if there is no zero byte.
func cutString(b []byte) (first, rest []byte, whole bool) {
	for i, c := range b {
		if c == 0 {
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, false
}

// typeNames returns the names of common types, and numbers for others.
func typeNames(oids []uint32) []string {
	var names []string
	for _, oid := range oids {
		name, ok := commonTypes[oid]
		if !ok {
			name = strconv.FormatUint(uint64(oid), 10)
		}
		names = append(names, name)
	}
	return names
}

// commonTypes are oids of PostgreSQL's own types (pg_type.dat).
var commonTypes = map[uint32]string{
	0: "unspecified", 16: "bool", 17: "bytea", 18: "char", 19: "name", 20: "int8", 21: "int2", 23: "int4", 25: "text", 26: "oid",
	114: "json", 700: "float4", 701: "float8", 1042: "bpchar", 1043: "varchar", 1082: "date", 1083: "time", 1114: "timestamp",
	1184: "timestamptz", 1186: "interval", 1700: "numeric", 2950: "uuid", 3802: "jsonb", 1007: "int4[]", 1009: "text[]", 1016: "int8[]", 2951: "uuid[]",
}

package hostile

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/poolproof/poolproof/internal/protocol"
)

// watch is what is known of a client by what it says: its statements and the
// transaction under way. The session's lock guards it.
type clientState struct {
	client     Client
	attachment int64                         // counts the server connections it was given
	prepared   map[string]*preparedStatement // its named statements
	unnamed    *preparedStatement            // its unnamed one
	tx         *transaction
	history    timeline

	extended   bool         // the unit under way is of the extended protocol
	unit       []*queryText // its statements
	spokeEarly bool         // it was told something before the last answer
	earlyText  *queryText
	gracesUsed int // how many answers were held back a moment

	pendingParses []pendingParse // Parse messages of this unit that are not answered
	pendingCloses []bool         // Close messages of this unit that are not answered; true: ours
}

// parsing is a Parse message under way.
type pendingParse struct {
	name      string
	statement *preparedStatement // nil: ours, whose answer the client does not see
}

// made is a statement that a client has parsed.
type preparedStatement struct {
	text         *queryText
	types        []uint32
	attachment   int64
	described    bool   // on the server connection that parsed it
	parseMessage []byte // the Parse message, where the profile tracks statements
}

// transaction is what was seen of one: from the moment that a client got a
// server connection until it was taken away.
type transaction struct {
	client        Client
	texts         []*queryText
	truncated     bool // there were more texts than are kept
	mayLeaveState bool
	ddl           bool
	usedSequence  bool
	settingsRead  []string
	settingsSet   []string
	history       func() []Step // what led to its end
	idleReported  bool          // it was told of once as idle
	setsUnknown   bool          // something in it may make any setting
}

const maxTextsOfOne = 40 // statements of one transaction that are kept

// attached begins a transaction.
func (s *session) beginTransactionLocked(b *backend) {
	s.attachment++
	s.tx = &transaction{client: s.client}
	s.history.add(s, b, stepAttached, nil, "")
}

// detached ends it.
func (s *session) endTransactionLocked() *transaction {
	t := s.tx
	t.client, s.tx = s.client, nil
	t.history = func() []Step { return s.history.list(s.p) } // the client says nothing until it is judged
	return t
}

// fault reports one, with the text that did it.
func (s *session) reportLocked(code Code, subject string, t *queryText, types []uint32) {
	o := Occurrence{Client: s.client, Trace: s.history.list(s.p), Types: typeNames(types)}
	if t != nil {
		o.SQL, o.Tags = shorten(t.sql), t.tags
	}
	s.p.report(fault{code, subject, o})
}

// ran notes a statement of the transaction under way.
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
	}
	for _, n := range sets {
		x.settingsSet = appendNew(x.settingsSet, n)
	}
	for _, n := range reads {
		x.settingsRead = appendNew(x.settingsRead, n)
	}
	if t.readsSequence && !t.usesSequence && !x.usedSequence {
		s.reportLocked(SequenceState, "", t, nil)
	}
	x.usedSequence = x.usedSequence || t.usesSequence
	if s.client.Driver == "" {
		s.client.Driver = driverBySQL(t.sql)
	}
	for _, st := range t.statements {
		s.judgeStatementLocked(st, t, x)
	}
	s.unit = append(s.unit, t)
}

// judge looks at statements that are faults by what they are.
func (s *session) judgeStatementLocked(st statement, t *queryText, x *transaction) {
	if isPoolReset(t.sql) {
		s.p.ledger.note("reset of "+s.client.Driver, "what the driver sends when a connection goes back to its own pool; harmless, a round trip for nothing")
		return
	}
	switch st.kind {
	case "create", "alter", "drop", "do":
		x.ddl = true
	case "prepare":
		if st.words[1] != "transaction" {
			s.reportLocked(SQLPrepared, "", t, nil)
		}
	case "execute":
		s.reportLocked(SQLPrepared, "", t, nil)
	case "deallocate":
		if st.words[1] == "all" || st.words[1] == "prepare" && st.words[2] == "all" {
			s.reportLocked(ResetsOthers, "DEALLOCATE ALL", t, nil)
			s.unnamed = nil
			clear(s.prepared)
		} else {
			s.reportLocked(SQLPrepared, "", t, nil)
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

func (s *session) onQueryLocked(b *backend, f frame) {
	sql, _, whole := bodyString(f)
	t := s.p.texts.of(sql, !whole)
	s.extended = false
	s.history.add(s, b, stepQuery, t, "")
	s.unnamed = nil // a simple query destroys the unnamed statement
	b.unnamedOwner = nil
	s.recordLocked(t)
}

func (s *session) onFunctionCallLocked(b *backend) {
	s.history.add(s, b, stepCall, nil, "")
	if s.tx != nil {
		s.tx.mayLeaveState = true
	}
}

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
	m := &preparedStatement{text: t, types: types, attachment: s.attachment}
	s.pendingParses = append(s.pendingParses, pendingParse{string(name), m})
	s.history.add(s, b, stepParse, t, string(name))
	if len(name) == 0 {
		s.unnamed, b.unnamedOwner = m, s
		return
	}
	key := string(name)
	if s.client.Driver == "" {
		s.client.Driver = driverByStatement(key)
	}
	if s.p.profile.TracksStatements {
		if f.complete() {
			m.parseMessage = slices.Clone(f.raw)
		}
		if _, mine := s.prepared[key]; !mine && !s.p.cfg.Observe {
			s.closeOthersLocked(b, key)
		}
	} else if other := s.p.claimStatement(key, s); other {
		s.reportLocked(NameCollision, s.statementPattern(key), t, types)
	}
	s.prepared[key] = m
	b.statementOwners[key] = s.id
}

func (s *session) onBindLocked(b *backend, f frame) {
	_, rest, ok := cutString(f.body())
	name, _, ok2 := cutString(rest)
	if !ok || !ok2 {
		return // a statement's name that long is no name
	}
	own := s.prepared[string(name)]
	if len(name) == 0 {
		own = s.unnamed
	}
	var t *queryText
	if own != nil {
		t = own.text
	}
	s.history.add(s, b, stepBind, t, string(name)) // before it is judged: it is the fault's last step
	if m := s.useStatementLocked(b, string(name)); m != nil {
		s.recordLocked(m.text)
		if sc := s.pool.schema.Load(); s.tx != nil && sc != nil {
			s.tx.setsUnknown = s.tx.setsUnknown || slices.ContainsFunc(m.types, func(oid uint32) bool { return sc.settingDomains[oid] })
		}
		return
	}
	if s.tx != nil {
		s.tx.mayLeaveState = true // nobody knows what it is
	}
}

func (s *session) onDescribeLocked(b *backend, f frame) {
	body := f.body()
	if len(body) < 2 || body[0] != protocol.Statement {
		return
	}
	if name, _, ok := cutString(body[1:]); ok {
		if m := s.useStatementLocked(b, string(name)); m != nil {
			m.described = m.attachment == s.attachment
		}
	}
}

func (s *session) onCloseLocked(b *backend, f frame) {
	s.pendingCloses = append(s.pendingCloses, false)
	body := f.body()
	if len(body) < 2 || body[0] != protocol.Statement {
		return
	}
	if name, _, ok := cutString(body[1:]); ok {
		delete(s.prepared, string(name))
		delete(b.statementOwners, string(name))
	}
}

// use looks up a statement that the client is about to use, reports where that
// goes wrong behind a pooler, and puts another client's in its place, as it
// would be there.
func (s *session) useStatementLocked(b *backend, name string) *preparedStatement {
	if name == "" {
		m := s.unnamed
		if m != nil && m.attachment == s.attachment {
			return m
		}
		var t *queryText
		var types []uint32
		if m != nil {
			t, types = m.text, m.types
			if s.client.Driver == "" && m.described {
				s.client.Driver = driverPgx // its mode describe_exec; libpq's PQprepare asks for no description
			}
		}
		s.reportLocked(ForeignUnnamed, "", t, types)
		if !s.p.cfg.Observe && !s.p.profile.Plain && (b.unnamedOwner == s || b.unnamedOwner == nil) {
			s.sendParseLocked(b, &pgproto3.Parse{Query: foreignStatement})
			b.unnamedOwner = nil
		}
		return m
	}
	m := s.prepared[name]
	switch {
	case m == nil:
		return nil // it never made one: an error of its own, pooler or not
	case m.attachment == s.attachment:
		return m
	case s.p.profile.TracksStatements:
		if b.statementOwners[name] != s.id && m.parseMessage != nil && !s.p.cfg.Observe {
			s.closeOthersLocked(b, name)
			s.sendRawParseLocked(b, m.parseMessage)
			b.statementOwners[name] = s.id
		}
		return m
	}
	if strings.HasPrefix(name, probeStatement) {
		s.p.ledger.note("a probe's statement", "a program asks whether named statements are tracked here, as poolproof does when it opens a database")
	} else {
		s.reportLocked(MissingNamed, s.statementPattern(name), m.text, m.types)
	}
	m.attachment = s.attachment // told once a transaction
	return m
}

// probeStatement begins the names of statements that are used on another server
// connection on purpose, to see what comes of it (package pooler).
const probeStatement = "poolproof_probe_"

// foreignStatement is what the pooler's own second party leaves as unnamed
// statement: it takes no parameters and answers this.
const foreignStatement = `select 'this is the answer to another client''s statement (PP001)'::text as poolproof`

// inject sends a Parse of ours ahead of the client's message, and remembers not
// to pass its answer on.
func (s *session) sendParseLocked(b *backend, msg *pgproto3.Parse) {
	raw, err := msg.Encode(nil)
	if err == nil {
		s.sendRawParseLocked(b, raw)
	}
}

func (s *session) sendRawParseLocked(b *backend, raw []byte) {
	s.pendingParses = append(s.pendingParses, pendingParse{})
	_, _ = b.w.Write(raw) // bufio keeps the error for Flush
}

// makeRoom closes another client's statement of this name, for a profile that
// keeps clients' names apart.
func (s *session) closeOthersLocked(b *backend, name string) {
	if _, there := b.statementOwners[name]; there {
		send(b.w, &pgproto3.Close{ObjectType: protocol.Statement, Name: name})
		s.pendingCloses = append(s.pendingCloses, true)
		delete(b.statementOwners, name)
	}
}

// closed notes a CloseComplete and tells whether it answers one of ours.
func (s *session) onCloseCompleteLocked() (ours bool) {
	if len(s.pendingCloses) == 0 {
		return false
	}
	ours = s.pendingCloses[0]
	s.pendingCloses = s.pendingCloses[1:]
	return ours
}

// parsed notes a ParseComplete and tells whether it answers one of ours.
func (s *session) onParseCompleteLocked() (ours bool) {
	if len(s.pendingParses) == 0 {
		return false
	}
	ours = s.pendingParses[0].statement == nil
	s.pendingParses = s.pendingParses[1:]
	return ours
}

func (s *session) onSyncLocked() {
	s.extended = true
}

// tooEarly notes that the client said something while the last unit is
// unanswered.
func (s *session) noteEarlyLocked(f frame) {
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

// A ReadyForQuery is held back for graceTime, after what came before it was
// sent, to see whether the client says more before it has it. Only the first
// graceTimes of a client are; the first longGraces of them for longer, because
// a busy machine may be slow to run the client.
const (
	graceTime  = time.Millisecond
	graceTimes = 30
	longGrace  = 4 * time.Millisecond
	longGraces = 4
)

func (s *session) holdBackReady() {
	s.mu.Lock()
	wait := !s.spokeEarly && s.gracesUsed < graceTimes && !s.unitOpen
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

// readied judges a unit that was answered.
func (s *session) judgeUnitLocked(b *backend, status byte) {
	if s.spokeEarly && status == protocol.Idle {
		s.reportLocked(SyncsInFlight, "", s.earlyText, nil)
	}
	if status == protocol.Idle || s.unanswered == 0 {
		s.spokeEarly = false
	}
	if status == protocol.FailedTransaction && s.unitHasLocked("begin", "start") && s.unitHasLocked("commit", "end") {
		s.reportLocked(FailedPipeline, "", s.lastTextLocked(), nil)
	}
	s.history.add(s, b, stepReady, nil, string(status))
	s.unit, s.pendingParses, s.pendingCloses = s.unit[:0], nil, nil
}

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

func (s *session) lastTextLocked() *queryText {
	if len(s.unit) == 0 {
		return nil
	}
	return s.unit[len(s.unit)-1]
}

func (s *session) onCommandCompleteLocked(b *backend, f frame) {
	tag, _, _ := cstring(f.body())
	if s.tx == nil {
		return
	}
	switch tag {
	case "DEALLOCATE ALL", "DISCARD ALL":
		clear(b.statementOwners)
		clear(b.ownStatements)
	case "LISTEN", "PREPARE", "LOAD", "DO", "CALL", "CREATE FUNCTION", "CREATE TRIGGER", "CREATE POLICY":
		s.tx.mayLeaveState = true
	}
}

// outsideTransaction is the code of PostgreSQL's warning about SET LOCAL.
const outsideTransaction = "25P01"

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

// failed forgets the statements of the unit whose Parse came to nothing.
func (s *session) onErrorResponseLocked(b *backend) {
	for _, p := range s.pendingParses {
		switch {
		case p.statement == nil:
		case p.name == "" && s.unnamed == p.statement:
			s.unnamed = nil
		case s.prepared[p.name] == p.statement:
			delete(s.prepared, p.name)
			delete(b.statementOwners, p.name)
		}
	}
	s.pendingParses, s.pendingCloses = nil, nil
}

// cut gives the first text of a message's body.
func bodyString(f frame) (first, rest []byte, whole bool) { return cutString(f.body()) }

func cutString(b []byte) (first, rest []byte, whole bool) {
	for i, c := range b {
		if c == 0 {
			return b[:i], b[i+1:], true
		}
	}
	return b, nil, false
}

// typeNames are the names of common types, numbers for others.
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

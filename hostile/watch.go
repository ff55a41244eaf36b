package hostile

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"
)

// watch is what is known of a client by what it says: its statements and the
// transaction under way. The session's lock guards it.
type watch struct {
	client  Client
	turn    int64            // counts the server connections it was given
	named   map[string]*made // its named statements
	unnamed *made            // its unnamed one
	tx      *transaction
	history steps

	extended bool    // the unit under way is of the extended protocol
	unit     []*text // its statements
	early    bool    // it was told something before the last answer
	earlySQL *text
	graces   int // how many answers were held back a moment

	parsing []parsing // Parse messages of this unit that are not answered
	closes  []bool    // Close messages of this unit that are not answered; true: ours
}

// parsing is a Parse message under way.
type parsing struct {
	name string
	m    *made // nil: ours, whose answer the client does not see
}

// made is a statement that a client has parsed.
type made struct {
	text      *text
	types     []uint32
	turn      int64
	described bool   // on the server connection that parsed it
	raw       []byte // the Parse message, where the profile tracks statements
}

// transaction is what was seen of one: from the moment that a client got a
// server connection until it was taken away.
type transaction struct {
	client   Client
	texts    []*text
	more     bool // there were more texts than are kept
	suspect  bool
	ddl      bool
	sequence bool
	reads    []string
	sets     []string
	history  func() []Step // what led to its end
	isIdle   bool          // it was told of once as idle
	setsAny  bool          // something in it may make any setting
}

const maxTextsOfOne = 40 // statements of one transaction that are kept

// clean tells whether each statement was in a transaction that left nothing.
func (t *transaction) clean(sc *schema) bool {
	return !t.more && !slices.ContainsFunc(t.texts, func(x *text) bool { return x.clean.Load() != sc })
}

// leftNothing notes that it did.
func (t *transaction) leftNothing(sc *schema) {
	for _, x := range t.texts {
		x.clean.Store(sc)
	}
}

func (w *watch) init() {
	w.named = map[string]*made{}
}

// attached begins a transaction.
func (s *session) attached(b *backend) {
	s.turn++
	s.tx = &transaction{client: s.client}
	s.history.add(s, b, stepAttached, nil, "")
}

// detached ends it.
func (s *session) detached() *transaction {
	t := s.tx
	t.client, s.tx = s.client, nil
	t.history = func() []Step { return s.history.list(s.p) } // the client says nothing until it is judged
	return t
}

// fault reports one, with the text that did it.
func (s *session) fault(code Code, subject string, t *text, types []uint32) {
	o := Occurrence{Client: s.client, Trace: s.history.list(s.p), Types: typeNames(types)}
	if t != nil {
		o.SQL, o.Tags = shorten(t.sql), t.tags
	}
	s.p.found(fault{code, subject, o})
}

// ran notes a statement of the transaction under way.
func (s *session) ran(t *text) {
	x := s.tx
	if x == nil {
		return
	}
	if len(x.texts) < maxTextsOfOne {
		if !slices.Contains(x.texts, t) {
			x.texts = append(x.texts, t)
		}
	} else {
		x.more = true
	}
	x.suspect = x.suspect || t.suspect
	reads, sets := t.reads, t.sets
	if sc := s.pool.schema.Load(); sc != nil {
		var unknown bool
		reads, sets, unknown = sc.readBy(t)
		x.setsAny = x.setsAny || unknown
	}
	for _, n := range sets {
		x.sets = appendNew(x.sets, n)
	}
	for _, n := range reads {
		x.reads = appendNew(x.reads, n)
	}
	if t.current && !t.sequence && !x.sequence {
		s.fault(SequenceState, "", t, nil)
	}
	x.sequence = x.sequence || t.sequence
	if s.client.Driver == "" {
		s.client.Driver = driverBySQL(t.sql)
	}
	for _, st := range t.statements {
		s.judge(st, t, x)
	}
	s.unit = append(s.unit, t)
}

// judge looks at statements that are faults by what they are.
func (s *session) judge(st statement, t *text, x *transaction) {
	if chatter(t.sql) {
		s.p.ledger.note("reset of "+s.client.Driver, "what the driver sends when a connection goes back to its own pool; harmless, a round trip for nothing")
		return
	}
	switch st.kind {
	case "create", "alter", "drop", "do":
		x.ddl = true
	case "prepare":
		if st.words[1] != "transaction" {
			s.fault(SQLPrepared, "", t, nil)
		}
	case "execute":
		s.fault(SQLPrepared, "", t, nil)
	case "deallocate":
		if st.words[1] == "all" || st.words[1] == "prepare" && st.words[2] == "all" {
			s.fault(ResetsOthers, "DEALLOCATE ALL", t, nil)
			s.unnamed = nil
			clear(s.named)
		} else {
			s.fault(SQLPrepared, "", t, nil)
		}
	case "discard":
		s.fault(ResetsOthers, "DISCARD "+strings.ToUpper(st.words[1]), t, nil)
	case "reset":
		if st.words[1] == "all" {
			s.fault(ResetsOthers, "RESET ALL", t, nil)
		}
	case "load":
		s.fault(LoadedLibrary, "", t, nil)
	}
}

func (s *session) query(b *backend, f frame) {
	sql, _, whole := cut(f)
	t := s.p.texts.of(sql, !whole)
	s.extended = false
	s.history.add(s, b, stepQuery, t, "")
	s.unnamed = nil // a simple query destroys the unnamed statement
	b.unnamed = nil
	s.ran(t)
}

func (s *session) called(b *backend) {
	s.history.add(s, b, stepCall, nil, "")
	if s.tx != nil {
		s.tx.suspect = true
	}
}

func (s *session) parse(b *backend, f frame) {
	s.extended = true
	name, rest, _ := cut(f)
	sql, rest, whole := cutBytes(rest)
	t := s.p.texts.of(sql, !whole)
	var types []uint32
	if whole && len(rest) >= 2 {
		for n := int(binary.BigEndian.Uint16(rest)); n > 0 && len(rest) >= 6; n-- {
			types = append(types, binary.BigEndian.Uint32(rest[2:]))
			rest = rest[4:]
		}
	}
	m := &made{text: t, types: types, turn: s.turn}
	s.parsing = append(s.parsing, parsing{string(name), m})
	s.history.add(s, b, stepParse, t, string(name))
	if len(name) == 0 {
		s.unnamed, b.unnamed = m, s
		return
	}
	key := string(name)
	if s.client.Driver == "" {
		s.client.Driver = driverByStatement(key)
	}
	if s.p.profile.TracksStatements {
		if f.whole() {
			m.raw = slices.Clone(f.raw)
		}
		if _, mine := s.named[key]; !mine && !s.p.cfg.Observe {
			s.makeRoom(b, key)
		}
	} else if other := s.p.claim(key, s); other {
		s.fault(NameCollision, s.pattern(key), t, types)
	}
	s.named[key] = m
	b.named[key] = s.id
}

func (s *session) bind(b *backend, f frame) {
	_, rest, ok := cutBytes(f.body())
	name, _, ok2 := cutBytes(rest)
	if !ok || !ok2 {
		return // a statement's name that long is no name
	}
	own := s.named[string(name)]
	if len(name) == 0 {
		own = s.unnamed
	}
	var t *text
	if own != nil {
		t = own.text
	}
	s.history.add(s, b, stepBind, t, string(name)) // before it is judged: it is the fault's last step
	if m := s.use(b, string(name)); m != nil {
		s.ran(m.text)
		if sc := s.pool.schema.Load(); s.tx != nil && sc != nil {
			s.tx.setsAny = s.tx.setsAny || slices.ContainsFunc(m.types, func(oid uint32) bool { return sc.setters[oid] })
		}
		return
	}
	if s.tx != nil {
		s.tx.suspect = true // nobody knows what it is
	}
}

func (s *session) describe(b *backend, f frame) {
	body := f.body()
	if len(body) < 2 || body[0] != 'S' {
		return
	}
	if name, _, ok := cutBytes(body[1:]); ok {
		if m := s.use(b, string(name)); m != nil {
			m.described = m.turn == s.turn
		}
	}
}

func (s *session) closeNamed(b *backend, f frame) {
	s.closes = append(s.closes, false)
	body := f.body()
	if len(body) < 2 || body[0] != 'S' {
		return
	}
	if name, _, ok := cutBytes(body[1:]); ok {
		delete(s.named, string(name))
		delete(b.named, string(name))
	}
}

// use looks up a statement that the client is about to use, reports where that
// goes wrong behind a pooler, and puts another client's in its place, as it
// would be there.
func (s *session) use(b *backend, name string) *made {
	if name == "" {
		m := s.unnamed
		if m != nil && m.turn == s.turn {
			return m
		}
		var t *text
		var types []uint32
		if m != nil {
			t, types = m.text, m.types
			if s.client.Driver == "" && m.described {
				s.client.Driver = driverPgx // its mode describe_exec; libpq's PQprepare asks for no description
			}
		}
		s.fault(ForeignUnnamed, "", t, types)
		if !s.p.cfg.Observe && !s.p.profile.Plain && (b.unnamed == s || b.unnamed == nil) {
			s.inject(b, &pgproto3.Parse{Query: foreignStatement})
			b.unnamed = nil
		}
		return m
	}
	m := s.named[name]
	switch {
	case m == nil:
		return nil // it never made one: an error of its own, pooler or not
	case m.turn == s.turn:
		return m
	case s.p.profile.TracksStatements:
		if b.named[name] != s.id && m.raw != nil && !s.p.cfg.Observe {
			s.makeRoom(b, name)
			s.injectRaw(b, m.raw)
			b.named[name] = s.id
		}
		return m
	}
	if strings.HasPrefix(name, probeStatement) {
		s.p.ledger.note("a probe's statement", "a program asks whether named statements are tracked here, as poolproof does when it opens a database")
	} else {
		s.fault(MissingNamed, s.pattern(name), m.text, m.types)
	}
	m.turn = s.turn // told once a transaction
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
func (s *session) inject(b *backend, msg *pgproto3.Parse) {
	raw, err := msg.Encode(nil)
	if err == nil {
		s.injectRaw(b, raw)
	}
}

func (s *session) injectRaw(b *backend, raw []byte) {
	s.parsing = append(s.parsing, parsing{})
	_, _ = b.w.Write(raw) // bufio keeps the error for Flush
}

// makeRoom closes another client's statement of this name, for a profile that
// keeps clients' names apart.
func (s *session) makeRoom(b *backend, name string) {
	if _, there := b.named[name]; there {
		send(b.w, &pgproto3.Close{ObjectType: 'S', Name: name})
		s.closes = append(s.closes, true)
		delete(b.named, name)
	}
}

// closed notes a CloseComplete and tells whether it answers one of ours.
func (s *session) closed() (ours bool) {
	if len(s.closes) == 0 {
		return false
	}
	ours = s.closes[0]
	s.closes = s.closes[1:]
	return ours
}

// parsed notes a ParseComplete and tells whether it answers one of ours.
func (s *session) parsed() (ours bool) {
	if len(s.parsing) == 0 {
		return false
	}
	ours = s.parsing[0].m == nil
	s.parsing = s.parsing[1:]
	return ours
}

func (s *session) synced() {
	s.extended = true
}

// tooEarly notes that the client said something while the last unit is
// unanswered.
func (s *session) tooEarly(f frame) {
	if s.early {
		return
	}
	s.early, s.earlySQL = true, nil
	switch f.typ {
	case 'Q':
		sql, _, whole := cut(f)
		s.earlySQL = s.p.texts.of(sql, !whole)
	case 'P':
		_, rest, _ := cut(f)
		sql, _, whole := cutBytes(rest)
		s.earlySQL = s.p.texts.of(sql, !whole)
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

func (s *session) grace() {
	s.mu.Lock()
	wait := !s.early && s.graces < graceTimes && !s.open
	long := s.graces < longGraces
	if wait {
		s.graces++
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
func (s *session) readied(b *backend, status byte) {
	if s.early && status == 'I' {
		s.fault(SyncsInFlight, "", s.earlySQL, nil)
	}
	if status == 'I' || s.outstanding == 0 {
		s.early = false
	}
	if status == 'E' && s.has("begin", "start") && s.has("commit", "end") {
		s.fault(FailedPipeline, "", s.lastText(), nil)
	}
	s.history.add(s, b, stepReady, nil, string(status))
	s.unit, s.parsing, s.closes = s.unit[:0], nil, nil
}

func (s *session) has(kinds ...string) bool {
	for _, t := range s.unit {
		for _, st := range t.statements {
			if slices.Contains(kinds, st.kind) {
				return true
			}
		}
	}
	return false
}

func (s *session) lastText() *text {
	if len(s.unit) == 0 {
		return nil
	}
	return s.unit[len(s.unit)-1]
}

func (s *session) completed(b *backend, f frame) {
	tag, _, _ := cstring(f.body())
	if s.tx == nil {
		return
	}
	switch tag {
	case "DEALLOCATE ALL", "DISCARD ALL":
		clear(b.named)
		clear(b.kept)
	case "LISTEN", "PREPARE", "LOAD", "DO", "CALL", "CREATE FUNCTION", "CREATE TRIGGER", "CREATE POLICY":
		s.tx.suspect = true
	}
}

// outsideTransaction is the code of PostgreSQL's warning about SET LOCAL.
const outsideTransaction = "25P01"

func (s *session) noticed(f frame) {
	if !f.whole() {
		return
	}
	var n pgproto3.NoticeResponse
	if n.Decode(f.body()) != nil || n.Code != outsideTransaction {
		return
	}
	for _, t := range s.unit {
		for _, st := range t.statements {
			if st.local() {
				s.fault(LocalOutside, "", t, nil)
				return
			}
		}
	}
}

// failed forgets the statements of the unit whose Parse came to nothing.
func (s *session) failed(b *backend) {
	for _, p := range s.parsing {
		switch {
		case p.m == nil:
		case p.name == "" && s.unnamed == p.m:
			s.unnamed = nil
		case s.named[p.name] == p.m:
			delete(s.named, p.name)
			delete(b.named, p.name)
		}
	}
	s.parsing, s.closes = nil, nil
}

// cut gives the first text of a message's body.
func cut(f frame) (first, rest []byte, whole bool) { return cutBytes(f.body()) }

func cutBytes(b []byte) (first, rest []byte, whole bool) {
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

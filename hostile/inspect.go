package hostile

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

// inspect judges a transaction that is over. Its words come first. Only where
// they leave a doubt is the server asked what the connection holds now. It runs
// on the backend's goroutine, while nothing else is sent to the backend.
func (p *Pooler) inspect(b *backend, t *transaction) error {
	p.transactions.Add(1)
	if t == nil || p.profile.Plain {
		return nil
	}
	b.pool.learn(t.settingsSet)
	b.pool.learn(t.settingsRead)
	b.pool.learnMaybe(t.maybeSettings)
	if t.ddl || b.pool.schemaCheckDue() {
		if err := p.tolerateUnanswered(b, b.readSchema()); err != nil {
			return err
		}
	}
	sc := b.pool.schema.Load()
	p.reportKept(t, sc)
	unset := t.readUnset()
	err := p.inspectState(b, t, sc, unset)
	p.judgeComputed(t, sc, t.settingLeft)
	p.judgeReads(b.pool, t, sc, unset)
	return err
}

// inspectState asks the server what a transaction left, if its words leave a
// doubt, and reports it.
func (p *Pooler) inspectState(b *backend, t *transaction, sc *schema, unset []string) error {
	if t.setsUnknown || t.runsAny {
		b.suspect = Occurrence{Client: t.client}
		if x := t.blame(SessionSetting, ""); x != nil {
			b.suspect.SQL, b.suspect.Tags = shorten(x.sql), x.tags
		}
	}
	// A setting may have been left before anybody knew its name.
	unknown := slices.ContainsFunc(unset, func(name string) bool { return isASCII(name) && !slices.Contains(b.asked, name) })
	if !t.mayLeaveState && !unknown && sc != nil {
		if !sc.functionsMayLeaveState && !t.callsC {
			return nil
		}
		if b.baselineGlance != "" && t.leftNothingBefore(sc) {
			if glance, err := b.glance(); err != nil || glance == b.baselineGlance {
				return err
			}
		}
	}
	now, err := b.residue()
	if err != nil {
		return err
	}
	b.pool.learnConstants(now.Constants)
	remains := leftSince(now, b.baseline)
	b.baseline, b.baselineGlance = now, ""
	for _, l := range remains {
		t.settingLeft = t.settingLeft || l.code == SessionSetting
		if l.code == SessionSetting && slices.Contains(unset, strings.ToLower(l.subject)) {
			p.reportLeftover(l, b.suspect)
			continue
		}
		p.reportLeftover(l, t.occurrence(t.blame(l.code, l.subject)))
	}
	if len(remains) == 0 && sc != nil && (sc.functionsMayLeaveState || t.callsC) {
		t.noteLeftNothing(sc)
		b.baselineGlance, err = b.glance()
	}
	if len(remains) == 0 || p.cfg.Observe {
		return err
	}
	b.suspect = Occurrence{}
	if err := b.reset(); err != nil {
		return err
	}
	return p.plantTempTables(b)
}

// readUnset lists the custom settings that the transaction read and did not set.
func (t *transaction) readUnset() []string {
	if t.setsUnknown {
		return nil
	}
	var unset []string
	for _, name := range t.settingsRead {
		if !slices.Contains(t.settingsSet, name) {
			unset = append(unset, name)
		}
	}
	return unset
}

// judgeReads reports settings that a transaction read and did not set. Where
// somebody in this run leaves such a setting to others, that is a fault. If
// nobody does, the transaction reads the same as without a pooler: whoever asks
// with missing_ok has thought of that. It is a warning then if a policy hangs on
// the setting, and on no other that is set.
func (p *Pooler) judgeReads(pl *pool, t *transaction, sc *schema, unset []string) {
	for _, name := range unset {
		if pl.isConstant(name) {
			continue
		}
		f := fault{code: SettingNotSet, subject: name, first: t.occurrence(t.reader(name, sc))}
		strict := slices.Contains(t.strictReads, name) || sc != nil && sc.strictReads[name]
		policy := sc != nil && sc.policyReads[name] && !slices.ContainsFunc(sc.readTogether[name], func(n string) bool { return slices.Contains(t.settingsSet, n) })
		p.mu.Lock()
		_, left := p.leaks[name]
		if _, known := p.unsetReads[name]; !left && !known && len(p.unsetReads) < maxLeaks {
			p.unsetReads[name] = f.first
		}
		p.mu.Unlock()
		if left || strict || policy {
			f.other = !left && !strict
			p.report(f)
		}
	}
}

// reader returns the statement that read a setting, by itself or through a
// function, policy or default, or nil.
func (t *transaction) reader(name string, sc *schema) *queryText {
	for _, x := range t.texts {
		reads := x.settingsRead
		if sc != nil {
			reads, _, _ = sc.settingsOf(x)
		}
		if slices.Contains(reads, name) {
			return x
		}
	}
	for _, x := range t.texts {
		if len(x.readsParams) > 0 {
			return x
		}
	}
	return nil
}

// reportLeftover reports one thing that a transaction left behind; o is that
// transaction.
func (p *Pooler) reportLeftover(l leftover, o Occurrence) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.code == TempTable && !strings.Contains(l.subject, " ") && len(p.leftTempTables) < 20 { // a name has at most 63 bytes
		p.leftTempTables = appendNew(p.leftTempTables, l.subject)
	}
	switch l.code {
	case HoldCursor, TempTable, SQLPrepared, Listening, FunctionState:
		l.subject = objectPattern(l.subject)
	case SessionLock:
		l.subject = lockPattern(l.subject, o.SQL)
	}
	f := fault{code: l.code, subject: l.subject, first: o}
	if l.code != SessionSetting {
		p.report(f)
		return
	}
	name := strings.ToLower(l.subject)
	switch {
	case strings.Contains(name, "."):
		p.rememberLeakLocked(name, leak{o.Client.ID, l.value})
	case slices.Contains(p.profile.Tracked, name) && p.profile.Name != profiles[0].Name:
		p.ledger.note("SET "+l.subject, "the pooler sets it again for each client")
		return
	case driverSettings[name] && !p.mattersLocked(name, l.value, f):
		l.value = l.value[:min(len(l.value), maxLeak)]
		agreed, known := p.agreedSettings[l.subject]
		if !known {
			p.agreedSettings[l.subject] = l.value
		}
		if !known || agreed == l.value {
			p.ledger.note("SET "+l.subject, "drivers and frameworks set it when they connect, always to the same value; ALTER ROLE … SET "+l.subject+" sets it for every server connection")
			return
		}
	case name == "jit" && strings.HasPrefix(strings.Join(strings.Fields(o.SQL), " "), asyncpgJIT):
		p.ledger.note("asyncpg's jit", "asyncpg turns jit off while it asks for types, and on again; it costs speed only (jit off by ALTER ROLE … SET ends it)")
		return
	}
	f.other = costsOnlySpeed(name)
	p.report(f)
}

// asyncpgJIT begins the statement with which asyncpg turns jit off; newer ones
// write it on several lines.
const asyncpgJIT = "SELECT current_setting('jit') AS cur, set_config('jit'"

// speedSettings are settings that change how fast queries run, and not what
// they answer (PostgreSQL's documentation, "Resource Consumption" and "Query
// Planning"). A prefix ends in an underscore.
var speedSettings = []string{
	"backend_flush_after", "commit_delay", "commit_siblings", "constraint_exclusion", "cpu_", "cursor_tuple_fraction", "default_statistics_target",
	"effective_", "enable_", "from_collapse_limit", "geqo", "geqo_", "hash_mem_multiplier", "jit", "jit_", "join_collapse_limit", "logical_decoding_work_mem",
	"maintenance_io_concurrency", "maintenance_work_mem", "max_parallel_", "min_parallel_", "parallel_leader_participation", "parallel_setup_cost", "parallel_tuple_cost",
	"plan_cache_mode", "random_page_cost", "recursive_worktable_factor", "seq_page_cost", "temp_buffers", "vacuum_cost_", "wal_skip_threshold", "work_mem",
}

// costsOnlySpeed reports whether a setting, in lower case, is one of
// speedSettings.
func costsOnlySpeed(name string) bool {
	return slices.ContainsFunc(speedSettings, func(s string) bool { return name == s || strings.HasSuffix(s, "_") && strings.HasPrefix(name, s) })
}

// driverSettings are settings that drivers and frameworks set on every
// connection. As long as all clients agree on the value, it does not matter who
// set it.
var driverSettings = map[string]bool{
	"application_name": true, "client_encoding": true, "client_min_messages": true, "datestyle": true,
	"extra_float_digits": true, "intervalstyle": true, "lc_messages": true, "standard_conforming_strings": true, "timezone": true,
}

// activeRecordIntervals is what ActiveRecord sets when it connects, whether or not
// its program has intervals.
var activeRecordIntervals = regexp.MustCompile(`(?i)^\s*SET\s+intervalstyle\s*=\s*iso_8601\s*;?\s*$`)

// mattersLocked reports whether it matters to others that a setting of
// driverSettings has this value, although all who set it agree. f is the fault
// that it would be. Where IntervalStyle is not tracked, whoever reads intervals
// as text needs it: programs that set it, and with ActiveRecord those that are
// seen to read one.
func (p *Pooler) mattersLocked(name, value string, f fault) bool {
	switch name {
	case "extra_float_digits": // from 1 on all digits that a number needs are shown (PostgreSQL's documentation)
		return value <= "0"
	case "intervalstyle":
		if p.intervalRead || !activeRecordIntervals.MatchString(f.first.SQL) {
			return true
		}
		if !p.watchIntervals.Swap(true) {
			p.intervalSet = f
		}
	}
	return false
}

// intervalType is the oid of interval (pg_type.dat).
const intervalType = 1186

// onRowDescription notes an interval in a result that is text.
func (p *Pooler) onRowDescription(f frame) {
	var msg pgproto3.RowDescription
	if !p.watchIntervals.Load() || !f.complete() || msg.Decode(f.body()) != nil ||
		!slices.ContainsFunc(msg.Fields, func(c pgproto3.FieldDescription) bool { return c.DataTypeOID == intervalType && c.Format == 0 }) {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.intervalRead {
		p.intervalRead = true
		p.report(p.intervalSet)
	}
}

// What is remembered of custom settings that were left behind: the number of
// settings, and the length of a value. Longer values are not remembered.
const (
	maxLeaks = 200
	maxLeak  = 1000 // bytes
)

// rememberLeakLocked remembers who left a custom setting, and reports who read
// it before without setting it.
func (p *Pooler) rememberLeakLocked(name string, l leak) {
	if o, read := p.unsetReads[name]; read {
		delete(p.unsetReads, name)
		p.report(fault{code: SettingNotSet, subject: name, first: o})
	}
	if _, known := p.leaks[name]; !known && len(p.leaks) >= maxLeaks {
		return
	}
	if len(l.value) > maxLeak { // that it was left is remembered, its value is not
		p.leaks[name] = slices.Clip(p.leaks[name])
		return
	}
	others := slices.DeleteFunc(p.leaks[name], func(o leak) bool { return o.client == l.client })
	if len(others) > 1 {
		others = others[1:]
	}
	p.leaks[name] = append(others, l)
}

// foreignSettings returns each custom setting that any client left, with the
// last value left by someone other than this client, or "".
func (p *Pooler) foreignSettings(client uint32) map[string]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.leaks) == 0 {
		return nil
	}
	all := map[string]string{}
	for name, leaks := range p.leaks {
		all[name] = ""
		for _, l := range leaks {
			if l.client != client {
				all[name] = l.value
			}
		}
	}
	return all
}

// plantTempTables creates temporary tables on a clean server connection, with
// the names of those that clients left on others.
func (p *Pooler) plantTempTables(b *backend) error {
	var sql strings.Builder
	p.mu.Lock()
	for _, name := range p.leftTempTables {
		sql.WriteString("create temporary table if not exists " + pgx.Identifier{name}.Sanitize() + " (of_another_client text);")
	}
	p.mu.Unlock()
	if sql.Len() == 0 {
		return nil
	}
	if _, err := b.runSimple(sql.String()); err != nil {
		return fmt.Errorf("create temporary tables of other clients' names: %w", err)
	}
	return b.snapshot()
}

// leftNothingBefore reports whether each statement has been in a transaction
// that left nothing.
func (t *transaction) leftNothingBefore(sc *schema) bool {
	return !t.truncated && !slices.ContainsFunc(t.texts, func(x *queryText) bool { return x.leftNothingUnder.Load() != sc })
}

// noteLeftNothing records that this transaction left nothing.
func (t *transaction) noteLeftNothing(sc *schema) {
	for _, x := range t.texts {
		x.leftNothingUnder.Store(sc)
	}
}

// blame returns the statement that most likely did it, or nil.
func (t *transaction) blame(code Code, subject string) *queryText {
	kinds := map[Code][]string{
		SessionSetting: {"set", "do"}, SessionRole: {"set"}, TempTable: {"create", "select"}, FunctionState: {"select"}, HoldCursor: {"declare"}, Listening: {"listen"}, SQLPrepared: {"prepare"},
	}[code]
	for _, x := range t.texts {
		if slices.Contains(x.settingsSet, subject) && code == SessionSetting {
			return x
		}
	}
	for _, x := range t.texts {
		for _, st := range x.statements {
			if slices.Contains(kinds, st.kind) && !st.local() {
				return x
			}
		}
	}
	for _, x := range t.texts {
		if x.mayLeaveState {
			return x
		}
	}
	for _, x := range slices.Backward(t.texts) {
		if len(x.statements) > 0 && x.statements[0].kind != "commit" && x.statements[0].kind != "begin" {
			return x
		}
	}
	return nil
}

// occurrence returns an occurrence of a fault that x made; x may be nil.
func (t *transaction) occurrence(x *queryText) Occurrence {
	o := Occurrence{Client: t.client, Trace: t.history()}
	if x != nil {
		o.SQL, o.Tags = shorten(x.sql), x.tags
	}
	return o
}

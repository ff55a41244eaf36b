package hostile

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// inspect judges a transaction that is over. Its words come first. Only where
// they leave a doubt is the server asked what the connection holds now. It runs
// on the backend's goroutine, while nothing else is sent to the backend.
func (p *Pooler) inspect(b *backend, t *transaction) error {
	p.transactions.Add(1)
	if t == nil || p.profile.Plain {
		return nil
	}
	for _, name := range t.settingsRead {
		if !t.setsUnknown && !slices.Contains(t.settingsSet, name) {
			p.report(fault{SettingNotSet, name, t.occurrence(t.blame(SettingNotSet, name))})
		}
	}
	b.pool.learn(t.settingsSet)
	b.pool.learn(t.settingsRead)
	if t.ddl || b.pool.schemaCheckDue() {
		if err := p.tolerateUnanswered(b, b.readSchema()); err != nil {
			return err
		}
	}
	sc := b.pool.schema.Load()
	if !t.mayLeaveState && sc != nil {
		if !sc.functionsMayLeaveState {
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
	remains := now.since(b.baseline)
	b.baseline, b.baselineGlance = now, ""
	for _, l := range remains {
		p.reportLeftover(l, t)
	}
	if len(remains) == 0 && sc != nil && sc.functionsMayLeaveState {
		t.noteLeftNothing(sc)
		b.baselineGlance, err = b.glance()
	}
	if len(remains) == 0 || p.cfg.Observe {
		return err
	}
	if err := b.reset(); err != nil {
		return err
	}
	return p.plantTempTables(b)
}

// reportLeftover reports one thing that a transaction left behind.
func (p *Pooler) reportLeftover(l leftover, t *transaction) {
	o := t.occurrence(t.blame(l.code, l.subject))
	p.mu.Lock()
	defer p.mu.Unlock()
	if l.code == TempTable && len(p.leftTempTables) < 20 { // a name has at most 63 bytes
		p.leftTempTables = appendNew(p.leftTempTables, l.subject)
	}
	switch l.code {
	case HoldCursor, TempTable, SQLPrepared, Listening:
		l.subject = objectPattern(l.subject)
	case SessionLock:
		l.subject = lockPattern(l.subject, o.SQL)
	}
	if l.code != SessionSetting {
		p.report(fault{l.code, l.subject, o})
		return
	}
	if strings.Contains(l.subject, ".") {
		p.rememberLeakLocked(l.subject, leak{t.client.ID, l.value})
	} else if driverSettings[strings.ToLower(l.subject)] {
		l.value = l.value[:min(len(l.value), maxLeak)]
		agreed, known := p.agreedSettings[l.subject]
		if !known {
			p.agreedSettings[l.subject] = l.value
		}
		if !known || agreed == l.value {
			p.ledger.note("SET "+l.subject, "drivers and frameworks set it when they connect, always to the same value; ALTER ROLE … SET "+l.subject+" sets it for every server connection")
			return
		}
	}
	p.report(fault{l.code, l.subject, o})
}

// driverSettings are settings that drivers and frameworks set on every
// connection. As long as all clients agree on the value, it does not matter who
// set it.
var driverSettings = map[string]bool{
	"application_name": true, "bytea_output": true, "client_encoding": true, "client_min_messages": true, "datestyle": true,
	"extra_float_digits": true, "intervalstyle": true, "lc_messages": true, "standard_conforming_strings": true, "timezone": true,
}

// What is remembered of custom settings that were left behind: the number of
// settings, and the length of a value. Longer values are not remembered.
const (
	maxLeaks = 200
	maxLeak  = 1000 // bytes
)

// rememberLeakLocked remembers who left a custom setting.
func (p *Pooler) rememberLeakLocked(name string, l leak) {
	if _, known := p.leaks[name]; !known && len(p.leaks) >= maxLeaks || len(l.value) > maxLeak {
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
		SessionSetting: {"set"}, SessionRole: {"set"}, TempTable: {"create", "select"}, HoldCursor: {"declare"}, Listening: {"listen"}, SQLPrepared: {"prepare"},
	}[code]
	for _, x := range t.texts {
		if slices.Contains(x.settingsSet, subject) && code == SessionSetting || slices.Contains(x.settingsRead, subject) && code == SettingNotSet {
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

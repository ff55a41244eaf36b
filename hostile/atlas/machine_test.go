package atlas

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/poolproof/poolproof/internal/devdb"
)

// machine is the differential test. It runs scripts on a used backend, and asks
// it and a fresh one the same questions between the statements. Both are in one
// database, so that they differ only in what the backend itself keeps. A twin,
// on a server of its own, runs the same statements: if its random() agrees with
// the used one's, somebody has set the seed.
type machine struct {
	url, twin string            // twin may be ""
	env       map[string]string // of psql's \getenv
	look      look              // asked at the end of each script
	loopback  *strings.Replacer // puts the server's address where scripts connect to their own server
	names     []string          // of custom settings that statements have said

	result  Result
	example map[string]*Difference // by kind
}

// newMachine returns a machine that has seen nothing. It finds out which
// questions two fresh backends answer alike, and asks only those.
func newMachine(ctx context.Context, url, twin string, env map[string]string) (*machine, error) {
	m := &machine{url: url, twin: twin, env: env, example: map[string]*Difference{}, loopback: strings.NewReplacer()}
	var all []facts
	for range 2 {
		c, err := connect(ctx, url)
		if err != nil {
			return nil, err
		}
		defer c.close()
		if m.look.names == nil {
			if m.look, err = newLook(c); err != nil {
				return nil, err
			}
		}
		f, err := c.look(m.look)
		if err != nil {
			return nil, err
		}
		all = append(all, f)
		if _, err := c.query("create table atlas_noise (a int primary key); drop table atlas_noise", ""); err != nil {
			return nil, err
		}
	}
	noise := map[string]bool{}
	for _, d := range all[0].differences(all[1]) {
		noise[d.kind] = true
	}
	m.look = m.look.without(noise)
	m.result.Questions = len(m.look.names)
	return m, nil
}

// used is the backend that a script uses, with those that it is compared with.
type used struct {
	*client
	fresh, twin *client // twin may be nil
	last        facts   // of the used one
	known       map[fact]string
}

func (m *machine) start(ctx context.Context) (*used, error) {
	u := &used{known: map[fact]string{}}
	var err error
	if u.client, err = connect(ctx, m.url); err != nil {
		return nil, err
	}
	if u.fresh, err = connect(ctx, m.url); err != nil {
		u.close()
		return nil, err
	}
	if m.twin != "" {
		if u.twin, err = connect(ctx, m.twin); err != nil {
			u.stop()
			return nil, err
		}
	}
	return u, nil
}

func (u *used) stop() {
	u.close()
	u.fresh.close()
	if u.twin != nil {
		u.twin.close()
	}
}

// run runs a script to its end, compares the backends, and then once more after
// DISCARD ALL.
func (m *machine) run(ctx context.Context, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read a script: %w", err)
	}
	u, err := m.start(ctx)
	if err != nil {
		return err
	}
	defer func() { u.stop() }()
	name := filepath.Base(filepath.Dir(filepath.Dir(file))) + "/" + filepath.Base(file)
	s := &script{text: m.loopback.Replace(string(text)), vars: map[string]string{"USER": devdb.Superuser}}
	m.result.Scripts++
	for {
		st, ok := s.next()
		if !ok {
			break
		}
		if st.sql == "" {
			if !m.command(s, st) {
				m.result.Skipped++
			}
			continue
		}
		queue := []string{st.sql}
		for len(queue) > 0 {
			sql := queue[0]
			queue = queue[1:]
			a, err := m.statement(u, sql, st, fmt.Sprintf("%s:%d", name, st.line))
			if err != nil { // the backend is gone, and with it whatever it kept
				m.result.Lost++
				u.stop()
				if u, err = m.start(ctx); err != nil {
					return err
				}
				continue
			}
			switch st.command {
			case "gset":
				if len(a.rows) == 1 {
					for i, v := range a.rows[0] {
						s.vars[strings.TrimSpace(st.argument)+a.columns[i]] = v
					}
				}
			case "gexec":
				st.command = ""
				for _, row := range a.rows {
					queue = append(queue, row...)
				}
			}
		}
	}
	return m.finish(ctx, u, name)
}

// command obeys psql's commands that scripts cannot do without, and reports
// whether it has.
func (m *machine) command(s *script, st step) bool {
	switch st.command {
	case "getenv":
		if name, variable, ok := strings.Cut(strings.TrimSpace(st.argument), " "); ok {
			s.vars[name] = m.env[strings.TrimSpace(variable)]
			return true
		}
	case "set":
		if name, value, ok := strings.Cut(strings.TrimSpace(st.argument), " "); ok {
			var b strings.Builder
			for part := range strings.FieldsSeq(value) {
				if v, isVariable := strings.CutPrefix(part, ":"); isVariable {
					b.WriteString(s.vars[v])
				} else {
					b.WriteString(strings.Trim(part, "'"))
				}
			}
			s.vars[name] = b.String()
			return true
		}
	}
	return false
}

// statement runs one statement on the used backend and its twin, and compares
// if no transaction is open then.
func (m *machine) statement(u *used, sql string, st step, where string) (answer, error) {
	m.result.Statements++
	for _, match := range customName.FindAllStringSubmatch(sql, -1) {
		if n := strings.ToLower(match[1]); !slices.Contains(m.names, n) {
			m.names = append(m.names, n)
		}
	}
	before := u.status
	twin := make(chan error, 1)
	go func() {
		if u.twin == nil {
			twin <- nil
			return
		}
		_, err := u.twin.query(sql, st.copyData)
		twin <- err
	}()
	a, err := u.query(sql, st.copyData)
	if twinErr := <-twin; twinErr != nil {
		u.twin.close()
		u.twin = nil // without it, seeds are not seen for the rest of the script
	}
	if err != nil {
		return a, err
	}
	if a.failure != nil {
		m.result.Failed++
	}
	switch {
	case u.status == 'I':
		return a, m.compare(u, sql, where)
	case u.status == 'T' && before != 'T':
		m.add("open transaction", "", sql, where, false)
	case u.status == 'E' && before != 'E':
		m.add("failed transaction", "", sql, where, false)
	}
	return a, nil
}

// compare asks the used backend, and if it answers otherwise than last time, the
// fresh one, too.
func (m *machine) compare(u *used, sql, where string) error {
	m.result.Comparisons++
	now, err := u.watch(m.names)
	if err != nil {
		return err
	}
	if u.twin != nil && u.twin.status == 'I' {
		if err := m.compareRandom(u, sql, where, false); err != nil {
			return err
		}
	}
	if maps.Equal(now, u.last) {
		return nil
	}
	u.last = now
	fresh, err := u.fresh.watch(m.names)
	if err != nil {
		return err
	}
	known := map[fact]string{}
	for _, d := range now.differences(fresh) {
		value := now[d] + " " + now[fact{"setting", d.subject}]
		if old, had := u.known[d]; !had || old != value {
			m.add(d.kind, d.subject, sql, where, false)
		}
		known[d] = value
	}
	u.known = known
	return nil
}

// compareRandom compares random() of the used backend and its twin.
func (m *machine) compareRandom(u *used, sql, where string, discarded bool) error {
	twin := make(chan string, 1)
	go func() {
		a, err := u.twin.query("select pg_catalog.random()", "")
		if err != nil {
			twin <- err.Error()
			return
		}
		twin <- a.text()
	}()
	a, err := u.query("select pg_catalog.random()", "")
	if other := <-twin; err == nil && a.failure == nil && other == a.text() {
		m.add("random", "", sql, where, discarded)
	}
	return err
}

// finish compares the backends at the end of a script, in everything that can be
// asked: after RESET ALL, so that settings do not show in every answer, and again
// after DISCARD ALL.
func (m *machine) finish(ctx context.Context, u *used, name string) error {
	for _, sql := range []string{"rollback", "reset session authorization", "reset all"} {
		if _, err := u.query(sql, ""); err != nil {
			return err
		}
	}
	if err := m.compareAll(ctx, u, name, false); err != nil {
		return err
	}
	if _, err := u.query("discard all", ""); err != nil {
		return err
	}
	u.statements = map[string]bool{}
	if u.twin != nil {
		if _, err := u.twin.query("rollback; discard all", ""); err == nil {
			if err := m.compareRandom(u, "discard all", name, true); err != nil {
				return err
			}
		}
	}
	now, err := u.watch(m.names)
	if err != nil {
		return err
	}
	fresh, err := u.fresh.watch(m.names)
	if err != nil {
		return err
	}
	for _, d := range now.differences(fresh) {
		m.add(d.kind, d.subject, "discard all", name, true)
	}
	return m.compareAll(ctx, u, name, true)
}

// compareAll asks the used backend and the fresh one all questions. Where a
// further fresh one differs as well, or the used one from itself, it is noise.
func (m *machine) compareAll(ctx context.Context, u *used, name string, discarded bool) error {
	var all [4]facts
	newest, err := connect(ctx, m.url)
	if err != nil {
		return err
	}
	defer newest.close()
	if _, err := newest.watch(m.names); err != nil { // our own questions leave caches, too
		return err
	}
	for i, c := range []*client{u.client, u.fresh, newest, u.client} {
		if all[i], err = c.look(m.look); err != nil {
			return err
		}
	}
	noise := map[string]bool{}
	for _, d := range append(all[1].differences(all[2]), all[0].differences(all[3])...) {
		noise[d.kind] = true
	}
	for _, d := range all[0].differences(all[1]) {
		if _, has := all[0][d]; !noise[d.kind] && has {
			m.add(d.kind, d.subject, "the whole script", name, discarded)
		}
	}
	return nil
}

// add counts a difference. discarded says that it is there after DISCARD ALL.
func (m *machine) add(kind, subject, sql, where string, discarded bool) {
	d := m.example[kind]
	if d == nil {
		d = &Difference{Kind: kind, Subject: subject, SQL: strings.Join(strings.Fields(sql), " "), Where: where}
		d.SQL = d.SQL[:min(len(d.SQL), 200)]
		m.example[kind] = d
	}
	if discarded {
		d.AfterDiscard++
	} else {
		d.Count++
	}
}

// done returns the result, its differences sorted by kind.
func (m *machine) done() Result {
	r := m.result
	for _, kind := range slices.Sorted(maps.Keys(m.example)) {
		r.Differences = append(r.Differences, *m.example[kind])
	}
	return r
}

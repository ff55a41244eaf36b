package hostile

import (
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/pgtest"
	"github.com/poolproof/poolproof/internal/protocol"
)

// A server before 14 has no function for bodies that are kept parsed.
func TestSchemaSQLByVersion(t *testing.T) {
	const newer = "pg_get_function_sqlbody"
	for version, want := range map[string]bool{"13.22": false, "9.6.24": false, "14.0": true, "15.13 (Debian 15.13-1)": true, "18beta1": true} {
		sql := schemaSQLFor(version)
		if strings.Contains(sql, newer) != want || !strings.Contains(sql, "p.prosrc") {
			t.Errorf("%s: %s is in the query: %v", version, newer, !want)
		}
	}
}

// The database's functions, policies and defaults are not asked about after a
// temporary table was made, unless it reads a setting.
func TestTemporaryTablesAskNothing(t *testing.T) {
	upstream, messages := pgtest.CountMessages(t, pgtest.Database(t))
	p, url := StartWith(t, Config{Upstream: upstream, Observe: true})
	c := connect(t, url, "simple_protocol") // which parses nothing itself
	exec(t, c, "create temp table first (n serial)")
	p.mu.Lock()
	for _, pl := range p.pools { // nobody asks because a second has passed
		pl.mu.Lock()
		pl.schemaCheckedAt = time.Now().Add(time.Hour)
		pl.mu.Unlock()
	}
	p.mu.Unlock()
	for _, tc := range []struct {
		sql   string
		asked bool
	}{
		{"create temp table a (n serial, body text default 'x')", false},
		{"create local temporary table b (body text)", false},
		{"create temp table c (body text default current_setting('app.x', true))", true},
		{"create table d (n serial)", true},
		{"create function pg_temp.e() returns int language sql as 'select 1'", true},
	} {
		before := messages(protocol.Parse)
		exec(t, c, tc.sql)
		if got := messages(protocol.Parse) > before; got != tc.asked {
			t.Errorf("%s: asked %t", tc.sql, got)
		}
	}
}

//go:build unix

package devdb

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"syscall"
)

// OdysseyConfig says which Odyssey runs and what it pools.
type OdysseyConfig struct {
	// Binary is the Odyssey to run: see FindProgram. Required.
	Binary Program
	// Dir takes the configuration and the log. Required, one per Odyssey.
	Dir string
	// Mode is its pool: "transaction" (also for "") or "session".
	Mode string
	// PoolSize is the number of server connections per database and user; 0
	// means 2.
	PoolSize int
	// Upstream is the server behind it, which must trust all users. Required.
	Upstream *Postgres
	// Settings are added to the rule for all users, over the defaults:
	// "pool_discard": "no".
	Settings map[string]string
}

// StartOdyssey starts Odyssey on a port of the kernel's choice. It accepts every
// user that the upstream knows, without a password. What is not set is at
// Odyssey's defaults.
func StartOdyssey(ctx context.Context, cfg OdysseyConfig) (*Pooler, error) {
	return startPooler(ctx, cfg.Dir, 0, recipe{
		name: "Odyssey", program: cfg.Binary, ready: serves, end: syscall.SIGKILL,
		args:  func(p *Pooler) []string { return []string{p.path("odyssey.conf")} },
		files: func(p *Pooler) map[string]string { return map[string]string{"odyssey.conf": cfg.file(p.port)} },
	})
}

// file is odyssey.conf.
func (cfg OdysseyConfig) file(port int) string {
	size := cmp.Or(cfg.PoolSize, 2)
	var rule strings.Builder
	for _, name := range sortedKeys(cfg.Settings) {
		fmt.Fprintf(&rule, "    %s %s\n", name, cfg.Settings[name])
	}
	return fmt.Sprintf(`daemonize no
log_to_stdout yes
log_format "%%p %%t %%l [%%i %%s] (%%c) %%m\n"
log_config no
log_session no
log_query no
log_stats no
workers 1
resolvers 1
listen {
  host "%[1]s"
  port %[2]d
}
storage "upstream" {
  type "remote"
  host "%[1]s"
  port %[3]d
}
database default {
  user default {
    authentication "none"
    storage "upstream"
    pool "%[4]s"
    pool_size %[5]d
%[6]s  }
}
`, loopback, port, cfg.Upstream.Port(), cmp.Or(cfg.Mode, "transaction"), size, rule.String())
}

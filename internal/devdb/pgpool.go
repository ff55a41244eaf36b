//go:build unix

package devdb

import (
	"cmp"
	"context"
	"maps"
	"strconv"
	"strings"
	"syscall"
)

// PgpoolConfig says which pgpool-II runs and what it stands before.
type PgpoolConfig struct {
	// Binary is the pgpool-II to run: see FindProgram. Required.
	Binary Program
	// Dir takes the configuration and the log. Required, one per pgpool-II.
	Dir string
	// Mode is its backend_clustering_mode; "" means "streaming_replication", its
	// default. Seen with 4.3.5: in that mode several statements before one Sync are
	// one implicit transaction, as they should be. In "raw" they are not: a setting
	// made for the transaction is gone after a SELECT; and an INSERT outside a
	// transaction is answered while its transaction is still open, and committed no
	// earlier than at the client's next statement.
	Mode string
	// Upstream is the server behind it, which must trust all users. Required.
	Upstream *Postgres
	// Settings are added to its configuration, over the defaults.
	Settings map[string]string
}

// StartPgpool starts pgpool-II on a port of the kernel's choice: a pooler that
// hands each client a server connection for its whole session, and that reads
// and rewrites the messages in between.
func StartPgpool(ctx context.Context, cfg PgpoolConfig) (*Pooler, error) {
	return startPooler(ctx, cfg.Dir, 0, recipe{
		name: "pgpool-II", program: cfg.Binary, ready: serves,
		end: syscall.SIGINT, // fast shutdown, children included
		args: func(p *Pooler) []string {
			return []string{"-n", "-D", "-f", p.path("pgpool.conf"), "-F", p.path("pcp.conf")}
		},
		files: func(p *Pooler) map[string]string {
			return map[string]string{"pgpool.conf": cfg.file(p), "pcp.conf": "", "pool_passwd": ""}
		},
	})
}

// file is pgpool.conf.
func (cfg PgpoolConfig) file(p *Pooler) string {
	settings := map[string]string{
		"backend_clustering_mode":   "'" + cmp.Or(cfg.Mode, "streaming_replication") + "'",
		"listen_addresses":          "'" + loopback + "'",
		"port":                      strconv.Itoa(p.port),
		"socket_dir":                "'" + p.home + "'",
		"pcp_listen_addresses":      "''",
		"pcp_socket_dir":            "'" + p.home + "'",
		"backend_hostname0":         "'" + loopback + "'",
		"backend_port0":             strconv.Itoa(cfg.Upstream.Port()),
		"backend_flag0":             "'DISALLOW_TO_FAILOVER'", // there is one server: never give it up
		"failover_on_backend_error": "off",
		"enable_pool_hba":           "off",
		"num_init_children":         "32",  // one client each
		"connection_cache":          "off", // so that a database can be dropped
		"health_check_period":       "0",
		"sr_check_period":           "0",
		"pid_file_name":             "'" + p.path("pgpool.pid") + "'",
		"logdir":                    "'" + p.home + "'",
		"log_destination":           "'stderr'",
	}
	maps.Copy(settings, cfg.Settings)
	var sb strings.Builder
	for _, name := range sortedKeys(settings) {
		sb.WriteString(name + " = " + settings[name] + "\n")
	}
	return sb.String()
}

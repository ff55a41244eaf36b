package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
)

// aboutFleet is the arithmetic of --instances and --pool-size.
func aboutFleet(f *facts) []Check {
	clients := f.instances * f.poolSize
	if clients == 0 {
		return nil
	}
	sum := fmt.Sprintf("%d instances of %d connections are %d", f.instances, f.poolSize, clients)
	server := f.role.MaxConnections - f.role.Reserved
	if !f.pooled {
		if clients > server {
			c := finding(Fleet, "max_connections", fmt.Sprintf("%s; the server takes %d (max_connections %d less %d reserved)", sum, server, f.role.MaxConnections, f.role.Reserved), "",
				fmt.Sprintf("set each instance's pool to %d at most, or put a transaction pooler in front", max(1, server/f.instances)))
			return []Check{c}
		}
		return nil
	}
	if f.poolerSays == nil {
		return []Check{{ID: Fleet, Status: Skip, Basis: NotLookedAt, Title: "the pooler's limits", Detail: sum + "; this role may not ask the pooler for its limits",
			Hint: "compare with max_client_conn and default_pool_size there", Page: Page(Fleet)}}
	}
	var found []Check
	if most, err := strconv.Atoi(f.poolerSays["max_client_conn"]); err == nil && clients > most {
		found = append(found, finding(Fleet, "max_client_conn", fmt.Sprintf("%s; the pooler takes %d clients (max_client_conn)", sum, most), "",
			fmt.Sprintf("in pgbouncer.ini: max_client_conn = %d, then RELOAD on its console", clients+clients/5+1)))
	}
	if pool, err := strconv.Atoi(f.poolerSays["default_pool_size"]); err == nil && pool > server {
		found = append(found, finding(Fleet, "default_pool_size", fmt.Sprintf("a pool of the pooler has %d server connections (default_pool_size); the server takes %d", pool, server), "",
			fmt.Sprintf("in pgbouncer.ini: default_pool_size = %d, then RELOAD on its console", max(1, server*9/10))))
	}
	return found
}

// showConfig asks PgBouncer's console for its settings, as the same user. It
// returns nil where there is no such console or the user may not ask.
func showConfig(ctx context.Context, config *pgconn.Config) map[string]string {
	config = config.Copy()
	config.Database = "pgbouncer"
	config.RuntimeParams = nil
	conn, err := pgconn.ConnectConfig(ctx, config)
	if err != nil {
		return nil
	}
	defer conn.Close(ctx) //nolint:errcheck // only read
	results, err := conn.Exec(ctx, "SHOW CONFIG").ReadAll()
	if err != nil || len(results) != 1 {
		return nil
	}
	says := map[string]string{}
	for _, row := range results[0].Rows {
		if len(row) > 1 {
			says[strings.ToLower(string(row[0]))] = string(row[1])
		}
	}
	if says["max_client_conn"] == "" {
		return nil
	}
	return says
}

package poolproof

import (
	"strconv"
	"strings"

	"github.com/poolproof/poolproof/internal/wire"
)

// scope is the statement that goes before every statement of a session, in the
// same implicit transaction. Its first column is the leak canary, the tenant
// setting as the transaction found it; the second is the pid of the server
// connection. PostgreSQL evaluates a target list from left to right, so the
// canary reads before the settings are made; the conformance suite holds it to
// that. Functions are qualified: no schema of the search path can slip in others.
type scope struct {
	fixed    *wire.Fixed
	settings map[string]int // position of each further setting
	role     string
}

func newScope(c Config) *scope {
	names := c.settingNames()
	var sql strings.Builder
	// Names were checked by withDefaults: identifiers and dots only. Values are parameters.
	sql.WriteString("select pg_catalog.current_setting('" + c.TenantSetting + "', true), pg_catalog.pg_backend_pid()")
	settings := map[string]int{}
	for i, name := range names {
		settings[name] = i
		sql.WriteString(", pg_catalog.set_config('" + name + "', $" + strconv.Itoa(i+1) + ", true)")
	}
	if c.Role != "" {
		names = append(names, "role")
		sql.WriteString(", pg_catalog.set_config('role', $" + strconv.Itoa(len(names)) + ", true)")
	}
	return &scope{fixed: wire.NewFixed(sql.String(), len(names)), settings: settings, role: c.Role}
}

// call gives the scope of a session: every setting is made, ” where it has no
// value, because one that is left out would be inherited from whoever leaked it.
func (sc *scope) call(s Session) wire.Call {
	params := make([][]byte, len(sc.settings), len(sc.settings)+1)
	params[0], params[1] = []byte(s.tenant), []byte(s.user)
	for i := 2; i < len(params); i++ {
		params[i] = []byte{}
	}
	for _, extra := range s.extra {
		params[sc.settings[extra.name]] = []byte(extra.value)
	}
	if sc.role != "" {
		params = append(params, []byte(sc.role))
	}
	return wire.Call{Fixed: sc.fixed, Params: params, Names: sc.role != ""}
}

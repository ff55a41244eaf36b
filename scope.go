package poolproof

import (
	"encoding/binary"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgtype"

	"github.com/poolproof/poolproof/internal/wire"
)

// scope sets a session's settings in the implicit transaction of the session's
// statement: as a parameter of that statement (see domain.go), or as a statement
// before it. The first column of the latter is the leak canary: the tenant setting
// as the transaction found it. The second is the pid of the server connection.
// PostgreSQL evaluates a target list from left to right, so the canary reads before
// the settings are set; the conformance suite relies on it. Functions are written
// with their schema, so that the search_path cannot put others in their place.
type scope struct {
	fixed    *wire.Fixed
	names    []string       // of the settings, in order; role last, if there is one
	settings map[string]int // position of each setting
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
	return &scope{fixed: wire.NewFixed(sql.String(), len(names)), names: names, settings: settings, role: c.Role}
}

// call returns the scope of a session as a statement.
func (sc *scope) call(s Session) wire.Call {
	values := sc.values(nil, s)
	params := make([][]byte, len(values))
	for i, v := range values {
		params[i] = []byte(v)
	}
	return wire.Call{Fixed: sc.fixed, Params: params, ChangesNames: sc.role != ""}
}

// rider returns the scope of a session as a parameter of the domain: the names
// and values in turn, as an array of text in binary format. The elements' type
// is part of it, so that another type that has the same number in another
// database is likely to refuse it; bytea and text[] would not.
func (sc *scope) rider(s Session, domain uint32) wire.Rider {
	var few [4]string
	values := sc.values(few[:0], s)
	size := 20
	for i, v := range values {
		size += 8 + len(sc.names[i]) + len(v)
	}
	b := make([]byte, 0, size)
	b = binary.BigEndian.AppendUint32(b, 1) // dimension
	b = binary.BigEndian.AppendUint32(b, 0) // no element is null
	b = binary.BigEndian.AppendUint32(b, pgtype.TextOID)
	b = binary.BigEndian.AppendUint32(b, uint32(2*len(values)))
	b = binary.BigEndian.AppendUint32(b, 1) // the first index
	for i, v := range values {
		b = binary.BigEndian.AppendUint32(b, uint32(len(sc.names[i])))
		b = append(b, sc.names[i]...)
		b = binary.BigEndian.AppendUint32(b, uint32(len(v)))
		b = append(b, v...)
	}
	return wire.Rider{OID: domain, Value: b}
}

// values appends a session's values to buf, in the order of names. Every setting
// is set, to the empty text where the session has no value: one that is left out
// would be inherited from whoever leaked it.
func (sc *scope) values(buf []string, s Session) []string {
	values := slices.Grow(buf, len(sc.names))[:len(sc.names)]
	values[0], values[1] = s.tenant, s.user
	for _, extra := range s.extra {
		values[sc.settings[extra.name]] = extra.value
	}
	if sc.role != "" {
		values[len(values)-1] = sc.role
	}
	return values
}

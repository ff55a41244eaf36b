package poolproof

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
)

// Mode is how statements are sent, as in pgx's query exec modes.
type Mode string

const (
	// ModeAuto lets Open choose from what the probe proved: ModeCacheStatement where named statements are tracked, each
	// client keeps its server connection for certain, or no pooler is there; ModeExec elsewhere.
	ModeAuto Mode = ""
	// ModeExec sends statements unnamed, in one round trip, where every argument is a string, an integer, a bool, a UUID or nil. A
	// statement with arguments of other types, whose form depends on the parameter's, is described once before, which is
	// one more round trip, and sent as in ModeCacheDescribe from then on. Safe through any pooler.
	ModeExec Mode = "exec"
	// ModeCacheDescribe learns a statement's types once (one more round trip, then) and sends it unnamed from then on,
	// with binary values. Safe through any pooler.
	ModeCacheDescribe Mode = "cache_describe"
	// ModeCacheStatement keeps named statements on the server: the fastest. Open refuses it behind Supavisor, which answers
	// them out of step after any client's error, and where the probe could not
	// prove that the pooler tracks them. After ALTER TABLE … TYPE have such a pooler reconnect (PgBouncer: RECONNECT):
	// it prepares statements on new server connections by itself, and results would be read as the old type, as with pgx.
	ModeCacheStatement Mode = "cache_statement"
)

// ScopeForm is how the scope travels with a statement. The default is ScopeAuto.
type ScopeForm string

const (
	// ScopeAuto lets Open choose: ScopeParameter where [ScopeSQL] is installed and a trial of it worked, else
	// ScopeStatement. With Config.Role it chooses ScopeStatement: names in a statement are resolved before a parameter
	// could take the role on.
	ScopeAuto ScopeForm = ""
	// ScopeStatement sends a SELECT that makes the settings before the caller's statement. Needs nothing in the database.
	ScopeStatement ScopeForm = "statement"
	// ScopeParameter sends the settings as one further parameter of the caller's statement, of the domain that ScopeSQL
	// makes: for SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, TABLE and WITH, alone or as a batch's first. Whatever
	// else is sent goes as with ScopeStatement. Cheaper: PostgreSQL parses, plans and runs one statement instead of two.
	ScopeParameter ScopeForm = "parameter"
)

const (
	// DefaultTenantSetting is the setting that policies read for the tenant, unless Config.TenantSetting names another.
	DefaultTenantSetting = "app.current_tenant_id"
	// DefaultUserSetting is the setting that policies read for the acting user, unless Config.UserSetting names another.
	DefaultUserSetting = "app.current_user_id"
)

// DefaultTenantColumn is the column by which [Check] knows a table of tenants' rows.
const DefaultTenantColumn = "tenant_id"

// Config is what Open needs. Only URL is required.
type Config struct {
	// URL of the database, usually its pooler's: what libpq and pgx take, as postgres://user@host:6543/db. pgx's own
	// pool_* parameters are understood; default_query_exec_mode is refused, Mode stands for it.
	URL string

	// MaxConns bounds the connections to the pooler. Default: pgx's (four, or the number of CPUs if greater), or
	// pool_max_conns of the URL; 0 and less mean the default. Behind a transaction pooler more client connections cost little.
	MaxConns int32

	// Mode of sending statements. Default ModeAuto: choose by probe. A fixed mode skips nothing of the probe; it only
	// overrules its choice. At run time a database falls back to ModeExec by itself when named statements get lost.
	Mode Mode

	// Scope is how the scope travels. Default ScopeAuto: choose by trial. Open refuses ScopeParameter where the trial
	// fails. With Role and ScopeParameter, names in statements are resolved as the login, and all else is done as Role.
	// At run time a database falls back to ScopeStatement by itself when the domain is gone.
	Scope ScopeForm

	// TenantSetting is the setting that policies read for the tenant. Default app.current_tenant_id. A name that is no
	// custom setting's (two identifiers or more, joined by dots), here or below, is an error of kind ErrConfig.
	TenantSetting string
	// UserSetting is the setting that policies read for the acting user, '' where nobody acts. Default app.current_user_id.
	UserSetting string
	// Settings are further settings that every scope makes: '' where Session.With sets no value, because a scope that
	// leaves one out would inherit what another client leaked. Default: none.
	Settings []string

	// Role, if not empty, is the role that every scope takes on for its transaction, as set_config('role', …, true). For
	// platforms with a single login, whose tables' owner or superuser would bypass row-level security.
	Role string

	// Logger gets the choice of mode once, and each leak, fallback and scope that failed. Default slog.Default().
	Logger *slog.Logger
	// Registerer gets the counters, whose names begin with poolproof_. Databases may share one. Default: none are kept.
	Registerer prometheus.Registerer
	// TracerProvider, if not nil, gets a span per statement (through otelpgx), with its text and without its arguments.
	TracerProvider trace.TracerProvider

	// DialFunc, if not nil, opens all connections, the probe's and those of cancel requests too, as the connectors of
	// cloud providers want it; TLS, if the URL asks for it, runs on top. Default: TCP or a socket as the URL says.
	DialFunc pgconn.DialFunc

	// AfterConnect, if not nil, prepares each new connection of the pool before its first use: it is for registering
	// types that pgx does not know, such as enums, composites, domains, their arrays, and those of extensions:
	//
	//	AfterConnect: func(ctx context.Context, conn *pgx.Conn) error {
	//		types, err := conn.LoadTypes(ctx, []string{"mood", "_mood", "address"}) // _mood: mood[]
	//		conn.TypeMap().RegisterTypes(types)
	//		return err
	//	}
	//
	// It may read the catalogue and change the connection's type map, alike on every connection. Behind a pooler each of
	// its statements may reach another server connection, which other clients have before and after: it must leave
	// nothing there (SET, PREPARE, LISTEN, temporary tables, session locks), and must read no tenant's rows, because no
	// scope is set: the tenant is none, or one that somebody left. It runs as the login, not as Role. It may take as long
	// as connecting may (connect_timeout of the URL, default 5 s). An error, or a transaction that it leaves open,
	// discards the connection: of kind ErrConfig, for Open, which tries it once, and for whoever waits for a connection.
	// The probe's connections do not run it.
	AfterConnect func(ctx context.Context, conn *pgx.Conn) error

	// TenantColumns are the names of the columns that hold a tenant's id, as the catalogue spells them. Default tenant_id.
	// Check looks at each table that has one of them, or a policy that reads TenantSetting; nothing else uses them.
	TenantColumns []string

	// StatementCacheCapacity bounds the named statements per connection, and the descriptions kept in all. Default 200,
	// which is PgBouncer's max_prepared_statements, for 0 and less, too; more than the pooler keeps makes it prepare again and again.
	StatementCacheCapacity int
}

// settingName is a custom setting: two or more identifiers joined by dots.
// Names become part of the scope's SQL text, once, at Open; so nothing else is
// let through.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*(\.[A-Za-z_][A-Za-z0-9_$]*)+$`)

// withDefaults fills in defaults and refuses what cannot work.
func (c Config) withDefaults() (Config, error) {
	refuse := func(hint, format string, args ...any) (Config, error) {
		return c, &Error{Kind: ErrConfig, Op: "read the configuration", Hint: hint, Err: fmt.Errorf(format, args...)}
	}
	if c.URL == "" {
		return refuse("set Config.URL, usually from DATABASE_URL", "no URL")
	}
	if c.TenantSetting == "" {
		c.TenantSetting = DefaultTenantSetting
	}
	if c.UserSetting == "" {
		c.UserSetting = DefaultUserSetting
	}
	names := c.settingNames()
	for i, name := range names {
		if !settingName.MatchString(name) {
			return refuse("name it like app.current_tenant_id", "%q is not the name of a custom setting", name)
		}
		if slices.ContainsFunc(names[:i], func(other string) bool { return strings.EqualFold(other, name) }) { // as PostgreSQL compares them
			return refuse("give each setting a name of its own", "setting %q is named twice", name)
		}
	}
	switch c.Mode {
	case ModeAuto, ModeExec, ModeCacheDescribe, ModeCacheStatement:
	case "describe_exec":
		return refuse("use exec, or leave the mode out", "mode describe_exec returns other clients' rows through a pooler")
	case "simple_protocol":
		return refuse("use exec, or leave the mode out", "mode simple_protocol puts values into SQL text and cannot carry a scope")
	default:
		return refuse("use exec, cache_describe or cache_statement, or leave the mode out", "unknown mode %q", c.Mode)
	}
	switch c.Scope {
	case ScopeAuto, ScopeStatement, ScopeParameter:
	default:
		return refuse("use parameter or statement, or leave it out", "unknown form of the scope %q", c.Scope)
	}
	if len(c.TenantColumns) == 0 {
		c.TenantColumns = []string{DefaultTenantColumn}
	}
	if slices.Contains(c.TenantColumns, "") {
		return refuse("name the column, or leave TenantColumns out for "+DefaultTenantColumn, "a tenant column without a name")
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.StatementCacheCapacity <= 0 {
		c.StatementCacheCapacity = 200
	}
	return c, nil
}

// settingNames are all settings of a scope, in the order in which it makes
// them: tenant, user, then the further ones.
func (c Config) settingNames() []string {
	return append([]string{c.TenantSetting, c.UserSetting}, c.Settings...)
}

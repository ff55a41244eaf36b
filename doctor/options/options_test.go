package options_test

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/poolproof/poolproof/doctor/options"
	"github.com/poolproof/poolproof/pooler"
)

// The fault that this project began with is refused by name: an option that the
// driver does not know in that version (F4).
func TestUnknownOptionsAreRefusedByName(t *testing.T) {
	for _, tt := range []struct{ driver, option, id, says string }{
		{"asyncpg@0.27", "server_side_binding=False", "unknown-option", "asyncpg 0.27 has no option server_side_binding"},
		{"asyncpg@0.27", "server_side_cursors=False", "unknown-option", "no option server_side_cursors"},
		{"asyncpg@0.27", "raw_sql=True", "unknown-option", "no option raw_sql"},
		{"asyncpg@0.27", "prepared_statement_cache_size=0", "misplaced-option", "SQLAlchemy's"},
		{"asyncpg@0.27.0", "target_session_attrs=any", "unknown-option", "asyncpg 0.28.0 has it"},
		{"asyncpg", "target_session_attrs=any", "", ""},
		{"asyncpg@0.30.0", "statement_cache_sise=0", "unknown-option", "is statement_cache_size meant?"},
		{"asyncpg@0.27", "statement_cache_size=0", "", ""},
		{"asyncpg@0.27", "command_timeout=60", "", ""},
		{"sqlalchemy@2.0", "prepared_statement_cache_size=0", "", ""},
		{"sqlalchemy@2.0", "statement_cache_size=0", "", ""},
		{"sqlalchemy@1.4.54", "prepared_statement_name_func=f", "unknown-option", "2.0.30 has it"},
		{"psycopg@3.2", "statement_cache_size=0", "foreign-option", "asyncpg's"},
		{"psycopg2", "statement_cache_size=0", "foreign-option", "asyncpg's"},
		{"psycopg2", "prepare_threshold=None", "foreign-option", "psycopg 3's"},
		{"psycopg@3.1.20", "prepare_threshold=None", "", ""},
		{"psycopg", "pgbouncer=true", "pgbouncer-true", "Prisma's alone"},
		{"psycopg", "channel_binding=require", "", ""},
		{"tokio-postgres", "pgbouncer=true", "pgbouncer-true", "Prisma's alone"},
		{"tokio-postgres", "keepalives=1", "", ""},
		{"postgres.js", "prepare=false", "", ""},
		{"postgres", "pgbouncer=true", "pgbouncer-true", "does nothing"},
		{"node-postgres", "idleTimeoutMillis=1000", "", ""},
		{"pgx", "default_query_exec_mode=describe_exec", "unsafe-option", "another client's statement"},
		{"pgx", "default_query_exec_mode=exec", "", ""},
		{"pgx", "search_path=app", "unknown-option", "sent to the server"},
		{"lib/pq@1.10.9", "binary_parameters=yes", "", ""},
		{"sqlx", "statement-cache-capacity=0", "", ""},
		{"sqlx", "statement_cache_capacity=0", "unknown-option", "is statement-cache-capacity meant?"},
		{"dbase", "x=1", "unknown-driver", "asyncpg"},
	} {
		driver, version := options.ParseDriver(tt.driver)
		problems := options.CheckOptions(driver, version, []options.Option{options.ParseOption(tt.option)})
		if tt.id == "" {
			if len(problems) != 0 {
				t.Errorf("%s %s: %+v", tt.driver, tt.option, problems)
			}
			continue
		}
		if len(problems) != 1 || problems[0].ID != tt.id || !strings.Contains(problems[0].Text+" "+problems[0].Hint, tt.says) || problems[0].Source == "" {
			t.Errorf("%s %s: got %+v, want %s that says %q", tt.driver, tt.option, problems, tt.id, tt.says)
		}
	}
}

func TestDriversThatAreKnown(t *testing.T) {
	for _, driver := range options.Drivers() {
		versions := options.Versions(driver)
		if len(versions) < 2 || !slices.IsSortedFunc(versions, pooler.CompareVersions) {
			t.Errorf("%s: %q", driver, versions)
		}
	}
	for _, needed := range []string{"asyncpg", "psycopg", "psycopg2", "sqlalchemy", "pg", "postgres", "pgx", "pq", "tokio-postgres", "sqlx-postgres"} {
		if !slices.Contains(options.Drivers(), needed) {
			t.Errorf("%s is not known", needed)
		}
	}
}

// names is a resolver of a test's own: nothing leaves this machine.
type names map[string][]string

func (n names) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	addresses, ok := n[host]
	if !ok {
		return nil, errors.New("no such host")
	}
	var all []netip.Addr
	for _, a := range addresses {
		all = append(all, netip.MustParseAddr(a))
	}
	return all, nil
}

var hosts = names{
	"db.abcdefghijklmnopqrst.supabase.co":    {"2a05:d014:1c06:5f00::1"},
	"aws-0-eu-central-1.pooler.supabase.com": {"3.65.151.229"},
	"both.example":                           {"192.0.2.1", "2001:db8::1"},
	"six.example":                            {"2001:db8::1"},
	"localhost":                              {"127.0.0.1", "::1"},
	"loopback6":                              {"::1"},
	"mapped.example":                         {"::ffff:192.0.2.1"},
	"abcdefghijklmnopqrst.pooler.supabase.com.il": {"192.0.2.1"},
}

func check(url, driver string, found *pooler.Fingerprint, ipv6 bool) []options.Problem {
	return options.CheckURL(context.Background(), url, driver, found, options.Network{Resolver: hosts, IPv6: func() bool { return ipv6 }})
}

func ids(problems []options.Problem) string {
	var all []string
	for _, p := range problems {
		all = append(all, p.ID)
	}
	return strings.Join(all, " ")
}

// "Tenant or user not found" is said of the project, which the user name lacks (F5).
func TestUserWithoutTheProject(t *testing.T) {
	supavisor := &pooler.Fingerprint{Kind: pooler.Supavisor}
	for _, tt := range []struct {
		url   string
		found *pooler.Fingerprint
		want  string
	}{
		{"postgres://postgres:secret-word@aws-0-eu-central-1.pooler.supabase.com:6543/postgres", nil, "user-without-ref"},
		{"postgres://postgres:secret-word@both.example:6543/postgres", supavisor, "user-without-ref"},
		{"postgres://postgres.abcdefghijklmnopqrst:secret-word@aws-0-eu-central-1.pooler.supabase.com:6543/postgres", nil, ""},
		{"postgres://postgres:secret-word@aws-0-eu-central-1.pooler.supabase.com:6543/postgres?options=reference%3Dabcdefghijklmnopqrst", nil, ""},
		{"postgres://postgres:secret-word@both.example:6543/postgres", nil, ""},
		{"postgres://postgres:secret-word@both.example:6543/postgres", &pooler.Fingerprint{Kind: pooler.PgBouncer}, ""},
		{"postgres://postgres:secret-word@abcdefghijklmnopqrst.pooler.supabase.com.il/postgres", nil, ""},
	} {
		problems := check(tt.url, "", tt.found, true)
		if ids(problems) != tt.want {
			t.Errorf("%s: %+v, want %q", tt.url, problems, tt.want)
		}
		for _, p := range problems {
			if strings.Contains(p.Text+p.Hint+p.Subject, "secret-word") {
				t.Errorf("the password is in %+v", p)
			}
		}
	}
}

// A host with IPv6 addresses only, from a machine without a way to them (F6).
func TestHostWithIPv6Only(t *testing.T) {
	for _, tt := range []struct {
		host string
		ipv6 bool
		want string
	}{
		{"db.abcdefghijklmnopqrst.supabase.co", false, "ipv6-only"},
		{"db.abcdefghijklmnopqrst.supabase.co", true, ""},
		{"six.example", false, "ipv6-only"},
		{"[2001:db8::1]", false, "ipv6-only"},
		{"both.example", false, ""},
		{"mapped.example", false, ""},
		{"localhost", false, ""},
		{"loopback6", false, ""},
		{"[::1]", false, ""},
		{"192.0.2.1", false, ""},
		{"gone.example", false, "unknown-host"},
	} {
		problems := check("postgres://app@"+tt.host+":5432/shop", "", nil, tt.ipv6)
		if ids(problems) != tt.want {
			t.Errorf("%s: %+v, want %q", tt.host, problems, tt.want)
		}
		if strings.HasPrefix(tt.host, "db.") && tt.want != "" && !strings.Contains(problems[0].Hint, "pooler") {
			t.Errorf("the hint is %q", problems[0].Hint)
		}
	}
}

func TestURLAndPooler(t *testing.T) {
	const plain = "postgres://app@both.example:6432/shop"
	old := &pooler.Fingerprint{Kind: pooler.PgBouncer, Mode: pooler.Transaction, VersionMax: "1.19.1"}
	tracking := &pooler.Fingerprint{Kind: pooler.PgBouncer, Mode: pooler.Transaction, VersionMin: "1.21.0"}
	for _, tt := range []struct {
		url, driver string
		found       *pooler.Fingerprint
		want        string
	}{
		{plain, "prisma", old, ""},
		{plain + "?pgbouncer=true", "prisma", old, ""},
		{plain + "?pgbouncer=true", "prisma", tracking, "pgbouncer-true"},
		{plain + "?pgbouncer=true", "prisma", &pooler.Fingerprint{Kind: pooler.NoPooler}, "pgbouncer-true"},
		{plain + "?pgbouncer=true", "prisma", &pooler.Fingerprint{Kind: pooler.Supavisor}, "user-without-ref pgbouncer-true"},
		{plain + "?pgbouncer=true", "postgres", nil, "pgbouncer-true"},
		{plain + "?pgbouncer=true", "psycopg", nil, "pgbouncer-true"},
		{plain + "?pgbouncer=true", "", old, ""},
		{plain + "?options=-c%20statement_timeout%3D5s", "psycopg", old, "startup-options"},
		{plain + "?options=-c%20statement_timeout%3D5s", "psycopg", &pooler.Fingerprint{Kind: pooler.Odyssey}, "startup-options"},
		{plain + "?options=-c%20statement_timeout%3D5s", "psycopg", &pooler.Fingerprint{Kind: pooler.NoPooler}, ""},
		{"postgres://app:secret-word%zz@both.example/", "", nil, "malformed-url"},
		{"", "", nil, "malformed-url"},
		{"host=both.example user=app", "", nil, ""}, // key words and values, as libpq takes them, are not judged
	} {
		problems := check(tt.url, tt.driver, tt.found, true)
		if got := ids(problems); got != tt.want {
			t.Errorf("%s, %s: %q, want %q", tt.url, tt.driver, got, tt.want)
		}
		for _, p := range problems {
			if strings.Contains(p.Text+p.Hint+p.Subject, "secret-word") {
				t.Errorf("the password is in %+v", p)
			}
		}
	}
}

package poolproof

import (
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/devdb"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// Whatever keeps a login out has a hint of its own, and only what is about the
// login is one to back off from: said by PostgreSQL, and by PgBouncer about
// itself and about what PostgreSQL told it.
func TestEachRefusalHasItsHint(t *testing.T) {
	rules := "host nowhere all 127.0.0.1/32 reject\nhost all peered 127.0.0.1/32 ident map=none\nhost all all 127.0.0.1/32 scram-sha-256\n" //nolint:dupword // the file's columns
	server := pgtest.PrivateServer(t, rules, nil)
	asAdmin(t, server, `create role app login password 'right'; create role peered login; create role shut password 'right';
		create role expired login password 'right' valid until '2020-01-01'; create role narrow login password 'right' connection limit 0`)
	for _, sql := range []string{"create database nowhere", "create database closed", "revoke connect on database closed from public", "create database off allow_connections false"} {
		asAdmin(t, server, sql)
	}
	type login struct {
		user, database, password, query string
		refused                         bool
		hint                            string
	}
	check := func(t *testing.T, name, url string, c login) {
		t.Helper()
		if c.query != "" {
			url = strings.Replace(url, "sslmode=disable", c.query, 1)
		}
		_, err := Open(t.Context(), Config{URL: url})
		known, ok := errors.AsType[*Error](err)
		if !ok || known.Kind != ErrUnavailable || known.Hint != c.hint || LoginRefused(err) != c.refused {
			t.Errorf("%s: %v, refused %t", name, err, LoginRefused(err))
			if ok {
				t.Errorf("%s: hint %q", name, known.Hint)
			}
		}
		if strings.Contains(err.Error(), "right") {
			t.Errorf("%s: the password is in %v", name, err)
		}
	}
	for name, c := range map[string]login{
		"a wrong password":            {"app", "postgres", "wrong", "", true, hintPassword},
		"no such role":                {"nosuch", "postgres", "right", "", true, hintPassword},
		"an old password":             {"expired", "postgres", "right", "", true, hintPassword},
		"may not log in":              {"shut", "postgres", "right", "", true, hintLogin},
		"not from here":               {"app", "nowhere", "right", "", true, hintHBA},
		"not by this way":             {"peered", "postgres", "right", "", true, hintLogin},
		"no such database":            {"app", "nosuch", "right", "", false, hintDatabase},
		"may not connect there":       {"app", "closed", "right", "", false, "let the login in there as the database's owner: grant connect on database … to …"},
		"a database that is off":      {"app", "off", "right", "", false, "alter database … allow_connections true, or name another database in the URL"},
		"too many":                    {"narrow", "postgres", "right", "", false, hintMaxConns},
		"TLS, which it does not have": {"app", "postgres", "right", "sslmode=require", false, hintNoTLS},
	} {
		check(t, name, withPassword(server.URL(c.user, c.database), c.password), c)
	}
	for _, version := range []string{"1.18", "1.26"} {
		program, err := devdb.FindProgram(t.Context(), devdb.PgBouncerProgram, version)
		if err != nil {
			t.Fatal(err)
		}
		dir, err := os.MkdirTemp("", "poolproof-refusals-") //nolint:usetesting // t.TempDir is closed to the account that root's servers run under
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		start := func(name string, settings map[string]string) *devdb.PgBouncer {
			pooler, err := devdb.StartPgBouncer(t.Context(), devdb.PgBouncerConfig{Binary: program, Dir: filepath.Join(dir, name), Upstream: server, Settings: settings,
				Users: map[string]string{"app": "right", "shut": "right", "narrow": "right", "gone": "right"}})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = pooler.Stop() })
			return pooler
		}
		pooler, full := start("pooler", nil), start("full", map[string]string{"max_client_conn": "1"})
		for name, c := range map[string]login{
			"a wrong password":            {"app", "postgres", "wrong", "", true, hintPassword},
			"no such user":                {"nosuch", "postgres", "right", "", true, hintPassword},
			"no such role behind it":      {"gone", "postgres", "right", "", true, hintPassword},
			"may not log in behind it":    {"shut", "postgres", "right", "", true, hintLogin},
			"not from there":              {"app", "nowhere", "right", "", true, hintHBA},
			"no such database":            {"app", "nosuch", "right", "", false, hintDatabase},
			"too many behind it":          {"narrow", "postgres", "right", "", false, hintMaxConns},
			"TLS, which it does not have": {"app", "postgres", "right", "sslmode=require", false, hintNoTLS},
		} {
			check(t, version+": "+name, pooler.URL(c.user, c.password, c.database), c)
		}
		first, err := pgconn.Connect(t.Context(), full.URL("app", "right", "postgres"))
		if err != nil {
			t.Fatal(err)
		}
		check(t, version+": too many clients", full.URL("app", "right", "postgres"), login{hint: hintMaxConns})
		_ = first.Close(t.Context())
	}
}

// What those servers say only at times.
func TestRarerRefusals(t *testing.T) {
	for _, c := range []struct {
		code, message string
		refused       bool
		hint          string
	}{
		{"28000", `no pg_hba.conf entry for host "10.0.0.1", user "app", database "app", no encryption`, true, hintHBA},
		{"57P03", "the database system is starting up", false, "wait until the server has started: whoever asks again gets in then"},
		{"08P01", "no such user: app", true, "see the user name: the pooler knows no such user (PgBouncer's auth_file or auth_query)"},
		{"08P01", `role "app" does not exist`, true, hintLogin},
		{"08P01", "no such database: app", false, hintDatabase},
		{"08P01", "SSL required", false, "the pooler wants TLS: write sslmode=require, or verify-full, in the URL"},
		{"08P01", "server login has been failing, cached error: connect failed (server_login_retry)", false, "the pooler answers and cannot log in to its PostgreSQL: see the cause in its log, and the password that it has"},
		{"XX000", "(ECIRCUITBREAKER) too many authentication failures", true, "the pooler has locked this address out after wrong passwords: mend the password, then wait two minutes without any try"},
		{"XX000", "(EMAXCONN) max client connections reached", false, hintMaxConns},
		// A statement's own errors are no refusals, whatever their text.
		{"P0001", "password authentication failed", false, hintFor(nil)},
		{"42704", `role "app" does not exist`, false, hintFor(nil)},
	} {
		err := error(&pgconn.PgError{Code: c.code, Message: c.message, Severity: "FATAL"})
		if got := hintFor(err); got != c.hint || LoginRefused(err) != c.refused {
			t.Errorf("%s %s: refused %t, hint %q", c.code, c.message, LoginRefused(err), got)
		}
	}
	untrusted := fmt.Errorf("tls error: %w", &tls.CertificateVerificationError{Err: errors.New("signed by unknown authority")})
	if hintFor(untrusted) != hintCert || LoginRefused(untrusted) {
		t.Errorf("a certificate: %s", hintFor(untrusted))
	}
}

// TestUnknownParametersAreRefusedByName: one of another driver before anything is sent, one of nobody by the server or the pooler.
func TestUnknownParametersAreRefusedByName(t *testing.T) {
	direct := pgtest.Database(t)
	open := func(url, params string) *Error {
		t.Helper()
		mark := "?"
		if strings.Contains(url, "?") {
			mark = "&"
		}
		db, err := Open(t.Context(), Config{URL: url + mark + params})
		if err == nil {
			db.Close()
			return nil
		}
		known, ok := errors.AsType[*Error](err)
		if !ok {
			t.Fatalf("%s: %v", params, err)
		}
		return known
	}
	for _, name := range []string{"pgbouncer=true", "statement_cache_size=0", "server_side_binding=false", "prepareThreshold=0", "raw_sql=true", "keepalives=1"} {
		for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.Odyssey15} { // Odyssey would drop it
			name, _, _ := strings.Cut(name, "=")
			if err := open(pgtest.Pooled(t, direct, kind), name+"=0"); err == nil || err.Kind != ErrConfig || !strings.Contains(err.Error(), "the parameter "+name+" is ") || !strings.Contains(err.Hint, name) {
				t.Errorf("%v: %s: %+v", kind, name, err)
			}
		}
	}
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction, pgtest.PgBouncer124Transaction} {
		if err := open(pgtest.Pooled(t, direct, kind), "colour=blue"); err == nil || !strings.Contains(err.Error(), "colour") || err.Hint != hintParameter {
			t.Errorf("%v: %+v", kind, err)
		}
	}
	for _, known := range []string{"statement_timeout=9s", "app.colour=blue", "application_name=x", "pool_max_conns=3", "search_path=public", "connect_timeout=4", "channel_binding=prefer"} {
		if err := open(direct, known); err != nil {
			t.Errorf("%s: %v", known, err)
		}
	}
}

package pgtest

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/poolproof/poolproof/internal/devdb"
)

// PrivateServer returns a server of the test's own, which ends with it. Its
// superuser needs no password on 127.0.0.1; for all others rules are the lines of
// pg_hba.conf, and without any they log in by scram-sha-256. settings may be nil.
func PrivateServer(t testing.TB, rules string, settings map[string]string) *devdb.Postgres {
	t.Helper()
	return private(t, "", rules, settings)
}

// PrivateServerOf is PrivateServer of a major version, which is fetched if it is
// not there yet.
func PrivateServerOf(t testing.TB, major int, rules string, settings map[string]string) *devdb.Postgres {
	t.Helper()
	bin, err := devdb.FindMajor(major)
	if err != nil {
		t.Fatal(err)
	}
	return private(t, bin, rules, settings)
}

func private(t testing.TB, bin, rules string, settings map[string]string) *devdb.Postgres {
	t.Helper()
	dir, err := os.MkdirTemp("", "poolproof-private-") //nolint:usetesting // t.TempDir is closed to the account that root's servers run under
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil { //nolint:gosec // the servers' account reads it
		t.Fatal(err)
	}
	if rules == "" {
		rules = "host all all 127.0.0.1/32 scram-sha-256\n" //nolint:dupword // the file's columns
	}
	rules = "local all all trust\nhost all " + devdb.Superuser + " 127.0.0.1/32 trust\n" + rules //nolint:dupword // the file's columns
	hba := filepath.Join(dir, "hba.conf")
	if err := os.WriteFile(hba, []byte(rules), 0o644); err != nil { //nolint:gosec // as above; no secret
		t.Fatal(err)
	}
	all := map[string]string{"hba_file": hba}
	maps.Copy(all, settings)
	server, err := devdb.StartPostgres(t.Context(), devdb.PostgresConfig{Dir: filepath.Join(dir, "pg"), BinDir: bin, Template: template(t), Settings: all})
	if err != nil {
		t.Fatalf(`start PostgreSQL ("make setup" installs it): %v`, err)
	}
	t.Cleanup(func() {
		if err := server.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return server
}

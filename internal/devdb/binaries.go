//go:build unix

package devdb

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// downloads are the versions that can be fetched, by major version. The newest is
// fetched where no PostgreSQL is installed.
var downloads = map[int]embeddedpostgres.PostgresVersion{
	14: embeddedpostgres.V14, 15: embeddedpostgres.V15, 16: embeddedpostgres.V16, 17: embeddedpostgres.V17, newest: embeddedpostgres.V18,
}

const newest = 18

// FindMajor returns the folder that holds initdb and postgres of a major version:
// Debian's if it is installed, else one in the cache, which is fetched if it is
// not there yet.
func FindMajor(major int) (string, error) {
	if dir := fmt.Sprintf("/usr/lib/postgresql/%d/bin", major); hasServer(dir) {
		return dir, nil
	}
	return downloadPostgres(major)
}

// FindPostgres returns the folder that holds initdb and postgres: of Debian's
// versioned folders the newest, else what pg_config on the PATH names, else the
// PATH's own. The result is "" when none is installed.
func FindPostgres(ctx context.Context) string {
	versioned, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // the pattern is well-formed: no error
	slices.SortFunc(versioned, func(a, b string) int { return majorOf(b) - majorOf(a) })
	candidates := versioned
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		candidates = append(candidates, strings.TrimSpace(string(out)))
	}
	if path, err := exec.LookPath("initdb"); err == nil {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			candidates = append(candidates, filepath.Dir(target))
		}
	}
	for _, dir := range candidates {
		if hasServer(dir) {
			return dir
		}
	}
	return ""
}

func majorOf(binDir string) int {
	major, err := strconv.Atoi(filepath.Base(filepath.Dir(binDir)))
	if err != nil {
		return 0 // a folder such as "9.6": older than anything we would choose
	}
	return major
}

func hasServer(dir string) bool {
	for _, name := range []string{"initdb", "postgres"} {
		if st, err := os.Stat(filepath.Join(dir, name)); err != nil || st.Mode()&0o111 == 0 {
			return false
		}
	}
	return true
}

// CacheDir is where downloaded binaries are kept: /var/cache/poolproof for root
// (whose servers run under another account, which must reach them), else
// poolproof in the user's own cache folder. The set-up script uses the same.
func CacheDir() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/cache/poolproof", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	return filepath.Join(dir, "poolproof"), nil
}

// downloadPostgres returns the bin folder of a PostgreSQL in the cache, fetched
// now if it is not there yet (some 20 MB).
func downloadPostgres(major int) (string, error) {
	downloadVersion, ok := downloads[major]
	if !ok {
		return "", fmt.Errorf("PostgreSQL %d cannot be fetched", major)
	}
	cache, err := CacheDir()
	if err != nil {
		return "", err
	}
	target := filepath.Join(cache, "postgres-"+string(downloadVersion))
	bin := filepath.Join(target, "bin")
	if hasServer(bin) {
		return bin, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil { //nolint:gosec // programs, to be run by the servers' account
		return "", fmt.Errorf("make the cache folder: %w", err)
	}
	work, err := os.MkdirTemp("", "poolproof-download-")
	if err != nil {
		return "", fmt.Errorf("download PostgreSQL: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }() // scratch: a leftover does no harm
	port, err := freePort()
	if err != nil {
		return "", err
	}
	server := embeddedpostgres.NewDatabase(embeddedpostgres.DefaultConfig().
		Version(downloadVersion).
		Port(uint32(port)).
		BinariesPath(target).
		CachePath(filepath.Join(work, "archive")).
		RuntimePath(filepath.Join(work, "run")).
		DataPath(filepath.Join(work, "data")).
		Logger(io.Discard))
	// The library fetches only on its way to a running server. For root that
	// server then refuses to start; what counts is whether the binaries came.
	startErr := server.Start()
	if startErr == nil {
		startErr = server.Stop()
	}
	if !hasServer(bin) {
		return "", fmt.Errorf("download PostgreSQL %s: %w", downloadVersion, startErr)
	}
	return bin, nil
}

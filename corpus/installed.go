package corpus

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/poolproof/poolproof/internal/devdb"
)

// What says which packages a language's programs use. "scripts/setup" installs
// from the same files, in this order.
var manifests = map[string][]string{
	"python": {"requirements.txt"},
	"node":   {"package.json", "schema.prisma"},
	"java":   {"pom.xml"},
	"rust":   {"Cargo.toml", "src/main.rs", "src/deadpool_program.rs", "src/diesel_program.rs", "src/diesel_sync_program.rs", "src/seaorm_program.rs", "src/sqlx_program.rs", "src/tokio_program.rs"},
}

//go:embed java/pom.xml python/requirements.txt node/package.json node/schema.prisma rust/Cargo.toml rust/src
var files embed.FS

// Installed is the folder into which "scripts/setup test" has put what the
// programs of a language use: for "python" an environment (bin/python), for
// "node" node_modules, for "java" jar files, for "rust" the program itself. Its name ends in a hash of
// the files that say what that is, so that a change of them makes another folder.
func Installed(language string) (string, error) {
	h := sha256.New()
	for _, name := range manifests[language] {
		content, err := files.ReadFile(language + "/" + name)
		if err != nil {
			return "", fmt.Errorf("what the %s programs use: %w", language, err)
		}
		h.Write(content)
	}
	cache, err := devdb.CacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "corpus-"+language+"-"+hex.EncodeToString(h.Sum(nil))[:12])
	if _, err := os.Stat(dir); err != nil {
		return "", fmt.Errorf(`what the %s programs use is not installed ("make setup" does that): %w`, language, err)
	}
	return dir, nil
}

package migrations

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/poolproof/poolproof"
)

//go:embed sql/*.sql
var embedded embed.FS

// scopeName is the migration that installs the library's scope. Its text is
// [poolproof.ScopeSQL], which has no copy in the folder sql.
const scopeName = "0009_scope"

// file is one migration: its number, its name without folder and ending, its
// text, and the SHA-256 by which a later edit is noticed.
type file struct {
	version  int
	name     string // such as "0001_tables"
	sql      string
	checksum string
}

// all returns the migrations of this program in order.
func all() ([]file, error) {
	texts, err := read(embedded)
	if err != nil {
		return nil, err
	}
	texts[scopeName] = poolproof.ScopeSQL
	return inOrder(texts)
}

// read returns the texts of a file system's folder sql by their names without
// the ending.
func read(folder fs.FS) (map[string]string, error) {
	const dir = "sql"
	entries, err := fs.ReadDir(folder, dir)
	if err != nil {
		return nil, fmt.Errorf("migrations: list the embedded files: %w", err)
	}
	texts := map[string]string{}
	for _, e := range entries {
		text, err := fs.ReadFile(folder, dir+"/"+e.Name())
		if err != nil {
			return nil, fmt.Errorf("migrations: read %s: %w", e.Name(), err)
		}
		texts[strings.TrimSuffix(e.Name(), ".sql")] = string(text)
	}
	return texts, nil
}

var migrationName = regexp.MustCompile(`^(\d{4})_[a-z0-9_]+$`)

// inOrder numbers the migrations. The numbers must run from 1 without a gap, so
// that the highest is also the count.
func inOrder(texts map[string]string) ([]file, error) {
	var files []file
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		m := migrationName.FindStringSubmatch(name)
		if m == nil {
			return nil, fmt.Errorf("migrations: %s is not named like 0001_what_it_does.sql", name)
		}
		version, err := strconv.Atoi(m[1])
		if err != nil || version != len(files)+1 {
			return nil, fmt.Errorf("migrations: %s should have the number %04d", name, len(files)+1)
		}
		sum := sha256.Sum256([]byte(texts[name]))
		files = append(files, file{version: version, name: name, sql: texts[name], checksum: hex.EncodeToString(sum[:])})
	}
	return files, nil
}

// statementLine returns the line, counted from 1, on which the nth statement
// (from 0) of an SQL text begins, or 0 if there are fewer. It knows comments,
// quotes and dollar quotes, which is all that hides a semicolon in our files.
func statementLine(sql string, n int) int {
	line, start := 1, 0 // start: the line where the statement at hand begins, 0 before its first character
	for i := 0; i < len(sql); {
		skip := 1
		switch rest := sql[i:]; {
		case strings.HasPrefix(rest, "--"):
			skip = until(rest, "\n", 0)
		case strings.HasPrefix(rest, "/*"):
			skip = until(rest, "*/", 2)
		case rest[0] == ' ', rest[0] == '\t', rest[0] == '\r', rest[0] == '\n':
		default:
			if start == 0 {
				start = line
				if n == 0 {
					return start
				}
			}
			switch {
			case rest[0] == ';':
				n, start = n-1, 0
			case rest[0] == '\'', rest[0] == '"':
				skip = until(rest, rest[:1], 1)
			case dollarTag.MatchString(rest):
				tag := dollarTag.FindString(rest)
				skip = until(rest, tag, len(tag))
			}
		}
		line += strings.Count(sql[i:i+skip], "\n")
		i += skip
	}
	return 0
}

var dollarTag = regexp.MustCompile(`^\$[A-Za-z_]*\$`)

// until returns the length of s up to and including the first end after from.
func until(s, end string, from int) int {
	if i := strings.Index(s[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(s)
}

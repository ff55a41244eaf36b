//go:build unix

package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/uuid"
)

// devState is what dev makes up once and keeps in dev.json, mode 0600.
type devState struct {
	SuperuserPassword string    `json:"superuser_password"`
	OwnerPassword     string    `json:"owner_password"`
	JWTSecret         string    `json:"jwt_secret"`
	User              uuid.UUID `json:"user"`
	// Ports are taken again at the next start where they are free.
	PostgresPort int `json:"postgres_port"`
	PoolerPort   int `json:"pooler_port"`
}

// loadDevState reads the state of a data folder, and makes both where they are
// missing.
func loadDevState(dir string) (devState, error) {
	mode := os.FileMode(0o700)
	if os.Geteuid() == 0 {
		mode = 0o711 // the account that root's servers run under must pass through
	}
	if err := os.MkdirAll(dir, mode); err != nil {
		return devState{}, fmt.Errorf("making the data folder: %w", err)
	}
	var s devState
	content, err := os.ReadFile(filepath.Join(dir, "dev.json"))
	switch {
	case err == nil:
		if err := json.Unmarshal(content, &s); err != nil {
			return s, failure("remove "+dir+" to start afresh", "reading dev.json: %w", err)
		}
		return s, nil
	case !errors.Is(err, os.ErrNotExist):
		return s, fmt.Errorf("reading dev.json: %w", err)
	}
	// Nothing in here belongs in a repository.
	ignore := filepath.Join(dir, ".gitignore")
	if _, err := os.Lstat(ignore); errors.Is(err, os.ErrNotExist) {
		if err := writePrivate(ignore, []byte("*\n")); err != nil {
			return s, err
		}
	}
	s = devState{
		SuperuserPassword: rand.Text(), OwnerPassword: rand.Text(),
		JWTSecret: rand.Text() + rand.Text(), User: uuid.New(),
	}
	return s, s.save(dir)
}

func (s devState) save(dir string) error {
	content, err := json.MarshalIndent(s, "", "  ") //nolint:gosec // it goes into a file of mode 0600
	if err != nil {
		return fmt.Errorf("writing dev.json: %w", err)
	}
	return writePrivate(filepath.Join(dir, "dev.json"), append(content, '\n'))
}

// writePrivate replaces a file as a whole, with mode 0600 whatever the old one's.
func writePrivate(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(content)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", filepath.Base(path), errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// shellEnv is a file that every POSIX shell can source, and that exports what it
// sets.
func shellEnv(variables [][2]string) string {
	var sb strings.Builder
	for _, v := range variables {
		sb.WriteString("export " + v[0] + "='" + strings.ReplaceAll(v[1], "'", `'\''`) + "'\n")
	}
	return sb.String()
}

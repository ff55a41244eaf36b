//go:build unix

package devdb

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// relocated is where root's servers keep their files when the unprivileged
// account cannot reach the folder that was asked for.
const relocated = "/var/lib/poolproof"

// relocationNote is the file that says, in the folder asked for, where the
// files really are.
const relocationNote = "WHERE-THE-DATA-IS.txt"

// account is the unprivileged user that root's servers run under.
type account struct {
	name     string
	uid, gid uint32
}

// serverAccount returns the account to run servers under: nil (ourselves) for
// an ordinary user, the account postgres or else nobody for root. initdb looks
// its own user up by number, so a number without an account would not do.
func serverAccount() (*account, error) {
	if os.Geteuid() != 0 {
		return nil, nil //nolint:nilnil // nil is the answer: no other account is needed
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("user id of %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("group id of %s: %w", name, err)
		}
		if uid != 0 {
			return &account{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, errors.New("PostgreSQL refuses to run as root, and there is neither an account postgres nor an account nobody to run it under")
}

// home makes dir and returns the folder that servers really use: dir itself, or
// one under /var/lib/poolproof if acc cannot enter dir, with a note in dir. It is
// fresh when that other folder belongs to a dir that was removed since: what is
// in it is nobody's data any more.
func home(dir string, acc *account) (used string, fresh bool, err error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", false, fmt.Errorf("data folder: %w", err)
	}
	if err := os.MkdirAll(abs, 0o711); err != nil { //nolint:gosec // the servers' account must pass through; what is secret has its own mode
		return "", false, fmt.Errorf("make the data folder: %w", err)
	}
	if acc == nil {
		return abs, false, nil
	}
	ok, err := canEnter(abs, acc)
	if err != nil || ok {
		return abs, false, err
	}
	sum := sha256.Sum256([]byte(abs))
	other := filepath.Join(relocated, hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(other, 0o711); err != nil { //nolint:gosec // as above
		return "", false, fmt.Errorf("make the data folder: %w", err)
	}
	note := filepath.Join(abs, relocationNote)
	_, err = os.Stat(note)
	fresh = errors.Is(err, os.ErrNotExist)
	text := fmt.Sprintf("The account %q, which PostgreSQL runs under, cannot enter this folder.\nThe database is in %s\n", acc.name, other)
	if err := os.WriteFile(note, []byte(text), 0o600); err != nil {
		return "", false, fmt.Errorf("say where the data is: %w", err)
	}
	return other, fresh, nil
}

// canEnter reports whether acc may pass through dir and every folder above it.
func canEnter(dir string, acc *account) (bool, error) {
	// Symbolic links are followed first: what counts are the real folders.
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, fmt.Errorf("data folder: %w", err)
	}
	for {
		var st syscall.Stat_t
		if err := syscall.Stat(dir, &st); err != nil {
			return false, fmt.Errorf("look at %s: %w", dir, err)
		}
		enter := uint32(0o001)
		switch {
		case st.Uid == acc.uid:
			enter = 0o100
		case st.Gid == acc.gid:
			enter = 0o010
		}
		if uint32(st.Mode)&enter == 0 { //nolint:unconvert // 16 bits on some systems
			return false, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return true, nil
		}
		dir = parent
	}
}

// own returns path to acc; nothing to do for an ordinary user.
func own(path string, acc *account) error {
	if acc == nil {
		return nil
	}
	if err := os.Chown(path, int(acc.uid), int(acc.gid)); err != nil {
		return fmt.Errorf("give %s to %s: %w", path, acc.name, err)
	}
	return nil
}

// writeFor writes a file that acc, and nobody else but root, can read.
func writeFor(acc *account, path string, content []byte) error {
	if err := os.WriteFile(path, content, 0o600); err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return own(path, acc)
}

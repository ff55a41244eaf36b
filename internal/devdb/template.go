//go:build unix

package devdb

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// copyTemplate fills dir with a copy of what initdb of this version has made
// once, and has it made where it is not there yet.
func (p *Postgres) copyTemplate(ctx context.Context, dir string) error {
	version, err := exec.CommandContext(ctx, filepath.Join(p.bin, "initdb"), "--version").Output()
	if err != nil {
		return fmt.Errorf("ask initdb for its version: %w", err)
	}
	sum := sha256.Sum256(append(version, p.bin...))
	template := filepath.Join(p.cfg.Template, hex.EncodeToString(sum[:8]))
	_, err = os.Stat(template)
	if errors.Is(err, os.ErrNotExist) {
		err = p.makeTemplate(ctx, template)
	}
	if err != nil {
		return fmt.Errorf("make a data folder to copy: %w", err)
	}
	return p.run(ctx, dir, "cp", "-a", template+"/.", dir)
}

// makeTemplate makes it under another name first, on disk for good, because it
// stays. Where another process was quicker, that one's is as good.
func (p *Postgres) makeTemplate(ctx context.Context, template string) (err error) {
	if err := os.MkdirAll(filepath.Dir(template), 0o755); err != nil { //nolint:gosec // the servers' account must pass through; what is in it has its own mode
		return err
	}
	fresh, err := os.MkdirTemp(filepath.Dir(template), filepath.Base(template)+".new-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(fresh)) }() // it is gone after the rename
	if err := own(fresh, p.acc); err != nil {
		return err
	}
	if err := p.initdb(ctx, fresh); err != nil {
		return err
	}
	if err := os.Rename(fresh, template); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, syscall.EEXIST) {
		return err
	}
	return nil
}

package main

import (
	"fmt"
	"runtime/debug"

	"github.com/poolproof/poolproof/migrations"
)

// versionCommand is poolproof version.
type versionCommand struct{}

// Help is the long help.
func (versionCommand) Help() string {
	return `Example:
  poolproof version`
}

// Run prints what the build recorded.
func (versionCommand) Run(p *program) error {
	version, revision := "unknown", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		version = info.Main.Version
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	if _, err := fmt.Fprintf(p.stdout, "poolproof %s%s, schema %d\n", version, revision, migrations.Version); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

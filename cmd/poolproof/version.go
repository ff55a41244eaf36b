package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/poolproof/poolproof/service/migrations"
)

// version is what make release builds in. Empty in other builds, for which Go
// itself recorded something.
var version string

// versionCommand is poolproof version.
type versionCommand struct {
	JSON bool `name:"json" help:"Print it as JSON."`
}

// Help is the long help.
func (versionCommand) Help() string {
	return `Example:
  poolproof version --json`
}

// buildVersion is what poolproof version --json prints.
type buildVersion struct {
	Version  string `json:"version"`            // of a release, or what Go recorded; "-dirty" and "+dirty": not what was committed
	Revision string `json:"revision,omitempty"` // the commit, where Go recorded it
	Go       string `json:"go"`
	Platform string `json:"platform"` // as linux/amd64
	Schema   int    `json:"schema"`   // of the database, that it expects
}

// Run prints what the build recorded.
func (c versionCommand) Run(p *program) error {
	v := buildVersion{
		Version: programVersion(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH, Schema: migrations.Version,
	}
	if info, ok := debug.ReadBuildInfo(); ok && version == "" {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				v.Revision = s.Value
			}
		}
	}
	text := fmt.Sprintf("poolproof %s, schema %d", v.Version, v.Schema)
	if v.Revision != "" {
		text = fmt.Sprintf("poolproof %s %s, schema %d", v.Version, v.Revision, v.Schema)
	}
	if c.JSON {
		raw, err := json.Marshal(v)
		if err != nil { // [unexpected] it is made of texts and a number
			return fmt.Errorf("printing: %w", err)
		}
		text = string(raw)
	}
	if _, err := fmt.Fprintln(p.stdout, text); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// programVersion is the release's version, else the module's as the build
// recorded it.
func programVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}

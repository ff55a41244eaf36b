//go:build !unix

package main

// devCommand is poolproof dev, which needs a Unix.
type devCommand struct {
	Addr    string `default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Where to listen (default ${default})."`
	DataDir string `default:".poolproof" placeholder:"DIR" help:"Where the data is kept (default ${default})."`
}

// Run refuses.
func (devCommand) Run() error {
	return failure("run it in WSL, or give poolproof serve a database", "poolproof dev runs on Linux and macOS only")
}

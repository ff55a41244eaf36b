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

// proveCommand, proxyCommand and demoCommand need one, too.
type (
	proveCommand struct {
		Command []string `arg:"" passthrough:"" placeholder:"-- CMD" help:"The program to run, and its arguments."`
	}
	proxyCommand struct {
		Listen string `placeholder:"ADDR" help:"Where to listen."`
	}
	demoCommand struct{}
)

// Run refuses.
func (proveCommand) Run() error {
	return failure("run it in WSL", "poolproof prove runs on Linux and macOS only")
}

// Run refuses.
func (proxyCommand) Run() error {
	return failure("run it in WSL", "poolproof proxy runs on Linux and macOS only")
}

// Run refuses.
func (demoCommand) Run() error {
	return failure("run it in WSL", "poolproof demo runs on Linux and macOS only")
}

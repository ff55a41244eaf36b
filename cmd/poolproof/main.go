// Command poolproof is the service and its tools: see poolproof --help.
//
// This package holds flags, wiring and exit codes, and nothing else. A command
// is a struct with a Run method, listed in [commands]; main calls [run], and so
// do the tests.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/visible"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1 // it was tried and failed
	exitUsage   = 2 // it was not tried: wrong command line, or something required is missing
)

// commands is the command line: a field for each command, whose type has a Run
// method that takes what it needs of a context.Context and a *program.
type commands struct {
	LogFormat string `enum:"text,json" default:"text" placeholder:"text|json" help:"How log lines on standard error are written."`

	Dev       devCommand       `cmd:"" help:"Run a private PostgreSQL, a pooler, demo data and the API, on this machine only."`
	Serve     serveCommand     `cmd:"" help:"Serve the API and the console on an existing database."`
	Migrate   migrateCommand   `cmd:"" help:"Bring the database's schema up to date, or list its migrations."`
	Bootstrap bootstrapCommand `cmd:"" help:"Create the platform tenant and its first administrator."`
	Tenant    tenantCommand    `cmd:"" help:"Make a tenant with its first administrator, or list the tenants."`
	Import    importCommand    `cmd:"" name:"import-legacy" help:"Import tenants, members, roles and features from the original application's tables."`
	Token     tokenCommand     `cmd:"" help:"Sign an access token with POOLPROOF_JWT_SECRET."`
	Prove     proveCommand     `cmd:"" help:"Run a program against a hostile pooler and report what works only by luck."`
	Proxy     proxyCommand     `cmd:"" help:"Run the hostile pooler of prove on its own."`
	Judge     judgeCommand     `cmd:"" help:"Tell by a hundred small trials whether a pooler is right at all."`
	Doctor    doctorCommand    `cmd:"" help:"Look at a database through its URL: what is in front of it, and are tenants isolated?"`
	Explain   explainCommand   `cmd:"" help:"Print what a code of doctor or prove means, and what to do."`
	Demo      demoCommand      `cmd:"" help:"Show in 20 seconds how rows vanish behind a pooler, and how prove finds out why."`
	Version   versionCommand   `cmd:"" help:"Print the program's version and the schema that it expects."`
}

// Help is kong's: an example for the whole program.
func (commands) Help() string { return "Example:\n  poolproof dev" }

// program is what a command's Run may use of its surroundings.
type program struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	log    *slog.Logger
}

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		cancel(stoppedBy{<-signals})
		time.Sleep(sameSignal)
		signal.Stop(signals) // a later one ends the process at once
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// sameSignal is how long a repeated signal counts as the same one: timeout(1)
// signals the process and its group; a terminal and a shell may, too.
const sameSignal = time.Second

// stoppedBy is the cause of a context that a signal ended.
type stoppedBy struct{ os.Signal }

// Is makes errors.Is(err, context.Canceled) true.
func (stoppedBy) Is(target error) bool { return target == context.Canceled }

func (s stoppedBy) Error() string { return "stopped by signal: " + s.String() }

// run executes one command line and returns its exit code. It ends soon after
// ctx does; for commands that run until they are stopped that is success.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var cli commands
	exited := -1
	parser, err := kong.New(&cli,
		kong.Name("poolproof"),
		kong.Description("Keeps multi-tenant PostgreSQL correct when a connection pooler stands in front of it."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { exited = code }), // after --help
		helpVars(),
		kong.BindTo(ctx, (*context.Context)(nil)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 100}),
	)
	if err != nil { // [unexpected] the command line's own description is wrong
		return conclude(stderr, err)
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 {
		return exited
	}
	if err != nil {
		command := "poolproof"
		if parseErr, ok := errors.AsType[*kong.ParseError](err); ok && parseErr.Context != nil {
			if selected := parseErr.Context.Selected(); selected != nil {
				command = selected.FullPath()
			}
		}
		return conclude(stderr, usage("see "+command+" --help", "%w", err))
	}
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr, log: newLogger(cli.LogFormat, stderr)}
	return conclude(stderr, parsed.Run(p))
}

// exitStatus ends the process with a status of its own, when all has been said.
type exitStatus int

func (e exitStatus) Error() string { return "exit status " + strconv.Itoa(int(e)) }

// helpVars are the names that help texts list.
func helpVars() kong.Vars {
	return kong.Vars{"profiles": profileNames(), "faults": strings.Trim(fmt.Sprint(hostile.FaultKinds()), "[]")}
}

func profileNames() string {
	profiles := hostile.Profiles()
	names := make([]string, 0, len(profiles))
	for _, p := range profiles {
		names = append(names, p.Name)
	}
	return strings.Join(names, ", ")
}

func newLogger(format string, w io.Writer) *slog.Logger {
	if format == "json" {
		return slog.New(slog.NewJSONHandler(shown{w}, nil))
	}
	return slog.New(slog.NewTextHandler(w, nil)) // which quotes what cannot be seen
}

// hinted is an error with the next thing that a person should do.
type hinted struct {
	err   error
	hint  string
	usage bool
}

func (h *hinted) Error() string { return h.err.Error() }
func (h *hinted) Unwrap() error { return h.err }

// failure makes an error with a hint; the exit code is 1.
func failure(hint, format string, args ...any) error {
	return &hinted{err: fmt.Errorf(format, args...), hint: hint}
}

// usage makes an error of how the program was called; the exit code is 2.
func usage(hint, format string, args ...any) error {
	return &hinted{err: fmt.Errorf(format, args...), hint: hint, usage: true}
}

// conclude prints an error as one line and a hint as a second one, and returns the
// exit code.
func conclude(stderr io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if status, ok := errors.AsType[exitStatus](err); ok {
		return int(status)
	}
	code, hint := exitFailure, ""
	if own, ok := errors.AsType[*hinted](err); ok {
		hint = own.hint
		if own.usage {
			code = exitUsage
		}
	}
	if lib, ok := errors.AsType[*poolproof.Error](err); ok && hint == "" {
		hint = lib.Hint
	}
	text := "poolproof: " + strings.TrimPrefix(oneLine(err.Error()), "poolproof: ") + "\n"
	if hint == "" {
		hint = "see the command's --help for what it needs and an example"
	}
	text += "hint: " + oneLine(hint) + "\n"
	if _, err := io.WriteString(stderr, text); err != nil {
		return exitFailure // there is nobody left to tell
	}
	return code
}

func oneLine(s string) string { return visible.Line(strings.Join(strings.Fields(s), " ")) }

// shown writes lines of JSON so that every character can be seen.
type shown struct{ w io.Writer }

func (s shown) Write(line []byte) (int, error) {
	if _, err := s.w.Write(visible.JSON(line)); err != nil {
		return 0, err
	}
	return len(line), nil
}

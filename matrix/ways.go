package matrix

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof/hostile"
	"github.com/poolproof/poolproof/internal/devdb"
)

//go:embed schema.sql
var schema string

// The login of the programs: no owner, no superuser.
const login = "matrix"

// servers is how many connections a pooler has to the server.
const servers = 2

// way is a way to the database and how its pooler is run.
type way struct {
	Way
	program, version, mode string
	settings               map[string]string
}

// ways are all ways that can be gone here.
var ways = []way{
	{Way: Way{Name: "direct", Title: "PostgreSQL, direct"}},
	{Way{Name: "pgbouncer-1.18-transaction", Title: "PgBouncer 1.18, transaction"}, devdb.PgBouncerProgram, "1.18", "transaction", nil},
	{Way{Name: "pgbouncer-1.18-statement", Title: "PgBouncer 1.18, statement"}, devdb.PgBouncerProgram, "1.18", "statement", nil},
	{Way{Name: "pgbouncer-1.24-transaction", Title: "PgBouncer 1.24, transaction"}, devdb.PgBouncerProgram, "1.24", "transaction", nil},
	{Way{Name: "pgbouncer-1.26-transaction", Title: "PgBouncer 1.26, transaction"}, devdb.PgBouncerProgram, "1.26", "transaction", nil},
	{Way{Name: "odyssey-1.5", Title: "Odyssey 1.5, transaction"}, devdb.OdysseyProgram, "1.5", "transaction", nil},
	{Way{Name: "pgpool-4.3", Title: "pgpool-II 4.3, streaming"}, devdb.PgpoolProgram, "4.3", "streaming_replication", nil},
	{Way: Way{Name: "hostile", Title: "the hostile pooler of prove"}},
}

// WayNames are the ways that can be gone here.
func WayNames() []string {
	var names []string
	for _, w := range ways {
		names = append(names, w.Name)
	}
	return names
}

// lab is a private server and the poolers before it that were asked for.
type lab struct {
	dir     string
	server  *devdb.Postgres
	poolers map[string]running
	cells   int
}

type running struct {
	*devdb.Pooler
	version string
}

// newLab starts the server.
func newLab(ctx context.Context) (*lab, error) {
	dir, err := os.MkdirTemp("", "poolproof-matrix-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // the servers' account must pass through
		return nil, err
	}
	l := &lab{dir: dir, poolers: map[string]running{}}
	l.server, err = devdb.StartPostgres(ctx, devdb.PostgresConfig{Dir: filepath.Join(dir, "postgres"), Settings: map[string]string{"max_connections": "300"}})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return l, l.make(ctx)
}

// make makes the login and the database that the cells' are copies of.
func (l *lab) make(ctx context.Context) error {
	if err := l.exec(ctx, l.server.AdminURL(), "create role "+login+" login", "create database original"); err != nil {
		return err
	}
	return l.exec(ctx, l.server.URL(devdb.Superuser, "original"), schema)
}

func (l *lab) exec(ctx context.Context, url string, statements ...string) error {
	c, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	for _, sql := range statements {
		if _, err := c.Exec(ctx, sql); err != nil {
			return fmt.Errorf("%.40s: %w", sql, err)
		}
	}
	return nil
}

// close stops everything.
func (l *lab) close(ctx context.Context) error {
	var errs []error
	for _, p := range l.poolers {
		errs = append(errs, p.Stop(), os.RemoveAll(p.Dir()))
	}
	errs = append(errs, l.server.Kill(), l.server.Stop(ctx), os.RemoveAll(l.server.Dir()), os.RemoveAll(l.dir))
	return errors.Join(errs...)
}

// about are the results' facts about this machine and server.
func (l *lab) about(ctx context.Context, r *Results) error {
	c, err := pgx.Connect(ctx, l.server.AdminURL())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	r.Machine = fmt.Sprintf("%d cores, %s/%s", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH)
	r.Place, r.Servers = "here", servers
	return c.QueryRow(ctx, "select split_part(current_setting('server_version'), ' ', 1)").Scan(&r.PostgreSQL)
}

// ways are the names of what open takes.
func (l *lab) ways() []string { return WayNames() }

// open makes a database for one cell, so that it meets nothing that another has
// left on the pooler's server connections, and returns its URL by the way, the
// way with its version, and a function that removes it and returns the codes that
// the hostile pooler found.
func (l *lab) open(ctx context.Context, name string) (at string, found Way, end func() ([]string, error), err error) {
	i := slices.IndexFunc(ways, func(w way) bool { return w.Name == name })
	if i < 0 {
		return "", Way{}, nil, fmt.Errorf("there is no way %q", name)
	}
	w := ways[i]
	l.cells++
	database := "cell_" + strconv.Itoa(l.cells)
	if err := l.exec(ctx, l.server.AdminURL(), "create database "+database+" template original"); err != nil {
		return "", Way{}, nil, err
	}
	at = l.server.URL(login, database)
	found = w.Way
	drop := func() ([]string, error) {
		return nil, l.exec(context.WithoutCancel(ctx), l.server.AdminURL(), "drop database "+database+" with (force)")
	}
	switch {
	case w.Name == "hostile":
		return l.hostile(ctx, at, found, drop)
	case w.program != "":
		p, err := l.pooler(ctx, w)
		if err != nil {
			return "", Way{}, nil, errors.Join(err, l.exec(ctx, l.server.AdminURL(), "drop database "+database))
		}
		found.Version = p.version
		at = p.URL(login, "", database)
	}
	return at, found, drop, nil
}

// pooler is the way's pooler, started the first time.
func (l *lab) pooler(ctx context.Context, w way) (running, error) {
	if p, ok := l.poolers[w.Name]; ok {
		return p, p.Failure()
	}
	binary, err := devdb.FindProgram(ctx, w.program, w.version)
	if err != nil {
		return running{}, err
	}
	p, dir := running{}, filepath.Join(l.dir, w.Name)
	if p.version, err = binary.Version(ctx); err != nil {
		return p, err
	}
	switch w.program {
	case devdb.PgBouncerProgram:
		var b *devdb.PgBouncer
		b, err = devdb.StartPgBouncer(ctx, devdb.PgBouncerConfig{Binary: binary, Dir: dir, Mode: w.mode, PoolSize: servers, Upstream: l.server, Settings: w.settings})
		if err == nil {
			p.Pooler = b.Pooler
			err = b.AddUsers(ctx, map[string]string{login: ""})
		}
	case devdb.OdysseyProgram:
		p.Pooler, err = devdb.StartOdyssey(ctx, devdb.OdysseyConfig{Binary: binary, Dir: dir, Mode: w.mode, PoolSize: servers, Upstream: l.server, Settings: w.settings})
	case devdb.PgpoolProgram:
		p.Pooler, err = devdb.StartPgpool(ctx, devdb.PgpoolConfig{Binary: binary, Dir: dir, Mode: w.mode, Upstream: l.server, Settings: w.settings})
	}
	if err != nil {
		return p, err
	}
	l.poolers[w.Name] = p
	return p, nil
}

// hostile is a hostile pooler before the cell's database.
func (l *lab) hostile(ctx context.Context, upstream string, w Way, drop func() ([]string, error)) (string, Way, func() ([]string, error), error) {
	p, err := hostile.New(hostile.Config{Upstream: upstream, Password: "matrix", WaitTimeout: 10 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return "", w, nil, err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", w, nil, err
	}
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- p.Serve(serving, listener) }()
	end := func() ([]string, error) {
		p.Finish()
		var codes []string
		for _, f := range p.Report().Findings {
			codes = append(codes, string(f.Code))
		}
		slices.Sort(codes)
		stop()
		_, err := drop()
		return slices.Compact(codes), errors.Join(<-ended, err)
	}
	at, err := p.URL(listener.Addr().String())
	return at, w, end, err
}

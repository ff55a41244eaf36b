package matrix

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// Elsewhere is a pooler that runs already, for poolers that cannot be had here.
type Elsewhere struct {
	Way   Way    // its Name is a file's and a filter's word: "supavisor"
	Place string // where it is measured, as the page says it
	// Pooled is its URL, with the login of an application: no owner, no superuser.
	Pooled string
	// Direct is the owner's URL of the same database, past the pooler. The database
	// has no tables: the run makes its own, and drops them at its end.
	Direct string
	// Servers is how many connections the pooler has to the server.
	Servers int

	login string
}

// ErrNotEmpty is the error of a run in a database that has tables.
var ErrNotEmpty = errors.New("the database has tables: name an empty one, because this run makes and drops its own")

// start looks whether the place is fit.
func (e *Elsewhere) start(ctx context.Context) (place, error) {
	if e.Way.Name == "" || e.Place == "" || e.Servers < 1 {
		return nil, errors.New("a pooler elsewhere has a name, a place and a number of server connections")
	}
	u, err := url.Parse(e.Pooled)
	if err != nil || u.User.Username() == "" {
		return nil, errors.New("the pooled URL names no user")
	}
	c, err := pgx.Connect(ctx, e.Direct)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	var tables int
	if err := c.QueryRow(ctx, "select count(*) from pg_tables where schemaname not in ('pg_catalog', 'information_schema')").Scan(&tables); err != nil {
		return nil, err
	}
	if tables > 0 {
		return nil, ErrNotEmpty
	}
	// A pooler may have the login under another name (user.tenant): the server knows.
	p, err := pgx.Connect(ctx, e.Pooled)
	if err != nil {
		return nil, err
	}
	defer func() { _ = p.Close(context.WithoutCancel(ctx)) }()
	if err := p.QueryRow(ctx, "select current_user", pgx.QueryExecModeExec).Scan(&e.login); err != nil {
		return nil, err
	}
	return e, nil
}

func (e *Elsewhere) ways() []string { return []string{e.Way.Name} }

const dropTables = "drop table if exists items, written, documents, notes"

// open makes the tables anew and ends the login's server connections, so that the
// cell meets nothing that another has left there.
func (e *Elsewhere) open(ctx context.Context, _ string) (string, Way, func() ([]string, error), error) {
	fail := func(err error) (string, Way, func() ([]string, error), error) { return "", Way{}, nil, err }
	c, err := pgx.Connect(ctx, e.Direct)
	if err != nil {
		return fail(err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	ours := strings.ReplaceAll(schema, " to "+login+";", " to "+pgx.Identifier{e.login}.Sanitize()+";")
	for _, sql := range []string{dropTables, ours} {
		if _, err := c.Exec(ctx, sql); err != nil {
			return fail(err)
		}
	}
	if _, err := c.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity where usename = $1 and datname = current_database() and pid <> pg_backend_pid()", e.login); err != nil {
		return fail(err)
	}
	// Until the pooler has noticed: each of its server connections is asked for.
	bounded, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for well := 0; well < 2*e.Servers; {
		if err := ask(bounded, e.Pooled); err == nil {
			well++
		} else if bounded.Err() != nil {
			return fail(fmt.Errorf("the pooler does not recover from the end of its server connections: %w", err))
		}
	}
	return e.Pooled, e.Way, func() ([]string, error) { return nil, nil }, nil
}

func ask(ctx context.Context, at string) error {
	c, err := pgx.Connect(ctx, at)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	_, err = c.Exec(ctx, "select 1", pgx.QueryExecModeSimpleProtocol)
	return err
}

func (e *Elsewhere) about(ctx context.Context, r *Results) error {
	r.Place, r.Servers = e.Place, e.Servers
	c, err := pgx.Connect(ctx, e.Direct)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	return c.QueryRow(ctx, "select split_part(current_setting('server_version'), ' ', 1)").Scan(&r.PostgreSQL)
}

func (e *Elsewhere) close(ctx context.Context) error {
	c, err := pgx.Connect(ctx, e.Direct)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(ctx) }()
	_, err = c.Exec(ctx, dropTables)
	return err
}

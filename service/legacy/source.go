package legacy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Source is what [Read] found: the original's tables by their name in [S], with
// the columns that an installation has under one name each.
type Source struct {
	Schema string
	Tables map[string]Table
	// Absent names the tables and columns that other installations have and
	// this one has not: "user_tenants", "roles.tenant_id".
	Absent []string
}

// Table is one of the source's tables. A table that is not there has no
// columns.
type Table struct {
	Columns map[string]bool
	Rows    []Row
}

// Row holds the values that are not null, as PostgreSQL writes them.
type Row map[string]string

// Has reports whether the source has a column.
func (s Source) Has(table, column string) bool { return s.Tables[table].Columns[column] }

// ErrSplit means that what stands before a database makes several transactions
// of statements that are sent as one.
var ErrSplit = errors.New("a pooler on the way splits transactions")

// ErrHidden means that row-level security hides rows of the source.
var ErrHidden = errors.New("row-level security hides rows of the source from this login")

// ErrNoSource means that the schema has none of the tables.
var ErrNoSource = errors.New("there are no tables of the original application")

// column is one of ours and the names that installations give it, the first
// that is there counts.
type column struct {
	name  string
	named []string
}

func col(name string, named ...string) column { return column{name, append([]string{name}, named...)} }

// spec is a table, the names that installations give it, and which of its
// columns it is nothing without.
type spec struct {
	name    string
	named   []string
	needs   []string
	columns []column
}

var specs = []spec{
	{"tenants", []string{"tenants"}, []string{"id"},
		[]column{col("id"), col("name"), {"active", []string{"is_active", "active"}}, col("description")}},
	{"profiles", []string{"profiles"}, []string{"id", "tenant_id"},
		[]column{col("id"), col("user_id"), col("tenant_id"), col("email"), col("name", "full_name"), col("role"), col("role_id"), col("active", "is_active"), col("avatar_url"), col("bio")}},
	{"roles", []string{"roles"}, []string{"id", "name"},
		[]column{col("id"), col("name"), col("description"), col("tenant_id")}},
	{"permissions", []string{"permissions"}, []string{"id", "name"},
		[]column{col("id"), col("name"), col("description"), col("tenant_id")}},
	{"role_permissions", []string{"role_permissions"}, []string{"permission_id"},
		[]column{col("role_id"), col("role"), col("permission_id")}},
	{"user_roles", []string{"user_roles"}, []string{"user_id", "role_id"},
		[]column{col("user_id"), col("role_id"), col("tenant_id")}},
	{"user_tenants", []string{"user_tenants"}, []string{"user_id", "tenant_id"},
		[]column{col("user_id"), col("tenant_id"), col("role_id")}},
	// The original's own "features" holds requests for features: it has a title
	// and no name.
	{"feature_flags", []string{"feature_flags", "features"}, []string{"id", "name"},
		[]column{col("id"), col("name"), col("description"), {"default_enabled", []string{"default_enabled", "is_enabled", "enabled"}}}},
	{"tenant_features", []string{"tenant_features"}, []string{"tenant_id", "feature_id"},
		[]column{col("tenant_id"), col("feature_id"), {"enabled", []string{"is_enabled", "enabled"}}}},
	{"sidebar_features", []string{"sidebar_features"}, []string{"url_path"},
		[]column{
			col("id"), col("feature_id"), {"title", []string{"sidebar_name", "title", "display_name", "name"}}, col("url_path", "path", "route"), col("icon"),
			col("display_order", "order"), {"permission", []string{"requires_permission", "required_permission"}}, col("requires_feature"),
			col("tenant_id"), col("group_name"), col("minimum_role_id"),
		}},
}

// Read reads the source's tables in one read-only transaction that sees one
// state of them. url is a login that sees every row, such as the owner's, and
// may be pooled, in transaction or statement mode. An error means that the
// source could not be reached or read; nothing is ever changed in it.
func Read(ctx context.Context, url, schema string) (Source, error) {
	conn, err := connect(ctx, url)
	if err != nil {
		return Source{}, fmt.Errorf("legacy: the source: %w", err)
	}
	defer closeConn(conn)
	src, err := read(ctx, conn, schema)
	if err != nil {
		return Source{}, fmt.Errorf("legacy: read the source: %w", err)
	}
	return src, nil
}

func read(ctx context.Context, conn *pgx.Conn, schema string) (Source, error) {
	there, err := inspect(ctx, conn, schema)
	if err != nil {
		return Source{}, err
	}
	src := Source{Schema: schema, Tables: map[string]Table{}}
	// SET TRANSACTION is the first statement of the pipeline, so that it holds
	// for all of it without BEGIN, which a pooler in statement mode refuses.
	b := &pgx.Batch{}
	b.Queue(`set transaction isolation level repeatable read, read only`)
	isolation := ""
	b.Queue(`select pg_catalog.current_setting('transaction_isolation')`).QueryRow(func(row pgx.Row) error { return row.Scan(&isolation) })
	for _, s := range specs {
		name, columns := s.find(there)
		if name == "" {
			src.Absent = append(src.Absent, s.name)
			continue
		}
		t := Table{Columns: map[string]bool{}}
		var ours, theirs []string
		for _, c := range s.columns {
			if columns[c.name] == "" {
				src.Absent = append(src.Absent, s.name+"."+c.name)
				continue
			}
			t.Columns[c.name] = true
			ours = append(ours, c.name)
			theirs = append(theirs, pgx.Identifier{columns[c.name]}.Sanitize()+"::text")
		}
		src.Tables[s.name] = t
		sql := `select array[` + strings.Join(theirs, ", ") + `] from ` + pgx.Identifier{schema, name}.Sanitize()
		b.Queue(sql).Query(func(rows pgx.Rows) error {
			all, err := pgx.CollectRows(rows, pgx.RowTo[[]*string])
			if err != nil {
				return err
			}
			for _, values := range all {
				row := Row{}
				for i, v := range values {
					if v != nil {
						row[ours[i]] = *v
					}
				}
				t.Rows = append(t.Rows, row)
			}
			slices.SortFunc(t.Rows, func(a, b Row) int {
				for _, c := range ours {
					if n := strings.Compare(a[c], b[c]); n != 0 {
						return n
					}
				}
				return 0
			})
			src.Tables[s.name] = t
			return nil
		})
	}
	if len(src.Tables) == 0 {
		return Source{}, fmt.Errorf("%w in the schema %q", ErrNoSource, schema)
	}
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return Source{}, err
	}
	if isolation != "repeatable read" {
		return Source{}, ErrSplit
	}
	return src, nil
}

// inspect returns the columns of the schema's tables. It refuses tables of which
// row-level security would show only some rows: they would be read as if the
// others did not exist.
func inspect(ctx context.Context, conn *pgx.Conn, schema string) (map[string]map[string]bool, error) {
	var names []string
	for _, s := range specs {
		names = append(names, s.named...)
	}
	rows, err := conn.Query(ctx, `select c.relname::text, a.attname::text, pg_catalog.row_security_active(c.oid)
		from pg_catalog.pg_class c
		join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
		where n.nspname = $1::text and c.relname = any ($2::text[]) and c.relkind in ('r', 'p', 'v', 'm')
		order by 1, 2`, schema, names)
	if err != nil {
		return nil, fmt.Errorf("look for its tables: %w", err)
	}
	there := map[string]map[string]bool{}
	var table, name string
	var hidden bool
	var secret []string
	_, err = pgx.ForEachRow(rows, []any{&table, &name, &hidden}, func() error {
		if there[table] == nil {
			there[table] = map[string]bool{}
			if hidden {
				secret = append(secret, table)
			}
		}
		there[table][name] = true
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("look for its tables: %w", err)
	}
	if len(secret) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrHidden, strings.Join(secret, ", "))
	}
	return there, nil
}

// find returns the table's name in the source and its columns' names there by
// ours; "" where there is no such table, or it lacks what it needs.
func (s spec) find(there map[string]map[string]bool) (string, map[string]string) {
	for _, name := range s.named {
		columns := map[string]string{}
		for _, c := range s.columns {
			for _, n := range c.named {
				if there[name][n] {
					columns[c.name] = n
					break
				}
			}
		}
		if !slices.ContainsFunc(s.needs, func(n string) bool { return columns[n] == "" }) {
			return name, columns
		}
	}
	return "", nil
}

// connect opens a connection that prepares nothing: every statement goes
// unnamed and in one pipeline.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, err // pgx leaves the password out
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity = 0
	cfg.DescriptionCacheCapacity = 0
	cfg.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return conn, nil
}

// closeConn says goodbye even when the caller's context is over; a failure to
// do so changes nothing that was done.
func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

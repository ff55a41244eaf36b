package migrations

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
)

// Version is the schema that this program expects: the number of its last
// migration.
const Version int = 9

// RuntimeRole is the role that holds the grants the service needs. Nobody logs
// in as it; logins are its members (see [Options.Login]).
const RuntimeRole = "poolproof_runtime"

// How a database's schema can differ from this program's.
var (
	// ErrSchemaOlder: migrations are missing. From [Verify].
	ErrSchemaOlder = errors.New("the database's schema is older than this program")
	// ErrSchemaNewer: it has migrations that this program does not know. From
	// [Verify] and [Up].
	ErrSchemaNewer = errors.New("the database's schema is newer than this program")
	// ErrSchemaForeign: what was applied under a number is not what this program
	// would apply. From [Up] and [Status]; [Verify] compares numbers only.
	ErrSchemaForeign = errors.New("the database was not migrated by a release of this program")
)

// Step is one migration of this program, or one that the database has and this
// program does not know.
type Step struct {
	Version   int
	Name      string
	AppliedAt *time.Time // nil: not applied
}

// Status lists the migrations in order. A database without the schema answers
// with every AppliedAt nil. Where an applied migration is another one than this
// program's, the error is ErrSchemaForeign.
func Status(ctx context.Context, url string) ([]Step, error) {
	files, err := all()
	if err != nil {
		return nil, err
	}
	conn, err := connect(ctx, url)
	if err != nil {
		return nil, err
	}
	defer closeConn(conn)
	rows, err := applied(ctx, conn.PgConn())
	if err != nil {
		return nil, err
	}
	if err := sameFiles(files, rows); err != nil {
		return nil, err
	}
	var steps []Step
	for i, f := range files {
		s := Step{Version: f.version, Name: f.name}
		if i < len(rows) {
			s.AppliedAt = &rows[i].at
		}
		steps = append(steps, s)
	}
	for _, r := range rows[min(len(files), len(rows)):] {
		steps = append(steps, Step{Version: r.version, Name: r.name, AppliedAt: &r.at})
	}
	return steps, nil
}

// Verify compares the schema behind db with [Version] in one round trip:
// ErrSchemaOlder where a migration is missing or the schema is not there at
// all, ErrSchemaNewer where the database has one that this program does not
// know, both with the command to run. Any other error is the database's.
func Verify(ctx context.Context, db *poolproof.DB) error {
	var version int
	err := db.Shared().QueryRow(ctx, `select coalesce(max(version), 0) from poolproof.schema_migrations`).Scan(&version)
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		switch pg.Code {
		case "42P01", "3F000": // undefined table, undefined schema
			return fmt.Errorf("migrations: %w: it has no schema poolproof; run: poolproof migrate up", ErrSchemaOlder)
		case "42501": // insufficient privilege
			return fmt.Errorf("migrations: read the schema's version: this login is not a member of %s; run: poolproof migrate up --login NAME: %w", RuntimeRole, err)
		}
	}
	if err != nil {
		return fmt.Errorf("migrations: read the schema's version: %w", err)
	}
	switch {
	case version < Version:
		return fmt.Errorf("migrations: %w: it has version %d and %d is needed; run: poolproof migrate up", ErrSchemaOlder, version, Version)
	case version > Version:
		return fmt.Errorf("migrations: %w: it has version %d and this program knows %d; run a newer poolproof", ErrSchemaNewer, version, Version)
	}
	return nil
}

// record is a row of schema_migrations.
type record struct {
	version        int
	name, checksum string
	at             time.Time
}

// applied reads what the database has, in order; nothing if it has no schema.
func applied(ctx context.Context, conn *pgconn.PgConn) ([]record, error) {
	there, err := simple(ctx, conn, `select to_regclass('poolproof.schema_migrations') is not null`)
	if err != nil {
		return nil, fmt.Errorf("migrations: look for the schema: %w", err)
	}
	if there[0][0] != "t" {
		return nil, nil
	}
	rows, err := simple(ctx, conn, `select version, name, checksum, extract(epoch from applied_at)
		from poolproof.schema_migrations order by version`)
	if err != nil {
		return nil, fmt.Errorf("migrations: read what is applied: %w", err)
	}
	var records []record
	for _, r := range rows {
		version, err := strconv.Atoi(r[0])
		if err != nil {
			return nil, fmt.Errorf("migrations: read what is applied: version %q: %w", r[0], err)
		}
		seconds, err := strconv.ParseFloat(r[3], 64)
		if err != nil {
			return nil, fmt.Errorf("migrations: read what is applied: time of version %d: %w", version, err)
		}
		records = append(records, record{version, r[1], r[2], time.UnixMicro(int64(seconds * 1e6)).UTC()})
	}
	return records, nil
}

// sameFiles refuses a database whose migrations are not a prefix of ours, or
// ours of them.
func sameFiles(files []file, rows []record) error {
	for i, r := range rows {
		switch {
		case r.version != i+1:
			return fmt.Errorf("migrations: %w: it records version %d where %d should be", ErrSchemaForeign, r.version, i+1)
		case i < len(files) && (r.checksum != files[i].checksum || r.name != files[i].name):
			return fmt.Errorf("migrations: %w: %s, which was applied on %s, is not this program's %s (an applied migration is never edited: add a new one)",
				ErrSchemaForeign, r.name, r.at.Format(time.DateOnly), files[i].name)
		}
	}
	return nil
}

// simple runs one constant statement by the simple protocol, which no pooler
// can split, and returns its rows as text.
func simple(ctx context.Context, conn *pgconn.PgConn, sql string) ([][]string, error) {
	results, err := conn.Exec(ctx, sql).ReadAll()
	if err != nil {
		return nil, err
	}
	var rows [][]string
	for _, row := range results[len(results)-1].Rows {
		var texts []string
		for _, v := range row {
			texts = append(texts, string(v))
		}
		rows = append(rows, texts)
	}
	return rows, nil
}

package migrations

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Options of [Up].
type Options struct {
	// Login names a login role to make, or to give a new password: a member of
	// [RuntimeRole] and nothing else. Its URL comes back in [Result.LoginURL].
	// Each run with a Login changes the password, so that of several at once
	// only the last one's URL works. Empty: none.
	Login string

	// Log is told, one line each, what is being done; nil: nobody.
	Log func(string)
}

// Result of [Up].
type Result struct {
	Applied  []string // names of the migrations that this call applied, in order
	LoginURL string   // for Options.Login: the given URL with the login's name and password
}

// Up brings the database to [Version] and makes [RuntimeRole] where it is
// missing. url is an owner's, and may lead through a pooler in any mode. Any
// number of copies may run at once: each migration is applied by one of them,
// and all return when all are applied.
//
// Errors name the file and the line. A migration that fails leaves the
// database as the one before it did. ErrSchemaForeign where an applied migration
// is another one than this program's, ErrSchemaNewer where the database has
// migrations that this program does not know.
func Up(ctx context.Context, url string, opt Options) (Result, error) {
	files, err := all()
	if err != nil {
		return Result{}, err
	}
	return up(ctx, url, files, opt)
}

func up(ctx context.Context, url string, files []file, opt Options) (Result, error) {
	if err := checkLoginName(opt.Login); err != nil {
		return Result{}, err
	}
	log := opt.Log
	if log == nil {
		log = func(string) {}
	}
	conn, err := connect(ctx, url)
	if err != nil {
		return Result{}, err
	}
	defer closeConn(conn)

	rows, err := applied(ctx, conn.PgConn())
	if err != nil {
		return Result{}, err
	}
	if err := sameFiles(files, rows); err != nil {
		return Result{}, err
	}
	if len(rows) > len(files) {
		return Result{}, fmt.Errorf("migrations: %w: it has version %d and this program knows %d", ErrSchemaNewer, rows[len(rows)-1].version, len(files))
	}
	if err := ensureRuntimeRole(ctx, conn.PgConn()); err != nil {
		return Result{}, err
	}
	var res Result
	for _, f := range files[len(rows):] {
		began := time.Now()
		done, err := apply(ctx, conn.PgConn(), f)
		switch {
		case err != nil:
			return res, err
		case done:
			res.Applied = append(res.Applied, f.name)
			log(fmt.Sprintf("applied %s in %s", f.name, time.Since(began).Round(time.Millisecond)))
		default:
			log(f.name + " was applied by another copy")
		}
	}
	if opt.Login != "" {
		if res.LoginURL, err = ensureLogin(ctx, conn.PgConn(), url, opt.Login); err != nil {
			return res, err
		}
		log("login " + opt.Login + " is ready")
	}
	return res, nil
}

// SQLSTATEs by which the guard tells the runner why it stopped a message.
const (
	stateApplied = "PM001"
	stateGap     = "PM002"
	stateEdited  = "PM003"
)

// lockKey is the advisory lock that migrations of one database queue on: the
// bytes of "poolproo", a number that nobody takes by chance.
const lockKey = 0x706f6f6c70726f6f

// preamble is what a migration's message starts with; preambleStatements is
// how many statements it has.
const preambleStatements = 6

func preamble(f file) string {
	return fmt.Sprintf(`set transaction isolation level read committed, read write;
set local search_path = pg_catalog, pg_temp;
set local client_min_messages = warning;
set local check_function_bodies = on;
select pg_advisory_xact_lock(%d);
do $guard$
declare
    there text;
begin
    if to_regclass('poolproof.schema_migrations') is not null then
        select m.checksum into there from poolproof.schema_migrations m where m.version = %d;
        if there = '%s' then
            raise exception using errcode = '%s', message = 'already applied';
        elsif there is not null then
            raise exception using errcode = '%s', message = 'another file was applied under this number';
        elsif (select coalesce(max(m.version), 0) from poolproof.schema_migrations m) <> %d then
            raise exception using errcode = '%s', message = 'the migration before it is not applied';
        end if;
    elsif %d <> 1 then
        raise exception using errcode = '%s', message = 'the migration before it is not applied';
    end if;
end
$guard$;
`, int64(lockKey), f.version, f.checksum, stateApplied, stateEdited, f.version-1, stateGap, f.version, stateGap)
}

// apply runs one migration as one message. done is false if another copy had
// applied it already.
func apply(ctx context.Context, conn *pgconn.PgConn, f file) (done bool, err error) {
	head := preamble(f)
	// name and checksum are made of letters, digits and "_" by load.
	tail := fmt.Sprintf("\n;insert into poolproof.schema_migrations (version, name, checksum) values (%d, '%s', '%s')", f.version, f.name, f.checksum)
	reader := conn.Exec(ctx, head+f.sql+tail)
	completed := 0
	for reader.NextResult() {
		if _, err := reader.ResultReader().Close(); err == nil {
			completed++
		}
	}
	err = reader.Close()
	if err == nil {
		return true, nil
	}
	pg, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return false, fmt.Errorf("migrations: %s.sql: %w", f.name, err)
	}
	if pg.Code == stateApplied {
		return false, nil
	}
	if line := errorLine(f, head, pg, completed); line > 0 {
		return false, fmt.Errorf("migrations: %s.sql:%d: %w", f.name, line, withContext(pg))
	}
	return false, fmt.Errorf("migrations: %s.sql: %w", f.name, withContext(pg))
}

// errorLine finds where in the file an error happened: by the position that
// the server reports, which counts characters of the whole message, else by how
// many statements had completed. 0 if it was not in the file.
func errorLine(f file, head string, pg *pgconn.PgError, completed int) int {
	if at := int(pg.Position) - 1 - utf8.RuneCountInString(head); pg.Position > 0 && at >= 0 {
		runes := []rune(f.sql)
		if at >= len(runes) {
			return 0
		}
		return 1 + strings.Count(string(runes[:at]), "\n")
	}
	if completed < preambleStatements {
		return 0
	}
	return statementLine(f.sql, completed-preambleStatements)
}

// withContext adds the server's detail and context, which say where inside a
// DO block or a function it was.
func withContext(pg *pgconn.PgError) error {
	var more []string
	for _, s := range []string{pg.Detail, pg.Where} {
		if s != "" {
			more = append(more, s)
		}
	}
	if len(more) == 0 {
		return pg
	}
	return fmt.Errorf("%w (%s)", pg, strings.Join(more, "; "))
}

// connect opens a connection that prepares nothing: every statement goes
// unnamed and in one message or one pipeline.
func connect(ctx context.Context, url string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("migrations: %w", err) // pgx leaves the password out
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.StatementCacheCapacity = 0
	cfg.DescriptionCacheCapacity = 0
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("migrations: connect: %w", err)
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

package doctor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof/internal/sqltext"
)

// What only the application knows: a tenant that has rows, and the statements that it sends.

// sees looks as Config.Tenant, and reports whether any tenant table shows a row of it: where none does, the application
// answers with an empty list, or {}, and no error.
func sees(ctx context.Context, r *reader, f *facts, cfg Config) []Check {
	if cfg.Tenant == "" {
		return nil
	}
	var tables []table
	for _, t := range f.tenantTables() {
		if t.Reads {
			tables = append(tables, t)
		}
	}
	if len(tables) == 0 {
		return []Check{{ID: NothingSeen, Status: Skip, Basis: NotLookedAt, Title: catalogue[NothingSeen].title, Detail: "there is no tenant table that this role may read", Page: Page(NothingSeen)}}
	}
	var shown, bare []string
	for _, t := range tables {
		var one []bool
		err := r.ask(ctx, map[string]string{f.setting: cfg.Tenant}, limit, rows(&one, pgx.RowTo[bool], fmt.Sprintf("select exists (select from %s t where t.%s::text = $1)", t.Name, t.quoted), cfg.Tenant))
		pg, refused := errors.AsType[*pgconn.PgError](err)
		switch {
		case err == nil && one[0]:
			shown = append(shown, t.Name)
		case refused:
			bare = append(bare, t.Name+" ("+pg.Message+")")
		case err != nil:
			return []Check{{ID: NothingSeen, Status: Skip, Basis: NotLookedAt, Title: catalogue[NothingSeen].title, Detail: "the time was over", Hint: "ask again: poolproof doctor --only PD034 --tenant ID", Page: Page(NothingSeen)}}
		default:
			bare = append(bare, t.Name)
		}
	}
	if len(shown) > 0 {
		detail := fmt.Sprintf("rows of it in %d of %s", len(shown), count(len(tables), "tenant table"))
		if len(bare) > 0 {
			detail += "; none in " + strings.Join(bare, ", ")
		}
		return []Check{{ID: NothingSeen, Status: OK, Basis: Measured, Title: catalogue[NothingSeen].fine, Detail: detail, Page: Page(NothingSeen)}}
	}
	return []Check{finding(NothingSeen, "", fmt.Sprintf("as this tenant, in %s, no row of %s: %s", f.setting, count(len(tables), "tenant table"), strings.Join(bare, ", ")), "",
		"compare with what the owner sees, over a direct connection; where there are rows, look at what is said of the policies of these tables and of the setting: poolproof doctor --only PD008")}
}

// most statements are tried, and are said to be.
const maxStatements = 10_000

// fits has PostgreSQL parse the application's statements, and run none, and reports those that do not fit the schema.
func fits(ctx context.Context, conn *pgx.Conn, cfg Config) []Check {
	if cfg.Statements == "" {
		return nil
	}
	all := sqltext.Statements(cfg.Statements)
	var found []Check
	tried := 0
	for _, sql := range all[:min(len(all), maxStatements)] {
		_, err := conn.PgConn().Prepare(ctx, "", sql, nil)
		pg, refused := errors.AsType[*pgconn.PgError](err)
		if err != nil && !refused {
			break
		}
		tried++
		if !refused || !strings.HasPrefix(pg.Code, "42") && pg.Code != "3F000" || pg.Code == "42501" { // of another kind: 25P02, 57014
			continue
		}
		detail := fmt.Sprintf("%s (SQLSTATE %s), in: %s", pg.Message, pg.Code, shorten(sql))
		hint := "migrate the database, or deploy the program that fits it: the program and this database are of different versions"
		if pg.Hint != "" {
			detail += "\nPostgreSQL adds: " + pg.Hint
		}
		found = append(found, finding(DoesNotFit, lost(pg), detail, "", hint))
	}
	share := fmt.Sprintf("%d of %s parsed by PostgreSQL, none of them run", tried, count(len(all), "statement"))
	for i := range found {
		found[i].Detail += "\n" + share
	}
	switch {
	case len(found) > 0:
	case tried == 0:
		found = append(found, Check{ID: DoesNotFit, Status: Skip, Basis: NotLookedAt, Title: catalogue[DoesNotFit].title, Detail: share, Hint: "ask again, with --within 20s", Page: Page(DoesNotFit)})
	default:
		found = append(found, Check{ID: DoesNotFit, Status: OK, Basis: Measured, Title: catalogue[DoesNotFit].fine, Detail: share, Page: Page(DoesNotFit)})
	}
	return found
}

// lost is what a statement names and the database has not: what the message puts in quotes, or says first.
func lost(pg *pgconn.PgError) string {
	for _, what := range []string{"column ", "relation ", "function ", "type ", "schema "} {
		if _, rest, ok := strings.Cut(pg.Message, what); ok {
			if name, _, ok := strings.Cut(rest, " does not exist"); ok {
				return what + strings.Trim(name, `"`)
			}
		}
	}
	return pg.Message
}

func shorten(sql string) string {
	line := strings.Join(strings.Fields(sql), " ")
	if len(line) > 200 {
		line = strings.ToValidUTF8(line[:200], "") + "…"
	}
	return line
}

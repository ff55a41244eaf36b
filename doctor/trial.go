package doctor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// The tenants of the trial, as whom no row may be seen.
const (
	aStranger = "a random tenant"
	empty     = "an empty tenant"
	none      = "no tenant"
)

// tried is what a trial of the tenant tables saw.
type tried struct {
	total, tables int                 // that the role may read; that were tried as each of the three
	seen          map[string][]string // by table: the tenants of the trial that saw a row
	why           string              // why not all were tried, or ""
}

// isolate reads every tenant table as nobody's tenant and reports which of them show a
// row. It asks whether there is one, and takes none out of the server.
func isolate(ctx context.Context, r *reader, f *facts) tried {
	t := tried{seen: map[string][]string{}}
	groups := map[string][]table{}
	for _, table := range f.tenantTables() {
		if table.Reads {
			t.total++
			groups[kindOf(table.typ)] = append(groups[kindOf(table.typ)], table)
		}
	}
	untried := map[string]bool{}
	for _, kind := range slices.Sorted(maps.Keys(groups)) {
		for _, who := range []string{aStranger, empty, none} {
			settings := map[string]string{}
			if who != none {
				for _, p := range f.policies {
					for _, s := range p.settings() {
						settings[s] = ""
					}
				}
				settings[f.setting] = ""
			}
			if who == aStranger {
				settings[f.setting] = stranger(kind)
			}
			for chunk := range slices.Chunk(groups[kind], 25) {
				t.try(ctx, r, who, settings, chunk, untried)
			}
		}
	}
	t.tables = t.total - len(untried)
	return t
}

func kindOf(typ string) string {
	switch typ {
	case "uuid", "smallint", "integer", "bigint", "numeric":
		return typ
	}
	return "text"
}

// stranger is a tenant's id that nobody has.
func stranger(kind string) string {
	most := map[string]int64{"smallint": 1 << 10, "integer": 1 << 20, "bigint": 1 << 40, "numeric": 1 << 40}[kind]
	switch {
	case kind == "uuid":
		return uuid.NewString()
	case most > 0:
		n, err := rand.Int(rand.Reader, big.NewInt(most))
		if err != nil { // [unexpected] the system has no randomness
			panic(err)
		}
		top := map[string]int64{"smallint": 1<<15 - 1, "integer": 1<<31 - 1, "bigint": 1<<62 - 1, "numeric": 1<<62 - 1}[kind]
		return fmt.Sprint(top - n.Int64())
	}
	return "poolproof-trial-" + strings.ToLower(rand.Text())
}

// try asks for several tables in one statement. One that fails is asked for by
// itself: a statement that PostgreSQL refuses shows no row.
func (t *tried) try(ctx context.Context, r *reader, who string, settings map[string]string, tables []table, untried map[string]bool) {
	parts, args := make([]string, len(tables)), make([]any, len(tables))
	for i, table := range tables {
		parts[i] = fmt.Sprintf("select '%d'::text as i where exists (select from %s t where t.%s is not null and not (t.%s::text = any($%d::text[])))", i, table.Name, table.quoted, table.quoted, i+1)
		args[i] = constants(table)
	}
	var found []string
	err := r.ask(ctx, settings, limit, rows(&found, pgx.RowTo[string], strings.Join(parts, "\nunion all "), args...))
	pg, refused := errors.AsType[*pgconn.PgError](err)
	switch {
	case err == nil:
		for i, table := range tables {
			if slices.Contains(found, fmt.Sprint(i)) {
				t.seen[table.Name] = append(t.seen[table.Name], who)
			}
		}
	case !refused || ctx.Err() != nil:
		t.why = "the time was over"
		for _, table := range tables {
			untried[table.Name] = true
		}
	case len(tables) > 1:
		t.try(ctx, r, who, settings, tables[:len(tables)/2], untried)
		t.try(ctx, r, who, settings, tables[len(tables)/2:], untried)
	case pg.Code == "57014" || pg.Code == "42501" || pg.Code == "25006" || pg.Code == "55P03":
		t.why = pg.Message
		untried[tables[0].Name] = true
	}
}

// constants are the values that a table's policies name: rows of those are shown to
// everybody on purpose.
func constants(t table) []string {
	all := []string{}
	for _, p := range t.policies {
		for _, m := range constant.FindAllStringSubmatch(p.all(), -1) {
			all = append(all, strings.ReplaceAll(m[1], "''", "'"))
		}
	}
	return all
}

// judgeTrial returns the trial's findings, or its one good result.
func judgeTrial(f *facts, t tried) []Check {
	share := fmt.Sprintf("%d of %d tenant tables tried as a random tenant, an empty one and none", t.tables, t.total)
	if t.why != "" {
		share += "; not all: " + t.why
	}
	var found []Check
	for _, name := range slices.Sorted(maps.Keys(t.seen)) {
		if f.role.Super || f.role.Bypass {
			c := finding(Trial, f.role.Name, fmt.Sprintf("rows of %d tables, such as %s; %s", len(t.seen), name, share), "", "mend what is said of the role, then: poolproof doctor --only PD019")
			return []Check{c}
		}
		found = append(found, finding(Trial, name, "seen as "+strings.Join(t.seen[name], ", as ")+"; "+share, "", "mend what is said of this table, then: poolproof doctor --only PD019"))
	}
	switch {
	case len(found) > 0:
	case t.total == 0:
		found = append(found, Check{ID: Trial, Status: Skip, Basis: NotLookedAt, Title: "the isolation trial", Detail: "there is no tenant table that this role may read",
			Hint: "if there is one, name its column: --tenant-column NAME", Page: Page(Trial)})
	case t.tables == 0:
		found = append(found, Check{ID: Trial, Status: Skip, Basis: NotLookedAt, Title: "the isolation trial", Detail: share, Hint: "ask again: poolproof doctor --only PD019", Page: Page(Trial)})
	default:
		found = append(found, Check{ID: Trial, Status: OK, Basis: Measured, Title: catalogue[Trial].fine, Detail: share, Page: Page(Trial)})
	}
	return found
}

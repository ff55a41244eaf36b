package audit

import (
	"context"
	"encoding/json"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/internal/guarded"
	"github.com/poolproof/poolproof/service/tenancy"
)

// manageUsers is the permission that reading the log needs.
const manageUsers = "manage_users"

// Entry is one change. Ids are counted per tenant.
type Entry struct {
	ID     int64           `json:"id"`
	At     time.Time       `json:"at"`
	Actor  uuid.UUID       `json:"actor"`  // the user who did it
	Action string          `json:"action"` // such as "role.update"
	Object string          `json:"object"` // such as "role/7"
	Before json.RawMessage `json:"before"` // null: there was nothing
	After  json.RawMessage `json:"after"`  // null: there is nothing
}

// Filter narrows what is read; zero fields do not.
type Filter struct {
	Object string // the whole of it, or with a slash at its end all objects of a kind: "role/7", "role/"
	Actor  uuid.UUID
	From   time.Time // at or after
	To     time.Time // before
}

// Store reads the log. It is safe for concurrent use and holds no connection
// between calls.
type Store struct{ db *guarded.DB }

// NewStore makes a store on db, whose schema migrations.Verify must accept.
func NewStore(db *poolproof.DB) *Store { return &Store{db: guarded.New(db)} }

var entries = guarded.Statement{Op: "read the audit log", Needs: manageUsers, SQL: `select coalesce(m.refused, case when a.id is null then 'empty' else 'row' end),
	a.id, a.at, a.actor, a.action, a.object, a.before, a.after
from ` + guarded.Reader + `
left join lateral (
	select a.* from poolproof.audit_log a
	where m.refused is null and a.tenant_id = $1::uuid and ($4::bigint is null or a.id < $4::bigint)
		and ($5::text is null or a.object = $5::text)
		and ($6::text is null or starts_with(a.object, $6::text))
		and ($7::uuid is null or a.actor = $7::uuid)
		and ($8::timestamptz is null or a.at >= $8::timestamptz)
		and ($9::timestamptz is null or a.at < $9::timestamptz)
	order by a.id desc limit $10::int
) a on true
order by a.id desc`}

// Entries returns what the filter leaves, newest first, at most a page of it.
// Needs manage_users. Refusals: invalid for a page token of another list,
// not_a_member, forbidden, stale.
func (s *Store) Entries(ctx context.Context, c tenancy.Caller, f Filter, page tenancy.Page) (tenancy.Listed[Entry], error) {
	var before *int64
	if page.After != "" {
		id, err := strconv.ParseInt(page.After, 10, 64)
		if err != nil {
			return tenancy.Listed[Entry]{}, tenancy.BadPage()
		}
		before = &id
	}
	var object, kind, actor *string
	switch {
	case f.Object == "":
	case f.Object[len(f.Object)-1] == '/':
		kind = &f.Object
	default:
		object = &f.Object
	}
	if f.Actor != uuid.Nil {
		text := f.Actor.String()
		actor = &text
	}
	list, err := guarded.Read(ctx, s.db, c, entries,
		func(e *Entry) []any {
			return []any{&e.ID, &e.At, &e.Actor, &e.Action, &e.Object, &e.Before, &e.After}
		},
		before, object, kind, actor, maybe(f.From), maybe(f.To), page.Limit()+1)
	return guarded.Paged(page, list, func(e Entry) string { return strconv.FormatInt(e.ID, 10) }), err
}

func maybe(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

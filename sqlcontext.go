package poolproof

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// contextScope is what a context says about who a statement runs as. It
// distinguishes "not named" from "named as empty". Inside a transaction, a context
// that names nothing runs as the transaction.
type contextScope struct {
	of       scopeOwner
	tenant   string  // if of is ownTenant
	user     *string // nil: not named
	settings []setting
}

type scopeOwner int

const (
	ownerNotNamed scopeOwner = iota
	ownTenant
	ownerShared
)

type contextKey struct{}

func scopeOf(ctx context.Context) contextScope {
	c, _ := ctx.Value(contextKey{}).(contextScope)
	return c
}

// WithTenant returns a context whose database/sql statements, through
// [Connector], run as the tenant with this id, as those of [DB.Tenant] do. It
// replaces a tenant, or WithShared, that ctx names already and keeps the user.
// Statements with an empty id are refused with ErrNoTenant.
func WithTenant(ctx context.Context, id string) context.Context {
	c := scopeOf(ctx)
	c.of, c.tenant = ownTenant, id
	return context.WithValue(ctx, contextKey{}, c)
}

// WithShared returns a context whose database/sql statements run without a
// tenant, on purpose, as those of [DB.Shared] do: they see rows that belong to
// nobody. It replaces a tenant that ctx names and keeps the user.
func WithShared(ctx context.Context) context.Context {
	c := scopeOf(ctx)
	c.of, c.tenant = ownerShared, ""
	return context.WithValue(ctx, contextKey{}, c)
}

// WithUser returns a context whose database/sql statements act for a user, as
// with [Session.As]. It names no tenant: WithTenant or WithShared has to, before
// it or after. Default: no user.
func WithUser(ctx context.Context, user string) context.Context {
	c := scopeOf(ctx)
	c.user = &user
	return context.WithValue(ctx, contextKey{}, c)
}

// WithSetting returns a context whose database/sql statements run with a value
// for one of Config.Settings, as with [Session.With]. Default: the empty text. For a
// name that is not among them every statement returns an error of kind ErrConfig.
func WithSetting(ctx context.Context, name, value string) context.Context {
	c := scopeOf(ctx)
	c.settings = append(slices.Clip(c.settings), setting{name, value})
	return context.WithValue(ctx, contextKey{}, c)
}

// SessionFrom returns the session that a context names by [WithTenant] or
// [WithShared], [WithUser] and [WithSetting], for those who use pgx's methods: an
// HTTP middleware then serves both. Statements of a session from a context that
// names no tenant are refused with ErrNoTenant.
func (db *DB) SessionFrom(ctx context.Context) Session {
	c := scopeOf(ctx)
	s := db.Shared()
	switch c.of {
	case ownTenant:
		s = db.Tenant(c.tenant)
	case ownerNotNamed:
		s.err = &Error{Kind: ErrNoTenant, Op: "read the context",
			Hint: "pass a context from poolproof.WithTenant, or WithShared for rows that belong to no tenant, to the Context form of the call"}
	}
	if c.user != nil {
		s = s.As(*c.user)
	}
	for _, st := range c.settings {
		if s.err == nil {
			s = s.With(st.name, st.value)
		}
	}
	return s
}

// within returns an error if the context names anybody, or any setting, but what
// the transaction of s was begun with.
//
// A context that names nothing is let through and runs as the transaction: its
// tenant was chosen by BeginTx, is already in force on the connection and
// cannot be any other, and code that is handed a *sql.Tx often calls the forms
// without a context.
func (c contextScope) within(s Session) error {
	other := func(format string, args ...any) error {
		return &Error{Kind: ErrOtherTenant, Op: "check the context", Err: fmt.Errorf(format, args...),
			Hint: "use the transaction with the context that began it, or begin another"}
	}
	switch {
	case c.of == ownTenant && c.tenant == "":
		return &Error{Kind: ErrNoTenant, Op: "check the context", Err: errors.New("the context names an empty tenant"), Hint: "pass the tenant's id to WithTenant"}
	case c.of == ownTenant && s.tenant == "":
		return other("the transaction has no tenant, the context names one")
	case c.of == ownTenant && c.tenant != s.tenant:
		return other("the transaction's tenant is not the context's")
	case c.of == ownerShared && s.tenant != "":
		return other("the transaction has a tenant, the context asks for none")
	case c.user != nil && *c.user != s.user:
		return other("the transaction's user is not the context's")
	}
	for i, asked := range c.settings {
		if slices.ContainsFunc(c.settings[i+1:], func(later setting) bool { return later.name == asked.name }) {
			continue
		}
		if s.setting(asked.name) != asked.value {
			return other("the transaction's setting %s is not the context's", asked.name)
		}
	}
	return nil
}

// setting is the value that With gave last, empty if none did.
func (s Session) setting(name string) (value string) {
	for _, st := range s.extra {
		if st.name == name {
			value = st.value
		}
	}
	return value
}

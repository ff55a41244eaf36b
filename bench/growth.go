package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/migrations"
)

// size is how much an installation holds.
type size struct {
	name           string
	tenants, roles int // roles: of each tenant
}

// sizes are what the growth of requests is measured over.
var sizes = []size{
	{"2 tenants, 10 roles", 2, 10},
	{"10,000 tenants, 10 roles", 10_000, 10},
	{"2 tenants, 1,000 roles", 2, 1000},
}

// asked are the requests that are measured, each for a random tenant.
var asked = []struct{ method, path, body string }{
	{"GET", "/api/v4/features/tenant", ""},
	{"GET", "/api/v4/sidebar", ""},
	{"GET", rolesPath, ""},
	{"POST", "/api/v4/features/tenant", `{"feature_name":"contentmap","enabled":%t}`},
}

// growthGroups measures each request at each size, through the pooler that
// knows no prepared statements, beside the bare handler's GET roles at the
// first size: one baseline for all, so that what grows shows.
func (f *fixtures) growthGroups() []*group {
	w := ways(f.about, f.latency)[2] // PgBouncer 1.18, exec
	services := make([]*sized, len(sizes))
	for i := range sizes {
		services[i] = &sized{f: f, way: w, size: sizes[i], database: fmt.Sprintf("bench_size_%d", i)}
	}
	var groups []*group
	for i, here := range services {
		for n, a := range asked {
			g := &group{
				title: a.method + " " + a.path + ", " + here.name + ", " + w.title, name: "growth " + a.method + " " + a.path + " " + here.name,
				clients: gateClients,
				variants: []*variant{
					{name: "bare roles", op: func(c *worker) error { return services[0].bare.ask(c) }},
					{name: "poolproof", op: func(c *worker) error { return here.ours[n].ask(c) }},
				},
				subject: "poolproof", baseline: "bare roles",
				prepare: func(ctx context.Context) error {
					return errors.Join(services[0].prepare(ctx), here.prepare(ctx))
				},
			}
			if a.path == rolesPath && i > 0 {
				g.variants = append(g.variants, &variant{name: "bare, as many roles", op: func(c *worker) error { return here.bare.ask(c) }})
			}
			groups = append(groups, g)
		}
	}
	return groups
}

// sized is an installation of a size, served.
type sized struct {
	size
	f        *fixtures
	way      way
	database string
	bare     *endpoint   // nil: not there yet
	ours     []*endpoint // one for each of asked
}

// prepare fills and serves it. It does nothing the second time.
func (s *sized) prepare(ctx context.Context) error {
	if s.bare != nil {
		return nil
	}
	direct, err := s.f.fillSize(ctx, s.database, s.size)
	if err != nil {
		return fmt.Errorf("fill %s: %w", s.name, err)
	}
	u, err := through(direct, s.f.bouncers[s.way.bouncer])
	if err != nil {
		return err
	}
	db, err := s.f.database(ctx, u, s.way, poolproof.ScopeParameter)
	if err != nil {
		return err
	}
	api, err := s.f.service(ctx, db, clientConns)
	if err != nil {
		return err
	}
	bearer, err := bearerOf(user)
	if err != nil {
		return err
	}
	for _, a := range asked {
		ours, err := s.f.serve(api, sizeRequests(s.size, a.method, a.path, a.body, bearer))
		if err != nil {
			return err
		}
		s.ours = append(s.ours, ours)
	}
	pool, err := s.f.pool(ctx, u, s.way)
	if err != nil {
		return err
	}
	s.bare, err = s.f.serve(bareHandler(pool), sizeRequests(s.size, "GET", rolesPath, ""))
	return err
}

// sizeRequests makes a request for each tenant; those with a body switch
// something on and off.
func sizeRequests(s size, method, path, body string, headers ...string) [][]byte {
	var all [][]byte
	for i := range s.tenants {
		h := append([]string{"X-Tenant-ID: " + sizeTenant(i).String()}, headers...)
		if body == "" {
			all = append(all, request(method, path, "", h...))
			continue
		}
		for _, on := range []bool{true, false} {
			all = append(all, request(method, path, fmt.Sprintf(body, on), h...))
		}
	}
	return all
}

// sizeTenant is the id of tenant n of a size.
func sizeTenant(n int) uuid.UUID {
	return uuid.MustParse(fmt.Sprintf("8f5bae31-0000-4000-8000-%012d", n))
}

// fillSize makes a database with the service's schema and so many tenants, all
// with the same user as SUPER_ADMIN, and a copy of the roles without row-level
// security. All but the first tenant are written in bulk, past triggers. It
// returns the service login's direct URL.
func (f *fixtures) fillSize(ctx context.Context, name string, s size) (string, error) {
	owner, err := f.newDatabase(ctx, name)
	if err != nil {
		return "", err
	}
	up, err := migrations.Up(ctx, owner, migrations.Options{Login: f.serviceLogin(name)})
	if err != nil {
		return "", err
	}
	first := sizeTenant(0).String()
	return up.LoginURL, execute(ctx, owner,
		`select poolproof.create_tenant('`+first+`', 'Tenant 0', 'tenant-0', '`+user.String()+`', '', '')`,
		`set session_replication_role = replica`,
		`create temporary table others as
			select ('8f5bae31-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid as id, n from generate_series(1, `+fmt.Sprint(s.tenants-1)+`) n`,
		`insert into poolproof.tenants (id, name, slug, next_role_id)
			select o.id, 'Tenant ' || o.n, 'tenant-' || o.n, 5 from others o`,
		`insert into poolproof.epochs (tenant_id) select o.id from others o`,
		`insert into poolproof.profiles (tenant_id, user_id) select o.id, p.user_id from others o cross join poolproof.profiles p`,
		`insert into poolproof.roles (tenant_id, id, name, description, system, holds_all)
			select o.id, r.id, r.name, r.description, r.system, r.holds_all from others o cross join poolproof.roles r`,
		`insert into poolproof.role_permissions (tenant_id, role_id, permission_id, scope)
			select o.id, r.role_id, r.permission_id, r.scope from others o cross join poolproof.role_permissions r`,
		`insert into poolproof.user_roles (tenant_id, user_id, role_id)
			select o.id, r.user_id, r.role_id from others o cross join poolproof.user_roles r`,
		`insert into poolproof.roles (tenant_id, id, name, description)
			select t.id, i, 'Role ' || i, 'Made to be listed' from poolproof.tenants t cross join generate_series(5, `+fmt.Sprint(s.roles)+`) i`,
		// Else a plan that was made while the table was empty would meet the rows that the
		// POSTs leave, and nothing analyses them here.
		`insert into poolproof.tenant_features (tenant_id, feature_id, enabled)
			select t.id, f.id, true from poolproof.tenants t join poolproof.features f on f.name = 'contentmap'`,
		`update poolproof.tenants set next_role_id = `+fmt.Sprint(s.roles+1),
		`create schema bench`,
		`create table bench.roles (like poolproof.roles including all)`,
		`insert into bench.roles select * from poolproof.roles`,
		`create table bench.role_parents (like poolproof.role_parents including all)`,
		`grant usage on schema bench to poolproof_runtime`,
		`grant select on bench.roles, bench.role_parents to poolproof_runtime`,
		`vacuum analyze`,
	)
}

// newDatabase makes a database and returns its owner's direct URL.
func (f *fixtures) newDatabase(ctx context.Context, name string) (string, error) {
	u, err := url.Parse(f.postgres.AdminURL())
	if err != nil {
		return "", fmt.Errorf("read a URL: %w", err)
	}
	if err := execute(ctx, u.String(), `create database `+name); err != nil {
		return "", err
	}
	u.Path = "/" + name
	return u.String(), nil
}

// serviceLogin is a login of its own for each database: the password that one
// migration sets would end that of another.
func (f *fixtures) serviceLogin(database string) string { return serviceApp + "_" + database }

// execute runs statements one after another on a connection of their own.
func execute(ctx context.Context, url string, statements ...string) (err error) {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close(ctx)) }()
	for _, sql := range statements {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return fmt.Errorf("fill the database: %w", err)
		}
	}
	return nil
}

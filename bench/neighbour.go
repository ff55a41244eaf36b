package main

import (
	"context"
	"fmt"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/migrations"
)

const (
	noiseClients = 32 // of the noisy tenant
	noiseLayers  = 8  // of roles, each of which inherits from all of the layer above
	noiseWidth   = 50 // roles of a layer: as many as a role may have parents
	noiseTerms   = 30 // roles of the noisy user, each with an expiry of its own
)

// noisy is the noisy tenant's user.
var noisy = uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9ef0")

// neighbourGroups measures what another tenant's load does to a tenant: one
// client reads its roles, alone and beside a tenant with 400 roles in eight
// layers, 50 parents each and 30 expiries, whose 32 clients ask what they may
// do, and switch a feature with every eighth request, without a pause. All at
// the default bounds. The noisy tenant's share of requests is without bound, the
// default, and less than the pooler's server connections.
func (f *fixtures) neighbourGroups() []*group {
	w := ways(f.about, f.latency)[2] // PgBouncer 1.18, exec
	forms := []struct {
		name  string
		share int // 0: the default
	}{{"noisy, no share", 1 << 20}, {"noisy, default share", 0}, {"noisy, a share of 1", 1}}
	reads, loads := make([]*endpoint, len(forms)), make([]*endpoint, len(forms))
	g := &group{
		title: "GET " + rolesPath + " beside a noisy tenant, " + w.title, name: "neighbour", clients: 1,
		variants: []*variant{{name: "quiet", op: func(c *worker) error { return reads[1].ask(c) }}},
		quiet:    "quiet", turns: 1, stretch: 3, // the noise takes its time to begin and to end
	}
	for i, form := range forms {
		g.variants = append(g.variants, &variant{
			name: form.name, op: func(c *worker) error { return reads[i].ask(c) },
			noise: &noise{clients: noiseClients, op: func(c *worker) error { return loads[i].ask(c) }},
		})
	}
	g.prepare = func(ctx context.Context) error {
		direct, err := f.fillNoise(ctx)
		if err != nil {
			return err
		}
		u, err := through(direct, f.bouncers[w.bouncer])
		if err != nil {
			return err
		}
		quiet, err := bearerOf(user)
		if err != nil {
			return err
		}
		loud, err := bearerOf(noisy)
		if err != nil {
			return err
		}
		asked := make([][]byte, 0, 16)
		for range 14 {
			asked = append(asked, request("GET", "/api/v4/me", "", tenantLine(1), loud))
		}
		for _, on := range []bool{true, false} {
			asked = append(asked, request("POST", "/api/v4/features/tenant", fmt.Sprintf(`{"feature_name":"contentmap","enabled":%t}`, on), tenantLine(1), loud))
		}
		for i, form := range forms {
			db, err := f.database(ctx, u, w, poolproof.ScopeParameter)
			if err != nil {
				return err
			}
			api, err := f.service(ctx, db, form.share)
			if err != nil {
				return err
			}
			if reads[i], err = f.serve(api, [][]byte{request("GET", rolesPath, "", tenantLine(0), quiet)}); err != nil {
				return err
			}
			loads[i] = f.clientsOf(reads[i].addr, asked)
		}
		return nil
	}
	return []*group{g}
}

func tenantLine(n int) string { return "X-Tenant-ID: " + sizeTenant(n).String() }

// fillNoise makes a database with two tenants, the second one noisy. Its roles
// are written in bulk, past triggers; they are within the bounds. It returns the
// service login's direct URL.
func (f *fixtures) fillNoise(ctx context.Context) (string, error) {
	const name = "bench_neighbour"
	owner, err := f.newDatabase(ctx, name)
	if err != nil {
		return "", err
	}
	up, err := migrations.Up(ctx, owner, migrations.Options{Login: f.serviceLogin(name)})
	if err != nil {
		return "", err
	}
	tenant, roles := sizeTenant(1).String(), fmt.Sprint(noiseLayers*noiseWidth)
	return up.LoginURL, execute(ctx, owner,
		`select poolproof.create_tenant('`+sizeTenant(0).String()+`', 'Quiet', 'quiet', '`+user.String()+`', '', '')`,
		`select poolproof.create_tenant('`+tenant+`', 'Noisy', 'noisy', '`+noisy.String()+`', '', '')`,
		`set session_replication_role = replica`,
		`insert into poolproof.roles (tenant_id, id, name, description)
			select '`+tenant+`', 10 + n, 'Role ' || n, 'Made to be inherited' from generate_series(0, `+roles+` - 1) n`,
		`insert into poolproof.role_permissions (tenant_id, role_id, permission_id)
			select r.tenant_id, r.id, p.id from poolproof.roles r
			join (select id, row_number() over (order by name) n, count(*) over () of from poolproof.permissions where scope = 'tenant') p on p.n = r.id % p.of + 1
			where r.tenant_id = '`+tenant+`' and r.id >= 10`,
		fmt.Sprintf(`insert into poolproof.role_parents (tenant_id, role_id, parent_id)
			select '%[1]s', 10 + l * %[2]d + a, 10 + (l + 1) * %[2]d + b
			from generate_series(0, %[3]d - 2) l, generate_series(0, %[2]d - 1) a, generate_series(0, %[2]d - 1) b`, tenant, noiseWidth, noiseLayers),
		fmt.Sprintf(`insert into poolproof.user_roles (tenant_id, user_id, role_id, expires_at)
			select '%s', '%s', 10 + n, now() + interval '1 day' * (n + 1) from generate_series(0, %d - 1) n`, tenant, noisy, noiseTerms),
		`update poolproof.tenants set next_role_id = 10 + `+roles+` where id = '`+tenant+`'`,
		`vacuum analyze`)
}

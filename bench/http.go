package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/service/httpapi"
	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/migrations"
	"github.com/poolproof/poolproof/service/rbac"
)

const (
	rolesPath  = "/api/v3/rbac/roles"
	serviceApp = "bench_service" // the service's login
	issuer     = "bench"
	audience   = "bench"
	secret     = "a secret of this run's own servers only" //nolint:gosec // signs nothing else
)

// user is the caller of all requests, a SUPER_ADMIN of the demo tenant.
var user = uuid.MustParse("7d1c3f0a-52b6-4b1e-9a55-0c1f6a2d9eff")

// httpGroups makes the comparison of requests: through each PgBouncer,
// poolproof's handler beside a bare one.
func (f *fixtures) httpGroups() []*group {
	var groups []*group
	for _, w := range ways(f.about, f.latency) {
		if w.bouncer == "" || w.far {
			continue
		}
		var ours, bare *endpoint
		groups = append(groups, &group{
			title: "GET " + rolesPath + ", " + w.title, name: "http " + w.name, clients: gateClients,
			variants: []*variant{
				{name: "bare", op: func(c *worker) error { return bare.ask(c) }},
				{name: "poolproof", op: func(c *worker) error { return ours.ask(c) }},
			},
			subject: "poolproof", baseline: "bare", reach: 0.85, gates: []gate{{"bare", 0.6}},
			prepare: func(ctx context.Context) (err error) {
				ours, bare, err = f.endpoints(ctx, w)
				return err
			},
		})
	}
	return groups
}

// endpoints serves both handlers by a way.
func (f *fixtures) endpoints(ctx context.Context, w way) (ours, bare *endpoint, err error) {
	if f.serviceURL == "" {
		if f.serviceURL, err = f.fillService(ctx); err != nil {
			return nil, nil, fmt.Errorf("prepare the service: %w", err)
		}
	}
	u, err := through(f.serviceURL, f.bouncers[w.bouncer])
	if err != nil {
		return nil, nil, err
	}
	db, err := f.database(ctx, u, w, poolproof.ScopeParameter)
	if err != nil {
		return nil, nil, err
	}
	pool, err := f.pool(ctx, u, w)
	if err != nil {
		return nil, nil, err
	}
	api, err := f.service(ctx, db, clientConns)
	if err != nil {
		return nil, nil, err
	}
	bearer, err := bearerOf(user)
	if err != nil {
		return nil, nil, err
	}
	tenant := "X-Tenant-ID: " + migrations.DemoTenant.String()
	if ours, err = f.serve(api, [][]byte{request("GET", rolesPath, "", tenant, bearer)}); err != nil {
		return nil, nil, err
	}
	if bare, err = f.serve(bareHandler(pool), [][]byte{request("GET", rolesPath, "", tenant)}); err != nil {
		return nil, nil, err
	}
	return ours, bare, sameAnswer(ours, bare)
}

// bearerOf is the header line with a token of a user.
func bearerOf(user uuid.UUID) (string, error) {
	signed, err := token.Sign([]byte(secret), token.Request{Issuer: issuer, Audience: audience, Subject: user.String(), Lifetime: time.Hour})
	return "Authorization: Bearer " + signed, err
}

// fillService makes poolproof's schema with the demo data, and a copy of its
// roles and what they inherit without row-level security. It returns the service login's direct URL.
func (f *fixtures) fillService(ctx context.Context) (string, error) {
	owner := f.postgres.AdminURL()
	up, err := migrations.Up(ctx, owner, migrations.Options{Login: serviceApp})
	if err != nil {
		return "", err
	}
	if err := migrations.Demo(ctx, owner, user); err != nil {
		return "", err
	}
	return up.LoginURL, execute(ctx, owner,
		`create table bench.roles (like poolproof.roles including all)`,
		`insert into bench.roles select * from poolproof.roles`,
		`create table bench.role_parents (like poolproof.role_parents including all)`,
		`insert into bench.role_parents select * from poolproof.role_parents`,
		`grant usage on schema bench to `+serviceApp,
		`grant select on bench.roles, bench.role_parents to `+serviceApp,
		`vacuum analyze`)
}

// service is poolproof's handler as "poolproof serve" makes it, but for how many
// requests of one tenant it answers at a time: perTenant, 0 for its default. Its
// log lines are made and written, to where nobody reads them, but for why it
// could not answer.
func (f *fixtures) service(ctx context.Context, db *poolproof.DB, perTenant int) (http.Handler, error) {
	tokens, err := token.NewVerifier(ctx, token.Config{Issuer: issuer, Audience: audience, Secret: []byte(secret)})
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	f.closeLater(null.Close)
	api, err := httpapi.New(httpapi.Config{
		Tokens: tokens, Logger: slog.New(f.causes.to(slog.NewTextHandler(null, nil))), Registry: prometheus.NewRegistry(),
		PerTenant: perTenant,
	})
	if err != nil {
		return nil, err
	}
	api.SetDatabase(db)
	return api, nil
}

// bareHandler is the least that answers the same: it believes the header,
// runs the query and encodes.
func bareHandler(pool *pgxpool.Pool) http.Handler {
	const sql = `select id, name, description, tenant_id, system, created_at, holds_all,
		array(select i.parent_id from bench.role_parents i where i.tenant_id = r.tenant_id and i.role_id = r.id order by i.parent_id)
		from bench.roles r where tenant_id = $1 order by id`
	type answer struct {
		Data          []rbac.Role `json:"data"`
		NextPageToken string      `json:"next_page_token"`
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+rolesPath, func(w http.ResponseWriter, r *http.Request) {
		rows, err := pool.Query(r.Context(), sql, r.Header.Get("X-Tenant-ID"))
		if err == nil {
			var a answer
			a.Data, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (role rbac.Role, err error) {
				err = row.Scan(&role.ID, &role.Name, &role.Description, &role.TenantID, &role.System, &role.CreatedAt, &role.HoldsAll, &role.ParentIDs)
				role.CreatedAt = role.CreatedAt.UTC()
				return role, err
			})
			if err == nil {
				w.Header().Set("Content-Type", "application/json")
				err = json.NewEncoder(w).Encode(a)
			}
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	return mux
}

// mostClients is how many clients an endpoint has at the most.
const mostClients = 64

// endpoint is a server of this process, and one kept connection to it for each
// client.
type endpoint struct {
	addr     string
	requests [][]byte // a client asks a random one
	conns    [mostClients]*clientConn
}

type clientConn struct {
	net.Conn
	r *bufio.Reader
}

// request is an HTTP request with these header lines.
func request(method, path, body string, headers ...string) []byte {
	lines := append([]string{method + " " + path + " HTTP/1.1", "Host: localhost"}, headers...)
	if body != "" {
		lines = append(lines, "Content-Type: application/json", "Content-Length: "+strconv.Itoa(len(body)))
	}
	return []byte(strings.Join(lines, "\r\n") + "\r\n\r\n" + body)
}

// serve serves a handler on loopback and prepares to ask it.
func (f *fixtures) serve(h http.Handler, requests [][]byte) (*endpoint, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second}
	go s.Serve(l) //nolint:errcheck // ends when it is closed; before that, requests tell
	f.closeLater(s.Close)
	return f.clientsOf(l.Addr().String(), requests), nil
}

// clientsOf prepares to ask a server of this process.
func (f *fixtures) clientsOf(addr string, requests [][]byte) *endpoint {
	e := &endpoint{addr: addr, requests: requests}
	f.closeLater(func() error {
		for _, c := range e.conns {
			if c != nil {
				_ = c.Close() // nothing is under way
			}
		}
		return nil
	})
	return e
}

// ask is one request of one client: as little work as a client can have, so
// that the servers' is what is measured.
func (e *endpoint) ask(w *worker) error {
	_, err := e.get(w.id, e.requests[w.rng.IntN(len(e.requests))], io.Discard)
	return err
}

func (e *endpoint) get(client int, request []byte, body io.Writer) (n int64, err error) {
	c := e.conns[client]
	if c == nil {
		conn, err := net.Dial("tcp", e.addr)
		if err != nil {
			return 0, fmt.Errorf("connect: %w", err)
		}
		c = &clientConn{conn, bufio.NewReader(conn)}
		e.conns[client] = c
	}
	if _, err := c.Write(request); err != nil {
		return 0, fmt.Errorf("ask: %w", err)
	}
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return 0, fmt.Errorf("read the answer: %w", err)
	}
	var told strings.Builder
	if res.StatusCode != http.StatusOK {
		body = &told
	}
	n, err = io.Copy(body, res.Body)
	if err = errors.Join(err, res.Body.Close()); err != nil {
		return n, fmt.Errorf("read the answer: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		var problem struct{ Code string }
		_ = json.Unmarshal([]byte(told.String()), &problem) // the bare handler's are none: no code then
		return n, &refusal{res.StatusCode, problem.Code}
	}
	if n == 0 {
		return n, errors.New("the answer is empty")
	}
	return n, nil
}

// sameAnswer sees that both do the same job.
func sameAnswer(a, b *endpoint) error {
	var bodies [2]strings.Builder
	for i, e := range []*endpoint{a, b} {
		if _, err := e.get(0, e.requests[0], &bodies[i]); err != nil {
			return err
		}
	}
	if bodies[0].String() != bodies[1].String() {
		return fmt.Errorf("the handlers answer differently:\n%s\n%s", bodies[0].String(), bodies[1].String())
	}
	return nil
}

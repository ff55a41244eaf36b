package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// crowd is clients that make roles and read them, all the while, and remember
// what they were told.
type crowd struct {
	s      *served
	worker atomic.Int64

	mu       sync.Mutex
	statuses map[int]int
	acked    map[string]bool // names of roles whose making was answered by 201
	faults   []string
	lastOK   time.Time // of the last 2xx
	firstOK  time.Time // of the first 2xx since forget
}

func (c *crowd) note(status int, header http.Header, body string, acked string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.statuses[status]++
	switch status {
	case 200, 201:
		c.lastOK = time.Now()
		if c.firstOK.IsZero() {
			c.firstOK = c.lastOK
		}
		if acked != "" {
			c.acked[acked] = true
		}
	case 409: // an earlier try of the same name, whose end was not known, had taken effect
	case 429, 503: // the tenant's requests wait for each other while the database does not answer
		if header.Get("Retry-After") != "1" || header.Get("Content-Type") != "application/problem+json" {
			c.faults = append(c.faults, fmt.Sprintf("%d with %v", status, header))
		}
	default:
		c.faults = append(c.faults, fmt.Sprintf("%d: %s", status, body))
	}
}

// forget makes firstOK mean: since now.
func (c *crowd) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.firstOK = time.Time{}
}

func (c *crowd) count(status int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.statuses[status]
}

func (c *crowd) work(ctx context.Context) {
	me := c.worker.Add(1)
	for n := 0; ctx.Err() == nil; n++ {
		name := fmt.Sprintf("worker %d role %d", me, n)
		for ctx.Err() == nil { // until it is answered for good, as a client would
			status, header, body := c.s.ask(context.WithoutCancel(ctx), "POST", rolesPath, `{"name":"`+name+`"}`)
			c.note(status, header, body, map[bool]string{true: name}[status == 201])
			if status != 503 && status != 429 {
				break
			}
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond): // kinder than Retry-After asks for, so that the test sees more
			}
		}
		status, header, body := c.s.ask(context.WithoutCancel(ctx), "GET", rolesPath+"?page_size=5", "")
		c.note(status, header, body, "")
		if status == 200 && !strings.Contains(body, `"SUPER_ADMIN"`) {
			c.mu.Lock()
			c.faults = append(c.faults, "200 without the roles: "+body)
			c.mu.Unlock()
		}
	}
}

// The database is killed and started again under load. Nobody sees anything but
// success, 503 or, for a repeated write, 409; the process lives on; it is back
// within two seconds of the database; and what it said was made is there.
func TestDatabaseKilledUnderLoad(t *testing.T) {
	d := newDatabase(t)
	server := pgtest.Server(t)
	pooled, _ := pgtest.PrivatePooler(t, d.url, pgtest.PgBouncer118Transaction, nil)
	s := serve(t, pooled)
	s.wantReady(t)
	c := &crowd{s: s, statuses: map[int]int{}, acked: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var workers sync.WaitGroup
	for range 8 {
		workers.Go(func() { c.work(ctx) })
	}
	rounds := pgtest.Pick(1, 30)
	for round := range rounds {
		made := c.count(201)
		eventually(t, 20*time.Second, "50 roles made", func() bool { return c.count(201) > made+50 })
		refused := c.count(503)
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
		// PgBouncer refuses clients that log in and keeps waiting those that
		// had logged in: if it keeps all of them, the request's deadline of 10 s
		// makes the first 503.
		eventually(t, 15*time.Second, "answers of 503", func() bool { return c.count(503) > refused+5 })
		if status, _, _ := s.ask(t.Context(), "GET", "/healthz", ""); status != 200 {
			t.Errorf("round %d: /healthz %d while the database is down", round, status)
		}
		eventually(t, 3*time.Second, "/readyz of 503", func() bool {
			status, _, _ := s.ask(t.Context(), "GET", "/readyz", "")
			return status == 503
		})
		if err := server.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		up := time.Now()
		c.forget()
		eventually(t, 2*time.Second, "a success after the restart", func() bool {
			c.mu.Lock()
			defer c.mu.Unlock()
			return !c.firstOK.IsZero()
		})
		c.mu.Lock()
		t.Logf("round %d: %d roles acknowledged, back %s after the database, answers so far %v",
			round, len(c.acked), c.firstOK.Sub(up).Round(time.Millisecond), maps.Clone(c.statuses))
		c.mu.Unlock()
	}
	stop()
	workers.Wait()
	for i, fault := range c.faults {
		if i == 10 {
			t.Errorf("… %d in all", len(c.faults))
			break
		}
		t.Error(fault)
	}
	if strings.Contains(s.log.String(), "panic") || strings.Contains(s.log.String(), "level=ERROR") {
		for line := range strings.Lines(s.log.String()) {
			if strings.Contains(line, "level=ERROR") || strings.Contains(line, "panic") {
				t.Errorf("log: %s", line)
				break
			}
		}
	}
	var there []string
	text := scalar(t, d.owner, `select coalesce(jsonb_agg(name), '[]')::text from poolproof.roles where tenant_id = $1 and name like 'worker %'`, testTenant)
	if err := json.Unmarshal([]byte(text), &there); err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool, len(there))
	for _, name := range there {
		found[name] = true
	}
	for name := range c.acked {
		if !found[name] {
			t.Errorf("%s was acknowledged and is not there", name)
		}
	}
	if len(c.acked) < 50*rounds {
		t.Errorf("only %d roles were acknowledged", len(c.acked))
	}
}

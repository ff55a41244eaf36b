package poolproof_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
)

// PgBouncer 1.18 ends itself when a cancel request is hung up that it has passed on
// and that the server has not answered yet (pgbouncer's issue 801).
func TestASlowCancelRequestDoesNotEndThePooler(t *testing.T) {
	f := newFixture(t, 1)
	port, hold := slowCancels(t, f.url)
	pooled, bouncer := pgtest.PoolerBefore(t, f.url, pgtest.PgBouncer118Transaction, port, nil)
	db := open(t, pooled)
	until := func(what string, holds func(pool []string) bool) {
		for holdsNow := false; !holdsNow; {
			pools, err := bouncer.Admin(t.Context(), "SHOW POOLS")
			if err != nil {
				t.Fatalf("until %s: %v; the pooler: %v", what, err, bouncer.Failure())
			}
			for _, pool := range pools {
				holdsNow = holdsNow || pool[1] != "pgbouncer" && holds(pool)
			}
		}
	}
	const clients, cancels, servers, cancelling = 2, 4, 6, 7 // cl_active, cl_active_cancel_req, sv_active, sv_active_cancel
	until("the probe has gone", func(pool []string) bool {
		return pool[clients] == "1" && pool[cancels] == "0" && pool[cancelling] == "0"
	})
	release := hold()
	defer release()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := db.Tenant(tenant(0)).Exec(ctx, "select pg_sleep(600)")
		done <- err
	}()
	until("the statement runs", func(pool []string) bool { return pool[servers] == "1" })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("the statement: %v", err)
	}
	until("its cancel request is under way", func(pool []string) bool { return pool[cancelling] == "1" })
	until("its connection was given up", func(pool []string) bool { return pool[clients] == "0" && pool[servers] == "0" })
	release()
	until("the server has answered it", func(pool []string) bool { return pool[cancelling] == "0" })
	var n int
	if err := db.Tenant(tenant(0)).QueryRow(t.Context(), "select count(*) from documents").Scan(&n); err != nil || n != 10 {
		t.Errorf("%d, %v; the pooler: %v", n, err, bouncer.Failure())
	}
}

// cancelRequest begins a cancel request where others have the version of the protocol.
const cancelRequest = 80877102

// slowCancels stands before a server. From hold to release cancel requests are
// taken, and passed on only then.
func slowCancels(t *testing.T, server string) (port int, hold func() (release func())) {
	t.Helper()
	var gate sync.RWMutex // held for writing: they wait
	between := pgtest.Between(t, server, func(client, server net.Conn) {
		go func() {
			defer func() { _, _ = client.Close(), server.Close() }()
			start := make([]byte, 8) // length, and what is asked for
			if _, err := io.ReadFull(client, start); err != nil {
				return
			}
			if binary.BigEndian.Uint32(start[4:]) == cancelRequest {
				gate.RLock()
				gate.RUnlock() //nolint:staticcheck // it waits
			}
			if _, err := server.Write(start); err != nil {
				return
			}
			_, _ = io.Copy(server, client)
		}()
		go func() {
			defer func() { _, _ = client.Close(), server.Close() }()
			_, _ = io.Copy(client, server)
		}()
	})
	u, err := url.Parse(between)
	if err != nil {
		t.Fatal(err)
	}
	if port, err = strconv.Atoi(u.Port()); err != nil {
		t.Fatal(err)
	}
	return port, func() func() {
		gate.Lock()
		return sync.OnceFunc(gate.Unlock)
	}
}

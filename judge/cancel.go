package judge

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

var cancelTrials = []Trial{
	{Name: "cancel-own", Group: Cancel, run: cancelOwn, alone: true, Right: "a cancel request ends the statement that its client is waiting for, each time"},
	{Name: "cancel-in-transaction", Group: Cancel, run: cancelInTransaction, alone: true, Right: "a cancelled statement leaves its transaction failed, and ROLLBACK ends it"},
	{Name: "cancel-idle", Group: Cancel, run: cancelIdle, alone: true, Right: "a cancel request of a client that waits for nothing ends nobody's statement"},
	{Name: "cancel-late", Group: Cancel, run: cancelLate, alone: true, Right: "a cancel request that comes after the end of its statement ends nobody else's"},
	{Name: "cancel-wrong-key", Group: Cancel, run: cancelWrongKey, alone: true, Right: "a cancel request with a wrong key ends nothing: else anybody could stop anybody"},
}

// cancel asks for the end of what c runs, with its key changed by a mask, and
// waits until the request has been taken.
func (h *hearing) cancel(c *client, mask byte) error {
	hijacked := *c.hijacked
	hijacked.SecretKey = append([]byte(nil), hijacked.SecretKey...)
	for i := range hijacked.SecretKey {
		hijacked.SecretKey[i] ^= mask
	}
	pg, err := pgconn.Construct(&hijacked)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(h.ctx, h.patience)
	defer cancel()
	_ = pg.CancelRequest(ctx) // there is no answer to it, and how the connection ends says nothing
	return h.ctx.Err()
}

// running sends a statement that says when it runs, and waits for its word.
func (h *hearing) running(c *client, seconds string) error {
	c.hears = true
	if err := c.send(query("do $$ begin raise warning 'running'; perform pg_sleep(" + seconds + "); end $$")); err != nil {
		return err
	}
	got, err := c.until("N(running)", "E(", "C(")
	if err != nil {
		return err
	}
	return c.compare(got, "N(running)")
}

func cancelOwn(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	const times, fewest = 10, 3
	arrived, tried := 0, 0
	for start := time.Now(); tried < times && tried-arrived < 2 && (tried < fewest || time.Since(start) < enough); {
		tried++
		if err := h.running(c, "3"); err != nil {
			return err
		}
		if err := h.cancel(c, 0); err != nil {
			return err
		}
		got, err := c.read(1)
		if err != nil {
			return err
		}
		switch got {
		case "E(57014) Z(I)":
			arrived++
		case "C(DO) Z(I)":
		default:
			return c.compare(got, "E(57014) Z(I)")
		}
		if err := c.expect(queryAnswer("next"), query("select 'next'")); err != nil {
			return err
		}
	}
	if arrived < tried {
		return wrongf("%d of %d cancel requests arrived", arrived, tried)
	}
	return nil
}

func cancelInTransaction(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := c.expect("C(BEGIN) Z(T)", query("begin")); err != nil {
		return err
	}
	if err := h.running(c, "3"); err != nil {
		return err
	}
	if err := h.cancel(c, 0); err != nil {
		return err
	}
	if err := c.answers("E(57014) Z(E)"); err != nil {
		return err
	}
	return c.expect("C(ROLLBACK) Z(I)", query("rollback"))
}

// bystanders has clients run short statements until done, none of which may be
// cancelled.
func bystanders(clients []*client, done *atomic.Bool) error {
	return each(clients, func(i int, c *client) error {
		for round := 0; !done.Load(); round++ {
			value := fmt.Sprintf("bystander %d %d", i, round)
			if err := c.send(query("select '" + value + "' from pg_sleep(0.01)")); err != nil {
				return err
			}
			got, err := c.read(1)
			if err != nil {
				return err
			}
			if strings.Contains(got, "E(57014)") {
				return wrongf("another client's statement was cancelled")
			}
			if err := c.compare(got, queryAnswer(value)); err != nil {
				return err
			}
		}
		return nil
	})
}

// besides has f run with a client of its own beside bystanders.
func (h *hearing) besides(f func(c *client) error) error {
	clients, err := h.several(crowd - 1)
	if err != nil {
		return err
	}
	var done atomic.Bool
	others := make(chan error, 1)
	go func() { others <- bystanders(clients[1:], &done) }()
	err = f(clients[0])
	done.Store(true)
	return gravest([]error{err, <-others})
}

// requests is how many are made, or fewer where they take long: pgpool-II takes a
// second for each.
const requests = 20

// enough is the time after which no further one is begun.
const enough = 2 * time.Second

func cancelIdle(h *hearing) error {
	return h.besides(func(c *client) error {
		if err := c.expect(queryAnswer("once"), query("select 'once'")); err != nil {
			return err
		}
		for i, start := 0, time.Now(); i < requests && time.Since(start) < enough; i++ {
			if err := h.cancel(c, 0); err != nil {
				return err
			}
		}
		return c.expect(queryAnswer("still here"), query("select 'still here'"))
	})
}

func cancelLate(h *hearing) error {
	return h.besides(func(c *client) error {
		for i, start := 0, time.Now(); i < requests && time.Since(start) < enough; i++ {
			value := fmt.Sprint("statement ", i)
			if err := c.expect(queryAnswer(value), query("select '"+value+"'")); err != nil {
				return err
			}
			if err := h.cancel(c, 0); err != nil {
				return err
			}
		}
		return nil
	})
}

func cancelWrongKey(h *hearing) error {
	c, err := h.client()
	if err != nil {
		return err
	}
	if err := h.running(c, "0.3"); err != nil {
		return err
	}
	for _, mask := range []byte{0x01, 0x80, 0xff} {
		if err := h.cancel(c, mask); err != nil {
			return err
		}
	}
	return c.answers("C(DO) Z(I)")
}

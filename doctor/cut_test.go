//go:build unix

package doctor_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/poolproof/poolproof/doctor"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// looks are all ways in which poolproof doctor looks at a database. What [doctor.Examine] does besides, where it is not fast, is pooler.TestExamineCutAtAnyMoment's.
var looks = []struct {
	name string
	look func(ctx context.Context, url string) *doctor.Report
}{
	{"--fast --tenant --statements", func(ctx context.Context, url string) *doctor.Report {
		return doctor.Examine(ctx, doctor.Config{URL: url, Fast: true, Tenant: "0190b2a5-0000-7000-8000-000000000000", Statements: "select * from docs; insert into docs values ($1, $2); create temp table t ()"})
	}},
	{"--residue", func(ctx context.Context, url string) *doctor.Report {
		return doctor.Audit(ctx, doctor.Config{URL: url})
	}},
	{"--watch", func(ctx context.Context, url string) *doctor.Report {
		return doctor.Watch(ctx, doctor.Config{URL: url, Within: 300 * time.Millisecond}, func(doctor.Event) {})
	}},
}

// cuts are what can happen to a look at any moment.
var cuts = []struct {
	name string
	arm  func(c *pgtest.Cutter, number int, at func())
}{
	{"killed", (*pgtest.Cutter).KillAt},
	{"interrupted", (*pgtest.Cutter).InterruptAt},
}

// moments are the messages before which a look of so many is cut: all in the soak.
func moments(all, cheap int) (numbers []int) {
	step := pgtest.Pick(max(1, all/cheap), 1)
	for n := pgtest.Pick(step/2+1, 1); n <= all; n += step {
		numbers = append(numbers, n)
	}
	return numbers
}

// TestCutAtAnyMoment ends all connections of a look at once, as a kill does, or interrupts it, each time before another one of its messages, also
// in the middle of a pipeline, and then looks at what the server connections hold.
func TestCutAtAnyMoment(t *testing.T) {
	kinds := pgtest.Pick([]pgtest.Kind{pgtest.PgBouncer118Transaction},
		[]pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer118Statement, pgtest.PgBouncer124Transaction, pgtest.Odyssey15NoDiscard})
	for _, kind := range kinds {
		t.Run(kind.String(), func(t *testing.T) {
			pooled := pgtest.Pooled(t, app(t, policies), kind)
			pair(t, pooled)
			url, cut := pgtest.Cut(t, pooled)
			for _, l := range looks {
				cut.KillAt(0, nil)
				if r := l.look(t.Context(), url); !r.Reached || cut.Sent() < 40 {
					t.Fatalf("%s: %s, %d messages", l.name, r.Verdict, cut.Sent())
				}
				whole := cut.Sent()
				for _, c := range cuts {
					done, struck, began := 0, 0, time.Now()
					for _, number := range moments(whole, 5) {
						ctx, giveUp := context.WithCancel(t.Context())
						c.arm(cut, number, giveUp)
						l.look(ctx, url)
						giveUp()
						done++
						if cut.Sent() >= number { // not each look asks as much as the one before
							struck++
						}
						if kind == pgtest.PgBouncer118Statement {
							continue // no transaction outlives its Sync; what is left is looked at once
						}
						if left := pgtest.LeftoversInAMoment(t, pooled); left != "" {
							t.Fatalf("%s, %s before message %d of %d, this is left: %s", l.name, c.name, number, whole, left)
						}
					}
					if struck <= done/2 {
						t.Errorf("%s was %s %d times of %d", l.name, c.name, struck, done)
					}
					t.Logf("%s: %s %d times, in %d messages, %.1f s", l.name, c.name, done, whole, time.Since(began).Seconds())
				}
			}
			pair(t, pooled)
			if r := doctor.Audit(t.Context(), doctor.Config{URL: pooled, Within: inTests}); !strings.HasPrefix(r.Verdict, "clean") || r.Residue == nil || r.Residue.Met < 2 {
				t.Errorf("after the cuts: %s", text(t, r))
			}
		})
	}
}

// TestIntrusiveCut: of what --intrusive leaves until it is cleaned, nothing stays when it is interrupted. When it is killed, no program
// can clean up: then --residue finds what is there, and the SQL that it writes takes it away.
func TestIntrusiveCut(t *testing.T) {
	cheap := pgtest.Pick(2, 60)
	owner := app(t, policies)
	pooled := pgtest.Pooled(t, owner, pgtest.PgBouncer124Transaction)
	pair(t, pooled)
	url, cut := pgtest.Cut(t, pooled)
	look := func(ctx context.Context) *doctor.Report {
		return doctor.Examine(ctx, doctor.Config{URL: url, Intrusive: true, NoCancels: true, Within: inTests})
	}
	cut.KillAt(0, nil)
	if r := look(t.Context()); !r.Reached {
		t.Fatal(r.Verdict)
	}
	whole, stayed := cut.Sent(), 0
	for _, c := range cuts {
		for number := whole * 9 / 10; number > whole*3/5; number -= max(1, whole*2/5/cheap) { // it is the last that Examine tries
			ctx, giveUp := context.WithCancel(t.Context())
			c.arm(cut, number, giveUp)
			look(ctx)
			giveUp()
			if c.name == "interrupted" {
				if left := pgtest.LeftoversInAMoment(t, pooled); left != "" {
					t.Errorf("interrupted before message %d of %d, this is left: %s", number, whole, left)
				}
				continue
			}
			r := doctor.Audit(t.Context(), doctor.Config{URL: pooled, Within: inTests})
			if len(objects(r)) > 0 {
				stayed++
				clean(t, owner, r)
			}
			pair(t, pooled)
			if left := pgtest.LeftoversInAMoment(t, pooled); left != "" {
				t.Errorf("killed before message %d of %d, after the SQL of --residue this is left: %s", number, whole, left)
			}
		}
	}
	t.Logf("%d messages; something stayed in %d kills", whole, stayed)
}

package main

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// serve looks often for a database that is away, and seldom for one that
// refuses the login: fewer than five times within the two minutes after which
// poolers lock an address out for ten wrong passwords.
func TestRetryAfter(t *testing.T) {
	for _, c := range []struct {
		err  error
		most int // attempts in two minutes
	}{
		{&pgconn.PgError{Code: "28P01", Severity: "FATAL"}, 5},
		{&pgconn.PgError{Code: "28000", Severity: "FATAL", Message: `role "app" is not permitted to log in`}, 5},
		{&pgconn.PgError{Code: "08P01", Severity: "FATAL", Message: "SASL authentication failed"}, 5}, // PgBouncer's wrong password
		{&pgconn.PgError{Code: "3D000", Severity: "FATAL", Message: `database "app" does not exist`}, 250},
		{&pgconn.PgError{Code: "57P03", Severity: "FATAL", Message: "the database system is starting up"}, 250},
		{&pgconn.PgError{Code: "XX000", Severity: "FATAL", Message: "(ECIRCUITBREAKER) too many authentication failures"}, 5},
		{&pgconn.PgError{Code: "XX000", Severity: "FATAL", Message: "(ENOTFOUND) tenant/user a.b not found"}, 5},
		{errors.New("connection refused"), 250},
	} {
		attempts := 1
		for at, delay := time.Duration(0), time.Duration(0); at < 2*time.Minute; at += delay {
			if delay = retryAfter(delay, c.err); delay <= 0 || delay > lastRefused {
				t.Fatalf("%v: %v", c.err, delay)
			}
			attempts++
		}
		if attempts > c.most+1 || c.most > 100 && attempts < 100 {
			t.Errorf("%v: %d attempts in two minutes", c.err, attempts)
		}
	}
}

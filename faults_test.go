package poolproof_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

// Faults of the original application (docs/faults.md) that no other test has.

// F1, F2, F3: several programs, each with a pool and a count of statements of
// its own, meet on two server connections. Nobody's statement is missing, or
// there already, and nobody needed to say anything.
func TestProgramsShareServerConnections(t *testing.T) {
	f := newFixture(t, 8)
	for _, kind := range []pgtest.Kind{pgtest.PgBouncer118Transaction, pgtest.PgBouncer124Transaction} {
		t.Run(kind.String(), func(t *testing.T) {
			url := pgtest.Pooled(t, f.url, kind)
			var programs sync.WaitGroup
			for p := range 8 {
				db := open(t, url)
				programs.Go(func() {
					for n := range 40 { // 320 requests, as were measured on the original
						sql := fmt.Sprintf("select count(*), %d from documents where id > $1", (n+p)%5)
						var rows, which int
						if err := db.Tenant(tenant(p)).QueryRow(t.Context(), sql, 0).Scan(&rows, &which); err != nil || rows != 10 || which != (n+p)%5 {
							t.Errorf("program %d, request %d: %d rows, statement %d, %v", p, n, rows, which, err)
						}
					}
				})
			}
			programs.Wait()
		})
	}
}

// F7: a server behind a certification authority of its own is verified by that
// authority's file, and only by that: nobody has to turn verification off.
func TestPrivateAuthority(t *testing.T) {
	f := newFixture(t, 1)
	ca, key, cert := authority(t)
	other, _, _ := authority(t)
	pooled, _ := pgtest.PrivatePooler(t, f.url, pgtest.PgBouncer118Transaction, map[string]string{
		"client_tls_sslmode": "allow", "client_tls_key_file": key, "client_tls_cert_file": cert,
	})
	secured := func(file string) string {
		u, err := url.Parse(pooled)
		if err != nil {
			t.Fatal(err)
		}
		q := url.Values{"sslmode": {"verify-full"}}
		if file != "" {
			q.Set("sslrootcert", file)
		}
		u.RawQuery = q.Encode()
		return u.String()
	}
	var n int
	if err := open(t, secured(ca)).Tenant(tenant(0)).QueryRow(t.Context(), "select count(*) from documents").Scan(&n); err != nil || n != 10 {
		t.Errorf("by its authority: %d rows, %v", n, err)
	}
	for name, file := range map[string]string{"by another authority": other, "by the system's authorities": ""} {
		db, err := poolproof.Open(t.Context(), poolproof.Config{URL: secured(file)})
		if err == nil {
			db.Close()
		}
		if !errors.Is(err, poolproof.ErrUnavailable) || !strings.Contains(fmt.Sprint(err), "certificate") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// authority makes a certification authority and, for 127.0.0.1, a key and a
// certificate of it. The files are for a server of another account.
func authority(t *testing.T) (ca, key, cert string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(filepath.Dir(dir), 0o755); err != nil {
		t.Fatal(err)
	}
	save := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of " + t.Name()}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "pooler"}, NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return save("ca.pem", "CERTIFICATE", rootDER), save("key.pem", "PRIVATE KEY", keyDER), save("cert.pem", "CERTIFICATE", leafDER)
}

// F10, F11, F12: a transaction has one owner and one end. An error inside is
// the caller's even if the code went on after it, nothing of it stays, no
// second one begins in it, and there is nothing to be done with it afterwards;
// the only connection then serves the next one.
func TestATransactionHasOneOwner(t *testing.T) {
	f := newFixture(t, 1)
	const insert = "insert into documents (tenant_id, body) values ($1, 'must not be')"
	for _, kind := range []pgtest.Kind{pgtest.Direct, pgtest.PgBouncer118Transaction} {
		t.Run(kind.String(), func(t *testing.T) {
			db := open(t, pgtest.Pooled(t, f.url, kind), func(c *poolproof.Config) { c.MaxConns = 1 })
			s, ctx := db.Tenant(tenant(0)), t.Context()
			var kept pgx.Tx
			err := s.InTx(ctx, func(tx pgx.Tx) error {
				kept = tx
				if _, err := tx.Exec(ctx, insert, tenant(0)); err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, "select no_such_column from documents"); err == nil {
					t.Error("no error")
				}
				return nil // log the error and go on
			})
			if !errors.Is(err, pgx.ErrTxCommitRollback) {
				t.Errorf("an error that was swallowed: %v", err)
			}
			if _, err := kept.Exec(ctx, insert, tenant(0)); !errors.Is(err, pgx.ErrTxClosed) {
				t.Errorf("after its end: %v", err)
			}
			if err := kept.Commit(ctx); !errors.Is(err, pgx.ErrTxClosed) {
				t.Errorf("ended again: %v", err)
			}
			err = s.InTx(ctx, func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "begin")
				if !errors.Is(err, poolproof.ErrStatementRefused) {
					t.Errorf("begin in a transaction: %v", err)
				}
				return err
			})
			if !errors.Is(err, poolproof.ErrStatementRefused) {
				t.Errorf("the transaction with it: %v", err)
			}
			if _, err := s.Exec(ctx, "select no_such_column from documents"); err == nil {
				t.Error("no error")
			}
			var n int
			if err := s.QueryRow(ctx, "select count(*) from documents").Scan(&n); err != nil || n != 10 {
				t.Errorf("the next request: %d rows, %v", n, err)
			}
			if n := db.Stat().NewConnsCount(); n != 1 {
				t.Errorf("%d connections were made", n)
			}
		})
	}
}

// F3, F8, F16: a job that goes on after its request has its session still: a
// session is a value, of the same tenant and the same settings, that holds no
// connection and no request.
func TestASessionOutlivesItsRequest(t *testing.T) {
	f := newFixture(t, 2)
	db := open(t, pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction), func(c *poolproof.Config) { c.MaxConns = 1 })
	var jobs []func() (int, error)
	for i := range 20 {
		request, end := context.WithCancel(t.Context())
		s := db.Tenant(tenant(i % 2))
		if _, err := s.Exec(request, "select 1"); err != nil {
			t.Fatal(err)
		}
		end()
		jobs = append(jobs, func() (n int, err error) {
			err = s.QueryRow(t.Context(), "select count(*) from documents where body = 'of tenant ' || $1", tenant(i%2)).Scan(&n)
			return n, err
		})
	}
	if n := db.Stat().AcquiredConns(); n != 0 {
		t.Errorf("20 sessions hold %d connections", n)
	}
	var running sync.WaitGroup
	for i, job := range jobs {
		running.Go(func() {
			if n, err := job(); err != nil || n != 10 {
				t.Errorf("job %d: %d rows, %v", i, n, err)
			}
		})
	}
	running.Wait()
}

// J2: a tenant is a value. What would end a quoted text and set another tenant
// is one that no row has.
func TestATenantIsAValue(t *testing.T) {
	f := newFixture(t, 2)
	forKinds(t, f, func(t *testing.T, _ pgtest.Kind, url string) {
		db := open(t, url)
		for _, evil := range []string{
			tenant(0) + "'; SET app.current_tenant_id TO '" + tenant(1),
			tenant(0) + "', true), set_config('app.current_tenant_id', '" + tenant(1),
			`\'; --`,
		} {
			var n int
			if err := db.Tenant(evil).QueryRow(t.Context(), "select count(*) from documents").Scan(&n); err == nil || n != 0 {
				t.Errorf("%s: %d rows, %v", evil, n, err)
			}
			if _, err := db.Tenant(evil).Exec(t.Context(), "insert into documents (tenant_id, body) values ($1, 'must not be')", tenant(1)); err == nil {
				t.Errorf("%s: wrote", evil)
			}
			var set string
			if err := db.Tenant(evil).QueryRow(t.Context(), "select current_setting('app.current_tenant_id')").Scan(&set); err != nil || set != evil {
				t.Errorf("%s: set %q, %v", evil, set, err)
			}
		}
	})
	if n := f.count(t, "select count(*) from documents where body = 'must not be'"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
}

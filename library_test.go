package poolproof_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolproof/poolproof"
	"github.com/poolproof/poolproof/internal/pgtest"
)

const libraryGuide = "docs/library.md"

var (
	guideBlock = regexp.MustCompile("(?ms)^```(.+?)\n(.*?)^```$")
	codeOfDoc  = regexp.MustCompile(`(?ms)^\t// doc: (\w+)\n(.*?)^\t// end of doc\n`)
)

// libraryDoc returns the guide's block that is marked so.
func libraryDoc(t *testing.T, mark string) string {
	t.Helper()
	text, err := os.ReadFile(libraryGuide)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range guideBlock.FindAllStringSubmatch(string(text), -1) {
		if b[1] == mark {
			return b[2]
		}
	}
	t.Fatalf("%s has no block %q", libraryGuide, mark)
	return ""
}

// TestLibraryDoc runs the guide's Go code: each block is, word by word, a part of a
// function of this file, which is run against PgBouncer.
func TestLibraryDoc(t *testing.T) {
	f := newFixture(t, 2)
	f.exec(t, `create type mood as enum ('happy', 'sad');
		create procedure archive(keep int) language plpgsql as $$ begin delete from documents where id > keep; end $$;`)
	url := pgtest.Pooled(t, f.url, pgtest.PgBouncer118Transaction)
	db := open(t, url)
	run := map[string]func(t *testing.T){
		"types":    func(t *testing.T) { guideTypes(t, url) },
		"options":  func(t *testing.T) { guideOptions(t, db, tenant(0)) },
		"retry":    func(t *testing.T) { guideRetry(t, f, db, tenant(0)) },
		"check":    func(t *testing.T) { guideCheck(t, f, url) },
		"listen":   func(t *testing.T) { guideListen(t, db, f.url) },
		"call":     func(t *testing.T) { guideCall(t, f, db, tenant(0)) },
		"role":     func(t *testing.T) { guideRole(t, f, url) },
		"close":    func(t *testing.T) { guideClose(t, open(t, url)) },
		"policies": func(t *testing.T) { guidePolicies(t.Context(), t, db, url, tenant(0), tenant(1)) },
	}
	source, err := os.ReadFile("library_test.go")
	if err != nil {
		t.Fatal(err)
	}
	code := map[string]string{}
	for _, m := range codeOfDoc.FindAllStringSubmatch(string(source), -1) {
		code[m[1]] = regexp.MustCompile(`(?m)^\t`).ReplaceAllString(m[2], "")
	}
	guide, err := os.ReadFile(libraryGuide)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, b := range guideBlock.FindAllStringSubmatch(string(guide), -1) {
		language, name, _ := strings.Cut(b[1], " ")
		switch {
		case b[1] == "sql analysts": // TestExampleJobs runs it
		case language != "go" || run[name] == nil:
			t.Errorf("a block %q that nothing runs", b[1])
		case code[name] != b[2]:
			t.Errorf("the guide's %s is not what is run:\n%s\n%s", name, b[2], code[name])
		default:
			names = append(names, name)
		}
	}
	if len(names) != len(run) {
		t.Errorf("of %d functions the guide has %q", len(run), names)
	}
	for _, name := range names {
		t.Run(name, run[name])
	}
	t.Run("values and types", func(t *testing.T) {
		if claim := fmt.Sprintf("%d Go values times %d SQL types", len(arguments()), len(parameterTypes)); !strings.Contains(string(guide), claim) {
			t.Errorf("the guide does not say %q", claim)
		}
	})
}

func guideTypes(t *testing.T, url string) {
	ctx := t.Context()
	// doc: types
	db, err := poolproof.Open(ctx, poolproof.Config{
		URL: url,
		AfterConnect: func(ctx context.Context, conn *pgx.Conn) error {
			types, err := conn.LoadTypes(ctx, []string{"mood", "_mood"}) // _mood is the array, mood[]
			conn.TypeMap().RegisterTypes(types)
			return err
		},
	})
	// end of doc
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var got []mood
	if err := db.Tenant(tenant(0)).QueryRow(ctx, "select $1::mood[]", []mood{"sad"}).Scan(&got); err != nil || !slices.Equal(got, []mood{"sad"}) {
		t.Errorf("%v, %v", got, err)
	}
}

func guideOptions(t *testing.T, db *poolproof.DB, id string) {
	ctx, n := t.Context(), 0
	// doc: options
	err := db.Tenant(id).InTxOptions(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}, func(tx pgx.Tx) error {
		return tx.QueryRow(ctx, "select count(*) from documents").Scan(&n)
	})
	// end of doc
	if err != nil || n != 10 {
		t.Errorf("%d, %v", n, err)
	}
}

func guideRetry(t *testing.T, f *fixture, db *poolproof.DB, id string) {
	ctx, calls := t.Context(), 0
	transfer := func(tx pgx.Tx) error { // another one comes between its reading and its writing, the first time
		var n int
		if err := tx.QueryRow(ctx, "select count(*) from documents where body = 'changed'").Scan(&n); err != nil {
			return err
		}
		if calls++; calls == 1 {
			f.exec(t, "update documents set body = 'changed' where tenant_id = $1", id)
		}
		_, err := tx.Exec(ctx, "update documents set body = body")
		return err
	}
	// doc: retry
	again := func(err error) bool {
		pgErr, ok := errors.AsType[*pgconn.PgError](err)
		return pgconn.SafeToRetry(err) || ok && (pgErr.Code == "40001" || pgErr.Code == "40P01")
	}
	var err error
	for range 5 {
		if err = db.Tenant(id).InTxOptions(ctx, pgx.TxOptions{IsoLevel: pgx.Serializable}, transfer); err == nil || !again(err) {
			break
		}
	}
	// end of doc
	if err != nil || calls != 2 {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func guideCheck(t *testing.T, f *fixture, url string) {
	ctx := t.Context()
	f.exec(t, "create table invoices (account_id int); grant select on invoices to "+loginOf(t, f.url))
	defer f.exec(t, "drop table invoices")
	// doc: check
	found, err := poolproof.Check(ctx, poolproof.Config{URL: url, TenantColumns: []string{"tenant_id", "account_id"}})
	if err == nil {
		err = found.Err() // names each table that does not isolate, with the SQL that mends it
	}
	// end of doc
	if !errors.Is(err, poolproof.ErrConfig) || !strings.Contains(err.Error(), "public.invoices") {
		t.Error(err)
	}
}

func guideListen(t *testing.T, db *poolproof.DB, directURL string) {
	ctx := t.Context()
	newest := ""
	ready := func() {
		if _, err := db.Tenant(tenant(1)).Exec(ctx, "listen documents"); !errors.Is(err, poolproof.ErrStatementRefused) {
			t.Errorf("LISTEN in a session: %v", err)
		}
		if _, err := db.Tenant(tenant(1)).Exec(ctx, "select pg_notify('documents', $1)", tenant(1)); err != nil {
			t.Error(err)
		}
	}
	err := guideListening(ctx, db, directURL, ready, &newest)
	if err != nil || newest != "of tenant "+tenant(1) {
		t.Errorf("%q, %v", newest, err)
	}
}

func guideListening(ctx context.Context, db *poolproof.DB, directURL string, ready func(), read *string) (err error) {
	var newest string
	defer func() { *read = newest }()
	// doc: listen
	conn, err := pgx.Connect(ctx, directURL) // one per process, not from the pool
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "listen documents"); err != nil {
		return err
	}
	ready()
	note, err := conn.WaitForNotification(ctx)
	if err != nil {
		return err
	}
	return db.Tenant(note.Payload).QueryRow(ctx, "select max(body) from documents").Scan(&newest)
	// end of doc
}

func guideCall(t *testing.T, f *fixture, db *poolproof.DB, id string) {
	ctx := t.Context()
	if _, err := db.Tenant(id).Exec(ctx, "call archive($1)", 3); !errors.Is(err, poolproof.ErrStatementRefused) {
		t.Errorf("in a session: %v", err)
	}
	if err := db.Tenant(id).InTx(ctx, func(tx pgx.Tx) error { _, err := tx.Exec(ctx, "do $$ begin commit; end $$"); return err }); err == nil {
		t.Error("a DO has committed in a transaction")
	}
	// doc: call
	err := db.Tenant(id).InTx(ctx, func(tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "call archive($1)", 3)
		return err
	})
	// end of doc
	if err != nil || f.count(t, "select count(*) from documents where tenant_id = $1", id) != 3 || f.count(t, "select count(*) from documents where tenant_id = $1", tenant(1)) != 10 {
		t.Error(err)
	}
}

func guideRole(t *testing.T, f *fixture, url string) {
	ctx := t.Context()
	f.exec(t, "create role app_runtime nologin; grant app_runtime to "+loginOf(t, f.url)+"; grant select on documents to app_runtime")
	defer f.exec(t, "drop owned by app_runtime; drop role app_runtime")
	// doc: role
	db, err := poolproof.Open(ctx, poolproof.Config{URL: url, Role: "app_runtime"}) // create role app_runtime nologin; grant app_runtime to the login
	// end of doc
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var role string
	var n int
	if err := db.Tenant(tenant(1)).QueryRow(ctx, "select current_user, count(*) from documents").Scan(&role, &n); err != nil || role != "app_runtime" || n != 10 {
		t.Errorf("%s sees %d, %v", role, n, err)
	}
}

func guideClose(t *testing.T, db *poolproof.DB) {
	ctx := t.Context()
	// doc: close
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := db.CloseContext(ctx); err != nil {
		log.Print(err) // what was still running, for how long; it is cancelled now
	}
	// end of doc
	if _, err := db.Shared().Exec(t.Context(), "select 1"); !errors.Is(err, poolproof.ErrClosed) {
		t.Error(err)
	}
}

func guidePolicies(ctx context.Context, t *testing.T, db *poolproof.DB, url, tenantA, tenantB string) {
	t.Helper()
	// doc: policies
	found, err := poolproof.Check(ctx, poolproof.Config{URL: url})
	if err != nil || found.Err() != nil {
		t.Fatal(err, found.Err())
	}
	a, b := db.Tenant(tenantA), db.Tenant(tenantB)
	if _, err := a.Exec(ctx, "insert into documents (tenant_id, body) values ($1, 'of A')", tenantA); err != nil {
		t.Fatal(err)
	}
	for _, sql := range []string{"update documents set body = 'taken' where body = 'of A'", "delete from documents where body = 'of A'"} {
		if tag, err := b.Exec(ctx, sql); err != nil || tag.RowsAffected() != 0 {
			t.Errorf("B: %s: %v, %v", sql, tag, err)
		}
	}
	if _, err := b.Exec(ctx, "insert into documents (tenant_id, body) values ($1, 'of B')", tenantA); err == nil {
		t.Error("B wrote a row for A")
	}
	for name, session := range map[string]poolproof.Session{"B": b, "nobody": db.Shared()} {
		var n int
		if err := session.QueryRow(ctx, "select count(*) from documents where body = 'of A'").Scan(&n); err != nil || n != 0 {
			t.Errorf("%s sees %d rows of A, %v", name, n, err)
		}
	}
	// end of doc
}

// Middleware serves each caller the documents of its own tenant. One middleware
// takes the tenant from the request into the context, from where both database/sql
// and sessions read it.
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolproof/poolproof"
)

// tenants finds a caller's tenant by the hash of its API key. In your service it is
// a table, or a claim of a token whose signature you have checked. Never is it what
// the caller merely says, such as a header.
type tenants map[[sha256.Size]byte]string

// scope lets a request through whose key is known, with its tenant in the context.
func (known tenants) scope(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		tenant, ok := known[sha256.Sum256([]byte(key))]
		if !ok {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(poolproof.WithTenant(r.Context(), tenant)))
	})
}

// titles answers the caller's documents, and adds one for POST.
func titles(db *poolproof.DB) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		session := db.SessionFrom(r.Context()) // without a tenant in the context, it answers ErrNoTenant
		if r.Method == http.MethodPost {
			if _, err := session.Exec(r.Context(), "insert into documents (title) values ($1)", r.FormValue("title")); err != nil {
				fail(w, err)
				return
			}
		}
		rows, err := session.Query(r.Context(), "select title from documents order by id")
		if err != nil {
			fail(w, err)
			return
		}
		all, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			fail(w, err)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(all) // the client is gone
	}
}

func fail(w http.ResponseWriter, err error) {
	log.Print(err)
	status := http.StatusInternalServerError
	if errors.Is(err, poolproof.ErrUnavailable) {
		status = http.StatusServiceUnavailable
	}
	http.Error(w, "not now", status)
}

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	db, err := poolproof.Open(ctx, poolproof.Config{URL: os.Getenv("DATABASE_URL")})
	if err != nil {
		return err
	}
	known := tenants{
		sha256.Sum256([]byte("key of Acme")):   "550e8400-e29b-41d4-a716-446655440000",
		sha256.Sum256([]byte("key of Globex")): "67e55044-10b1-426f-9247-bb680e5fe0c8",
	}
	mux := http.NewServeMux()
	mux.Handle("/documents", known.scope(titles(db)))
	mux.Handle("/forgotten", titles(db)) // somebody forgot the middleware: it answers nothing
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	fmt.Printf("listening on http://%s\n", listener.Addr())

	select {
	case err = <-served:
	case <-ctx.Done():
	}
	// Requests first, then what they use; and not for ever.
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return errors.Join(err, server.Shutdown(ctx), db.CloseContext(ctx))
}

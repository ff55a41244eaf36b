// Provider is the OpenID provider that the console's tests sign in at: the
// library zitadel/oidc with its own storage in memory and its two users, and a
// page to sign in or to refuse on. It listens on a free port of loopback, and
// its first line of output is its issuer. It ends with its standard input.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"

	"github.com/zitadel/oidc/v3/example/server/storage"
	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "provider:", err)
		os.Exit(1)
	}
}

func run() error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	issuer := "http://" + listener.Addr().String()

	// Native clients of loopback are taken at every port (RFC 8252 section 7.3).
	storage.RegisterClients(storage.NativeClient("console", "http://127.0.0.1/"), storage.NativeClient("console-jwt", "http://127.0.0.1/"))
	store := users{storage.NewStorage(storage.NewUserStore(issuer))}
	provider, err := op.NewProvider(&op.Config{
		CryptoKey: sha256.Sum256([]byte(issuer)), CryptoKeyId: "tests", CodeMethodS256: true, GrantTypeRefreshToken: true,
	}, store, op.StaticIssuer(issuer), op.WithAllowInsecure())
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/", provider)
	mux.HandleFunc("GET /login/username", func(w http.ResponseWriter, r *http.Request) {
		if err := form.Execute(w, r.FormValue("authRequestID")); err != nil {
			slog.Error("writing the form", "error", err)
		}
	})
	mux.HandleFunc("GET /favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	back := op.AuthCallbackURL(provider)
	mux.HandleFunc("POST /login/username", op.NewIssuerInterceptor(provider.IssuerFromRequest).HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id := r.FormValue("id")
		if r.FormValue("answer") == "refuse" {
			request, err := store.AuthRequestByID(r.Context(), id)
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			op.AuthRequestError(w, r, request, oidc.ErrAccessDenied().WithDescription("The person said no."), provider)
			return
		}
		if err := store.CheckUsernamePassword(r.FormValue("name"), r.FormValue("password"), id); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		http.Redirect(w, r, back(r.Context(), id), http.StatusFound)
	}))

	fmt.Println(issuer)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin) // the test that started it is gone
		_ = listener.Close()
	}()
	if err := http.Serve(listener, mux); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

var form = template.Must(template.New("").Parse(`<!doctype html>
<html lang="en"><title>Provider</title>
<form method="post">
<input type="hidden" name="id" value="{{.}}">
<label>Name <input id="name" name="name"></label>
<label>Password <input id="password" name="password" type="password"></label>
<button id="allow" name="answer" value="allow">Sign in</button>
<button id="refuse" name="answer" value="refuse">Refuse</button>
</form></html>`))

// users is the library's storage, whose client console-jwt gets access tokens
// that are JWTs.
type users struct{ *storage.Storage }

func (u users) GetClientByClientID(ctx context.Context, id string) (op.Client, error) {
	client, err := u.Storage.GetClientByClientID(ctx, id)
	if err == nil && id == "console-jwt" {
		return jwtClient{client}, nil
	}
	return client, err
}

type jwtClient struct{ op.Client }

func (jwtClient) AccessTokenType() op.AccessTokenType { return op.AccessTokenTypeJWT }

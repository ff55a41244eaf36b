package main

import (
	"cmp"
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/poolproof/poolproof/service/console"
	"github.com/poolproof/poolproof/service/httpapi/token"
)

// serveCommand is poolproof serve.
type serveCommand struct {
	DatabaseURL string        `env:"DATABASE_URL" placeholder:"URL" help:"The database, usually through its pooler."`
	Addr        string        `env:"POOLPROOF_ADDR" default:"127.0.0.1:8000" placeholder:"HOST:PORT" help:"Where to listen (default ${default})."`
	Role        string        `env:"POOLPROOF_ROLE" placeholder:"ROLE" help:"Role that every transaction takes on, for platforms with a single login."`
	MaxConns    int32         `env:"POOLPROOF_MAX_CONNS" placeholder:"N" help:"Most connections to the pooler (default: 4, or the number of CPUs)."`
	PerTenant   int           `env:"POOLPROOF_MAX_REQUESTS_PER_TENANT" placeholder:"N" help:"Most requests of one tenant that are answered at a time; further ones wait, and get 429 after two seconds (default: half of the connections, at least 2)."`
	CheckEvery  time.Duration `env:"POOLPROOF_CHECK_EVERY" default:"5m" placeholder:"TIME" help:"How often the doctor looks at a database in use without another reason (default ${default}; 0: only at the start and after a lost connection)."`
	Origins     []string      `env:"POOLPROOF_CORS_ORIGINS" name:"cors-origin" placeholder:"ORIGIN" help:"Web origins whose pages may call the API, such as https://app.example.org (default: only its own; * for any)."`
	tokenFlags
	signInFlags
}

// Help is the long help.
func (serveCommand) Help() string {
	return `POOLPROOF_JWT_SECRET is read from the environment only. Started before its database, serve stays up,
answers 503 and serves as soon as it can. It refuses to start on what an operator must change: isolation that does not
hold, another schema than the program's, wrong configuration. The doctor looks again when a connection was lost, and says what changed. With --oidc-client-id people sign in to the console at an
OpenID provider; see docs/console.md.

Example:
  DATABASE_URL=postgres://app:secret@127.0.0.1:6432/app \
  POOLPROOF_JWT_SECRET=… POOLPROOF_JWT_ISSUER=https://id.example.org POOLPROOF_JWT_AUDIENCE=authenticated \
  poolproof serve`
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context, p *program) error {
	if c.DatabaseURL == "" {
		return usage("set DATABASE_URL to the pooler's URL of the runtime login; poolproof migrate up --login NAME prints one",
			"no database is named")
	}
	if c.CheckEvery < 0 {
		return usage("write it as --check-every 5m, or 0 for never", "--check-every, or POOLPROOF_CHECK_EVERY, is less than 0")
	}
	pages, err := c.pages(c.tokenFlags, p.log)
	if err != nil {
		return err
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Addr)
	if err != nil {
		return failure("choose another address with --addr or POOLPROOF_ADDR", "listening: %w", err)
	}
	return runServer(ctx, serverOptions{
		Listener:    listener,
		DatabaseURL: c.DatabaseURL,
		Role:        c.Role,
		MaxConns:    c.MaxConns,
		PerTenant:   c.PerTenant,
		CheckEvery:  c.CheckEvery,
		Origins:     c.Origins,
		Tokens:      c.config(),
		Pages:       pages,
		Logger:      p.log,
	})
}

// signInFlags say where people sign in to the console.
type signInFlags struct {
	ClientID  string `name:"oidc-client-id" env:"POOLPROOF_OIDC_CLIENT_ID" placeholder:"ID" help:"Let people sign in to the console at the OpenID provider, as its client of this id."`
	Provider  string `name:"oidc-issuer" env:"POOLPROOF_OIDC_ISSUER" placeholder:"URL" help:"The OpenID provider (default: the tokens' issuer)."`
	Scopes    string `name:"oidc-scopes" env:"POOLPROOF_OIDC_SCOPES" default:"openid profile email" placeholder:"SCOPES" help:"What it is asked for (default ${default})."`
	SentToken string `name:"oidc-token" env:"POOLPROOF_OIDC_TOKEN" placeholder:"KIND" help:"Which token the console sends to the API: id_token or access_token (default: id_token if the audience is the client id)."`
}

// pages makes the console.
func (f signInFlags) pages(tokens tokenFlags, log *slog.Logger) (http.Handler, error) {
	if f.ClientID == "" {
		return console.Handler(), nil
	}
	pages, err := console.HandlerWith(console.OpenID{
		Issuer: cmp.Or(f.Provider, tokens.Issuer), ClientID: f.ClientID, Scopes: f.Scopes,
		Audience: tokens.Audience, Token: f.SentToken, Logger: log,
	})
	if err != nil {
		return nil, usage("see docs/console.md, Sign in at a provider, for POOLPROOF_OIDC_ISSUER, _CLIENT_ID, _SCOPES and _TOKEN", "signing in to the console: %w", err)
	}
	return pages, nil
}

// tokenFlags say which tokens are accepted, or signed.
type tokenFlags struct {
	JWKSURL  string `name:"jwks-url" env:"POOLPROOF_JWKS_URL" placeholder:"URL" help:"Where the issuer publishes its keys; instead of POOLPROOF_JWT_SECRET."`
	Issuer   string `name:"jwt-issuer" env:"POOLPROOF_JWT_ISSUER" placeholder:"ISS" help:"The tokens' issuer (iss)."`
	Audience string `name:"jwt-audience" env:"POOLPROOF_JWT_AUDIENCE" placeholder:"AUD" help:"The tokens' audience (aud)."`
}

func (f tokenFlags) config() token.Config {
	return token.Config{Issuer: f.Issuer, Audience: f.Audience, Secret: jwtSecret(), JWKSURL: f.JWKSURL}
}

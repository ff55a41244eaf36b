package main

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/httpapi/token"
)

// tokenCommand is poolproof token.
type tokenCommand struct {
	User     string        `required:"" placeholder:"ID" help:"The user's id (sub)."`
	Tenant   string        `placeholder:"UUID" help:"The tenant (tenant_id). Without one, requests must name it in X-Tenant-ID."`
	Expires  time.Duration `default:"1h" placeholder:"DURATION" help:"How long it is valid (default ${default})."`
	Issuer   string        `name:"jwt-issuer" env:"POOLPROOF_JWT_ISSUER" placeholder:"ISS" help:"The token's issuer (iss)."`
	Audience string        `name:"jwt-audience" env:"POOLPROOF_JWT_AUDIENCE" placeholder:"AUD" help:"The token's audience (aud)."`
}

// Help is the long help.
func (tokenCommand) Help() string {
	return `POOLPROOF_JWT_SECRET is read from the environment only. The token goes to standard output.

Example:
  poolproof token --user 5b0d1c5e-8f0a-4b6e-9c5e-2b8a3f1d7e10 --tenant 550e8400-e29b-41d4-a716-446655440000 --expires 15m`
}

// Run signs a token and prints it.
func (c *tokenCommand) Run(_ context.Context, p *program) error {
	secret := jwtSecret()
	switch {
	case len(secret) == 0:
		return usage("set POOLPROOF_JWT_SECRET to the secret that the service verifies with", "there is no secret to sign with")
	case c.Issuer == "" || c.Audience == "":
		return usage("set POOLPROOF_JWT_ISSUER and POOLPROOF_JWT_AUDIENCE as for the service", "a token needs an issuer and an audience")
	case c.Expires <= 0:
		return usage("give a duration such as 1h", "--expires must be positive")
	}
	if c.Tenant != "" {
		tenant, err := uuid.Parse(c.Tenant)
		if err != nil {
			return usage("poolproof's tenants are named by UUIDs", "the tenant %q is not a UUID", c.Tenant)
		}
		c.Tenant = tenant.String()
	}
	signed, err := token.Sign(secret, token.Request{
		Issuer: c.Issuer, Audience: c.Audience, Subject: c.User, Tenant: c.Tenant, Lifetime: c.Expires,
	})
	if err != nil {
		return failure("", "%w", err)
	}
	if _, err := fmt.Fprintln(p.stdout, signed); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

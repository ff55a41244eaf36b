package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/migrations"
)

// bootstrapCommand is poolproof bootstrap.
type bootstrapCommand struct {
	ownerURL
	User  string `required:"" placeholder:"ID" help:"The administrator's user id: the sub of their tokens."`
	Email string `required:"" placeholder:"ADDRESS" help:"The administrator's email address."`
}

// Help is the long help.
func (bootstrapCommand) Help() string {
	return `Makes the platform tenant, of which there is exactly one, and its first GLOBAL_ADMIN. Run again for the same user
it changes nothing. A sub that is no UUID, or one of version 5, is mapped with
POOLPROOF_JWT_ISSUER, as tokens are.

Example:
  DIRECT_URL=postgres://owner@127.0.0.1:5432/app \
  poolproof bootstrap --user 5b0d1c5e-8f0a-4b6e-9c5e-2b8a3f1d7e10 --email admin@example.org`
}

// Run makes the platform tenant.
func (c *bootstrapCommand) Run(ctx context.Context, p *program) error {
	url, err := c.url()
	if err != nil {
		return err
	}
	user, err := userID(c.User)
	if err != nil {
		return err
	}
	if err := migrations.Bootstrap(ctx, url, user, c.Email); err != nil {
		return migrationFailure("making the platform tenant", err)
	}
	if _, err := fmt.Fprintf(p.stdout, "%s (%s) is GLOBAL_ADMIN of the platform tenant\n", user, c.Email); err != nil {
		return fmt.Errorf("printing: %w", err)
	}
	return nil
}

// userID reads the sub of a user's tokens, of which it makes the id as the
// service does. Only a sub that is the id as it stands needs no issuer.
func userID(sub string) (uuid.UUID, error) {
	issuer := os.Getenv("POOLPROOF_JWT_ISSUER")
	id := token.UserID(issuer, sub)
	if sub == "" || issuer == "" && !strings.EqualFold(id.String(), sub) {
		return uuid.Nil, usage("give the sub of the user's tokens; if that is another text, set POOLPROOF_JWT_ISSUER so that it can be mapped",
			"the user %q is not a UUID that is taken as it stands (any version but 5)", sub)
	}
	return id, nil
}

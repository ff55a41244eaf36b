package httpapi

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/httpapi/token"
	"github.com/poolproof/poolproof/service/tenancy"
)

// errNoToken marks a request without credentials: RFC 6750 section 3.1 wants
// its challenge without an error code.
var errNoToken = errors.New("no bearer token")

// identify verifies the request's bearer token.
func (s *Server) identify(r *http.Request) (token.Identity, error) {
	lines := r.Header.Values("Authorization")
	if len(lines) == 0 {
		return token.Identity{}, &tenancy.Error{Code: tenancy.Unauthenticated, Err: errNoToken}
	}
	scheme, raw, _ := strings.Cut(lines[0], " ")
	if len(lines) > 1 || !strings.EqualFold(scheme, "Bearer") {
		return token.Identity{}, &tenancy.Error{
			Code: tenancy.Unauthenticated, Err: errNoToken,
			Detail: "Exactly one Authorization header with a Bearer token is required.",
		}
	}
	id, err := s.cfg.Tokens.Verify(r.Context(), strings.TrimLeft(raw, " "))
	switch {
	case errors.Is(err, token.ErrInvalid):
		return token.Identity{}, &tenancy.Error{Code: tenancy.Unauthenticated, Detail: token.Reason(err), Err: err}
	case err != nil:
		return token.Identity{}, &tenancy.Error{Code: tenancy.Unavailable, Err: err}
	}
	return id, nil
}

// challenge is the WWW-Authenticate header of a 401.
func challenge(err error) string {
	const realm = `Bearer realm="poolproof"`
	if errors.Is(err, errNoToken) {
		return realm
	}
	return fmt.Sprintf(`%s, error="invalid_token", error_description="%s"`, realm, token.Reason(err))
}

// wantedTenant is the tenant that a request is for: the X-Tenant-ID header's,
// else the token's. It is not valid without either. Whether the user belongs
// to it is for the database to say.
func wantedTenant(r *http.Request, id token.Identity) (uuid.NullUUID, error) {
	lines := r.Header.Values("X-Tenant-ID")
	switch {
	case len(lines) > 1:
		return uuid.NullUUID{}, tenancy.Refuse(tenancy.Invalid, "There is more than one X-Tenant-ID header.")
	case len(lines) == 1:
		tenant, err := parseUUID(lines[0])
		if err != nil {
			return uuid.NullUUID{}, tenancy.Refuse(tenancy.Invalid, "The X-Tenant-ID header is not a UUID.")
		}
		return uuid.NullUUID{UUID: tenant, Valid: true}, nil
	case id.Tenant != "":
		tenant, err := parseUUID(id.Tenant)
		if err != nil {
			return uuid.NullUUID{}, tenancy.Refuse(tenancy.Invalid, "The token's tenant_id is not a UUID.")
		}
		return uuid.NullUUID{UUID: tenant, Valid: true}, nil
	}
	return uuid.NullUUID{}, nil
}

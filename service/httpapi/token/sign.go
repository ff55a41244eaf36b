package token

import (
	"errors"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Request says what a token that [Sign] makes shall hold.
type Request struct {
	Issuer   string        // iss, required
	Audience string        // aud, required
	Subject  string        // sub, required
	Tenant   string        // tenant_id, left out when ""
	Lifetime time.Duration // until exp, must be positive
}

// Sign makes an HS256 token that a [Verifier] with the same secret, issuer and
// audience accepts. It is for tests and for installations without an identity
// provider; secret has at least [MinSecret] bytes. An error means that the secret is
// too short, or that an issuer, an audience, a subject or a positive lifetime is
// missing.
func Sign(secret []byte, r Request) (string, error) {
	switch {
	case len(secret) < MinSecret:
		return "", fmt.Errorf("the secret has %d bytes, HS256 needs at least %d", len(secret), MinSecret)
	case r.Issuer == "" || r.Audience == "" || r.Subject == "":
		return "", errors.New("a token needs an issuer, an audience and a subject")
	case r.Lifetime <= 0:
		return "", errors.New("a token needs a positive lifetime")
	}
	now := time.Now()
	claims := jwt.MapClaims{
		"iss": r.Issuer, "aud": r.Audience, "sub": r.Subject,
		"iat": now.Unix(), "exp": now.Add(r.Lifetime).Unix(),
	}
	if r.Tenant != "" {
		claims["tenant_id"] = r.Tenant
	}
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("signing the token: %w", err)
	}
	return signed, nil
}

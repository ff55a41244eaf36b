package token

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/internal/exactjson"
)

// Limits of what is accepted.
const (
	// MaxSize is the largest token accepted, in bytes. Tokens of Supabase and
	// of common OpenID providers are between 700 and 3000 bytes.
	MaxSize = 8 << 10
	// Leeway is how far the clocks of issuer and service may differ when exp
	// and nbf are judged.
	Leeway = 30 * time.Second
	// MinSecret is the shortest HS256 secret accepted, in bytes: as long as
	// the hash, as RFC 7518 section 3.2 demands.
	MinSecret = 32
	// maxSubject is the longest sub accepted, in bytes (OpenID Connect Core
	// section 2 allows 255 characters).
	maxSubject = 255
)

var (
	// ErrInvalid means that the token must not be trusted; the error's text
	// says why. A client can do something about it: sign in again.
	ErrInvalid = errors.New("invalid token")
	// ErrKeysUnavailable means that the issuer's key set was never read, so
	// that no token can be judged. It passes when the issuer can be reached.
	ErrKeysUnavailable = errors.New("the issuer's keys cannot be read")
	// errHeader marks a token that is of no kind that is taken, whoever signed it.
	errHeader = errors.New("not the kind of token that is accepted")
)

// Config says which tokens a [Verifier] accepts. Exactly one of Secret and
// JWKSURL must be set.
type Config struct {
	// Issuer must equal the token's iss. Required.
	Issuer string
	// Audience must be among the token's aud. Required.
	Audience string
	// Secret verifies HS256, at least [MinSecret] bytes.
	Secret []byte
	// JWKSURL is where the issuer publishes its public keys (RFC 7517). They
	// are read at the start, once an hour, and when a token names an unknown
	// key (at most once in ten seconds). The last set that could be read stays
	// in use while the issuer cannot be reached.
	JWKSURL string
	// Logger is told when the key set cannot be read. Default: none.
	Logger *slog.Logger
	// Now is the clock. Default: time.Now.
	Now func() time.Time
}

// Identity is what a verified token says.
type Identity struct {
	// User is the token's subject as [UserID] maps it.
	User uuid.UUID
	// Tenant is the token's tenant_id or, without one, its
	// app_metadata.tenant_id, as it stands there; "" without either. It is a
	// wish, not a right: membership is checked in the database.
	Tenant string
}

// Verifier judges tokens. It is safe for concurrent use.
type Verifier struct {
	issuer string
	parser *jwt.Parser
	key    func(context.Context) jwt.Keyfunc
	now    func() time.Time
	memory memory
}

// NewVerifier makes a Verifier. With a JWKSURL it reads the key set once,
// waiting at most five seconds, and keeps reading it until ctx ends; an issuer
// that cannot be reached is logged and is not an error. An error means that
// the configuration is wrong.
func NewVerifier(ctx context.Context, cfg Config) (*Verifier, error) {
	switch {
	case cfg.Issuer == "":
		return nil, errors.New("no issuer is configured")
	case cfg.Audience == "":
		return nil, errors.New("no audience is configured")
	case len(cfg.Secret) == 0 && cfg.JWKSURL == "":
		return nil, errors.New("neither a secret nor a key set URL is configured")
	case len(cfg.Secret) != 0 && cfg.JWKSURL != "":
		return nil, errors.New("both a secret and a key set URL are configured: tokens are verified by one kind of key")
	case len(cfg.Secret) != 0 && len(cfg.Secret) < MinSecret:
		return nil, fmt.Errorf("the secret has %d bytes, HS256 needs at least %d", len(cfg.Secret), MinSecret)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	v := &Verifier{issuer: cfg.Issuer, now: cfg.Now}
	methods := []string{jwt.SigningMethodHS256.Alg()}
	if cfg.JWKSURL != "" {
		keys, err := readKeySet(ctx, cfg.JWKSURL, cfg.Logger)
		if err != nil {
			return nil, err
		}
		v.key, methods = keys.key, keySetMethods
	} else {
		v.key = func(context.Context) jwt.Keyfunc {
			return func(*jwt.Token) (any, error) { return cfg.Secret, nil }
		}
	}
	v.parser = jwt.NewParser(
		jwt.WithValidMethods(methods),
		jwt.WithIssuer(cfg.Issuer),
		jwt.WithAudience(cfg.Audience),
		jwt.WithExpirationRequired(),
		jwt.WithLeeway(Leeway),
		jwt.WithTimeFunc(cfg.Now),
		jwt.WithStrictDecoding(),
	)
	return v, nil
}

// claims are the parts of a token that are read.
type claims struct {
	jwt.RegisteredClaims
	tenant string
}

// UnmarshalJSON reads claims by their names' letters, where encoding/json would
// take SUB for sub, and refuses those that are ambiguous.
func (c *claims) UnmarshalJSON(raw []byte) error {
	all, err := members(raw, claimNames)
	if err != nil {
		return fmt.Errorf("its claims: %w", err)
	}
	if err := exactjson.Fill(all, &c.RegisteredClaims); err != nil {
		return fmt.Errorf("its claims: %w", err)
	}
	c.tenant = text(all["tenant_id"])
	metadata := all["app_metadata"]
	if len(metadata) == 0 || metadata[0] != '{' {
		return nil // no object: it cannot name a tenant
	}
	app, err := members(metadata, tenantNames)
	if err != nil {
		return fmt.Errorf("its app_metadata: %w", err)
	}
	if c.tenant == "" {
		c.tenant = text(app["tenant_id"])
	}
	return nil
}

// Verify judges one token, as it stands after "Bearer ". The error is
// [ErrInvalid] or [ErrKeysUnavailable], wrapped with the reason, which names
// no part of the token's content but its header. A token that was good is
// believed for up to a minute, never beyond its exp, without verifying its
// signature again.
func (v *Verifier) Verify(ctx context.Context, raw string) (Identity, error) {
	if len(raw) > MaxSize {
		return Identity{}, fmt.Errorf("%w: longer than %d bytes", ErrInvalid, MaxSize)
	}
	now := v.now()
	if id, ok := v.memory.recall(raw, now); ok {
		return id, nil
	}
	var c claims
	find := v.key(ctx)
	_, err := v.parser.ParseWithClaims(raw, &c, func(t *jwt.Token) (any, error) {
		if err := checkNames(t.Raw); err != nil {
			return nil, fmt.Errorf("%w: %w", errHeader, err)
		}
		if err := checkHeader(t.Header); err != nil {
			return nil, fmt.Errorf("%w: %w", errHeader, err)
		}
		return find(t)
	})
	switch {
	case errors.Is(err, ErrKeysUnavailable):
		return Identity{}, err
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	case c.Subject == "":
		return Identity{}, fmt.Errorf("%w: it has no sub", ErrInvalid)
	case len(c.Subject) > maxSubject:
		return Identity{}, fmt.Errorf("%w: its sub is longer than %d bytes", ErrInvalid, maxSubject)
	}
	id := Identity{User: UserID(v.issuer, c.Subject), Tenant: c.tenant}
	v.memory.remember(raw, id, now, c.ExpiresAt.Add(Leeway))
	return id, nil
}

// checkHeader refuses tokens that demand extensions (RFC 7515 section 4.1.11)
// and tokens made for another purpose, such as a logout token, whose typ says
// so (RFC 8725 section 3.11).
func checkHeader(h map[string]any) error {
	if _, ok := h["crit"]; ok {
		return errors.New("its header has a crit extension, none is supported")
	}
	typ, ok := h["typ"]
	if !ok {
		return nil
	}
	name, isText := typ.(string)
	switch strings.TrimPrefix(strings.ToLower(name), "application/") {
	case "jwt", "at+jwt":
		if isText {
			return nil
		}
	}
	return errors.New("its typ is that of another kind of token")
}

// text returns the text that a claim is, "" where it is absent or null. One that
// is there and is no text is passed on as its JSON, so that it is refused as
// malformed instead of being taken for absent.
func text(raw json.RawMessage) string {
	if len(raw) == 0 || string(raw) == "null" {
		return ""
	}
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return string(raw)
	}
	return s
}

// derived is the version of the UUIDs that [UserID] makes. No subject is taken
// as it is if it is one of them: they are a space of their own, in which
// nobody is known by the id that another subject was turned into.
const derived = 5

// UserID maps a token's subject to the id under which the user is known in
// the database: the subject itself if it is a UUID in its 36-character form,
// of any version but 5, else the version 5 UUID of "issuer subject" in the URL
// namespace. The same subject of two issuers is two users, and so are "alice"
// and the UUID made of it.
func UserID(issuer, subject string) uuid.UUID {
	if len(subject) == 36 {
		if id, err := uuid.Parse(subject); err == nil && id.Version() != derived {
			return id
		}
	}
	return uuid.NewSHA1(uuid.NameSpaceURL, []byte(issuer+" "+subject))
}

// UserID is UserID for the verifier's issuer.
func (v *Verifier) UserID(subject string) uuid.UUID { return UserID(v.issuer, subject) }

// Reason says in a sentence for the client why a token was refused. Beyond an
// expired or misdirected token, whose signature was good, it says only whether
// the signature is the fault. It holds no quotation mark.
func Reason(err error) string {
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return "The token has expired."
	case errors.Is(err, jwt.ErrTokenNotValidYet):
		return "The token is not valid yet."
	case errors.Is(err, jwt.ErrTokenInvalidIssuer):
		return "The token is of another issuer."
	case errors.Is(err, jwt.ErrTokenInvalidAudience):
		return "The token is for another audience."
	case errors.Is(err, jwt.ErrTokenSignatureInvalid), errors.Is(err, jwt.ErrTokenUnverifiable) && !errors.Is(err, errHeader):
		return "The token is not signed by a key that this service knows."
	}
	return "The token is not valid."
}

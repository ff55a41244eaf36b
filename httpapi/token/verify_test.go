package token

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
)

const (
	issuer   = "https://issuer.test/auth/v1"
	audience = "authenticated"
	subject  = "5b0d1c5e-8f0a-4b6e-9c5e-2b8a3f1d7e10"
	tenant   = "550e8400-e29b-41d4-a716-446655440000"
)

var secret = []byte("a-secret-of-the-tests-of-48-bytes-------------48")

// good are claims that every verifier of these tests accepts.
func good() jwt.MapClaims {
	return jwt.MapClaims{
		"iss": issuer, "aud": audience, "sub": subject,
		"exp": time.Now().Add(time.Hour).Unix(),
	}
}

func with(change func(jwt.MapClaims)) jwt.MapClaims {
	c := good()
	change(c)
	return c
}

// header are additions to a token's header.
type header map[string]any

func sign(t *testing.T, m jwt.SigningMethod, key any, c jwt.Claims, h header) string {
	t.Helper()
	tok := jwt.NewWithClaims(m, c)
	for k, v := range h {
		tok.Header[k] = v
	}
	s, err := tok.SignedString(key)
	if err != nil {
		t.Fatalf("signing: %v", err)
	}
	return s
}

func mustVerifier(t *testing.T, cfg Config) *Verifier {
	t.Helper()
	cfg.Issuer, cfg.Audience = issuer, audience
	v, err := NewVerifier(t.Context(), cfg)
	if err != nil {
		t.Fatalf("NewVerifier: %v", err)
	}
	return v
}

func TestVerifySecret(t *testing.T) {
	v := mustVerifier(t, Config{Secret: secret})
	hs := func(c jwt.MapClaims) string { return sign(t, jwt.SigningMethodHS256, secret, c, nil) }
	now := time.Now()
	for name, tc := range map[string]struct {
		raw  string
		want string // part of the reason; "" means accepted
	}{
		"good":                  {hs(good()), ""},
		"audience among others": {hs(with(func(c jwt.MapClaims) { c["aud"] = []string{"x", audience} })), ""},
		"typ at+jwt":            {sign(t, jwt.SigningMethodHS256, secret, good(), header{"typ": "at+jwt"}), ""},
		"expired within leeway": {hs(with(func(c jwt.MapClaims) { c["exp"] = now.Add(-5 * time.Second).Unix() })), ""},
		"nbf within leeway":     {hs(with(func(c jwt.MapClaims) { c["nbf"] = now.Add(10 * time.Second).Unix() })), ""},

		"alg none":             {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(), nil), "signing method none"},
		"HS384":                {sign(t, jwt.SigningMethodHS384, secret, good(), nil), "signing method HS384"},
		"wrong key":            {sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("x", 32)), good(), nil), "signature is invalid"},
		"wrong issuer":         {hs(with(func(c jwt.MapClaims) { c["iss"] = issuer + "/" })), "invalid issuer"},
		"no issuer":            {hs(with(func(c jwt.MapClaims) { delete(c, "iss") })), "iss claim is required"},
		"wrong audience":       {hs(with(func(c jwt.MapClaims) { c["aud"] = "anon" })), "invalid audience"},
		"no audience":          {hs(with(func(c jwt.MapClaims) { delete(c, "aud") })), "aud claim is required"},
		"no exp":               {hs(with(func(c jwt.MapClaims) { delete(c, "exp") })), "exp claim is required"},
		"expired":              {hs(with(func(c jwt.MapClaims) { c["exp"] = now.Add(-time.Minute).Unix() })), "expired"},
		"exp is text":          {hs(with(func(c jwt.MapClaims) { c["exp"] = "tomorrow" })), "malformed"},
		"nbf in the future":    {hs(with(func(c jwt.MapClaims) { c["nbf"] = now.Add(time.Minute).Unix() })), "not valid yet"},
		"no sub":               {hs(with(func(c jwt.MapClaims) { delete(c, "sub") })), "no sub"},
		"empty sub":            {hs(with(func(c jwt.MapClaims) { c["sub"] = "" })), "no sub"},
		"sub is a number":      {hs(with(func(c jwt.MapClaims) { c["sub"] = 7 })), "malformed"},
		"long sub":             {hs(with(func(c jwt.MapClaims) { c["sub"] = strings.Repeat("s", 256) })), "sub is longer"},
		"huge":                 {hs(with(func(c jwt.MapClaims) { c["x"] = strings.Repeat("x", MaxSize) })), "longer than"},
		"unknown crit":         {sign(t, jwt.SigningMethodHS256, secret, good(), header{"crit": []string{"exp"}}), "crit"},
		"typ of a logout":      {sign(t, jwt.SigningMethodHS256, secret, good(), header{"typ": "logout+jwt"}), "another kind"},
		"typ is a number":      {sign(t, jwt.SigningMethodHS256, secret, good(), header{"typ": 1}), "another kind"},
		"empty":                {"", "malformed"},
		"two parts":            {"e30.e30", "malformed"},
		"four parts":           {hs(good()) + ".e30", "malformed"},
		"claims of another":    {swapClaims(hs(good()), hs(with(func(c jwt.MapClaims) { c["sub"] = "root" }))), "signature is invalid"},
		"not JSON":             {"e30.x.x", "malformed"},
		"claims are a list":    {rawToken(t, `["sub"]`), "malformed"},
		"last character, bits": {flipUnusedBits(hs(good())), "malformed"},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := v.Verify(t.Context(), tc.raw)
			if tc.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				if id.User != uuid.MustParse(subject) {
					t.Fatalf("user %s, want %s", id.User, subject)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) {
				t.Fatalf("error %v, want ErrInvalid", err)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %q does not say %q", err, tc.want)
			}
			if id != (Identity{}) {
				t.Errorf("a refused token gave the identity %+v", id)
			}
		})
	}
}

func swapClaims(a, b string) string {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	return x[0] + "." + y[1] + "." + x[2]
}

// rawToken signs any text as the claims.
func rawToken(t *testing.T, payload string) string {
	t.Helper()
	enc := base64.RawURLEncoding
	head := enc.EncodeToString([]byte(`{"alg":"HS256"}`)) + "." + enc.EncodeToString([]byte(payload))
	sig, err := jwt.SigningMethodHS256.Sign(head, secret)
	if err != nil {
		t.Fatal(err)
	}
	return head + "." + enc.EncodeToString(sig)
}

// flipUnusedBits changes the bits of the last character that encode nothing,
// which a lax decoder takes for the same signature.
func flipUnusedBits(raw string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, raw[len(raw)-1])
	return raw[:len(raw)-1] + string(alphabet[last^1])
}

func TestTenantClaim(t *testing.T) {
	v := mustVerifier(t, Config{Secret: secret})
	other := "11111111-2222-4333-8444-555555555555"
	for name, tc := range map[string]struct {
		change func(jwt.MapClaims)
		want   string
	}{
		"none":                 {func(jwt.MapClaims) {}, ""},
		"tenant_id":            {func(c jwt.MapClaims) { c["tenant_id"] = tenant }, tenant},
		"app_metadata":         {func(c jwt.MapClaims) { c["app_metadata"] = map[string]any{"tenant_id": tenant} }, tenant},
		"both":                 {func(c jwt.MapClaims) { c["tenant_id"] = tenant; c["app_metadata"] = map[string]any{"tenant_id": other} }, tenant},
		"user_metadata is not": {func(c jwt.MapClaims) { c["user_metadata"] = map[string]any{"tenant_id": other} }, ""},
		"null":                 {func(c jwt.MapClaims) { c["tenant_id"] = nil }, ""},
		"a number":             {func(c jwt.MapClaims) { c["tenant_id"] = 12 }, "12"},
		"app_metadata is text": {func(c jwt.MapClaims) { c["app_metadata"] = "x" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			id, err := v.Verify(t.Context(), sign(t, jwt.SigningMethodHS256, secret, with(tc.change), nil))
			if err != nil {
				t.Fatal(err)
			}
			if id.Tenant != tc.want {
				t.Errorf("tenant %q, want %q", id.Tenant, tc.want)
			}
		})
	}
}

func TestUserID(t *testing.T) {
	if got := UserID(issuer, subject); got.String() != subject {
		t.Errorf("a UUID became %s", got)
	}
	a, b := UserID(issuer, "auth0|42"), UserID("https://other.test", "auth0|42")
	if a == b {
		t.Error("the same subject of two issuers is one user")
	}
	if a != UserID(issuer, "auth0|42") || a.Version() != 5 {
		t.Errorf("the id %s is not a stable version 5 UUID", a)
	}
	// The brief form, braces and URN are other texts, not the same user.
	for _, s := range []string{strings.ReplaceAll(subject, "-", ""), "{" + subject + "}", "urn:uuid:" + subject} {
		if UserID(issuer, s).String() == subject {
			t.Errorf("%q was taken for %s", s, subject)
		}
	}
}

// keyServer publishes a key set that a test can change or take away.
type keyServer struct {
	*httptest.Server
	body  atomic.Value // string
	reads atomic.Int64
}

func newKeyServer(t *testing.T, body string) *keyServer {
	t.Helper()
	s := &keyServer{}
	s.body.Store(body)
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.reads.Add(1)
		text := s.body.Load().(string)
		if text == "" {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		w.Write([]byte(text)) //nolint:errcheck // the client sees a broken answer
	}))
	t.Cleanup(s.Close)
	return s
}

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

func jwk(kid string, pub crypto.PublicKey) map[string]string {
	switch k := pub.(type) {
	case *rsa.PublicKey:
		return map[string]string{"kty": "RSA", "kid": kid, "use": "sig", "n": b64(k.N.Bytes()), "e": b64(big.NewInt(int64(k.E)).Bytes())}
	case *ecdsa.PublicKey:
		size := (k.Params().BitSize + 7) / 8
		return map[string]string{
			"kty": "EC", "kid": kid, "crv": k.Params().Name,
			"x": b64(k.X.FillBytes(make([]byte, size))), "y": b64(k.Y.FillBytes(make([]byte, size))),
		}
	case ed25519.PublicKey:
		return map[string]string{"kty": "OKP", "kid": kid, "crv": "Ed25519", "x": b64(k)}
	}
	panic("no such key")
}

func set(keys ...map[string]string) string {
	b, err := json.Marshal(map[string]any{"keys": keys})
	if err != nil {
		panic(err)
	}
	return string(b)
}

func TestVerifyKeySet(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPub, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	enc := jwk("enc", &encKey.PublicKey)
	enc["use"] = "enc"
	bound := jwk("bound", &rsaKey.PublicKey)
	bound["alg"] = "RS256"
	oct := map[string]string{"kty": "oct", "kid": "oct", "k": b64(secret)}
	v := mustVerifier(t, Config{JWKSURL: newKeyServer(t, set(
		jwk("rsa", &rsaKey.PublicKey), bound, jwk("ec", &ecKey.PublicKey), jwk("ed", edPub), enc, oct)).URL})

	der, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	pemText := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})

	for name, tc := range map[string]struct {
		raw  string
		want string
	}{
		"RS256": {sign(t, jwt.SigningMethodRS256, rsaKey, good(), header{"kid": "rsa"}), ""},
		"PS256": {sign(t, jwt.SigningMethodPS256, rsaKey, good(), header{"kid": "rsa"}), ""},
		"ES256": {sign(t, jwt.SigningMethodES256, ecKey, good(), header{"kid": "ec"}), ""},
		"EdDSA": {sign(t, jwt.SigningMethodEdDSA, edKey, good(), header{"kid": "ed"}), ""},

		"HS256 with the public key's PEM": {sign(t, jwt.SigningMethodHS256, pemText, good(), header{"kid": "rsa"}), "signing method HS256"},
		"HS256 with the public key's DER": {sign(t, jwt.SigningMethodHS256, der, good(), header{"kid": "rsa"}), "signing method HS256"},
		"HS256 with the set's oct key":    {sign(t, jwt.SigningMethodHS256, secret, good(), header{"kid": "oct"}), "signing method HS256"},
		"alg none":                        {sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, good(), header{"kid": "rsa"}), "signing method none"},
		"another key's kid":               {sign(t, jwt.SigningMethodRS256, encKey, good(), header{"kid": "rsa"}), "verification error"},
		"an encryption key":               {sign(t, jwt.SigningMethodRS256, encKey, good(), header{"kid": "enc"}), "not in whitelist"},
		"key bound to another alg":        {sign(t, jwt.SigningMethodRS512, rsaKey, good(), header{"kid": "bound"}), "does not match"},
		"EC kid, RSA alg":                 {sign(t, jwt.SigningMethodRS256, rsaKey, good(), header{"kid": "ec"}), "curve"},
		"no kid, several keys":            {sign(t, jwt.SigningMethodRS256, rsaKey, good(), nil), "names no kid"},
		"kid is a number":                 {sign(t, jwt.SigningMethodRS256, rsaKey, good(), header{"kid": 1}), "kid is no text"},
		"expired": {sign(t, jwt.SigningMethodRS256, rsaKey,
			with(func(c jwt.MapClaims) { c["exp"] = 1 }), header{"kid": "rsa"}), "expired"},
		"jwk in the header is not used": {sign(t, jwt.SigningMethodRS256, encKey, good(),
			header{"kid": "rsa", "jwk": jwk("rsa", &encKey.PublicKey)}), "verification error"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Verify(t.Context(), tc.raw)
			if tc.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want ErrInvalid saying %q", err, tc.want)
			}
		})
	}
}

// Keys rotate, and issuers have outages: a new key is found by one read, a
// flood of unknown keys causes no flood of reads, and neither an issuer that is
// down nor one that answers {} takes away the keys that are known.
func TestKeySetRotation(t *testing.T) {
	oldPub, oldKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	newPub, newKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	srv := newKeyServer(t, set(jwk("old", oldPub)))
	v := mustVerifier(t, Config{JWKSURL: srv.URL})
	oldTok := sign(t, jwt.SigningMethodEdDSA, oldKey, good(), header{"kid": "old"})
	newTok := sign(t, jwt.SigningMethodEdDSA, newKey, good(), header{"kid": "new"})
	noKid := sign(t, jwt.SigningMethodEdDSA, oldKey, good(), nil)
	accept := func(what, raw string) {
		t.Helper()
		if _, err := v.Verify(t.Context(), raw); err != nil {
			t.Fatalf("%s: refused: %v", what, err)
		}
	}
	accept("the first key", oldTok)
	accept("no kid and one key", noKid)
	if n := srv.reads.Load(); n != 1 {
		t.Fatalf("%d reads of the key set, want 1", n)
	}

	srv.body.Store(set(jwk("old", oldPub), jwk("new", newPub)))
	accept("the new key", newTok)
	if n := srv.reads.Load(); n != 2 {
		t.Fatalf("%d reads of the key set, want 2", n)
	}

	for range 20 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		_, err := v.Verify(ctx, sign(t, jwt.SigningMethodEdDSA, newKey, good(), header{"kid": uuid.NewString()}))
		cancel()
		if !errors.Is(err, ErrInvalid) {
			t.Fatalf("an unknown key: %v, want ErrInvalid", err)
		}
	}
	if n := srv.reads.Load(); n > 3 {
		t.Fatalf("20 tokens with unknown keys caused %d reads", n-2)
	}
}

func TestKeySetOutage(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tok := sign(t, jwt.SigningMethodEdDSA, key, good(), header{"kid": "k"})
	unknown := sign(t, jwt.SigningMethodEdDSA, key, good(), header{"kid": "other"})
	for name, broken := range map[string]string{"down": "", "no keys": `{"keys":[]}`, "an error": `{"error":"maintenance"}`, "no JSON": "<html>"} {
		t.Run(name, func(t *testing.T) {
			srv := newKeyServer(t, set(jwk("k", pub)))
			v := mustVerifier(t, Config{JWKSURL: srv.URL})
			srv.body.Store(broken)
			if _, err := v.Verify(t.Context(), unknown); !errors.Is(err, ErrInvalid) { // causes a read
				t.Fatalf("unknown key: %v, want ErrInvalid", err)
			}
			if n := srv.reads.Load(); n != 2 {
				t.Fatalf("%d reads, want 2", n)
			}
			if _, err := v.Verify(t.Context(), tok); err != nil {
				t.Fatalf("the last good key set was given up: %v", err)
			}
		})
	}
	t.Run("from the start", func(t *testing.T) {
		srv := newKeyServer(t, "")
		v := mustVerifier(t, Config{JWKSURL: srv.URL})
		if _, err := v.Verify(t.Context(), tok); !errors.Is(err, ErrKeysUnavailable) || errors.Is(err, ErrInvalid) {
			t.Fatalf("error %v, want ErrKeysUnavailable: nobody must be signed out by an issuer's outage", err)
		}
	})
}

func TestNewVerifierRefuses(t *testing.T) {
	for name, cfg := range map[string]Config{
		"no issuer":      {Audience: audience, Secret: secret},
		"no audience":    {Issuer: issuer, Secret: secret},
		"no key":         {Issuer: issuer, Audience: audience},
		"two keys":       {Issuer: issuer, Audience: audience, Secret: secret, JWKSURL: "https://issuer.test/jwks"},
		"a short secret": {Issuer: issuer, Audience: audience, Secret: secret[:31]},
		"a file URL":     {Issuer: issuer, Audience: audience, JWKSURL: "file:///etc/passwd"},
		"no URL":         {Issuer: issuer, Audience: audience, JWKSURL: "jwks"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := NewVerifier(t.Context(), cfg)
			if err == nil {
				t.Fatal("accepted")
			}
			if strings.Contains(err.Error(), string(secret[:31])) {
				t.Errorf("the error shows the secret: %v", err)
			}
		})
	}
}

func TestSign(t *testing.T) {
	v := mustVerifier(t, Config{Secret: secret})
	raw, err := Sign(secret, Request{Issuer: issuer, Audience: audience, Subject: subject, Tenant: tenant, Lifetime: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	id, err := v.Verify(t.Context(), raw)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Identity{User: uuid.MustParse(subject), Tenant: tenant}); id != want {
		t.Errorf("identity %+v, want %+v", id, want)
	}
	for name, r := range map[string]Request{
		"no issuer":   {Audience: audience, Subject: subject, Lifetime: 1},
		"no subject":  {Issuer: issuer, Audience: audience, Lifetime: 1},
		"no lifetime": {Issuer: issuer, Audience: audience, Subject: subject},
	} {
		if _, err := Sign(secret, r); err == nil {
			t.Errorf("%s: signed", name)
		}
	}
	if _, err := Sign(secret[:31], Request{Issuer: issuer, Audience: audience, Subject: subject, Lifetime: 1}); err == nil {
		t.Error("a short secret: signed")
	}
}

// A token that was verified a moment ago is not verified again; but it does not
// outlive its exp, nor for long the key that signed it, and it does not vouch
// for any other token.
func TestRememberedTokens(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	newPub, newKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var clock atomic.Int64 // seconds after start
	start := time.Now()
	srv := newKeyServer(t, set(jwk("k", pub)))
	v := mustVerifier(t, Config{JWKSURL: srv.URL, Now: func() time.Time {
		return start.Add(time.Duration(clock.Load()) * time.Second)
	}})
	verify := func(raw string) error {
		_, err := v.Verify(t.Context(), raw)
		return err
	}
	short := sign(t, jwt.SigningMethodEdDSA, key, with(func(c jwt.MapClaims) { c["exp"] = start.Add(20 * time.Second).Unix() }), header{"kid": "k"})
	long := sign(t, jwt.SigningMethodEdDSA, key, good(), header{"kid": "k"})
	for range 2 {
		if err := verify(short); err != nil {
			t.Fatalf("good token: %v", err)
		}
		if err := verify(long); err != nil {
			t.Fatalf("good token: %v", err)
		}
	}
	if err := verify(flipUnusedBits(long)); !errors.Is(err, ErrInvalid) {
		t.Errorf("almost the same token: %v", err)
	}
	clock.Store(20 + int64(Leeway/time.Second)) // in the first minute
	if err := verify(short); !errors.Is(err, ErrInvalid) || Reason(err) != "The token has expired." {
		t.Errorf("expired token: %v", err)
	}
	// The issuer withdraws the key; another token makes the set be read again.
	srv.body.Store(set(jwk("new", newPub)))
	if err := verify(sign(t, jwt.SigningMethodEdDSA, newKey, good(), header{"kid": "new"})); err != nil {
		t.Fatalf("new key: %v", err)
	}
	clock.Store(int64(rememberFor/time.Second) + 1)
	if err := verify(long); !errors.Is(err, ErrInvalid) {
		t.Errorf("token of a withdrawn key: %v, want ErrInvalid after %s", err, rememberFor)
	}
	for range 2 * rememberMost { // the memory is bounded
		v.memory.remember(uuid.NewString(), Identity{}, start, start.Add(time.Hour))
	}
	if n := len(v.memory.known); n > rememberMost {
		t.Errorf("%d tokens are remembered", n)
	}
}

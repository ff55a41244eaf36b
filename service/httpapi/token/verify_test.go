package token

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"maps"
	"slices"
	"strconv"
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
	maps.Copy(tok.Header, h)
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

// What a client is told tells a wrong signature from a wrong form, and no more.
func TestReasonOfASignature(t *testing.T) {
	v := mustVerifier(t, Config{Secret: secret})
	const unknown, invalid = "The token is not signed by a key that this service knows.", "The token is not valid."
	other := []byte("another secret, which is 32 bytes long")
	for name, tc := range map[string]struct{ raw, want string }{
		"another secret":       {sign(t, jwt.SigningMethodHS256, other, good(), nil), unknown},
		"expired, and another": {sign(t, jwt.SigningMethodHS256, other, with(func(c jwt.MapClaims) { c["exp"] = 1 }), nil), unknown},
		"another kind":         {sign(t, jwt.SigningMethodHS256, secret, good(), header{"typ": "logout+jwt"}), invalid},
		"no token":             {"x", invalid},
	} {
		if _, err := v.Verify(t.Context(), tc.raw); !errors.Is(err, ErrInvalid) || Reason(err) != tc.want {
			t.Errorf("%s: %q (%v), want %q", name, Reason(err), err, tc.want)
		}
	}
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

// A claim is what its name's letters say. A second one of the same name, or one
// whose name only looks like it, is refused, whichever comes first and whether
// the real one is there or not; so are those of the header and of app_metadata.
func TestLookAlikesAreRefused(t *testing.T) {
	v := mustVerifier(t, Config{Secret: secret})
	_, err := v.Verify(t.Context(), signText(t, `{"alg":"HS256","typ":"JWT","Algo":"x","kids":1}`, claimsText("", `"subs":"x","SUBJECT":"y","tid":"z","user_metadata":{"Sub":1,"sub":2}`)))
	if err != nil {
		t.Fatalf("names that look like none of ours: %v", err)
	}
	head := `{"alg":"HS256","typ":"JWT"}`
	type look struct{ header, claims, want string }
	cases := map[string]look{
		"SUB alone":                 {head, claimsText("sub", `"SUB":"`+subject+`"`), "looks like sub"},
		"duplicate that is unknown": {head, claimsText("", `"x":1,"x":1`), `"x" is there twice`},
		"duplicate in disguise":     {head, claimsText("", `"s\u0075b":"root"`), `"sub" is there twice`},
		"app_metadata.Tenant_ID":    {head, claimsText("", `"app_metadata":{"Tenant_ID":"`+tenant+`"}`), "app_metadata: the member \"Tenant_ID\" looks like tenant_id"},
		"app_metadata, twice":       {head, claimsText("", `"app_metadata":{"tenant_id":"a","tenant_id":"`+tenant+`"}`), `"tenant_id" is there twice`},
		"beside a tenant_id":        {head, claimsText("", `"tenant_id":"`+tenant+`","app_metadata":{"tenant_id":"a","tenant_id":"b"}`), `"tenant_id" is there twice`},
		"App_Metadata":              {head, claimsText("", `"App_Metadata":{"tenant_id":"`+tenant+`"}`), "looks like app_metadata"},
		"alg twice":                 {`{"alg":"none","alg":"HS256"}`, claimsText("", ""), `"alg" is there twice`},
		"CRIT":                      {`{"alg":"HS256","CRIT":["exp"]}`, claimsText("", ""), "looks like crit"},
		"Kid":                       {`{"alg":"HS256","Kid":"x"}`, claimsText("", ""), "looks like kid"},
		"typ, full width":           {`{"alg":"HS256","\uff54yp":"logout+jwt"}`, claimsText("", ""), "looks like typ"},
	}
	// The values are those of the real claim, so that nothing but the name is wrong.
	for _, name := range []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "tenant_id"} {
		value := map[string]string{"iss": `"` + issuer + `"`, "sub": `"` + subject + `"`, "aud": `"` + audience + `"`, "exp": "4102444800", "nbf": "1", "iat": "1",
			"jti": `"x"`, "tenant_id": `"` + tenant + `"`}[name]
		for _, other := range []string{strings.ToUpper(name), strings.ToUpper(name[:1]) + name[1:], strings.Replace(name, "s", "\u017f", 1), strings.Replace(name, "i", "\uff29", 1),
			strings.Replace(name, "i", "\u0130", 1), name + "\u200b", "\u202e" + name, " " + name, name[:1] + "\u0301" + name[1:]} {
			if other == name {
				continue
			}
			cases[name+" and "+strconv.QuoteToASCII(other)] = look{head, claimsText("", strconv.Quote(other)+":"+value), "looks like " + name}
		}
		cases[name+" twice"] = look{head, claimsText(name, `"`+name+`":`+value+`,"`+name+`":`+value), `"` + name + `" is there twice`}
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			id, err := v.Verify(t.Context(), signText(t, tc.header, tc.claims))
			if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("error %v, want ErrInvalid saying %q", err, tc.want)
			}
			if id != (Identity{}) {
				t.Errorf("a refused token gave the identity %+v", id)
			}
			if Reason(err) != "The token is not valid." {
				t.Errorf("the client is told %q", Reason(err))
			}
		})
	}
}

// claimsText is the JSON of good claims but for one, and further ones after them.
func claimsText(without, more string) string {
	all := []string{`"iss":"` + issuer + `"`, `"aud":"` + audience + `"`, `"sub":"` + subject + `"`, `"exp":4102444800`}
	all = slices.DeleteFunc(all, func(s string) bool { return without != "" && strings.HasPrefix(s, `"`+without+`"`) })
	if more != "" {
		all = append(all, more)
	}
	return "{" + strings.Join(all, ",") + "}"
}

// signText signs a header and claims as they stand.
func signText(t *testing.T, header, claims string) string {
	t.Helper()
	text := b64([]byte(header)) + "." + b64([]byte(claims))
	signature, err := jwt.SigningMethodHS256.Sign(text, secret)
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + b64(signature)
}

// Whoever can choose their subject cannot choose another user: the UUID that
// somebody's subject was turned into is itself turned into another one.
func TestDerivedIDsAreASpaceOfTheirOwn(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, is := range map[string]struct {
		v    *Verifier
		sign func(sub string) string
	}{
		"a secret": {mustVerifier(t, Config{Secret: secret}), func(sub string) string {
			return sign(t, jwt.SigningMethodHS256, secret, with(func(c jwt.MapClaims) { c["sub"] = sub }), nil)
		}},
		"a key set": {mustVerifier(t, Config{JWKSURL: newKeyServer(t, set(jwk("a", pub))).URL}), func(sub string) string {
			return sign(t, jwt.SigningMethodEdDSA, key, with(func(c jwt.MapClaims) { c["sub"] = sub }), header{"kid": "a"})
		}},
	} {
		t.Run(name, func(t *testing.T) {
			seen := map[uuid.UUID]string{}
			sub := "alice"
			for range 4 { // alice, what she is known by, what that is known by, …
				id, err := is.v.Verify(t.Context(), is.sign(sub))
				if err != nil {
					t.Fatal(err)
				}
				if id.User != is.v.UserID(sub) || id.User.Version() != 5 {
					t.Errorf("%q is %s", sub, id.User)
				}
				upper, err := is.v.Verify(t.Context(), is.sign(strings.ToUpper(id.User.String())))
				if err != nil {
					t.Fatal(err)
				}
				for _, u := range []Identity{id, upper} {
					if other, ok := seen[u.User]; ok {
						t.Errorf("%q is the same user as %q", sub, other)
					}
					seen[u.User] = sub
				}
				sub = id.User.String()
			}
			for _, sub := range []string{subject, uuid.NewString(), "01938c5e-8f0a-7b6e-9c5e-2b8a3f1d7e10"} { // versions 4 and 7
				if id, err := is.v.Verify(t.Context(), is.sign(sub)); err != nil || id.User.String() != sub {
					t.Errorf("%s became %s, %v", sub, id.User, err)
				}
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

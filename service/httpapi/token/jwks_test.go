package token

import (
	"bytes"
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
	"log/slog"
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
		point, err := k.Bytes() // 0x04, then both coordinates
		if err != nil {
			panic(err)
		}
		size := len(point) / 2
		return map[string]string{
			"kty": "EC", "kid": kid, "crv": k.Params().Name,
			"x": b64(point[1 : 1+size]), "y": b64(point[1+size:]),
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
		"kid is a number":                 {sign(t, jwt.SigningMethodRS256, rsaKey, good(), header{"kid": 1}), "kid is not a string"},
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

// One key that cannot be used takes no other away, wherever it stands. It is
// logged once, however often the set is read, and verifies nothing; an address
// that it names is not asked.
func TestOneKeyTakesNoOtherAway(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	otherKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p521, err := ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &otherKey.PublicKey, otherKey)
	if err != nil {
		t.Fatal(err)
	}
	outside := newKeyServer(t, "")
	weak := new(big.Int).Rsh(rsaKey.N, 1025)
	weak.SetBit(weak, 0, 1)
	change := func(kid string, of crypto.PublicKey, member string, value any) map[string]any {
		k := map[string]any{}
		for name, text := range jwk(kid, of) {
			k[name] = text
		}
		k[member] = value
		return k
	}
	// By kid: the key, and what the log says of it.
	for name, tc := range map[string]struct {
		key  any
		says string
	}{
		"a short Ed25519 key":    {change("x", pub, "x", b64(pub[:31])), "should be 32 bytes"},
		"RSA, e = 1":             {change("x", &rsaKey.PublicKey, "e", b64([]byte{1})), "out of range"},
		"RSA, e = 2":             {change("x", &rsaKey.PublicKey, "e", b64([]byte{2})), "modulus or exponent"},
		"RSA, e of 80 bits":      {change("x", &rsaKey.PublicKey, "e", b64([]byte{1, 0, 0, 0, 0, 0, 0, 1, 0, 1})), "E in marshal"},
		"RSA, an even modulus":   {change("x", &rsaKey.PublicKey, "n", b64(new(big.Int).Lsh(rsaKey.N, 1).Bytes())), "modulus or exponent"},
		"RSA, 1023 bits":         {change("x", &rsaKey.PublicKey, "n", b64(weak.Bytes())), "bits, 2048 to 8192"},
		"RSA, 16384 bits":        {change("x", &rsaKey.PublicKey, "n", b64(append(rsaKey.N.Bytes(), make([]byte, 1792)...))), "bits, 2048 to 8192"},
		"RSA without a modulus":  {change("x", &rsaKey.PublicKey, "n", ""), "requires parameters"},
		"an unknown use":         {change("x", pub, "use", "tls"), "unsupported key use"},
		"a use that is a number": {change("x", pub, "use", 1), "cannot unmarshal number"},
		"an unknown kty":         {change("x", pub, "kty", "AKP"), "unsupported"},
		"no kty":                 {change("x", pub, "kty", nil), "unsupported"},
		"KTY twice in disguise":  {json.RawMessage(`{"kty":"OKP","KTY":"oct","kty":"OKP","kid":"x","crv":"Ed25519","x":"` + b64(pub) + `"}`), "is there twice"},
		"an unknown curve":       {change("x", pub, "crv", "Ed448"), "unsupported"},
		"a point off its curve":  {change("x", &p521.PublicKey, "y", b64([]byte{7})), "curve"},
		"rubbish x5c":            {change("x", &rsaKey.PublicKey, "x5c", []string{"rubbish"}), "X.509"},
		"x5c that is no list":    {change("x", &rsaKey.PublicKey, "x5c", "rubbish"), "cannot unmarshal string"},
		"another key's x5c":      {change("x", &rsaKey.PublicKey, "x5c", []string{base64.StdEncoding.EncodeToString(der)}), "does not match"},
		"an x5u":                 {change("x", &rsaKey.PublicKey, "x5u", outside.URL+"/cert.pem"), "x5u"},
		"an x5u by https":        {change("x", pub, "x5u", "https"+strings.TrimPrefix(outside.URL, "http")), "x5u"},
		"an x5u that is none":    {change("x", pub, "x5u", "://"), "x5u"},
		"a shared secret":        {map[string]any{"kty": "oct", "kid": "x", "k": b64(secret)}, "shared secret"},
		"a private key":          {change("x", pub, "d", b64(key.Seed())), "private key"},
		"a private RSA key":      {change("x", &rsaKey.PublicKey, "d", b64(rsaKey.D.Bytes())), "private key"},
		"RSA for ES256":          {change("x", &rsaKey.PublicKey, "alg", "ES256"), "its alg"},
		"RSA for HS256":          {change("x", &rsaKey.PublicKey, "alg", "HS256"), "its alg"},
		"P-521 for ES256":        {change("x", &p521.PublicKey, "alg", "ES256"), "its alg"},
		"Ed25519 for RS256":      {change("x", pub, "alg", "RS256"), "its alg"},
		"key_ops without verify": {change("x", pub, "key_ops", []string{"sign"}), "key_ops"},
		"the same kid again":     {jwk("good", &rsaKey.PublicKey), "same kid"},
		"text":                   {"rubbish", "JSON object"},
		"null":                   {nil, "JSON object"},
		"a long kid":             {change(strings.Repeat("k", 10_000), pub, "use", strings.Repeat("u", 10_000)), "unsupported key use"},
	} {
		t.Run(name, func(t *testing.T) {
			keys := []any{tc.key, jwk("good", pub), jwk("later", &p521.PublicKey)}
			if tc.says == "same kid" {
				keys[0], keys[1] = keys[1], keys[0]
			}
			body, err := json.Marshal(map[string]any{"keys": keys})
			if err != nil {
				t.Fatal(err)
			}
			srv := newKeyServer(t, string(body))
			var log bytes.Buffer
			v := mustVerifier(t, Config{JWKSURL: srv.URL, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			for kid, tok := range map[string]string{
				"good":  sign(t, jwt.SigningMethodEdDSA, key, good(), header{"kid": "good"}),
				"later": sign(t, jwt.SigningMethodES512, p521, good(), header{"kid": "later"}),
			} {
				if _, err := v.Verify(t.Context(), tok); err != nil {
					t.Errorf("the key %s: %v", kid, err)
				}
			}
			for m, k := range map[jwt.SigningMethod]any{jwt.SigningMethodEdDSA: key, jwt.SigningMethodRS256: rsaKey, jwt.SigningMethodES512: p521} {
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				_, err := v.Verify(ctx, sign(t, m, k, good(), header{"kid": "x"})) // unknown: the set is read again
				cancel()
				if !errors.Is(err, ErrInvalid) {
					t.Errorf("%s by the key that is left out: %v", m.Alg(), err)
				}
			}
			if n := srv.reads.Load(); n != 2 {
				t.Errorf("the set was read %d times, want 2", n)
			}
			if text := log.String(); strings.Count(text, "left out") != 1 || !strings.Contains(text, tc.says) || strings.Contains(text, "ERROR") || len(text) > 1000 {
				t.Errorf("the log, which should say %q once: %s", tc.says, text)
			}
		})
	}
	if n := outside.reads.Load(); n != 0 {
		t.Errorf("an x5u was asked %d times", n)
	}
}

// A document that is no key set, or ambiguous, replaces no keys.
func TestKeySetByTheLetter(t *testing.T) {
	pub, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	one, err := json.Marshal(jwk("a", pub))
	if err != nil {
		t.Fatal(err)
	}
	tok := sign(t, jwt.SigningMethodEdDSA, key, good(), header{"kid": "a"})
	for name, body := range map[string]string{
		"KEYS":           `{"KEYS":[` + string(one) + `]}`,
		"keys twice":     `{"keys":[` + string(one) + `],"keys":[` + string(one) + `]}`,
		"a list":         `[` + string(one) + `]`,
		"keys no list":   `{"keys":` + string(one) + `}`,
		"two documents":  `{"keys":[` + string(one) + `]}{"keys":[]}`,
		"names in caps":  `{"keys":[` + strings.ToUpper(string(one)) + `]}`,
		"more than 1 MB": `{"keys":[` + string(one) + `],"x":"` + strings.Repeat("x", maxKeySetBytes) + `"}`,
	} {
		v := mustVerifier(t, Config{JWKSURL: newKeyServer(t, body).URL})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		if _, err := v.Verify(ctx, tok); !errors.Is(err, ErrKeysUnavailable) {
			t.Errorf("%s: %v, want ErrKeysUnavailable", name, err)
		}
		cancel()
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

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

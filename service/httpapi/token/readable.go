package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"

	"github.com/MicahParks/jwkset"

	"github.com/poolproof/poolproof/service/internal/exactjson"
)

const (
	maxKeySetBytes = 1 << 20
	minRSABits     = 2048 // RFC 7518 section 3.3
	maxRSABits     = 8192 // verifying by a longer one costs too much
	maxShown       = 64   // characters of a kid in the log
	maxReason      = 200  // and of what is wrong with it
	maxTold        = 20   // keys left out of one set that are logged
)

// readable is how key sets are read: of what the issuer answers it passes on
// the keys that can verify a token, each with no more than is needed for that.
// One key that cannot be read thus takes no other away. A key that is left out
// is logged when it was not left out, for the same reason, the time before; so
// are the first twenty of a set.
type readable struct {
	next http.RoundTripper
	host string
	log  *slog.Logger

	mu   sync.Mutex
	left map[string]bool // what was logged of the set read last
}

// RoundTrip asks and reads the whole answer.
func (t *readable) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := t.next.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusOK {
		return res, err
	}
	raw, err := io.ReadAll(http.MaxBytesReader(nil, res.Body, maxKeySetBytes))
	if closeErr := res.Body.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return nil, fmt.Errorf("reading the key set: %w", err)
	}
	set, err := t.usable(raw)
	if err != nil {
		return nil, fmt.Errorf("the key set: %w", err)
	}
	body, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("the key set: %w", err)
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return res, nil
}

// usable returns the keys of the document raw that can be used.
func (t *readable) usable(raw []byte) (jwkset.JWKSMarshal, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	set := jwkset.JWKSMarshal{Keys: []jwkset.JWKMarshal{}}
	if err := exactjson.Unmarshal(raw, &document); err != nil {
		return set, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	left := map[string]bool{}
	kids := map[string]bool{}
	for i, one := range document.Keys {
		key, err := readKey(one)
		if err == nil && key.KID != "" && kids[key.KID] {
			err = errors.New("a key before it has the same kid")
		}
		if err == nil {
			kids[key.KID] = true
			set.Keys = append(set.Keys, key)
			continue
		}
		kid, reason := fmt.Sprintf("%.*s", maxShown, key.KID), fmt.Sprintf("%.*s", maxReason, err.Error())
		what := fmt.Sprintf("%d %q: %s", i, kid, reason)
		if len(left) == maxTold {
			continue
		}
		if left[what] = true; !t.left[what] {
			t.log.Warn("a key of the issuer's key set is left out", "host", t.host, "index", i, "kid", kid, "error", reason)
		}
	}
	t.left = left
	return set, nil
}

// readKey reads one key by the letter (RFC 7517 section 4). The error says why
// it cannot verify tokens; the key then has no more than its kid.
func readKey(raw json.RawMessage) (jwkset.JWKMarshal, error) {
	var key jwkset.JWKMarshal
	if err := exactjson.Unmarshal(raw, &key); err != nil {
		return jwkset.JWKMarshal{}, err
	}
	nothing := jwkset.JWKMarshal{KID: key.KID}
	switch {
	case key.KTY == jwkset.KtyOct:
		return nothing, errors.New("it is a shared secret, which must not be published")
	case key.D != "" || key.P != "" || key.Q != "" || key.K != "":
		return nothing, errors.New("it is a private key, which must not be published")
	case key.X5U != "":
		return nothing, errors.New("it has an x5u, which is not fetched")
	case len(key.KEYOPS) > 0 && !slices.Contains(key.KEYOPS, jwkset.KeyOpsVerify):
		return nothing, errors.New("its key_ops do not include verify")
	}
	// Validates what the key is made of, and that it is the one of its x5c.
	read, err := jwkset.NewJWKFromMarshal(key, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return nothing, err
	}
	if err := strong(read.Key()); err != nil {
		return nothing, err
	}
	if !slices.Contains(algorithms(read.Key()), key.ALG.String()) && key.ALG != "" && key.USE != jwkset.UseEnc {
		return nothing, fmt.Errorf("its alg %.*q does not fit this kind of key", maxShown, key.ALG)
	}
	key.X5C, key.X5T, key.X5TS256 = nil, "", "" // judged, and of no further use
	return key, nil
}

// strong reports what is wrong with a public key, as far as it depends on
// nothing but the key.
func strong(key any) error {
	switch key := key.(type) {
	case *rsa.PublicKey:
		switch bits := key.N.BitLen(); {
		case bits < minRSABits || bits > maxRSABits:
			return fmt.Errorf("the RSA key has %d bits, %d to %d are accepted", bits, minRSABits, maxRSABits)
		case key.N.Bit(0) == 0 || key.E < 3 || key.E > 1<<31-1 || key.E%2 == 0:
			return errors.New("the RSA key's modulus or exponent is not valid")
		}
	case *ecdsa.PublicKey:
		if _, err := key.ECDH(); err != nil {
			return fmt.Errorf("the point is not on its curve: %w", err)
		}
	case ed25519.PublicKey:
	default:
		return errors.New("it is not a public key for signatures")
	}
	return nil
}

// algorithms are those that a key can be for (RFC 7518 section 3, RFC 8037).
func algorithms(key any) []string {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		for alg, curve := range curves {
			if curve == key.Curve.Params().Name {
				return []string{alg}
			}
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}
	}
	return nil
}

package token

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/MicahParks/keyfunc/v3"
	"github.com/golang-jwt/jwt/v5"
	"golang.org/x/time/rate"
)

// keySetMethods are the algorithms of public keys. No HMAC: whoever can read
// the key set could sign with it.
var keySetMethods = []string{
	"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

const (
	refreshEvery = time.Hour
	unknownEvery = 10 * time.Second // at most one read for unknown keys in this time
	unknownWait  = 3 * time.Second  // how long a request waits for such a read
	fetchTimeout = 5 * time.Second
)

// curves binds each ECDSA algorithm to its curve (RFC 7518 section 3.4).
var curves = map[string]string{"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}

// keySet is an issuer's published key set.
type keySet struct {
	storage jwkset.Storage
	find    keyfunc.Keyfunc
}

func readKeySet(ctx context.Context, address string, log *slog.Logger) (*keySet, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || (u.Scheme != "https" && u.Scheme != "http") {
		return nil, errors.New("the key set URL is not an http or https URL")
	}
	if u.Scheme == "http" {
		log.Warn("the key set is read over plain http: whoever controls the network chooses the keys", "host", u.Host)
	}
	remote, err := jwkset.NewStorageFromHTTP(address, jwkset.HTTPClientStorageOptions{
		Client:                    &http.Client{Transport: &readable{next: http.DefaultTransport, host: u.Host, log: log}},
		Ctx:                       ctx,
		HTTPTimeout:               fetchTimeout,
		NoErrorReturnFirstHTTPReq: true,
		RefreshErrorHandler: func(_ context.Context, err error) {
			log.Error("cannot read the issuer's key set; the keys that were read last stay in use, and it is read again later", "host", u.Host, "error", err)
		},
		RefreshInterval: refreshEvery,
		Storage:         &lastGood{jwkset.NewMemoryStorage()},
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to read the key set: %w", err)
	}
	storage, err := jwkset.NewHTTPClient(jwkset.HTTPClientOptions{
		HTTPURLs:          map[string]jwkset.Storage{address: remote},
		RateLimitWaitMax:  unknownWait,
		RefreshUnknownKID: rate.NewLimiter(rate.Every(unknownEvery), 1),
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to read the key set: %w", err)
	}
	find, err := keyfunc.New(keyfunc.Options{
		Ctx: ctx, Storage: storage, UseWhitelist: []jwkset.USE{jwkset.UseSig, ""},
	})
	if err != nil {
		return nil, fmt.Errorf("preparing to read the key set: %w", err)
	}
	return &keySet{storage: storage, find: find}, nil
}

// key finds the key of a token: by its kid, or, without one, the set's only
// key. A token without kid is not tried against several keys.
func (k *keySet) key(ctx context.Context) jwt.Keyfunc {
	return func(t *jwt.Token) (any, error) {
		kid, named := t.Header["kid"]
		if _, ok := kid.(string); named && !ok {
			return nil, errors.New("its kid is not a string")
		}
		if !named {
			only, err := k.onlyKey(ctx)
			if err != nil {
				return nil, err
			}
			t.Header["kid"] = only // of this parsed copy, for the look-up below
		}
		key, err := k.find.KeyfuncCtx(ctx)(t)
		if err != nil {
			all, readErr := k.storage.KeyReadAll(ctx)
			if readErr == nil && len(all) == 0 {
				return nil, fmt.Errorf("%w: %w", ErrKeysUnavailable, err)
			}
			return nil, err
		}
		return key, checkKey(t.Method.Alg(), key)
	}
}

func (k *keySet) onlyKey(ctx context.Context) (string, error) {
	all, err := k.storage.KeyReadAll(ctx)
	if err != nil {
		return "", fmt.Errorf("reading the key set: %w", err)
	}
	switch len(all) {
	case 0:
		return "", nil // an unknown key id: the look-up reads the set again
	case 1:
		return all[0].Marshal().KID, nil
	}
	return "", errors.New("it names no kid and the issuer has several keys")
}

// checkKey refuses a key of another curve than the algorithm's. That the kind
// of key fits the algorithm is checked by the signature's verification.
func checkKey(alg string, key any) error {
	if key, ok := key.(*ecdsa.PublicKey); ok && curves[alg] != key.Curve.Params().Name {
		return errors.New("the issuer's key is on another curve than the algorithm's")
	}
	return nil
}

// lastGood refuses to replace a key set by an empty one: an issuer that
// answers {} while it is being repaired must not sign everybody out.
type lastGood struct{ *jwkset.MemoryJWKSet }

func (s *lastGood) KeyReplaceAll(ctx context.Context, keys []jwkset.JWK) error {
	if len(keys) == 0 {
		return errors.New("the answer holds no usable key")
	}
	return s.MemoryJWKSet.KeyReplaceAll(ctx, keys)
}

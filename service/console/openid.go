package console

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The tokens of a provider's answer that the API can be asked with.
const (
	IDToken     = "id_token"
	AccessToken = "access_token"
)

// DefaultScopes are asked for where [OpenID] names none.
const DefaultScopes = "openid profile email"

const (
	readTimeout   = 5 * time.Second // for the provider's metadata
	readAgain     = time.Hour       // after which they are read anew
	readAfterFail = 2 * time.Second // how soon a provider that did not answer is asked again
	maxMetadata   = 1 << 20         // bytes
)

// OpenID is the OpenID Connect provider at which people can sign in to the
// console: authorization code with PKCE, as a public client, which has no
// secret. The console asks the API with one of the tokens that it gets; whether
// that one is accepted is the API's decision.
type OpenID struct {
	// Issuer is the provider's URL, https, or http on loopback. Its metadata
	// are at Issuer/.well-known/openid-configuration. Required.
	Issuer string
	// ClientID is how the provider knows the console. Required. There, the
	// redirect URI is the console's address, such as https://roles.example.org/.
	ClientID string
	// Scopes are asked for, separated by spaces. Default [DefaultScopes];
	// openid must be among them.
	Scopes string
	// Audience is the audience that the API demands. Required.
	Audience string
	// Token says which token is sent to the API: [IDToken], whose audience is
	// always the client id, or [AccessToken], which must be a JWT for Audience.
	// Default: the ID token if Audience is the client id, else the access token.
	Token string
	// Logger is told when the provider cannot be read. Default: none.
	Logger *slog.Logger
}

// metadata is what the console needs of a provider's metadata (OpenID Connect
// Discovery 1.0, section 3).
type metadata struct {
	Issuer        string   `json:"issuer"`
	Authorization string   `json:"authorization_endpoint"`
	Token         string   `json:"token_endpoint"`
	EndSession    string   `json:"end_session_endpoint,omitempty"`
	Algorithms    []string `json:"id_token_signing_alg_values_supported,omitempty"`
	Challenges    []string `json:"code_challenge_methods_supported,omitempty"`
	NamesIssuer   bool     `json:"authorization_response_iss_parameter_supported,omitempty"`
}

// known is what was read of a provider.
type known struct {
	*metadata
	origin string // of the token endpoint, as the policy wants it
}

// signIn is how the console learns of the provider, and remembers it.
type signIn struct {
	OpenID
	issuerOrigin string
	client       *http.Client
	known        atomic.Pointer[known] // nil: never read

	mu   sync.Mutex // held while the provider is asked
	next time.Time  // when it may be asked again
	told bool       // that it cannot be read
}

func newSignIn(o OpenID) (*signIn, error) {
	if o.Scopes == "" {
		o.Scopes = DefaultScopes
	}
	if o.Token == "" {
		o.Token = AccessToken
		if o.Audience == o.ClientID {
			o.Token = IDToken
		}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case o.ClientID == "":
		return nil, errors.New("the OpenID provider needs a client id")
	case o.Token != IDToken && o.Token != AccessToken:
		return nil, fmt.Errorf("the token for the API is %s or %s, not %q", IDToken, AccessToken, o.Token)
	case o.Token == IDToken && o.Audience != o.ClientID:
		return nil, fmt.Errorf("the audience of ID tokens is the client id, %q, and the API demands %q", o.ClientID, o.Audience)
	case !slices.Contains(strings.Fields(o.Scopes), "openid"):
		return nil, errors.New("the scopes do not include openid")
	}
	origin, err := originOf(o.Issuer)
	if err != nil {
		return nil, fmt.Errorf("the OpenID issuer: %w", err)
	}
	return &signIn{OpenID: o, issuerOrigin: origin, client: &http.Client{Timeout: readTimeout}}, nil
}

// provider returns what is known of the provider, nil if nothing is, and asks
// it if that is needed. What was read once stays in use while the provider
// cannot be reached.
func (s *signIn) provider(ctx context.Context) *known {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if now.Before(s.next) {
		return s.known.Load()
	}
	read, err := s.read(ctx)
	switch {
	case err == nil:
		s.known.Store(read)
		s.next, s.told = now.Add(readAgain), false
	case ctx.Err() == nil: // else whoever asked is gone
		s.next = now.Add(readAfterFail)
		if !s.told {
			s.Logger.Warn("the metadata of the OpenID provider cannot be read; until it can, nobody can sign in there", "issuer", s.Issuer, "error", err)
			s.told = true
		}
	}
	return s.known.Load()
}

// read asks the provider for its metadata.
func (s *signIn) read(ctx context.Context) (*known, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(s.Issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return nil, err
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close() //nolint:errcheck // it was read to its end, or is given up
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %d", r.URL, answer.StatusCode)
	}
	var m metadata
	body, err := io.ReadAll(http.MaxBytesReader(nil, answer.Body, maxMetadata))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", r.URL, err)
	}
	if err := json.Unmarshal(body, &m); err != nil {
		return nil, fmt.Errorf("%s is not the metadata of a provider: %w", r.URL, err)
	}
	if m.Issuer != s.Issuer {
		return nil, fmt.Errorf("its metadata names another issuer, %q", m.Issuer)
	}
	if len(m.Challenges) > 0 && !slices.Contains(m.Challenges, "S256") {
		return nil, errors.New("the provider does not support PKCE with S256")
	}
	if _, err := originOf(m.Authorization); err != nil {
		return nil, fmt.Errorf("its authorization_endpoint: %w", err)
	}
	if _, err := originOf(m.EndSession); m.EndSession != "" && err != nil {
		return nil, fmt.Errorf("its end_session_endpoint: %w", err)
	}
	origin, err := originOf(m.Token)
	if err != nil {
		return nil, fmt.Errorf("its token_endpoint: %w", err)
	}
	return &known{&m, origin}, nil
}

// hosts are those that may stand in a policy; a semicolon, which URLs may
// hold, would end a directive.
var hosts = regexp.MustCompile(`^([0-9A-Za-z.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]+)?$`)

// originOf returns the origin of a URL to which a token may go: https, or http
// on this machine.
func originOf(text string) (string, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || !hosts.MatchString(u.Host) || u.User != nil:
		return "", fmt.Errorf("%q is not a URL such as https://id.example.org", text)
	case u.Scheme == "https", u.Scheme == "http" && loopback(u.Hostname()):
		return u.Scheme + "://" + u.Host, nil
	}
	return "", fmt.Errorf("%q is not https", text)
}

func loopback(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return addr.IsLoopback()
	}
	return host == "localhost"
}

// document is /sign-in.json: how a person can sign in, for the page.
type document struct {
	OpenID *documentOpenID `json:"openid"` // null: only by pasting a token
}

type documentOpenID struct {
	Name     string    `json:"name"` // the issuer's host, for people
	ClientID string    `json:"client_id"`
	Scope    string    `json:"scope"`
	Token    string    `json:"token"`
	Audience string    `json:"audience"`
	Provider *metadata `json:"provider"` // null: it cannot be read just now
}

// serve answers /sign-in.json.
func (s *signIn) serve(w http.ResponseWriter, r *http.Request) {
	var d document
	if s != nil {
		d.OpenID = &documentOpenID{Name: nameOf(s.Issuer), ClientID: s.ClientID, Scope: s.Scopes, Token: s.Token, Audience: s.Audience}
		if known := s.provider(r.Context()); known != nil {
			d.OpenID.Provider = known.metadata
		}
	}
	body, err := json.Marshal(d)
	if err != nil {
		http.Error(w, "The document cannot be written.", http.StatusInternalServerError) // [unexpected] texts always marshal
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
}

// origin returns the one other origin that a page may ask: that of the
// provider's token endpoint, the issuer's as long as it is not known, and ""
// where nobody can sign in at a provider. Only somebody who comes back from the
// provider waits for it.
func (s *signIn) origin(r *http.Request) string {
	if s == nil {
		return ""
	}
	known := s.known.Load()
	if known == nil && r.URL.Query().Has("state") {
		known = s.provider(r.Context())
	}
	if known == nil {
		return s.issuerOrigin
	}
	return known.origin
}

func nameOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil { // [unexpected] newSignIn has parsed it
		return issuer
	}
	if host, port, err := net.SplitHostPort(u.Host); err == nil && (port == "443" || port == "80") {
		return host
	}
	return u.Host
}

package httpapi

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// What pages of other origins may send and read (the Fetch standard's CORS
// protocol). Cookies are not among it: a token is what identifies.
const (
	corsMethods = "GET, HEAD, POST, PUT, DELETE"
	corsRequest = "Authorization, Content-Type, X-Tenant-ID, X-Request-ID, If-Match, If-None-Match, Poolproof-At-Least"
	corsAnswer  = "ETag, Location, Link, Deprecation, Retry-After, WWW-Authenticate, X-Request-ID, Poolproof-Epoch"
	corsMaxAge  = "600" // seconds that a browser may remember a preflight's answer
)

// crossOrigin lets pages of the configured origins call the API, and answers
// their preflight requests, in which case it is done.
func (s *Server) crossOrigin(x *exchange) (done bool) {
	origin := x.r.Header.Get("Origin")
	if len(s.cfg.Origins) == 0 || !strings.HasPrefix(x.r.URL.Path, "/api/") {
		return false
	}
	h := x.Header()
	h.Set("Vary", s.vary)
	if origin == "" || !slices.Contains(s.cfg.Origins, "*") && !slices.Contains(s.cfg.Origins, origin) {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Expose-Headers", corsAnswer)
	if x.r.Method != http.MethodOptions || x.r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	x.route = "preflight"
	h.Set("Access-Control-Allow-Methods", corsMethods)
	h.Set("Access-Control-Allow-Headers", corsRequest)
	h.Set("Access-Control-Max-Age", corsMaxAge)
	x.WriteHeader(http.StatusNoContent)
	return true
}

// checkOrigins refuses what no browser would send as an origin.
func checkOrigins(origins []string) error {
	for _, origin := range origins {
		if origin == "*" {
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.Scheme+"://"+u.Host != origin {
			return fmt.Errorf("%q is not an origin: write it as https://app.example.org, or * for any", origin)
		}
	}
	return nil
}

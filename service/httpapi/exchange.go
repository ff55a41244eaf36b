package httpapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/poolproof/poolproof/service/tenancy"
)

// exchange is one request and its answer, with what the log will say of it.
type exchange struct {
	w     http.ResponseWriter
	r     *http.Request
	id    string
	start time.Time

	parent context.Context // the connection's: ends when the client hangs up
	route  string          // "GET /api/v3/rbac/roles/{id}"
	tenant string
	status int // 0 until an answer was written
	bytes  int64
	err    error
}

type exchangeKey struct{}

// exchangeOf finds what [Server.ServeHTTP] put into the request's context.
func exchangeOf(r *http.Request) *exchange {
	x, ok := r.Context().Value(exchangeKey{}).(*exchange)
	if !ok {
		panic("httpapi: [unexpected] a request that did not come through ServeHTTP")
	}
	x.r = r
	return x
}

// Header, Write, WriteHeader and Unwrap make an exchange the ResponseWriter
// of handlers that are not endpoints, and count what they write.
func (x *exchange) Header() http.Header { return x.w.Header() }

func (x *exchange) WriteHeader(status int) {
	if x.status == 0 && status >= http.StatusOK {
		x.status = status
	}
	x.w.WriteHeader(status)
}

func (x *exchange) Write(b []byte) (int, error) {
	if x.status == 0 {
		x.status = http.StatusOK
	}
	n, err := x.w.Write(b)
	x.bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (x *exchange) Unwrap() http.ResponseWriter { return x.w }

func (x *exchange) clientGone() bool { return x.parent.Err() != nil }

// send writes a whole answer. That the client is gone, or does not read, while
// it is written concerns only the log.
func (x *exchange) send(status int, body []byte) {
	x.Header().Set("Content-Length", strconv.Itoa(len(body)))
	x.WriteHeader(status)
	_, err := x.Write(body)
	if err == nil {
		return
	}
	if _, network := errors.AsType[net.Error](err); network || x.clientGone() {
		x.status = statusClientGone
	}
	x.err = errors.Join(x.err, fmt.Errorf("writing the answer: %w", err))
}

// sendJSON answers with what no cache may keep.
func (x *exchange) sendJSON(status int, value any) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	h := x.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	x.send(status, append(body, '\n'))
	return nil
}

// sendCached answers a GET of what has no version.
func (x *exchange) sendCached(c tenancy.Caller, value any) error { return x.sendTagged(c, value, 0) }

// sendTagged answers a GET with an ETag, and with 304 if the client holds that
// already.
func (x *exchange) sendTagged(c tenancy.Caller, value any, version int32) error {
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	return x.sendTaggedBytes(c, "application/json", append(body, '\n'), version)
}

func (x *exchange) sendTaggedBytes(c tenancy.Caller, contentType string, body []byte, version int32) error {
	tag := entityTag(c, version, body)
	h := x.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "private, no-cache")
	if matches(x.r.Header.Values("If-None-Match"), tag) {
		h.Del("Content-Disposition") // it is of a body
		x.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", contentType)
	x.send(http.StatusOK, body)
	return nil
}

// matches reports whether an If-None-Match holds the tag (RFC 9110 section
// 13.1.2: weak comparison). None of our tags holds a comma.
func matches(lines []string, tag string) bool {
	for _, line := range lines {
		for one := range strings.SplitSeq(line, ",") {
			one = strings.TrimSpace(one)
			if one == "*" || strings.TrimPrefix(one, "W/") == tag {
				return true
			}
		}
	}
	return false
}

// maxRequestID bounds a request id that a client or a proxy brings along.
const maxRequestID = 128

// requestID takes over the id that came with the request if it is short and
// visible ASCII, else it makes one.
func requestID(r *http.Request) string {
	id := r.Header.Get("X-Request-ID")
	if id == "" || len(id) > maxRequestID {
		return rand.Text()
	}
	for i := range len(id) {
		if id[i] <= ' ' || id[i] > '~' {
			return rand.Text()
		}
	}
	return id
}

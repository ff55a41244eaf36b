package httpapi

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// However a body fails to arrive, it is the client's fault: 400, one line in the
// log that is no error, and nothing written. (Behind a body the database is
// never asked, so that none is needed here: a body that does arrive is 503.)
func TestBodiesThatDoNotArrive(t *testing.T) {
	const rest = `{"name":"Half`
	start := func(more string) string {
		return "POST /api/v3/rbac/roles HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + signed(t, testUser, testTenant) + "\r\n" + more + "\r\n"
	}
	const json = "Content-Type: application/json\r\n"
	for name, tc := range map[string]struct {
		sent   string
		end    string // what the client does then: nothing, "half" stops sending, "gone" hangs up
		detail string // "" where nobody is there to read it
	}{
		"it stalls":                      {start(json+"Content-Length: 30\r\n") + rest, "", "did not arrive in time"},
		"it never begins":                {start(json + "Content-Length: 30\r\n"), "", "did not arrive in time"},
		"a chunk stalls":                 {start(json+"Transfer-Encoding: chunked\r\n") + "1e\r\n" + rest, "", "did not arrive in time"},
		"no chunk comes":                 {start(json + "Transfer-Encoding: chunked\r\n"), "", "did not arrive in time"},
		"100-continue, and nothing":      {start(json + "Expect: 100-continue\r\nContent-Length: 30\r\n"), "", "did not arrive in time"},
		"it breaks off":                  {start(json+"Content-Length: 30\r\n") + rest, "half", "could not be read to its end"},
		"a chunk breaks off":             {start(json+"Transfer-Encoding: chunked\r\n") + "1e\r\n" + rest, "half", "could not be read to its end"},
		"the last chunk is missing":      {start(json+"Transfer-Encoding: chunked\r\n") + "d\r\n" + rest + "\r\n", "half", "could not be read to its end"},
		"chunks of rubbish":              {start(json+"Transfer-Encoding: chunked\r\n") + "rubbish\r\n\r\n", "", "could not be read to its end"},
		"a chunk of a negative size":     {start(json+"Transfer-Encoding: chunked\r\n") + "-1\r\n\r\n", "", "could not be read to its end"},
		"a chunk of an immense size":     {start(json+"Transfer-Encoding: chunked\r\n") + "ffffffffffffffffff\r\n", "", "could not be read to its end"},
		"rubbish after a chunk":          {start(json+"Transfer-Encoding: chunked\r\n") + "2\r\n{}rubbish\r\n", "", "could not be read to its end"},
		"the client hangs up":            {start(json+"Content-Length: 30\r\n") + rest, "gone", ""},
		"the client hangs up in a chunk": {start(json+"Transfer-Encoding: chunked\r\n") + "1e\r\n" + rest, "gone", ""},
		"compressed":                     {start(json+"Content-Encoding: gzip\r\nContent-Length: 2\r\n") + "{}", "", "compressed"},
		"UTF-16":                         {start("Content-Type: application/json; charset=utf-16\r\nContent-Length: 2\r\n") + "{}", "", "must be UTF-8"},
		"two types":                      {start(json+"Content-Type: text/plain\r\nContent-Length: 2\r\n") + "{}", "", "application/json"},
		"a type that is none":            {start("Content-Type: ;;\r\nContent-Length: 2\r\n") + "{}", "", "application/json"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			timeout := time.Minute // far beyond what the test takes: an answer must not come by it
			if strings.Contains(tc.detail, "in time") {
				timeout = 100 * time.Millisecond
			}
			s, log := newEdge(t, Config{Timeout: timeout})
			s.stores.Store(&stores{shares: newShares(2)}) // asked for anything, it would panic
			done := make(chan struct{})
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				defer close(done)
				s.ServeHTTP(w, r)
			}))
			defer srv.Close()
			conn, err := net.Dial("tcp", srv.Listener.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }() // already closed by some
			if _, err := io.WriteString(conn, tc.sent); err != nil {
				t.Fatal(err)
			}
			switch tc.end {
			case "half":
				if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
					t.Fatal(err)
				}
			case "gone":
				if err := conn.Close(); err != nil {
					t.Fatal(err)
				}
			}
			if tc.detail != "" {
				answers := bufio.NewReader(conn)
				res, err := http.ReadResponse(answers, nil)
				if err == nil && res.StatusCode == http.StatusContinue {
					res, err = http.ReadResponse(answers, nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				if err != nil || res.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), tc.detail) || !strings.Contains(string(body), `"code":"invalid"`) {
					t.Errorf("%d, %v: %s", res.StatusCode, err, body)
				}
			}
			<-done
			text := log.String()
			if strings.Count(text, `"msg":"request"`) != 1 || strings.Contains(text, "ERROR") || strings.Contains(text, "panic") || !strings.Contains(text, `"status":4`) {
				t.Errorf("the log: %s", text)
			}
			if strings.Contains(text, "Half") {
				t.Errorf("the log shows the body: %s", text)
			}
		})
	}
}

// An answer that nobody reads any more is no error of ours.
func TestClientGoneWhileItIsAnswered(t *testing.T) {
	s, log := newEdge(t, Config{})
	gone := make(chan struct{})
	done := make(chan struct{})
	s.route("/test", methods{"GET": func(x *exchange) error {
		<-gone
		<-x.parent.Done()
		return x.sendJSON(http.StatusOK, strings.Repeat("x", 1<<20))
	}})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(done)
		s.ServeHTTP(w, r)
	}))
	defer srv.Close()
	conn, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Fprintf(conn, "GET /test HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil { // a reset, so that writing fails
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	close(gone)
	<-done
	if text := log.String(); !strings.Contains(text, `"status":499`) || strings.Contains(text, "ERROR") {
		t.Errorf("the log: %s", text)
	}
}

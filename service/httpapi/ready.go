package httpapi

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/poolproof/poolproof/service/checkup"
	"github.com/poolproof/poolproof/service/migrations"
)

const (
	// readyFor is how long an answer of /readyz is given again, so that
	// asking often costs nothing.
	readyFor = time.Second
	// readyTimeout bounds what /readyz asks of the database.
	readyTimeout = 2 * time.Second

	stateOK          = "ok"
	stateUnavailable = "unavailable"
)

// state is the answer of /readyz. It names no tenant, address or SQL.
type state struct {
	Status   string `json:"status"`   // ok or unavailable
	Database string `json:"database"` // ok or unavailable
	Pooler   struct {
		Present  bool   `json:"present"`
		Mode     string `json:"mode"`      // none, session, transaction, statement, unknown
		Scope    string `json:"scope"`     // one_sync or transaction
		ExecMode string `json:"exec_mode"` // exec, cache_describe or cache_statement
	} `json:"pooler"`
	Schema string `json:"schema"` // ok, older, newer or unknown
	// Doctor is what anybody may see of the last report. It does not decide Status: what breaks isolation ends the service.
	Doctor checkup.Public `json:"doctor"`
}

// readiness keeps the last state for a moment.
type readiness struct {
	mu   sync.Mutex
	at   time.Time
	last state
	db   *stores // what it was asked of
}

// healthz says that the process answers, and nothing about the database: a
// supervisor that restarts a service because its database is away does harm.
func (s *Server) healthz(x *exchange) error {
	return x.sendJSON(http.StatusOK, map[string]string{"status": stateOK})
}

// readyz says whether requests can be answered now: 200, or 503.
func (s *Server) readyz(x *exchange) error {
	st := s.state(x.r.Context())
	st.Doctor = s.cfg.Checkup.Last().Public()
	status := http.StatusOK
	if st.Status != stateOK {
		status = http.StatusServiceUnavailable
		x.Header().Set("Retry-After", "1")
	}
	return x.sendJSON(status, st)
}

// state asks the database unless it was asked within [readyFor]. Concurrent
// questions wait for one answer.
func (s *Server) state(ctx context.Context) state {
	r := &s.ready
	r.mu.Lock()
	defer r.mu.Unlock()
	st, err := s.connected()
	if err == nil {
		defer st.use.RUnlock()
	}
	if r.db == st && st != nil && time.Since(r.at) < readyFor {
		return r.last
	}
	// Not the request's context: others wait for the answer, too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), readyTimeout)
	defer cancel()
	r.last, r.at, r.db = ask(ctx, st), time.Now(), st
	return r.last
}

func ask(ctx context.Context, st *stores) state {
	answer := state{Status: stateUnavailable, Database: stateUnavailable, Schema: "unknown"}
	answer.Pooler.Mode, answer.Pooler.Scope, answer.Pooler.ExecMode = "unknown", "unknown", "unknown"
	if st == nil {
		return answer
	}
	report := st.db.Report()
	answer.Pooler.Present = report.Present
	answer.Pooler.Mode = string(report.Mode)
	answer.Pooler.Scope = "transaction"
	if report.ImplicitScope {
		answer.Pooler.Scope = "one_sync"
	}
	answer.Pooler.ExecMode = string(st.db.Mode())
	if st.db.Ping(ctx) != nil {
		return answer // the cause is in the requests' log lines
	}
	answer.Database = stateOK
	switch err := migrations.Verify(ctx, st.db); {
	case err == nil:
		answer.Schema, answer.Status = stateOK, stateOK
	case errors.Is(err, migrations.ErrSchemaOlder):
		answer.Schema = "older"
	case errors.Is(err, migrations.ErrSchemaNewer):
		// It goes on serving, as every copy does between a migration and its
		// own replacement: to tell a load balancer otherwise would take all
		// copies out at once. A new process refuses to start.
		answer.Schema, answer.Status = "newer", stateOK
	}
	return answer
}

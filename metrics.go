package poolproof

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the counters of one DB. They carry no tenant: labels are for
// operators, and a tenant's id is not theirs to spread.
type metrics struct {
	scopes    prometheus.Counter
	failures  prometheus.Counter
	leaks     prometheus.Counter
	fallbacks prometheus.Counter
	domains   prometheus.Counter
	discarded prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: "poolproof", Name: name, Help: help})
	}
	m := &metrics{
		scopes:    counter("scopes_total", "Scopes sent: one for each statement, batch or transaction of a session."),
		failures:  counter("scope_failures_total", "Scopes whose settings could not be made; their statements did not run."),
		leaks:     counter("leaked_settings_total", "Transactions that began with a tenant that somebody had left on the server connection."),
		fallbacks: counter("mode_fallbacks_total", "Falls back to exec mode after named statements were lost."),
		domains:   counter("scope_fallbacks_total", "Falls back to a scope of its own statement after the domain of the parameter was lost."),
		discarded: counter("discarded_connections_total", "Connections given up in the middle of an exchange."),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []*prometheus.Counter{&m.scopes, &m.failures, &m.leaks, &m.fallbacks, &m.domains, &m.discarded} {
		err := reg.Register(*c)
		if already, ok := errors.AsType[prometheus.AlreadyRegisteredError](err); ok {
			*c = already.ExistingCollector.(prometheus.Counter) //nolint:forcetypeassert // two databases of one process count together, by the same names
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("register the counters: %w", err)
		}
	}
	return m, nil
}

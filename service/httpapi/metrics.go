package httpapi

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the figures of requests. Their labels are the route's pattern
// and the status' class: no path, no id and no tenant, so that they stay few
// and tell nobody's secrets.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "poolproof", Subsystem: "http", Name: "requests_total",
			Help: "Requests answered, by route and class of status; 499: the client hung up.",
		}, []string{"route", "class"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "poolproof", Subsystem: "http", Name: "request_duration_seconds",
			Help:    "Time from the request's header to the end of the answer, by route.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "poolproof", Subsystem: "http", Name: "requests_in_flight",
			Help: "Requests being answered now.",
		}),
	}
	for _, c := range []prometheus.Collector{m.requests, m.duration, m.inFlight} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) observe(x *exchange) {
	class := "499"
	if x.status != statusClientGone {
		class = strconv.Itoa(x.status/100) + "xx"
	}
	m.requests.WithLabelValues(x.route, class).Inc()
	m.duration.WithLabelValues(x.route).Observe(time.Since(x.start).Seconds())
}

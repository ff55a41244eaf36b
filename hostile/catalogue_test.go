package hostile

import (
	"strings"
	"testing"
)

// SentBy replaces the fix with the driver's, but does not overrule a framework.
func TestSentBy(t *testing.T) {
	for _, tc := range []struct {
		guess, driver string
		code          Code
		want, fix     string
	}{
		{"", driverNodePg, MissingNamed, driverNodePg, "leave name: out of the query"},
		{driverTokio, driverNodePg, MissingNamed, driverNodePg, "leave name: out of the query"}, // a statement that is named s1
		{driverLibPQ, "psycopg2", MissingNamed, "psycopg2", catalogue[MissingNamed].fix},
		{driverDjango, driverPsycopg, HoldCursor, driverDjango, "DISABLE_SERVER_SIDE_CURSORS"},
		{driverAsyncpg, "", MissingNamed, driverAsyncpg, "statement_cache_size=0"},
	} {
		f := Finding{Code: tc.code, Fix: catalogue[tc.code].fixFor(tc.guess), First: Occurrence{Client: Client{Driver: tc.guess}}}
		f.SentBy(tc.driver)
		if f.First.Client.Driver != tc.want || !strings.HasPrefix(f.Fix, tc.fix) {
			t.Errorf("%q, said to be %q's: %q, %s", tc.guess, tc.driver, f.First.Client.Driver, f.Fix)
		}
	}
}

package poolproof_test

import (
	"testing"

	"github.com/poolproof/poolproof/internal/pgtest"
)

func TestSmoke(t *testing.T) {
	f := newFixture(t, 3)
	for _, kind := range pgtest.Kinds {
		t.Run(kind.String(), func(t *testing.T) {
			db := open(t, pgtest.Pooled(t, f.url, kind))
			t.Log(db.Report(), db.Report().Notes, db.Mode(), db.Report().Elapsed)
			for i := range 3 {
				var n int
				var body string
				if err := db.Tenant(tenant(i)).QueryRow(t.Context(), "select count(*), min(body) from documents where id > $1", 0).Scan(&n, &body); err != nil {
					t.Fatal(err)
				}
				t.Log(n, body)
			}
		})
	}
}

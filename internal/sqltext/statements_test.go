package sqltext

import (
	"slices"
	"testing"
)

func TestStatements(t *testing.T) {
	const sql = "-- first; not a statement\nselect ';' as \"a;b\"; ;\nselect $$;$$ /* ; */;\n/* nothing */; select 1 "
	want := []string{"-- first; not a statement\nselect ';' as \"a;b\"", "select $$;$$ /* ; */", "select 1"}
	if got := Statements(sql); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

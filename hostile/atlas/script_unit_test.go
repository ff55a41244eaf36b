package atlas

import (
	"slices"
	"testing"
)

// A script is cut where psql cuts it.
func TestScript(t *testing.T) {
	for text, want := range map[string][]string{
		"select 1; select 2":                                       {"select 1;", " select 2"},
		"-- a; b\nselect ';' /* ; /* ; */ ; */;":                   {"-- a; b\nselect ';' /* ; /* ; */ ; */;"},
		`select E'\';', "a;""b", $x$;$$;$x$;`:                      {`select E'\';', "a;""b", $x$;$$;$x$;`},
		"create rule r as on insert to t do (select 1; select 2);": {"create rule r as on insert to t do (select 1; select 2);"},
		"create function f() returns int begin atomic select case when true then 1 end; select 2; end; table t": {"create function f() returns int begin atomic select case when true then 1 end; select 2; end;", " table t"},
		"begin; select 1; end;":                                      {"begin;", " select 1;", " end;"},
		`select 1\; select 2;`:                                       {"select 1; select 2;"},
		"copy t from stdin;\n1\\.\n2;\n\\.\ntable t;":                {"copy t from stdin;", "data 1\\.\n2;\n", "table t;"},
		"copy t from stdin;\n\\.\ntable t;":                          {"copy t from stdin;", "table t;"},
		"\\set x 5\nselect :x, :'x', :\"x\", :y, a[1:z], 'x'::text;": {`\set x 5`, `select 7, '7', "7", :y, a[1:z], 'x'::text;`},
		"select 1 as n \\gset\nselect 2;":                            {`\gset `, "select 1 as n ", "select 2;"},
		"; -- nothing\n;\n":                                          nil,
	} {
		s := &script{text: text, vars: map[string]string{"x": "7"}}
		var got []string
		for {
			st, ok := s.next()
			if !ok {
				break
			}
			if st.command != "" {
				got = append(got, `\`+st.command+" "+st.argument)
			}
			if st.sql != "" {
				got = append(got, st.sql)
			}
			if st.copyData != "" {
				got = append(got, "data "+st.copyData)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q is cut into %q, want %q", text, got, want)
		}
	}
}

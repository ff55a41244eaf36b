package sqltext

import (
	"slices"
	"testing"
)

// Words are those that PostgreSQL would read, and no others.
func TestWords(t *testing.T) {
	for sql, want := range map[string][]string{
		"select 'temp' /* temp */ into temp t": {"select", "into", "temp", "t"},
		"select 'it''s temp', E'it\\'s temp'":  {"select"},
		"a -- temp\nb /* x /* temp */ y */ c":  {"a", "b", "c"},
		"select $$temp$$, $a$temp $$ $a$, $1":  {"select"},
		`pg_temp."X" . y, "say ""temp"""`:      {"y"},
		"PG_CATALOG.Set_Config(a.b$1, 1e5)":    {"set_config", "a.b$1"},
		"select 'not closed temp":              {"select"},
		"/* not closed temp":                   nil,
	} {
		var words []string
		sc := New(sql)
		for tok := sc.Next(); tok.Kind != End; tok = sc.Next() {
			if tok.Kind == Word {
				words = append(words, tok.Text)
			}
		}
		if !slices.Equal(words, want) {
			t.Errorf("%s: %q instead of %q", sql, words, want)
		}
	}
}

// Only a constant says for certain whether a setting is the transaction's.
func TestLocal(t *testing.T) {
	for args, want := range map[string][2]bool{
		"('a', 'b', true)": {true, true}, "('a', 'b', 'on')": {true, true}, "('a', f(1, 2), FALSE)": {false, true}, "('a', 'b', 'f')": {false, true},
		"('a', 'b', $1)": {}, "('a', 'b', not false)": {}, "('a', 'b', $1 <> 'off')": {}, "('a', 'b', f(false))": {}, "('a', 'b'": {}, "('a', 'b', null)": {}, "('a', 'b', '')": {}, "('a', 'b', 'o')": {}, "('a', 'b', false::int)": {},
		"('a', 'b', (false))": {false, true}, "('a', (1, 2), ('fal'::boolean)::bool)": {false, true}, "('a', 'b', bool 'TRU')": {true, true}, "('a', 'b', ' off ')": {false, true},
	} {
		local, certain := New(args).Local()
		if local != want[0] || certain != want[1] {
			t.Errorf("%s: local %v, certain %v", args, local, certain)
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add("select $a$ '/* -- \" E'\\")
	f.Fuzz(func(t *testing.T, sql string) {
		sql = sql[:min(len(sql), 500)] // looking ahead from everywhere takes the square of it
		sc := New(sql)
		for n := 0; sc.Next().Kind != End; n++ {
			if n > len(sql) {
				t.Fatal("more tokens than characters")
			}
			sc.Local()
		}
	})
}

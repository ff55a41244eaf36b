package hostile

import "testing"

// A function that sets a global variable of its language keeps something; one
// that only reads it does not.
func TestKeepsGlobals(t *testing.T) {
	for source, want := range map[string]bool{
		"plperl\n$_SHARED{tenant} = $_[0];":               true,
		"plperlu\n$_SHARED{ $key }  = 1;":                 true,
		"plperl\nreturn $_SHARED{tenant};":                false,
		"plperl\nreturn $_SHARED{tenant} == 1;":           false,
		"plperl\nreturn $_SHARED{tenant} =~ /a/;":         false,
		"plpython3u\nGD['tenant'] = t":                    true,
		"plpython3u\nreturn GD['tenant']":                 false,
		"plpython3u\nreturn GD['tenant'] == t":            false,
		"plpython3u\nSD['plan'] = plpy.prepare('x')":      false,
		"plv8\nplv8.tenant = t":                           true,
		"plv8\nif (plv8.tenant == t) return plv8.tenant":  false,
		"pllua\nshared.tenant = t":                        true,
		"pllua\nreturn shared.tenant == t":                false,
		"plr\ntenant <<- t":                               true,
		"plr\nassign('tenant', t, envir = .GlobalEnv)":    true,
		"plr\ntenant <- t; get('tenant')":                 false,
		"pltcl\nglobal tenant; set tenant $1":             true,
		"pltcl\nset GD(tenant) $1":                        true,
		"pltcl\nset ::tenant $1":                          true,
		"pltcl\nglobal tenant; return $tenant":            false,
		"plpgsql\n$_SHARED{tenant} = 1; GD['x'] = 1":      false,
		"sql\nselect 'global tenant; set tenant' as text": false,
	} {
		s := newSchema([][]string{{"globals", "F", source}})
		if got := s.keptByFunction["f"] != nil; got != want {
			t.Errorf("%q keeps something: %t, want %t", source, got, want)
		}
	}
}

// What a function keeps is taken away by its counterpart, with as many arguments
// as that needs, and by no mere mention.
func TestKeepCalls(t *testing.T) {
	for sql, want := range map[string][2]int{
		"select tools.dblink_connect('a=' || b(1, 2))":                           {1, 0},
		"select dblink_connect('rem', 'a=b')":                                    {0, 0},
		"select dblink_disconnect()":                                             {0, 1},
		"select dblink_disconnect('rem')":                                        {0, 0},
		"select setseed(0.5), setseed":                                           {1, 0},
		"set seed to 0.5":                                                        {1, 0},
		"select pgv_set_int('app', 'tenant', 1)":                                 {1, 0},
		"select pgv_get_int('app', 'tenant'), pgv_free()":                        {0, 1},
		"select dbms_output.enable(), enable()":                                  {1, 0},
		"select dbms_output.put_line('x'), dbms_output.disable()":                {0, 1},
		"select utl_file.fopen('/tmp', 'x', 'r')":                                {1, 0},
		"select pg_backup_start('x', fast => true)":                              {1, 0},
		"select * from pg_backup_stop()":                                         {0, 1},
		"drop function setseed(float8)":                                          {0, 0},
		"create table t as select setseed(0.5)":                                  {1, 0},
		"do $$begin perform pg_replication_origin_session_setup('x'); end$$":     {1, 0},
		"do $$begin perform pg_replication_origin_session_reset(); end$$":        {0, 1},
		"select setseed from t where pg_backup_start > 1 and dblink_connect = 1": {0, 0},
	} {
		q := scan(sql, false)
		if got := [2]int{len(q.keeps), len(q.undoes)}; got != want {
			t.Errorf("%s: keeps %q, takes away %q, want %v", sql, q.keeps, q.undoes, want)
		}
	}
}

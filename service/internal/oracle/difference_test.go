package oracle_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// difference says in which places two values differ, a line for each:
//
//	-Tenants.A.Roles.5.Version = 1
//	+Tenants.A.Roles.5.Version = 2
func difference(want, got any) string {
	a, b := map[string]string{}, map[string]string{}
	flatten(a, "", decoded(want))
	flatten(b, "", decoded(got))
	all := maps.Clone(a)
	maps.Copy(all, b)
	var out strings.Builder
	for _, place := range slices.Sorted(maps.Keys(all)) {
		before, inWant := a[place]
		after, inGot := b[place]
		if before == after && inWant == inGot {
			continue
		}
		if inWant {
			fmt.Fprintf(&out, "-%s = %s\n", place, before)
		}
		if inGot {
			fmt.Fprintf(&out, "+%s = %s\n", place, after)
		}
	}
	return out.String()
}

// decoded is a value as JSON has it.
func decoded(v any) (out any) {
	raw, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(raw, &out)
	}
	if err != nil {
		panic(err)
	}
	return out
}

func flatten(into map[string]string, place string, v any) {
	under := func(key string) string { return strings.TrimPrefix(place+"."+key, ".") }
	switch v := v.(type) {
	case map[string]any:
		into[place] = "an object"
		for key, value := range v {
			flatten(into, under(key), value)
		}
	case []any:
		into[place] = fmt.Sprintf("a list of %d", len(v))
		for i, value := range v {
			flatten(into, under(fmt.Sprint(i)), value)
		}
	default:
		into[place] = fmt.Sprintf("%#v", v)
	}
}

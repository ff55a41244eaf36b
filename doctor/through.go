package doctor

import (
	"fmt"
	"strings"

	"github.com/poolproof/poolproof/internal/visible"
	"github.com/poolproof/poolproof/pooler"
)

// between writes what stands between here and PostgreSQL, what does not work through it and
// its known faults; with all, what each conclusion rests on, and what works.
func (r *Report) between(b *strings.Builder, all bool) {
	why := r.Pooler.Why
	fmt.Fprintf(b, "\nbetween: %s\n", r.is())
	for _, w := range []struct {
		name string
		why  pooler.Reason
	}{{"kind", why.Kind}, {"mode", why.Mode}, {"version", why.Version}} {
		if w.why.Text != "" && (all || w.name != "version") {
			fmt.Fprintf(b, "      %s: %s\n", w.name, visible.Line(w.why.String()))
		}
	}
	if len(r.Through) == 0 {
		fmt.Fprintf(b, "through it: named statements %s, one-Sync scope %s; everything else not looked at\n", proven(r.Capabilities["named_statements"]), proven(r.Capabilities["implicit_scope"]))
		return
	}
	if all {
		b.WriteString("through it:\n")
		for _, name := range pooler.Names {
			c := r.Through[name]
			fmt.Fprintf(b, "      %-30s %-8s [%s] %s%s\n", name, c.Value, c.Basis, visible.Line(c.Text), tries(c))
		}
	} else {
		r.broken(b)
	}
	if len(r.KnownFaults) == 0 {
		return
	}
	if !all {
		var certain, perhaps []string
		for _, f := range r.KnownFaults {
			if f.Certain {
				certain = append(certain, f.ID)
			} else {
				perhaps = append(perhaps, f.ID)
			}
		}
		line := strings.Join(certain, ", ")
		if len(perhaps) > 0 {
			line = strings.TrimPrefix(line+"; in some of the versions that fit: "+strings.Join(perhaps, ", "), "; ")
		}
		fmt.Fprintf(b, "known faults of it [documented]: %s\n", line)
		return
	}
	b.WriteString("known faults of it [documented]:\n")
	for _, f := range r.KnownFaults {
		sure := ""
		if !f.Certain {
			sure = " (in some of the versions that fit)"
		}
		fmt.Fprintf(b, "      %s%s: %s\n", f.ID, sure, visible.Line(f.Title))
		fmt.Fprintf(b, "          do: %s (%s, %s)\n", visible.Line(f.Fix), visible.Line(f.Source), f.Date)
	}
}

// is names what stands between, in a few words.
func (r *Report) is() string {
	if len(r.NotLookedAt) > 0 {
		return "a pooler in " + string(r.Pooler.Mode) + " mode"
	}
	return r.Pooler.String()
}

// broken lists what does not work, by what becomes of it and how that is known, and what is not known.
func (r *Report) broken(b *strings.Builder) {
	names := map[string][]string{}
	var order, unclear []string
	for _, name := range pooler.Names {
		c := r.Through[name]
		switch {
		case c.Value.OK():
			continue
		case c.Value == pooler.Unclear:
			unclear = append(unclear, string(name))
			continue
		}
		key := fmt.Sprintf("%s [%s]", c.Value, c.Basis)
		if names[key] == nil {
			order = append(order, key)
		}
		names[key] = append(names[key], string(name))
	}
	if len(order) == 0 {
		b.WriteString("what does not work through it: nothing of what was tried\n")
	} else {
		b.WriteString("what does not work through it:\n")
	}
	for _, key := range order {
		fmt.Fprintf(b, "      %s: %s\n", key, strings.Join(names[key], ", "))
	}
	if len(unclear) > 0 {
		fmt.Fprintf(b, "      not known: %s\n", strings.Join(unclear, ", "))
	}
}

func proven(b bool) string {
	if b {
		return "proven"
	}
	return "not proven"
}

// tries says how many of what was tried several times succeeded, or "".
func tries(c pooler.Capability) string {
	if c.Tried == 0 {
		return ""
	}
	return fmt.Sprintf(" (%d of %d)", c.Done, c.Tried)
}

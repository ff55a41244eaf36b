package legacy

import (
	"fmt"
	"io"
	"strings"
)

// examples is how many rows of a kind WriteText shows.
const examples = 5

// WriteText writes the plan for a person: everything that will be done in a
// few lines per tenant, and of rows that are listed the first of each kind. An error
// is w's.
func (p Plan) WriteText(w io.Writer) error {
	var s strings.Builder
	if len(p.Absent) > 0 {
		fmt.Fprintf(&s, "This source has no %s.\n\n", strings.Join(p.Absent, ", "))
	}
	if !p.Catalogue.empty() {
		s.WriteString("Catalogues, for all tenants\n")
		for _, x := range p.Catalogue.Permissions {
			fmt.Fprintf(&s, "  + permission %s\n", x.Name)
		}
		for _, x := range p.Catalogue.Features {
			fmt.Fprintf(&s, "  + feature %s, by default %s\n", x.Name, onOff(x.DefaultEnabled))
		}
		for _, x := range p.Catalogue.Sidebar {
			fmt.Fprintf(&s, "  + sidebar %s %s%s%s\n", x.Path, x.Title, gate("feature", x.Feature), gate("permission", x.Permission))
		}
		s.WriteString("\n")
	}
	same := 0
	for _, t := range p.Tenants {
		if t.empty() {
			same++
			continue
		}
		t.writeText(&s)
	}
	if same > 0 {
		fmt.Fprintf(&s, "%s with nothing to do\n\n", count(same, "tenant"))
	}
	l := p.Left
	if l != (Left{}) {
		fmt.Fprintf(&s, "In poolproof already, left as it is: %s, %s, %s; %s, %s, %s, %s, %s\n\n",
			count(l.Permissions, "permission"), count(l.Features, "feature"), count(l.Sidebar, "sidebar item"),
			count(l.Tenants, "tenant"), count(l.Roles, "role"), count(l.Members, "member"), count(l.Assignments, "assignment"), count(l.Values, "feature value"))
	}
	writeFindings(&s, "Decided where the source is unclear", p.Decided)
	writeFindings(&s, "Not mapped", p.Unmapped)
	if p.Empty() {
		s.WriteString("Nothing to do.\n")
	}
	_, err := io.WriteString(w, printable(s.String()))
	return err
}

func (t TenantPlan) writeText(s *strings.Builder) {
	fmt.Fprintf(s, "Tenant %s  %s", t.Name, t.ID)
	if t.Create {
		fmt.Fprintf(s, "  new, slug %s", t.Slug)
	}
	s.WriteString("\n")
	for _, r := range t.Roles {
		switch {
		case r.Exact:
			fmt.Fprintf(s, "  = role %s holds what it held: %s\n", r.Name, count(len(r.Grants), "permission"))
		case r.Create:
			fmt.Fprintf(s, "  + role %s: %s\n", r.Name, orNothing(r.Grants))
		default:
			fmt.Fprintf(s, "  + role %s gets %s\n", r.Name, orNothing(r.Grants))
		}
	}
	inactive := 0
	for _, m := range t.Members {
		if !m.Active {
			inactive++
		}
	}
	fmt.Fprintf(s, "  + %s (%d not active), %s\n", count(len(t.Members), "member"), inactive, count(len(t.Assignments), "assignment"))
	for _, f := range t.Features {
		fmt.Fprintf(s, "  + feature %s %s", f.Name, onOff(f.Enabled))
		if f.From == "feature_flags" {
			s.WriteString(", the default there")
		}
		s.WriteString("\n")
	}
	for i, m := range t.Managers {
		if i == examples {
			fmt.Fprintf(s, "  ! and %d more\n", len(t.Managers)-i)
			break
		}
		fmt.Fprintf(s, "  ! %s will manage roles, as %s by %s\n", m.User, m.Role, m.From)
	}
	s.WriteString("\n")
}

func writeFindings(s *strings.Builder, title string, all []Finding) {
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(s, "%s: %d\n", title, len(all))
	for len(all) > 0 {
		n := 1
		for n < len(all) && all[n].Table == all[0].Table && all[n].Reason == all[0].Reason {
			n++
		}
		fmt.Fprintf(s, "  %s: %s\n", all[0].Table, all[0].Reason)
		for i, f := range all[:min(n, examples)] {
			fmt.Fprintf(s, "    %s\n", f.Row)
			if i == examples-1 && n > examples {
				fmt.Fprintf(s, "    and %d more (--json lists all)\n", n-examples)
			}
		}
		all = all[n:]
	}
	s.WriteString("\n")
}

// printable keeps what the source's rows hold from steering the terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '?'
		}
		return r
	}, s)
}

func gate(what, name string) string {
	if name == "" {
		return ""
	}
	return ", needs " + what + " " + name
}

func onOff(enabled bool) string {
	if enabled {
		return "on"
	}
	return "off"
}

func orNothing(names []string) string {
	if len(names) == 0 {
		return "nothing"
	}
	return strings.Join(names, ", ")
}

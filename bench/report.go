package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// report prints what was measured, and returns errGate if a gate fails.
func report(w io.Writer, a about, groups []*group, o options) error {
	var b strings.Builder
	b.WriteString(a.header())
	deadline := "have no deadline"
	if o.deadline > 0 {
		deadline = "have a deadline of " + o.deadline.String()
	}
	fmt.Fprintf(&b, "%d rounds, %v each line and round, in %d slices; %d client connections, %d server connections of PgBouncer; operations %s\n",
		o.rounds, o.window, slicesPerRound, clientConns, serverConns, deadline)
	b.WriteString("Medians of the rounds. Ratios are of ops/s within a round: median (lowest to highest round).\n")

	for rest := groups; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].title == rest[0].title {
			n++
		}
		table(&b, rest[:n], o)
		rest = rest[n:]
	}
	failed := judge(&b, groups)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if failed > 0 {
		return fmt.Errorf("%w: %d below what is promised", errGate, failed)
	}
	return nil
}

// table prints the groups of one way.
func table(b *strings.Builder, groups []*group, o options) {
	fmt.Fprintf(b, "\n%s\n", groups[0].title)
	t := tabwriter.NewWriter(b, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(cells ...string) {
		fmt.Fprintln(t, strings.Join(cells, "\t")+"\t") // into memory: cannot fail
	}
	head := []string{"clients", "variant", "ops/s", "p50 µs", "p99 µs"}
	if o.serverCPU {
		head = append(head, "CPU µs/op: PostgreSQL", "PgBouncer", "clients")
	}
	row(append(head, groups[0].subject+" ÷ it")...)
	for _, g := range groups {
		subject := g.find(g.subject)
		for i, v := range g.variants {
			clients := ""
			if i == 0 {
				clients = fmt.Sprint(g.clients)
			}
			cells := []string{clients, v.name,
				fmt.Sprintf("%.0f", v.median(func(s sample) float64 { return s.perSecond })),
				fmt.Sprintf("%.0f", v.median(func(s sample) float64 { return micros(s.p50) })),
				fmt.Sprintf("%.0f", v.median(func(s sample) float64 { return micros(s.p99) })),
			}
			if o.serverCPU {
				cells = append(cells,
					fmt.Sprintf("%.1f", v.median(func(s sample) float64 { return micros(s.cpu.postgres) })),
					fmt.Sprintf("%.1f", v.median(func(s sample) float64 { return micros(s.cpu.pooler) })),
					fmt.Sprintf("%.1f", v.median(func(s sample) float64 { return micros(s.cpu.client) })))
			}
			compared := ""
			if subject != nil && v != subject {
				compared = ratio(subject, v).String()
			}
			row(append(cells, compared)...)
		}
	}
	_ = t.Flush() // into memory: cannot fail
}

// judge prints the gates and what is below the reach, and counts the gates
// that fail.
func judge(b *strings.Builder, groups []*group) (failed int) {
	var short, besides []string
	b.WriteString("\nGates\n")
	judged := false
	for _, g := range groups {
		subject := g.find(g.subject)
		if subject == nil {
			continue
		}
		for _, gt := range g.gates {
			to := g.find(gt.to)
			if to == nil {
				continue
			}
			judged = true
			r, verdict := ratio(subject, to), "PASS"
			if r.median < gt.least {
				verdict = "FAIL"
				failed++
			}
			fmt.Fprintf(b, "  %s  %s ÷ %s %s, at least %.2f: %s, %s\n", verdict, g.subject, gt.to, r, gt.least, g.title, g.crowd())
		}
		if base := g.find(g.baseline); base != nil {
			if beside := g.find(g.beside); beside != nil {
				besides = append(besides, fmt.Sprintf("  %s ÷ %s %s: %s, %s\n", g.beside, g.baseline, ratio(beside, base), g.title, g.crowd()))
			}
			if r := ratio(subject, base); r.median < g.reach {
				short = append(short, fmt.Sprintf("  %.2f of %.2f: %s, %s\n", r.median, g.reach, g.title, g.crowd()))
			}
		}
	}
	if !judged {
		b.WriteString("  none was measured\n")
	}
	if len(besides) > 0 {
		b.WriteString("\nWithout the domain (no gate)\n" + strings.Join(besides, ""))
	}
	b.WriteString("\nBelow what poolproof reaches for beside the unscoped baseline (a note, no gate)\n")
	if len(short) == 0 {
		b.WriteString("  nothing\n")
	}
	b.WriteString(strings.Join(short, ""))
	return failed
}

func micros(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

// String is "0.85 (0.80 to 0.91)".
func (s spread) String() string {
	return fmt.Sprintf("%.2f (%.2f to %.2f)", s.median, s.low, s.high)
}

// median of one figure over the rounds.
func (v *variant) median(figure func(sample) float64) float64 {
	values := make([]float64, len(v.samples))
	for i, s := range v.samples {
		values[i] = figure(s)
	}
	return median(values)
}

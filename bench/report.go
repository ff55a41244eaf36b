package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// report prints what was measured. It returns errGate if a gate fails, and else
// errInvalid if a figure is none.
func report(w io.Writer, a about, groups []*group, why outcomes, o options) error {
	var b strings.Builder
	b.WriteString(a.header())
	deadline := "have no deadline"
	if o.deadline > 0 {
		deadline = "have a deadline of " + o.deadline.String()
	}
	fmt.Fprintf(&b, "%d rounds, %v each line and round, in %d slices; %d client connections, %d server connections of PgBouncer; operations %s\n",
		o.rounds, o.window, slicesPerRound, clientConns, serverConns, deadline)
	fmt.Fprintf(&b, "Requests that the service answers of one tenant at a time: %d, so that it refuses none of these clients; the neighbour's rows say theirs.\n", clientConns)
	b.WriteString("Medians of the rounds. Ratios are of ops/s within a round, of latencies where the head says so: median (lowest to highest round).\n")

	for rest := groups; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].title == rest[0].title {
			n++
		}
		table(&b, rest[:n], o)
		rest = rest[n:]
	}
	failed, invalid := judge(&b, groups), refused(&b, groups, why)
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	switch {
	case failed > 0:
		return fmt.Errorf("%w: %d below what is promised", errGate, failed)
	case invalid > 0:
		return fmt.Errorf("%w: %d had more than %.0f %% of its answers refused", errInvalid, invalid, 100*tolerated)
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
	if groups[0].quiet == "" {
		head = append(head, groups[0].subject+" ÷ it")
	} else {
		head = append(head, "p50 ÷ "+groups[0].quiet, "p99 ÷ "+groups[0].quiet, "the noisy one's ops/s")
	}
	row(head...)
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
			if v.invalid() {
				cells[1] += " (INVALID)"
			}
			if quiet := g.find(g.quiet); quiet != nil && v != quiet {
				cells = append(cells,
					ratioOf(v, quiet, func(s sample) float64 { return micros(s.p50) }).String(),
					ratioOf(v, quiet, func(s sample) float64 { return micros(s.p99) }).String(),
					fmt.Sprintf("%.0f", v.median(func(s sample) float64 { return s.noise })))
			}
			if g.quiet != "" {
				row(cells...)
				continue
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
			switch {
			case subject.invalid() || to.invalid():
				verdict = "INVALID"
			case r.median < gt.least:
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

// refused prints which answers were not what was asked for, and why the service
// could not answer, and counts the variants whose figures that makes invalid.
func refused(b *strings.Builder, groups []*group, why outcomes) (invalid int) {
	b.WriteString("\nAnswers that were refused, in all rounds and the one that warms up\n")
	none := true
	tell := func(g *group, who, verdict string, o outcomes) {
		for _, line := range o.refusals() {
			none = false
			fmt.Fprintf(b, "  %s%s: %s, %s, %s\n", verdict, line, who, g.title, g.crowd())
		}
	}
	for _, g := range groups {
		for _, v := range g.variants {
			verdict := ""
			if v.invalid() {
				verdict = "INVALID  "
				invalid++
			}
			tell(g, v.name, verdict, v.answers)
			tell(g, v.name+", of the noisy one's", "", v.beside)
		}
	}
	if none {
		b.WriteString("  none\n")
	}
	for _, cause := range slices.Sorted(maps.Keys(why)) {
		fmt.Fprintf(b, "  the service's own words, %d times: %s\n", why[cause], cause)
	}
	return invalid
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

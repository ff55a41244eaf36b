package options

import (
	"context"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strings"

	"github.com/poolproof/poolproof/pooler"
)

// Resolver finds a host's addresses. *net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Network says what this machine can reach.
type Network struct {
	// Resolver; nil is the system's.
	Resolver Resolver
	// IPv6 reports whether this machine has a way to IPv6 addresses; nil asks its interfaces, and sends nothing.
	IPv6 func() bool
}

// shared are names of hosts of poolers that serve many projects, for a hint: the
// verdict comes from what the pooler says.
var (
	sharedPooler = regexp.MustCompile(`(^|\.)pooler\.supabase\.(com|co|green)$`)
	directHost   = regexp.MustCompile(`^db\.[a-z0-9]{8,}\.supabase\.(co|com)$`)
)

// CheckURL returns what is wrong with a database URL, for a driver ("" if it is
// not known) and the pooler that was found behind it (nil if none was looked for).
// It resolves the host's name and sends nothing to the host.
func CheckURL(ctx context.Context, raw, driver string, found *pooler.Fingerprint, network Network) []Problem {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" && u.Path == "" {
		// The parser's error would show the password.
		return []Problem{{ID: "malformed-url", Subject: "URL", Text: "this is no URL of a database", Hint: "postgres://USER:PASSWORD@HOST:PORT/DATABASE; write @ : / ? # % of a password as %40 %3A %2F %3F %23 %25", Source: "RFC 3986", Fatal: true}}
	}
	problems := checkUser(u, found)
	problems = append(problems, checkHost(ctx, u, network)...)
	query := u.Query()
	prisma := driver == "prisma"
	if query.Has("pgbouncer") {
		problems = append(problems, checkPgBouncerTrue(driver, prisma, found)...)
	}
	if query.Has("options") && found != nil {
		problems = append(problems, checkStartupOptions(found)...)
	}
	return problems
}

// checkUser looks for the project in the user's name (the original's F5).
func checkUser(u *url.URL, found *pooler.Fingerprint) []Problem {
	user := u.User.Username()
	supavisor := found != nil && found.Kind == pooler.Supavisor || sharedPooler.MatchString(strings.ToLower(u.Hostname()))
	if !supavisor || strings.Contains(user, ".") || strings.Contains(u.Query().Get("options"), "reference=") {
		return nil
	}
	return []Problem{{
		ID: "user-without-ref", Subject: "user", Fatal: true,
		Text:   "the user " + user + " names no project: a pooler that serves many answers \"Tenant or user not found\", which means the project and not the application's tenants",
		Hint:   "postgres." + "REF, with the project's reference for REF; or options=reference%3DREF",
		Source: "measured on Supavisor of August 2026",
	}}
}

// checkHost looks for a host that has IPv6 addresses only, where this machine
// has no way to them (the original's F6).
func checkHost(ctx context.Context, u *url.URL, network Network) []Problem {
	host := u.Hostname()
	if host == "" || strings.HasPrefix(host, "/") {
		return nil
	}
	addresses := []netip.Addr{}
	if addr, err := netip.ParseAddr(host); err == nil {
		addresses = append(addresses, addr)
	} else {
		resolver := network.Resolver
		if resolver == nil {
			resolver = net.DefaultResolver
		}
		addresses, err = resolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			return []Problem{{ID: "unknown-host", Subject: host, Fatal: true, Text: "the host's name is not known here", Hint: "see it in the project's dashboard: a typing error, or the project is paused; getent ahosts " + host, Source: "the resolver of this machine"}}
		}
	}
	for _, addr := range addresses {
		if addr.Unmap().Is4() || addr.IsLoopback() {
			return nil
		}
	}
	reachable := network.IPv6
	if reachable == nil {
		reachable = hasIPv6
	}
	if len(addresses) == 0 || reachable() {
		return nil
	}
	hint := "another name of that server with IPv4, such as its pooler's"
	if directHost.MatchString(strings.ToLower(host)) {
		hint = "the pooler's host of the project (HOST.pooler.supabase.com, user postgres.REF), which has IPv4; or the IPv4 add-on"
	}
	return []Problem{{
		ID: "ipv6-only", Subject: host, Fatal: true, Hint: hint, Source: "the resolver and the interfaces of this machine",
		Text: "the host has IPv6 addresses only, and this machine has no way to IPv6: connections fail with \"Network is unreachable\"",
	}}
}

// hasIPv6 reports whether an interface of this machine has a global IPv6 address.
func hasIPv6() bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return true // nothing is claimed
	}
	for _, a := range addrs {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Addr().Is6() && prefix.Addr().IsGlobalUnicast() && !prefix.Addr().Is4In6() {
			return true
		}
	}
	return false
}

// checkPgBouncerTrue judges ?pgbouncer=true, by which Prisma closes statements by
// SQL and wraps each query.
func checkPgBouncerTrue(driver string, prisma bool, found *pooler.Fingerprint) []Problem {
	p := Problem{ID: "pgbouncer-true", Subject: "pgbouncer"}
	switch {
	case !prisma && driver != "":
		if problem, ok := contradiction(driver, Option{Name: "pgbouncer", Value: "true"}); ok {
			return []Problem{problem}
		}
		return nil
	case found == nil || !prisma:
		return nil
	case found.Kind == pooler.NoPooler:
		p.Text, p.Hint = "there is no pooler: pgbouncer=true makes each query slower and does nothing else", "take it out"
	case found.Kind == pooler.Supavisor:
		p.Text, p.Hint = "where this pooler tracks named statements it refuses the DEALLOCATE ALL that pgbouncer=true sends (EPSSIMPLEQUERY)", "take it out if that error comes; else leave it"
	case found.Kind == pooler.PgBouncer && found.VersionMin != "" && pooler.CompareVersions(found.VersionMin, "1.21") >= 0:
		p.Text, p.Hint = "this PgBouncer tracks named statements: pgbouncer=true makes each query slower and is not needed", "take it out"
	default:
		return nil
	}
	p.Source = "Prisma's documentation; measured by poolproof, 2026-11"
	return []Problem{p}
}

// checkStartupOptions judges options=-c … in the URL.
func checkStartupOptions(found *pooler.Fingerprint) []Problem {
	p := Problem{ID: "startup-options", Subject: "options", Hint: "take options out of the URL, and give the settings to the role: alter role … set …", Source: "measured with PgBouncer 1.18 and 1.24, Odyssey 1.5, Supavisor of August 2026"}
	switch found.Kind {
	case pooler.PgBouncer, pooler.Neon, pooler.CloudSQL:
		p.Text, p.Fatal = "PgBouncer until 1.19 refuses options, and later ones what they cannot track: unsupported startup parameter", true
	case pooler.Odyssey, pooler.Supavisor:
		p.Text = "this pooler drops options without a word (but search_path, and Supavisor's reference)"
	default:
		return nil
	}
	return []Problem{p}
}

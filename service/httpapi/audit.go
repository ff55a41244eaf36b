package httpapi

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"mime"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/poolproof/poolproof/service/audit"
	"github.com/poolproof/poolproof/service/tenancy"
)

// auditLog answers the record of changes, as JSON or, if the client wants that
// rather, as CSV, whose next page's token is in a Link header.
func auditLog(c *call) error {
	filter, err := auditFilter(c)
	if err != nil {
		return err
	}
	p, err := c.page()
	if err != nil {
		return err
	}
	page, err := c.log.Entries(c.ctx(), c.caller, filter, p)
	if err != nil {
		return err
	}
	c.Header().Add("Vary", "Accept")
	if !prefersCSV(c.r.Header.Values("Accept")) {
		return sendPage(c, page)
	}
	body, err := auditCSV(page.Items)
	if err != nil {
		return err
	}
	h := c.Header()
	h.Set("Content-Disposition", `attachment; filename="audit.csv"`)
	if page.Next != "" {
		next := *c.r.URL
		q := next.Query()
		q.Set("page_token", c.nextToken(page.Next))
		next.RawQuery = q.Encode()
		h.Set("Link", "<"+next.RequestURI()+`>; rel="next"`)
	}
	return c.sendTaggedBytes(c.caller, "text/csv; charset=utf-8; header=present", body, 0)
}

// maxObject bounds the filter's object, in characters.
const maxObject = 500

func auditFilter(c *call) (audit.Filter, error) {
	q := c.r.URL.Query()
	object, err := once(q, "object")
	if err != nil {
		return audit.Filter{}, err
	}
	f := audit.Filter{Object: object}
	if utf8.RuneCountInString(f.Object) > maxObject || !tenancy.IsLine(f.Object) {
		return f, tenancy.Refuse(tenancy.Invalid, "The query's object must look like role/7 or user/.")
	}
	actor, err := once(q, "actor")
	if err != nil {
		return f, err
	}
	if actor != "" {
		id, err := parseUUID(actor)
		if err != nil {
			return f, tenancy.Refuse(tenancy.Invalid, "The query's actor is not a UUID.")
		}
		f.Actor = id
	}
	for _, bound := range []struct {
		name string
		at   *time.Time
	}{{"from", &f.From}, {"to", &f.To}} {
		text, err := once(q, bound.name)
		if err != nil {
			return f, err
		}
		if text == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, text)
		if err != nil {
			at, err = time.Parse(time.DateOnly, text)
		}
		if err != nil || at.Year() < 1 {
			return f, tenancy.Refuse(tenancy.Invalid, "The query's %s must be a time such as 2026-11-24T10:00:00Z, or a day such as 2026-11-24.", bound.name)
		}
		*bound.at = at
	}
	return f, nil
}

// prefersCSV reports whether text/csv has a higher weight than JSON (RFC 9110
// section 12.5.1); where they are equal, JSON it is.
func prefersCSV(lines []string) bool {
	csvWeight, jsonWeight := 0.0, 0.0
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			media, params, err := mime.ParseMediaType(strings.TrimSpace(item))
			if err != nil {
				continue
			}
			weight := 1.0
			if text, ok := params["q"]; ok {
				if weight, err = strconv.ParseFloat(text, 64); err != nil {
					continue
				}
			}
			switch media {
			case "text/csv":
				csvWeight = max(csvWeight, weight)
			case "application/json":
				jsonWeight = max(jsonWeight, weight)
			}
		}
	}
	return csvWeight > jsonWeight
}

// auditCSV writes the entries as RFC 4180 has it. A field that a spreadsheet
// would take for a formula is led by an apostrophe.
func auditCSV(entries []audit.Entry) ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.UseCRLF = true
	rows := make([][]string, 0, 1+len(entries))
	rows = append(rows, []string{"id", "at", "actor", "action", "object", "before", "after"})
	for _, e := range entries {
		rows = append(rows, []string{
			strconv.FormatInt(e.ID, 10), e.At.UTC().Format(time.RFC3339Nano), e.Actor.String(),
			plain(e.Action), plain(e.Object), string(e.Before), string(e.After),
		})
	}
	if err := w.WriteAll(rows); err != nil {
		return nil, fmt.Errorf("writing CSV: %w", err)
	}
	return b.Bytes(), nil
}

func plain(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}

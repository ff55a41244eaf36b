package httpapi

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/url"
	"strconv"
	"strings"

	"github.com/poolproof/poolproof/service/tenancy"
)

// list is how v3 answers several things. The token is "" on the last page.
type list[T any] struct {
	Data          []T    `json:"data"`
	NextPageToken string `json:"next_page_token"`
}

// once returns the value of a query's parameter, "" where it is not there. One
// that is there twice is refused: nobody knows which of them is meant.
func once(q url.Values, name string) (string, error) {
	if len(q[name]) > 1 {
		return "", tenancy.Refuse(tenancy.Invalid, "The query has more than one %s.", name)
	}
	return q.Get(name), nil
}

// page reads ?page_size= and ?page_token=. A token that another list, another
// tenant or another filter gave is refused.
func (c *call) page() (tenancy.Page, error) {
	var p tenancy.Page
	if c.r.URL.RawQuery == "" {
		return p, nil
	}
	q := c.r.URL.Query()
	size, err := once(q, "page_size")
	if err != nil {
		return p, err
	}
	after, err := once(q, "page_token")
	if err != nil {
		return p, err
	}
	if size != "" {
		n, err := strconv.Atoi(size) // a number too large for an int is the largest int
		if err != nil && !errors.Is(err, strconv.ErrRange) || n < 1 {
			return p, tenancy.Refuse(tenancy.Invalid, "The query's page_size must be a positive number.")
		}
		p.Size = n
	}
	if after != "" {
		raw, err := base64.RawURLEncoding.DecodeString(after)
		mark := c.listMark(q)
		if err != nil || len(raw) <= len(mark) || string(raw[:len(mark)]) != mark || !tenancy.IsStorable(string(raw[len(mark):])) {
			return p, tenancy.BadPage()
		}
		p.After = string(raw[len(mark):])
	}
	return p, nil
}

// listMark tells the lists apart: by tenant, path and filter. It is a check
// against mistakes; a token is no secret and grants no access.
func (c *call) listMark(q url.Values) string {
	filter := url.Values{}
	for _, name := range []string{"object", "actor", "from", "to"} {
		filter[name] = q[name]
	}
	sum := sha256.Sum256([]byte(c.caller.Tenant.String() + " " + strings.TrimSuffix(c.r.URL.Path, "/") + " " + filter.Encode()))
	return string(sum[:6])
}

// nextToken is what asks for the page after this one.
func (c *call) nextToken(next string) string {
	if next == "" {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString([]byte(c.listMark(c.r.URL.Query()) + next))
}

// lists makes an endpoint of a store's list.
func lists[T any](read func(c *call, p tenancy.Page) (tenancy.Listed[T], error)) func(*call) error {
	return func(c *call) error {
		p, err := c.page()
		if err != nil {
			return err
		}
		page, err := read(c, p)
		if err != nil {
			return err
		}
		return sendPage(c, page)
	}
}

func sendPage[T any](c *call, page tenancy.Listed[T]) error {
	out := list[T]{page.Items, c.nextToken(page.Next)}
	if out.Data == nil {
		out.Data = []T{} // never null
	}
	return c.sendCached(c.caller, out)
}

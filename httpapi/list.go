package httpapi

import (
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/poolproof/poolproof/tenancy"
)

// maxPage is the largest page of a list, and the default.
const maxPage = 1000

// list is how v3 answers several things. The token is "" on the last page.
type list[T any] struct {
	Data          []T    `json:"data"`
	NextPageToken string `json:"next_page_token"`
}

// sendList answers a page of items: those after ?page_token=, at most
// ?page_size=, in the order of their keys, which are unique. A token is the
// last key seen, so that what is added or removed between two pages neither
// repeats nor hides anything else; it is no secret and gives no access.
func sendList[T any](c *call, items []T, key func(T) string) error {
	size, after := maxPage, ""
	if c.r.URL.RawQuery != "" {
		q := c.r.URL.Query()
		if text := q.Get("page_size"); text != "" {
			n, err := strconv.Atoi(text)
			if err != nil || n < 1 {
				return tenancy.Refuse(tenancy.Invalid, "The query's page_size is not a positive number.")
			}
			size = min(n, maxPage)
		}
		if text := q.Get("page_token"); text != "" {
			raw, err := base64.RawURLEncoding.DecodeString(text)
			if err != nil || !utf8.Valid(raw) {
				return tenancy.Refuse(tenancy.Invalid, "The query's page_token is none that this list gave.")
			}
			after = string(raw)
		}
	}
	slices.SortFunc(items, func(a, b T) int { return strings.Compare(key(a), key(b)) })
	first := 0
	for after != "" && first < len(items) && key(items[first]) <= after {
		first++
	}
	page := list[T]{Data: items[first:]}
	if len(page.Data) > size {
		page.Data = page.Data[:size]
		page.NextPageToken = base64.RawURLEncoding.EncodeToString([]byte(key(page.Data[size-1])))
	}
	if page.Data == nil {
		page.Data = []T{} // never null
	}
	return c.sendCached(c.caller, page)
}

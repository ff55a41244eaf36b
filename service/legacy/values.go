package legacy

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/tenancy"
)

// parseID reads a UUID that can name something: not the zero one, which the
// original's pages used where they knew no tenant.
func parseID(text string) (uuid.UUID, bool) {
	id, err := uuid.Parse(text)
	return id, err == nil && len(text) == 36 && id != uuid.Nil
}

// freeID keeps the source's id where it is one and nothing else has it.
func freeID(text string, taken map[string]bool) string {
	if id, ok := parseID(text); ok && !taken[id.String()] {
		return id.String()
	}
	return uuid.NewSHA1(Actor, []byte(text)).String()
}

func isTrue(text string) bool {
	switch strings.ToLower(text) {
	case "true", "t", "1", "yes", "on":
		return true
	}
	return false
}

func number(text string, otherwise int) int {
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return int(n)
	}
	return otherwise
}

// line fits a text into a column of at most limit characters that holds a name,
// in the form of names; "" where it is none, such as one with invisible
// characters.
func line(s string, limit int) string {
	if s = tenancy.Name(s); !tenancy.IsLine(s) {
		return ""
	}
	return tenancy.Name(shorten(s, limit))
}

// text is line for columns of several lines; what is no text there is left out.
func text(s string, limit int) string { return shorten(tenancy.Text(s), limit) }

func shorten(s string, limit int) string {
	if utf8.RuneCountInString(s) <= limit {
		return s
	}
	return string([]rune(s)[:limit])
}

// meaning returns the resource and the action of a permission's name, as in
// access_page_scraper and rbac:read.
func meaning(name string) (resource, action string) {
	if resource, action, ok := strings.Cut(name, ":"); ok && resource != "" && action != "" {
		return resource, action
	}
	if action, resource, ok := strings.Cut(name, "_"); ok && resource != "" {
		return resource, action
	}
	return name, "use"
}

// count is "1 row" or "3 rows".
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

package tenancy

import (
	"errors"
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// Caller is a user acting in one tenant. That the user is an active member of
// the tenant is not implied: each statement checks it in its own transaction,
// so that a membership that was revoked a moment ago counts for nothing.
type Caller struct {
	Tenant uuid.UUID
	User   uuid.UUID
	// AtLeast is the state that reads must have reached, so that they are not
	// older than something the caller has seen. Zero: any state.
	AtLeast Epoch
}

// Epoch says how often a tenant's rows and the catalogues have changed. Both
// parts only grow. A change of the catalogues has no tenant: its tenant part
// is 0.
type Epoch struct {
	Tenant    uint64
	Catalogue uint64
}

// String is the form of the Poolproof-Epoch header: "12.3".
func (e Epoch) String() string {
	return strconv.FormatUint(e.Tenant, 10) + "." + strconv.FormatUint(e.Catalogue, 10)
}

// ParseEpoch reads what String returns. An error means that the text is not one.
func ParseEpoch(text string) (Epoch, error) {
	tenant, catalogue, ok := strings.Cut(text, ".")
	t, err1 := strconv.ParseUint(tenant, 10, 63)
	c, err2 := strconv.ParseUint(catalogue, 10, 63)
	if !ok || err1 != nil || err2 != nil {
		return Epoch{}, errors.New("an epoch is two numbers with a dot between them")
	}
	return Epoch{t, c}, nil
}

// Match are the versions of an object that a write may change; nil: any, and
// none at all is a match that cannot succeed.
type Match []int32

// Any lets a write change whatever version there is.
var Any Match

// Page is a part of a list: at most Size items that come after the key After.
// Keys are what [Listed.Next] gave. The zero value is the first page.
type Page struct {
	After string
	Size  int // 0 or more than MaxPage: MaxPage
}

// BadPage refuses a key that no page of the list at hand returned.
func BadPage() error {
	return Refuse(Invalid, "The page token is not one that this list returned.")
}

// MaxPage is how many items a page has at most, and by default.
const MaxPage = 1000

// Limit is the page's size within bounds.
func (p Page) Limit() int {
	if p.Size <= 0 || p.Size > MaxPage {
		return MaxPage
	}
	return p.Size
}

// Listed is one page of a list. Next is the key to go on after, "" on the last
// page. Keys do not change when rows do, so that what is added or removed
// between two pages neither repeats nor hides anything else.
type Listed[T any] struct {
	Items []T
	Next  string
}

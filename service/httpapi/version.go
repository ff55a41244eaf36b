package httpapi

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/poolproof/poolproof/service/tenancy"
)

// entityTag is the ETag of an answer: a hash over tenant, user and body. Where
// the answer is one object it begins with the object's version, which If-Match
// compares; lists and the like have 0.
func entityTag(c tenancy.Caller, version int32, body []byte) string {
	sum := sha256.New()
	sum.Write(c.Tenant[:])
	sum.Write(c.User[:])
	sum.Write(body)
	tag := hex.EncodeToString(sum.Sum(nil)[:16])
	if version > 0 {
		tag = strconv.Itoa(int(version)) + "-" + tag
	}
	return `"` + tag + `"`
}

// match reads If-Match: the versions of the object that may be changed. What
// is no tag of ours, and weak ones, match nothing (RFC 9110 section 13.1.1).
func (c *call) match() tenancy.Match {
	lines := c.r.Header.Values("If-Match")
	if len(lines) == 0 {
		return tenancy.Any
	}
	versions := tenancy.Match{}
	for _, line := range lines {
		for tag := range strings.SplitSeq(line, ",") {
			tag = strings.TrimSpace(tag)
			if tag == "*" {
				return tenancy.Any
			}
			inner, ok := strings.CutPrefix(tag, `"`)
			number, _, dashed := strings.Cut(inner, "-")
			if n, err := strconv.ParseInt(number, 10, 32); ok && dashed && err == nil && strings.HasSuffix(inner, `"`) {
				versions = append(versions, int32(n))
			}
		}
	}
	return versions
}

// sendObject answers a GET of one object, or returns err.
func (c *call) sendObject(value any, version int32, err error) error {
	if err != nil {
		return err
	}
	return c.sendTagged(c.caller, value, version)
}

// sendWritten answers a write that leaves an object, with the tag that a GET of
// it would have, and the state that holds the change; or returns err.
func (c *call) sendWritten(status int, value any, version int32, epoch tenancy.Epoch, err error) error {
	if err != nil {
		return err
	}
	body, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encoding the answer: %w", err)
	}
	body = append(body, '\n')
	h := c.Header()
	if version > 0 {
		h.Set("ETag", entityTag(c.caller, version, body))
	}
	h.Set("Poolproof-Epoch", epoch.String())
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	c.send(status, body)
	return nil
}

// sendCreated is sendWritten for an object that was made, which is at location.
func (c *call) sendCreated(location string, value any, version int32, epoch tenancy.Epoch, err error) error {
	if err != nil {
		return err
	}
	c.Header().Set("Location", location)
	return c.sendWritten(http.StatusCreated, value, version, epoch, nil)
}

// sendMessage answers a write that leaves nothing to show, or returns err.
func (c *call) sendMessage(text string, epoch tenancy.Epoch, err error) error {
	return c.sendWritten(http.StatusOK, envelope{message{text}}, 0, epoch, err)
}

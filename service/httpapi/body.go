package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/service/internal/exactjson"
	"github.com/poolproof/poolproof/service/tenancy"
)

const (
	maxBody  = 1 << 20
	maxDepth = 32
)

// optional is a field that may be null on purpose: named, and then the value or
// nil.
type optional[T any] struct {
	named bool
	value *T
}

// UnmarshalJSON is called for null, too.
func (o *optional[T]) UnmarshalJSON(raw []byte) error {
	o.named = true
	return json.Unmarshal(raw, &o.value)
}

// takes makes an endpoint of what is done with a body.
func takes[T any](write func(c *call, body T) error) func(*call) error {
	return func(c *call) error {
		var body T
		if err := c.readBody(&body); err != nil {
			return err
		}
		return write(c, body)
	}
}

// readBody decodes a request's JSON object into the struct at into. Names are
// taken by the letter, unknown fields are ignored, and a name that is there
// twice is refused. So is a tenant_id, in whatever case, that is not the
// caller's tenant: the client means to write elsewhere.
func (c *call) readBody(into any) error {
	raw, err := c.readAll()
	if err != nil {
		return err
	}
	if err := checkJSON(raw); err != nil {
		return err
	}
	members, err := exactjson.Members(raw)
	if err != nil {
		return invalidJSON(err)
	}
	for name, value := range members {
		if strings.EqualFold(name, "tenant_id") { // no field of ours in capitals, and no less a wish
			if err := sameTenant(value, c.caller); err != nil {
				return err
			}
		}
	}
	if err := exactjson.Fill(members, into); err != nil {
		return invalidJSON(err)
	}
	return nil
}

// readAll reads a request's body, which has to arrive before the request's
// time is over. One that stalls or breaks off is the client's fault.
func (c *call) readAll() ([]byte, error) {
	x := c.exchange
	if err := checkMedia(x.r.Header); err != nil {
		return nil, err
	}
	connection := http.NewResponseController(x.w)
	if deadline, ok := x.r.Context().Deadline(); ok {
		_ = connection.SetReadDeadline(deadline) // a recorder in a test cannot, and has the body already
	}
	raw, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxBody))
	if err == nil {
		// From here on only the client's going matters. After an error the deadline
		// stays: net/http reads what is left of the body before it answers.
		_ = connection.SetReadDeadline(time.Time{})
		return raw, nil
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	refusal := &tenancy.Error{Code: tenancy.Invalid, Detail: "The body could not be read to its end.", Err: err}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		refusal.Detail = "The body did not arrive in time."
	}
	return nil, refusal
}

// checkMedia refuses what is not JSON in UTF-8 as it stands.
func checkMedia(h http.Header) error {
	for _, coding := range h.Values("Content-Encoding") {
		if coding != "" && !strings.EqualFold(coding, "identity") {
			return tenancy.Refuse(tenancy.Invalid, "The body must not be compressed.")
		}
	}
	types := h.Values("Content-Type")
	if len(types) == 0 || len(types) == 1 && types[0] == "" {
		return nil
	}
	media, parameters, err := mime.ParseMediaType(types[0])
	if err != nil || media != "application/json" || len(types) > 1 {
		return tenancy.Refuse(tenancy.Invalid, "The body must be application/json.")
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return tenancy.Refuse(tenancy.Invalid, "The body must be UTF-8.")
	}
	return nil
}

// checkJSON refuses what encoding/json would let pass: bodies that are no
// object, deep nesting, text that is not UTF-8 and halves of surrogate pairs
// (they would be repaired silently), and the character U+0000, which PostgreSQL
// cannot store.
func checkJSON(raw []byte) error {
	if trimmed := bytes.TrimLeft(raw, " \t\r\n"); len(trimmed) == 0 || trimmed[0] != '{' {
		return tenancy.Refuse(tenancy.Invalid, "The body must be a JSON object.")
	}
	if !utf8.Valid(raw) {
		return tenancy.Refuse(tenancy.Invalid, "The body is not UTF-8.")
	}
	depth, inString := 0, false
	for i := 0; i < len(raw); i++ {
		switch b := raw[i]; {
		case inString && b == '\\':
			if bytes.HasPrefix(raw[i:], []byte(`\u0000`)) {
				return tenancy.Refuse(tenancy.Invalid, "The body contains the character U+0000, which cannot be stored.")
			}
			if skip, ok := surrogates(raw[i:]); !ok {
				return tenancy.Refuse(tenancy.Invalid, "The body contains half of a surrogate pair, which is not a character.")
			} else if skip > 0 {
				i += skip - 1
				continue
			}
			i++
		case b == '"':
			inString = !inString
		case inString:
		case b == '{' || b == '[':
			if depth++; depth > maxDepth {
				return tenancy.Refuse(tenancy.Invalid, "The body is nested more than %d levels deep.", maxDepth)
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return nil
}

// surrogates reports how many bytes the two escapes of a character beyond
// U+FFFF take at the start of s, 0 if no such escape stands there, and whether
// each half has its other.
func surrogates(s []byte) (n int, whole bool) {
	first, ok := escape(s)
	if !ok || !utf16.IsSurrogate(first) {
		return 0, true
	}
	second, ok := escape(s[6:])
	return 12, ok && utf16.DecodeRune(first, second) != utf8.RuneError
}

// escape reads the \uXXXX at the start of s.
func escape(s []byte) (rune, bool) {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s[2:6]), 16, 32)
	return rune(n), err == nil
}

// sameTenant refuses a body whose tenant_id, as it stands there, is not the
// caller's tenant. None, or null, is no wish.
func sameTenant(raw json.RawMessage, c tenancy.Caller) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		if id, err := parseUUID(text); err == nil && id == c.Tenant {
			return nil
		}
	}
	return invalidField("/tenant_id", "is not the tenant of this request")
}

// parseUUID reads the 36-character form only.
func parseUUID(s string) (uuid.UUID, error) {
	if len(s) != 36 {
		return uuid.Nil, errors.New("not a UUID of 36 characters")
	}
	return uuid.Parse(s)
}

func invalidField(pointer, detail string) error {
	return tenancy.InvalidFields(tenancy.Field{Pointer: pointer, Detail: detail})
}

// invalidJSON names the field that could not be decoded, or is there twice.
func invalidJSON(err error) error {
	if twice, ok := errors.AsType[*exactjson.DuplicateError](err); ok {
		return errors.Join(invalidField("/"+pointer.Replace(twice.Name), "is there more than once"), err)
	}
	if typeErr, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && typeErr.Field != "" {
		return errors.Join(invalidField("/"+strings.ReplaceAll(typeErr.Field, ".", "/"), "has the wrong type: a JSON "+typeErr.Value), err)
	}
	return &tenancy.Error{Code: tenancy.Invalid, Detail: "The body is not valid JSON.", Err: err}
}

// pointer writes a name as a step of a JSON pointer (RFC 6901 section 3).
var pointer = strings.NewReplacer("~", "~0", "/", "~1")

package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"github.com/poolproof/poolproof/tenancy"
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

// readBody decodes a request's JSON object into the struct at into. Unknown
// fields are ignored, of duplicate ones the last counts. A tenant_id that is
// not the caller's tenant is refused: it would be a wish to write elsewhere.
func (c *call) readBody(into any) error {
	x := c.exchange
	if ct := x.r.Header.Get("Content-Type"); ct != "" {
		if media, _, err := mime.ParseMediaType(ct); err != nil || media != "application/json" {
			return tenancy.Refuse(tenancy.Invalid, "The body must be application/json.")
		}
	}
	raw, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) || x.clientGone() {
			return fmt.Errorf("reading the body: %w", err)
		}
		return &tenancy.Error{Code: tenancy.Invalid, Detail: "The body could not be read to its end.", Err: err}
	}
	if err := checkJSON(raw); err != nil {
		return err
	}
	if err := sameTenant(raw, c.caller); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, into); err != nil {
		return invalidJSON(err)
	}
	return nil
}

// checkJSON refuses what encoding/json would let pass: bodies that are no
// object, deep nesting, text that is not UTF-8 (it would be repaired silently)
// and the character U+0000, which PostgreSQL cannot store.
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
				return tenancy.Refuse(tenancy.Invalid, "The body holds the character U+0000, which cannot be stored.")
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

func sameTenant(raw []byte, c tenancy.Caller) error {
	var body struct {
		TenantID any `json:"tenant_id"`
	}
	if err := json.Unmarshal(raw, &body); err != nil {
		return invalidJSON(err)
	}
	if body.TenantID == nil {
		return nil
	}
	if text, ok := body.TenantID.(string); ok {
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

// invalidJSON names the field that encoding/json could not decode.
func invalidJSON(err error) error {
	var typeErr *json.UnmarshalTypeError
	if errors.As(err, &typeErr) && typeErr.Field != "" {
		return errors.Join(invalidField("/"+strings.ReplaceAll(typeErr.Field, ".", "/"), "has the wrong type: a JSON "+typeErr.Value), err)
	}
	return &tenancy.Error{Code: tenancy.Invalid, Detail: "The body is not valid JSON.", Err: err}
}

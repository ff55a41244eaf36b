package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/poolproof/poolproof/service/internal/exactjson"
)

// The names that mean something here. No name that only looks like one of them
// may stand beside it, or in its place: whoever made the token may have filled
// that, and another reader may take it for the real one.
var (
	headerNames = []string{"alg", "kid", "typ", "crit"}
	claimNames  = []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "tenant_id", "app_metadata"}
	tenantNames = []string{"tenant_id"} // within app_metadata
)

// members returns the members of a part of a token. It refuses a name that is
// there twice (RFC 7519 section 4) and one that looks like one of registered.
func members(raw []byte, registered []string) (map[string]json.RawMessage, error) {
	all, err := exactjson.Members(raw)
	if err != nil {
		return nil, err
	}
	for name := range all {
		for _, r := range registered {
			if name != r && looksLike(name, r) {
				return nil, fmt.Errorf("the member %+q looks like %s", name, r)
			}
		}
	}
	return all, nil
}

// looksLike reports whether name is the ASCII text registered but for the case
// of letters, compatible forms such as ſ and ｓ, marks, spaces, and characters
// that show nothing.
func looksLike(name, registered string) bool {
	plain := strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.In(r, unicode.Cc, unicode.Cf, unicode.M, unicode.Other_Default_Ignorable_Code_Point) {
			return -1
		}
		return r
	}, norm.NFKD.String(name))
	return strings.EqualFold(plain, registered)
}

// checkNames refuses a token whose header is ambiguous. That golang-jwt has
// read the header means that it is the JSON object in the token's first part.
func checkNames(raw string) error {
	first, _, _ := strings.Cut(raw, ".")
	header, err := base64.RawURLEncoding.DecodeString(first)
	if err != nil {
		return errors.New("its header is not base64url") // [unexpected] it was read before
	}
	if _, err := members(header, headerNames); err != nil {
		return fmt.Errorf("its header: %w", err)
	}
	return nil
}

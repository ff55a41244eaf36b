package openapi

import (
	"crypto/sha256"
	_ "embed" // openapi.json
	"encoding/hex"
	"slices"
)

//go:embed openapi.json
var document []byte

// Document returns the document, as it is served.
func Document() []byte { return slices.Clone(document) }

// ETag names the document's content, for If-None-Match.
func ETag() string {
	sum := sha256.Sum256(document)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

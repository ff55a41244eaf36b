package httpapi

import (
	"net/http"

	"github.com/poolproof/poolproof/service/httpapi/openapi"
)

// document answers the API's description, which is the same for everybody.
func document(x *exchange) error {
	tag := openapi.ETag()
	h := x.Header()
	h.Set("ETag", tag)
	h.Set("Cache-Control", "no-cache")
	h.Del("Vary")
	if matches(x.r.Header.Values("If-None-Match"), tag) {
		x.WriteHeader(http.StatusNotModified)
		return nil
	}
	h.Set("Content-Type", "application/json")
	x.send(http.StatusOK, openapi.Document())
	return nil
}

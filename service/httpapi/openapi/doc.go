// Package openapi holds the document of the HTTP API: what can be asked, and
// every answer, refused ones included. It is written by hand, and the only
// place where the API is described: GET /openapi.json sends it, the console's
// /docs renders it, and tests hold it against what the service really answers.
//
//	openapi.json ──► GET /openapi.json ──► clients, generators
//	     │                  └────────────► /docs
//	     ├─ this package's tests: valid, no loose end, every example fits its schema
//	     └─ httpapi's tests: each answer of each test fits the document, each
//	        documented answer was given by some test; Schemathesis asks the rest
//
// Where things are said once: parameters, headers, schemas, refusals, pages of
// lists and examples are components, and operations refer to them.
package openapi

// Package console is the service's web pages: a person's way into the same
// HTTP API that programs use.
//
// The pages are files, embedded into the binary; what they have in common is
// layout.html, into which they are put when the program starts. They hold no data
// and no secret, and get everything they show from the public API of the same
// origin, with the token that a person pasted, or got by signing in at an OpenID
// provider ([HandlerWith]). Whoever can do something here can do it with curl, and
// the other way round.
//
//	browser                                        service
//	┌──────────────────────────────┐  GET /…       ┌─────────────────┐
//	│ /            console.js      │ ◄──────────── │ console.Handler │  no state, no token
//	│   …-section.js, one a section│               ├─────────────────┤
//	│ /test-rbac-….html            │  /api/v3/…    │                 │
//	│   connection.js              │ ◄───────────► │ httpapi         │  token + X-Tenant-ID
//	│ shared: api  session  dialogs┼── /readyz ──► │                 │
//	│                              │  GET /sign-in.json (console): which provider
//	└───────────────┬──────────────┘               └─────────────────┘
//	                └── code and token, by PKCE ──► OpenID provider
//
// The API's reference, /docs, is Swagger UI over the service's own openapi.json,
// under the same policy; the protocol of signing in is oauth4webapi's. Their
// files lie in static/docs/swagger-ui and static/assets/third_party/oauth4webapi as
// they were published; nothing else of the console is made elsewhere.
//
// What keeps the pages safe is enforced by the browser, not promised by the
// code: the Content-Security-Policy allows scripts and styles from this origin
// only and none inline, so text that came out of a database cannot become a
// program; besides this origin they may ask that of the provider's token
// endpoint, and no other; forms go nowhere, so a token cannot end in an address; nobody may
// frame the page. The scripts write text nodes only and never parse HTML.
package console

// Package httpapi is the service's HTTP face: it turns requests into calls of
// the stores and their results and refusals into answers. It decides nothing
// about roles or features; what it does decide is who is calling.
//
//	request ─► id, log, metrics, panic guard, 10 s deadline
//	             │
//	             ▼ the route's methods (405) or no route (404)
//	        bearer token ─► user          401
//	        X-Tenant-ID  ─► Caller        400
//	        database set? ─► stores       503
//	             │
//	             ▼ endpoint(call) error
//	   answer: v3 {"data": …}, v4 bare, ETag
//	   error:  one table, code ─► status, RFC 9457 problem
//
// Endpoints return errors; only [Server.fail] turns an error into an answer,
// so a refusal looks the same from every route. Problems never carry the
// request id or anything else that differs between two requests for the same
// thing: another tenant's object must answer byte for byte like one that does
// not exist. The id is in the X-Request-ID header alone.
//
// A [Server] can be asked before its database can: until [Server.SetDatabase]
// every request of the API is answered by 503 and Retry-After.
package httpapi

package httpapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/poolproof/poolproof/service/tenancy"
)

// methods are a route's endpoints by method. GET answers HEAD, too.
type methods map[string]endpoint

// routePages stands in logs and metrics for everything that is not the API's.
const routePages = "pages"

// routes is the one table of everything that can be asked.
func (s *Server) routes() {
	const (
		get  = http.MethodGet
		post = http.MethodPost
		put  = http.MethodPut
		del  = http.MethodDelete
	)
	api := func(f func(*call) error) endpoint { return s.forTenant(f, false) }
	versioned := func(f func(*call) error) endpoint { return s.forTenant(f, true) } // takes If-Match

	s.route("/api/v3/rbac/roles", methods{get: api(lists(listRoles)), post: api(takes(createRole))})
	s.route("/api/v3/rbac/roles/{id}", methods{get: api(getRole), put: versioned(takes(updateRole)), del: versioned(deleteRole)})
	s.route("/api/v3/rbac/permissions", methods{get: api(lists(listPermissions)), post: api(takes(createPermission))})
	s.route("/api/v3/rbac/permissions/{id}", methods{get: api(getPermission), put: versioned(takes(updatePermission)), del: versioned(deletePermission)})
	s.route("/api/v3/rbac-permissions/role/{role_id}", methods{get: api(lists(listRolePermissions)), post: api(takes(grantPermission))})
	s.route("/api/v3/rbac-permissions/role/{role_id}/permission/{permission_id}", methods{del: api(revokePermission)})
	s.route("/api/v3/rbac-permissions/user/{user_id}", methods{get: api(lists(listUserPermissions))})
	s.route("/api/v3/rbac/users/{user_id}/roles", methods{get: api(lists(listUserRoles)), post: api(takes(assignRole))})
	s.route("/api/v3/rbac/users/{user_id}/roles/{role_id}", methods{del: api(unassignRole)})
	s.route("/api/v3/rbac/user-roles", methods{get: api(lists(listAssignments))})
	s.route("/api/v3/profiles", methods{get: api(lists(listProfiles)), post: api(takes(s.createProfile))})
	s.route("/api/v3/profiles/{user_id}", methods{get: api(getProfile), put: versioned(takes(updateProfile)), del: versioned(deleteProfile)})
	s.route("/api/v3/rbac/features", methods{get: api(lists(listFeatures)), post: api(takes(createFeature))})
	s.route("/api/v3/rbac/features/{id}", methods{get: api(getFeature), put: versioned(takes(updateFeature)), del: versioned(deleteFeature)})
	s.route("/api/v3/rbac/features/{id}/status", methods{post: api(takes(setFeatureStatus))})
	s.route("/api/v3/rbac/sidebar-items", methods{get: api(lists(listSidebarItems)), post: api(takes(createSidebarItem))})
	s.route("/api/v3/rbac/sidebar-items/{id}", methods{put: versioned(takes(updateSidebarItem)), del: versioned(deleteSidebarItem)})
	s.route("/api/v3/rbac-admin/stats", methods{get: api(adminStats)})
	s.route("/api/v3/rbac-admin/profiles", methods{get: api(lists(adminProfiles))})
	s.route("/api/v3/rbac-admin/roles", methods{get: api(lists(adminRoles))})
	s.route("/api/v3/rbac-admin/tenants", methods{get: api(lists(listTenants)), post: api(takes(createTenant))})
	s.route("/api/v3/rbac-admin/tenants/{id}", methods{get: api(getTenant), put: versioned(takes(updateTenant)), del: versioned(deleteTenant)})
	s.route("/api/v3/rbac-admin/doctor", methods{get: api(s.doctorReport)})
	s.route("/api/v3/audit", methods{get: api(auditLog)})
	s.route("/api/v4/features/tenant", methods{get: api(tenantFeatures), post: api(takes(setFeature))})
	s.route("/api/v3/features/tenant", methods{
		get:  deprecated("/api/v4/features/tenant", api(tenantFeatures)),
		post: deprecated("/api/v4/features/tenant", api(takes(setFeature))),
	})
	s.route("/api/v4/sidebar", methods{get: api(sidebar)})
	s.route("/api/v4/me", methods{get: s.me})
	s.route("/api/", methods{}) // whatever else is under it does not exist

	s.route("/healthz", methods{get: s.healthz})
	s.route("/health", methods{get: s.healthz}) // the name that the original's lamp asks for; its answer was the same
	s.route("/readyz", methods{get: s.readyz})
	figures := promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{})
	s.route("/metrics", methods{get: func(x *exchange) error {
		figures.ServeHTTP(x, x.r)
		return nil
	}})
	s.route("/openapi.json", methods{get: document})

	s.mux.HandleFunc("/", func(_ http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r)
		x.route = routePages
		if s.cfg.Pages == nil {
			s.fail(x, &tenancy.Error{Code: tenancy.NotFound})
			return
		}
		s.cfg.Pages.ServeHTTP(x, r)
	})
}

// route registers a path with and without a trailing slash: the original's
// clients use both, and a redirect would lose the body of a POST.
func (s *Server) route(path string, m methods) {
	allowed := make([]string, 0, len(m)+1)
	for method := range m {
		allowed = append(allowed, method)
		if method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	handle := func(_ http.ResponseWriter, r *http.Request) {
		x := exchangeOf(r)
		s.secure(x)
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		f, ok := m[method]
		var err error
		switch {
		case ok:
			x.route = method + " " + path
			err = f(x)
		case len(m) == 0:
			err = &tenancy.Error{Code: tenancy.NotFound}
		default:
			x.route = "other " + path
			x.Header().Set("Allow", allow)
			err = tenancy.Refuse(methodNotAllowed, "This address accepts %s.", allow)
		}
		if err != nil {
			s.fail(x, err)
		}
	}
	s.table[path] = m
	s.mux.HandleFunc(path, handle)
	if !strings.HasSuffix(path, "/") {
		s.mux.HandleFunc(path+"/{$}", handle)
	}
}

// secure sets what every answer of the API carries: it is data, not a page,
// and depends on who asks.
func (s *Server) secure(x *exchange) {
	h := x.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Vary", s.vary)
}

// deprecatedSince is 2026-03-01, when v4 took over (RFC 9745 wants seconds).
const deprecatedSince = 1772323200

// deprecated marks the answers of an endpoint that has a successor.
func deprecated(successor string, f endpoint) endpoint {
	return func(x *exchange) error {
		h := x.Header()
		h.Set("Deprecation", fmt.Sprintf("@%d", deprecatedSince))
		h.Set("Link", "<"+successor+`>; rel="successor-version"`)
		return f(x)
	}
}

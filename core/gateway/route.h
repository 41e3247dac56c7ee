/* route.h: which organization a request is for, or which of the gateway's own answers it asks for. Pure. */
#pragma once
#include "gateway/http_parser.h"
#include "gateway/settings.h"

struct cl_organization;
struct cl_router;

/* `organizations[i]` stands for settings->organizations[i]; both must outlive the router. Never NULL. */
struct cl_router *cl_router_new(const struct cl_settings *settings, struct cl_organization *const *organizations);
void cl_router_free(struct cl_router *router);

enum cl_route_kind { CL_ROUTE_ORGANIZATION, CL_ROUTE_BOARD, CL_ROUTE_HEALTH, CL_ROUTE_READY, CL_ROUTE_REFUSED };

struct cl_route {
	enum cl_route_kind kind;
	struct cl_organization *organization;
	struct cl_str host; /* as the client named it, with its port */
	struct cl_str alias; /* the organization's id when the path named it, else empty */
	struct cl_str target; /* below the organization's root, or below /board; with the query */
	int status; /* of a refusal: 400, 404, 421 */
	const char *reason;
};

/* The organization is named by the host (<id>.<domain> or a configured one), or, for programs, by the first segment of the
 * path on a host that names none. Contradictions between server name, host and path are refused with 421, names that
 * are none of ours with 404 or 421. `server_name` is what TLS was asked for, or empty. Texts point into the arguments. */
void cl_route(const struct cl_router *router, const struct cl_http_request *request, struct cl_str server_name,
              struct cl_route *out);

/* interaction.h: the interactions of the FHIR R4 REST interface (http.html) and Careloop's few paths beside them. Each runs on
 * a store connection: reads on any, writes on the writer's inside a unit of work. */
#pragma once
#include "base/json.h"
#include "org/engine/organization.h"
#include "org/fhir/issue.h"

struct cl_exports; /* export.h */

enum cl_route_kind {
	CL_ROUTE_NONE = 0,
	CL_ROUTE_READ, /* GET  /fhir/Type/id */
	CL_ROUTE_VREAD, /* GET  /fhir/Type/id/_history/v */
	CL_ROUTE_HISTORY, /* GET  /fhir/Type/id/_history, /fhir/Type/_history, /fhir/_history */
	CL_ROUTE_SEARCH, /* GET  /fhir/Type?..., /fhir?_type=..., /fhir/Patient/id/Type?..., /fhir/Patient/id/ *; POST .../_search */
	CL_ROUTE_CREATE, /* POST /fhir/Type */
	CL_ROUTE_UPDATE, /* PUT  /fhir/Type/id, /fhir/Type?condition */
	CL_ROUTE_PATCH, /* PATCH /fhir/Type/id, /fhir/Type?condition */
	CL_ROUTE_DELETE, /* DELETE /fhir/Type/id, /fhir/Type?condition */
	CL_ROUTE_BUNDLE, /* POST /fhir */
	CL_ROUTE_CAPABILITY, /* GET  /fhir/metadata */
	CL_ROUTE_EVERYTHING, /* GET, POST /fhir/Patient/id/$everything */
	CL_ROUTE_EXPORT, /* GET, POST /fhir/$export, /fhir/Patient/$export, /fhir/Group/id/$export */
	CL_ROUTE_EXPORT_STATUS, /* GET /exports/id */
	CL_ROUTE_EXPORT_CANCEL, /* DELETE /exports/id */
	CL_ROUTE_EXPORT_FILE, /* GET /exports/id/Type.ndjson */
	CL_ROUTE_META, /* GET, POST /fhir/Type/id/$meta */
	CL_ROUTE_VALIDATE, /* POST /fhir/$validate, /fhir/Type/$validate, /fhir/Type/id/$validate */
	CL_ROUTE_OPERATION, /* POST /fhir/$name, /fhir/Type/$name, /fhir/Type/id/$name */
	CL_ROUTE_VIEWS, /* GET  /views, /views/name */
	CL_ROUTE_METRICS, /* GET  /metrics, /metrics/name?months=12 */
	CL_ROUTE_MEASURE, /* GET, POST /fhir/Measure/id/$evaluate-measure, /fhir/Measure/$evaluate-measure?measure=... */
	CL_ROUTE_EVENTS, /* GET  /events (text/event-stream) */
	CL_ROUTE_REPLY, /* GET, POST /reply/token: without a credential */
	CL_ROUTE_SMART, /* GET  /.well-known/smart-configuration, /fhir/.well-known/smart-configuration */
	CL_ROUTE_TOKEN, /* POST /oauth2/token; other methods are refused in OAuth's form */
	CL_ROUTE_REVOKE, /* POST /oauth2/revoke */
	CL_ROUTE_CONSOLE, /* method CONSOLE */
	CL_ROUTE_COURIER, /* method COURIER: the courier asks for and reports on deliveries */
};

struct cl_route {
	uint8_t kind;
	uint16_t type; /* resource type, or 0; searches: 0 = of several types */
	struct cl_str id;
	int64_t version;
	struct cl_str operation; /* "$transition" */
	struct cl_str name; /* view, metric or export */
	struct cl_str file; /* of an export */
	struct cl_str query; /* after '?', undecoded, without _format and _pretty; for POST _search the body, too */
	struct cl_str format; /* _format, decoded; empty when it was not said */
	struct cl_str compartment; /* compartment searches: id of the Patient, Practitioner ... */
	uint16_t compartment_type;
	bool head;
};

/* Finds what a request wants. CL_E_NOT_FOUND, CL_E_UNSUPPORTED (method not allowed; `e` names the allowed ones). */
int cl_route_find(struct cl_arena *arena, const struct cl_request *request, struct cl_route *out, struct cl_err *e);
/* What _format or Accept wants, as far as it can be said before the resource is known: CL_E_NOT_ACCEPTABLE. */
int cl_format_check(const struct cl_request *request, const struct cl_route *route, struct cl_err *e);
/* Moves _format out of the route's query, and _pretty away. */
void cl_format_cut(struct cl_arena *arena, struct cl_route *route);
/* A Content-Type that may hold a FHIR resource. */
bool cl_format_is_json(struct cl_str content_type);
/* Is the type, without its parameters, this one? */
bool cl_format_is(struct cl_str content_type, const char *name);
/* Binary (binary.html section 2.43.3): should its content go out, and not the resource around it? */
bool cl_format_wants_content(const struct cl_request *request, const struct cl_route *route,
                             struct cl_str content_type);
/* Which thread may run it. */
enum cl_lane { CL_LANE_LOOP, CL_LANE_SEARCH, CL_LANE_MEASURE, CL_LANE_WRITER, CL_LANE_PROVER };
enum cl_lane cl_route_lane(const struct cl_route *route, const struct cl_rules *rules);

struct cl_token_proof;
/* Everything one interaction sees. */
struct cl_interaction_context {
	struct cl_arena *arena;
	struct cl_store *store; /* reader's, or the writer's */
	const struct cl_rules *rules;
	const struct cl_request *request;
	const struct cl_route *route;
	const struct cl_principal *principal;
	cl_instant now;
	struct cl_response *response;
	struct cl_issues *issues;
	struct cl_str rule; /* access rule that decided */
	struct cl_str target; /* for the audit: "Patient/x", "Task?status" */
	/* The measurer's own Lua; NULL elsewhere (the writer's is rules->lua). */
	struct cl_lua *lua;
	/* Called between slices of long work, to let others at the file; NULL when nobody waits. */
	void (*pause)(void *pausing);
	void *pausing;
	/* Writers only: */
	struct cl_organization *organization;
	struct cl_unit *unit;
	struct cl_version *answer; /* version that is the answer's body, for kept answers; NULL otherwise */
	cl_instant modified; /* of the version that the answer is about; 0 when there is none */
	struct cl_exports *exports; /* export.h; NULL where none can be asked for: in batches */
	bool streams; /* the response opens an event stream */
	/* What of it: "Task?status=requested", or empty for everything; and the Subscription that says so, if it is one. */
	struct cl_str watched, subscription;
	const struct cl_token_proof *proof; /* what the prover found out, or NULL */
};

/* Reads: run on any connection. On success the response is filled. */
int cl_interaction_read(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_history(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_search(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_meta(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_validate(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_capability(struct cl_interaction_context *context, struct cl_err *e);
/* For a read of an OperationDefinition that nobody stored: answers with that of an operation of this house. False when there is
 * none. */
bool cl_interaction_definition(struct cl_interaction_context *context);
int cl_interaction_everything(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_smart(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_views(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_metrics(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_measure(struct cl_interaction_context *context, struct cl_err *e);
/* GET /fhir/Measure/id of one that a plugin declares. */
int cl_interaction_declared_measure(struct cl_interaction_context *context, struct cl_err *e);
/* Writes: on the writer's connection, inside a unit. */
int cl_interaction_create(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_update(struct cl_interaction_context *context, struct cl_err *e); /* and patch */
int cl_interaction_delete(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_import(struct cl_interaction_context *context, struct cl_err *e); /* Task/$import */
/* $meta-add and $meta-delete. */
int cl_interaction_meta_change(struct cl_interaction_context *context, bool add, struct cl_err *e);
int cl_interaction_reply(struct cl_interaction_context *context, struct cl_err *e);
/* What went wrong, as a page. */
void cl_reply_answer_error(struct cl_arena *arena, const struct cl_err *problem, struct cl_response *response);
int cl_interaction_operation(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_console(struct cl_interaction_context *context, struct cl_err *e);
int cl_interaction_courier(struct cl_interaction_context *context, struct cl_err *e);
/* Batches are run entry by entry: see bundle.c. */
int cl_interaction_transaction(struct cl_interaction_context *context, struct cl_json *bundle, struct cl_err *e);

/* One resource as a write wants it: decided, stored, reacted to. Shared by single requests and bundles. */
struct cl_write {
	uint8_t operation; /* enum cl_operation */
	uint16_t type;
	struct cl_str id; /* update, delete; create: empty, or the id chosen before (transactions) */
	struct cl_json *resource;
	struct cl_json *patch; /* updates: what makes the resource of the one that is there (JSON Patch); else NULL */
	struct cl_str condition; /* update, delete: the search that stands for the id; empty when there is an id */
	bool resolved; /* the condition was looked at before: `id` is what it found, or what is to be made */
	struct cl_str if_match; /* ETags or empty */
	struct cl_str if_none_exist; /* search or empty */
	struct cl_str if_none_match; /* "*": only what is not there yet may be written */
	struct cl_version version; /* out */
	bool existed; /* out: conditional create found it; update made no new version */
	bool created; /* out: update-as-create */
};
int cl_write_run(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e);
/* May the principal create or update with these values? */
int cl_write_decide(struct cl_interaction_context *context, enum cl_interaction interaction, uint16_t type,
                    struct cl_str id, const struct cl_json *resource, struct cl_err *e);

/* The resources that match a condition and may be seen: `count` is 0, 1 or 2 (for more), `found` the first with its body. */
int cl_condition_find(struct cl_interaction_context *context, uint16_t type, struct cl_str search,
                      struct cl_version *found, size_t *count, struct cl_err *e);
/* Turns write->condition into write->id, which stays empty for a deletion of nothing; the resource gets the id. */
int cl_condition_resolve(struct cl_interaction_context *context, struct cl_write *write, struct cl_err *e);

/* Binary: is the request's body the content, and no resource? */
bool cl_binary_is_raw(const struct cl_interaction_context *context);
/* The resource around the request's body. */
int cl_binary_wrap(struct cl_interaction_context *context, struct cl_json **out, struct cl_err *e);
/* Binary.data decoded. */
int cl_binary_content(struct cl_arena *arena, struct cl_str data, struct cl_str *out, struct cl_err *e);
/* Answers a read with the content or with the resource, as the client wants. */
int cl_binary_answer(struct cl_interaction_context *context, const struct cl_version *version, struct cl_err *e);

/* The criterion of a search text ("identifier=x&active=true"), for conditional interactions. */
int cl_interaction_condition(struct cl_interaction_context *context, uint16_t type, struct cl_str text,
                             struct cl_criterion **out, struct cl_err *e);
/* Parses the request's body as JSON, once; checks content-type. */
int cl_interaction_body(struct cl_interaction_context *context, struct cl_json **out, struct cl_err *e);
/* Status, ETag, Last-Modified, Location, body per Prefer. */
void cl_interaction_answer_version(struct cl_interaction_context *context, int status, const struct cl_version *version,
                                   bool location);
/* 204, with the ETag of the version that says it is gone; that of none when it was not there. */
void cl_interaction_answer_deletion(struct cl_interaction_context *context, const struct cl_version *version);
void cl_interaction_answer_json(struct cl_interaction_context *context, int status, const struct cl_json *body);
void cl_interaction_answer_bytes(struct cl_interaction_context *context, int status, const char *content_type,
                                 struct cl_str body);
/* The OperationOutcome for a failure: status, headers (WWW-Authenticate, Retry-After), body. */
void cl_interaction_answer_error(struct cl_arena *arena, const struct cl_issues *issues, const struct cl_err *e,
                                 struct cl_response *response);
/* The same to who could not be told from a stranger: with what RFC 6750 section 3 wants said about a token that was shown. */
void cl_interaction_answer_stranger(struct cl_arena *arena, const struct cl_request *request, const struct cl_err *e,
                                    struct cl_response *response);
/* "W/\"3\"" -> 3; 0 when it is none. */
int64_t cl_etag_version(struct cl_str etag);
/* Is the version one of a list of ETags, or the list "*"? */
bool cl_etag_matches(struct cl_str list, int64_t version);
/* RFC 9110 section 5.6.7: "Sun, 22 Nov 2026 05:16:07 GMT". */
struct cl_str cl_http_date(struct cl_arena *arena, cl_instant at);
/* Nothing newer than `since`, an HTTP date or a FHIR instant? What is neither is as if it were not said. */
bool cl_unmodified_since(struct cl_str since, cl_instant updated);
/* Runs a read-only route with access and audit; used by the loop and search threads and by the writer. */
void cl_interaction_run_read(struct cl_interaction_context *context, struct cl_audit_tail *tail);
/* The leaf of a read, or of an operation, that is part of a writer's unit, in its transaction: context->target and rule say of
 * what. */
int cl_interaction_audit_read(struct cl_interaction_context *context, struct cl_err *e);
/* May the principal see `version` of the resource that is now `current` (the same, when it is the newest)? What a resource says
 * now does not open what it said before, nor the other way round; what was deleted is decided by what it said last. */
int cl_interaction_may_see(const struct cl_rules *rules, struct cl_store *store, struct cl_arena *arena,
                           const struct cl_principal *principal, enum cl_interaction interaction,
                           const struct cl_version *current, const struct cl_version *version, struct cl_str *rule,
                           struct cl_err *e);
/* A leaf for somebody who was not let in: what was tried, with what, from where. At most CL_STRANGERS_LOGGED a minute, the rest
 * counted in the next: a stranger must not be able to fill the file. Any thread. */
#define CL_STRANGERS_LOGGED 60
void cl_interaction_audit_stranger(struct cl_audit_tail *tail, const struct cl_request *request,
                                   const struct cl_route *route, cl_instant now);
/* Who asks. The CapabilityStatement is no one's data: anybody may have it. */
int cl_interaction_principal(const struct cl_rules *rules, struct cl_store *store, struct cl_arena *arena,
                             const struct cl_request *request, const struct cl_route *route, cl_instant now,
                             const struct cl_principal **out, struct cl_err *e);
/* Hex of the request id, in the arena. */
struct cl_str cl_request_hex(struct cl_arena *arena, const struct cl_request *request);

/* unit.h: the unit of work: everything one request, timer or message does, inside one SAVEPOINT. All writing goes
 * through it, so that a version, its index, its event, its timers, its messages and its audit leaf are one change
 * (principle 2). */
#pragma once
#include "base/json.h"
#include "org/fhir/issue.h"
#include "org/flow/catalog.h"
#include "org/store/audit.h"
#include "org/store/store.h"

#define CL_SUBSCRIPTIONS_MOST 1000 /* unless the configuration says otherwise */

/* Where notifications may be sent. */
struct cl_subscription_facts {
	const struct cl_json *destinations; /* array of patterns (base/destination.h), or NULL: nowhere */
	bool http; /* addresses without TLS may be listed */
	bool private_addresses; /* addresses of this machine and its network may be called */
	int64_t most; /* that are active at a time */
};

/* Facts of the organization that rules need; lives as long as the catalog. */
struct cl_organization_facts {
	struct cl_str id, name;
	struct cl_str reference; /* "Organization/riverside": the resource that stands for itself */
	struct cl_str model;
	struct cl_calendar calendar;
	struct cl_str *partners; /* ids that messages may be sent to */
	size_t partner_count;
	struct cl_subscription_facts subscriptions;
	struct cl_json *config; /* the whole configuration file */
};

/* Who acts. */
struct cl_actor {
	struct cl_str name; /* principal's name: "ana"; "clock" for timers */
	struct cl_str kind; /* "person" "client" "partner" "plugin" "system" */
	struct cl_str reference; /* "Practitioner/ana", "Organization/lakeside" or empty */
	struct cl_str *roles;
	size_t role_count;
};

struct cl_unit;
struct cl_measure;
struct cl_measure_sink;
struct cl_measure_period;

/* The one permitted inversion: how a machine asks a guard and runs an effect without knowing Lua. `data` is the event's
 * data, `task` the Task as it is (guard) or as it became (effect). A guard's refusal is CL_E_RULE with the plugin's
 * words. */
struct cl_script {
	void *context;
	int (*guard)(void *context, struct cl_unit *unit, int function, struct cl_str task,
	             const struct cl_json *resource, const struct cl_json *data, struct cl_err *e);
	int (*effect)(void *context, struct cl_unit *unit, int function, struct cl_str task,
	              const struct cl_json *resource, const struct cl_json *data, struct cl_err *e);
	/* A clock's function: a duration, dateTime or date as text, into the unit's arena. `data` is the instance's. */
	int (*clock)(void *context, struct cl_unit *unit, int function, struct cl_str task,
	             const struct cl_json *resource, const struct cl_json *data, struct cl_str *out, struct cl_err *e);
	/* A data rule: words when the resource is wrong ("?": the rule's own), else nothing. `former` may be NULL. */
	int (*check)(void *context, struct cl_unit *unit, int function, uint16_t type, struct cl_str id,
	             const struct cl_json *resource, const struct cl_json *former, struct cl_str *words,
	             struct cl_err *e);
	/* A metric's function: fills numerator and denominator, or value (denominator = NAN) and the cases it rests on (-1 = unstated). */
	int (*metric)(void *context, struct cl_unit *unit, int function, cl_instant from, cl_instant to,
	              double *numerator, double *denominator, int64_t *cases, struct cl_err *e);
	/* A measure's function for one subject: each case goes to the sink (measure.h). */
	int (*measure)(void *context, struct cl_unit *unit, const struct cl_measure *measure,
	               const struct cl_json *subject, const struct cl_measure_period *period,
	               struct cl_measure_sink *sink, struct cl_err *e);
};

/* A change that was made in this unit: plugins' `on` handlers and event streams hear of it, in order. */
struct cl_change {
	struct cl_change *next;
	uint64_t sequence;
	uint8_t operation; /* enum cl_operation */
	uint16_t type;
	struct cl_str id;
	int64_t version, row;
	struct cl_json *resource; /* as it became; NULL for a deletion */
	struct cl_index *values; /* its index values; NULL for a deletion */
	struct cl_str status, former_status; /* the resource's `status` element now and before */
	struct cl_str workflow, event, from, to; /* for transitions; else empty */
	int depth; /* how many handlers deep: bounded by CL_UNIT_DEPTH */
	uint64_t origin; /* sequence of the transition that it is, or under which it was made; 0 = none */
	bool quiet; /* made by an undo: only `on "workflow.undo"` hears of it */
};

#define CL_UNIT_DEPTH 8
#define CL_UNIT_CHANGES 20000

struct cl_unit {
	struct cl_store *store; /* the writer */
	struct cl_arena *arena;
	const struct cl_catalog *catalog;
	const struct cl_organization_facts *organization;
	const struct cl_script *script;
	cl_instant now;
	struct cl_actor actor;
	struct cl_str plugin; /* set while a plugin's function runs: recorded as "plugin referral for ana" */
	struct cl_str request; /* hex request id for the audit, or empty */
	struct cl_str rule; /* access rule that allowed the request */
	uint64_t cause; /* sequence of the input event */
	struct cl_str key; /* what derived ids hang on: unique for each input */
	uint32_t ordinal; /* ids drawn so far under `key` */
	int depth; /* of the handler that runs now */
	uint64_t origin; /* sequence of the transition whose effects or handlers run now; 0 = none (undo.c) */
	bool undoing;
	const struct cl_json
	        *source_of; /* tree that was parsed from `source`: its issues get line and column. May be NULL */
	struct cl_str source;
	struct cl_change *changes, **changes_end; /* in order; consumed by the engine */
	size_t change_count;
	struct cl_codes_cache *codes; /* code lists found so far; NULL = none yet */
	bool remember_searches; /* nothing changes while measures look at one subject: each search is made once */
	struct cl_search_memo *searches; /* those made so far, in the arena */
	bool timers_changed; /* the engine looks at the next due instant again */
	bool outbox_changed;
};

void cl_unit_begin(struct cl_unit *unit, struct cl_store *store, struct cl_arena *arena,
                   const struct cl_catalog *catalog, const struct cl_organization_facts *organization,
                   const struct cl_script *script, cl_instant now);
/* A new id for a resource: derived from (file's secret, unit key, `hint`, ordinal). */
struct cl_str cl_unit_id(struct cl_unit *unit, struct cl_str hint);
/* The current version parsed, or CL_E_NOT_FOUND / CL_E_GONE. `version_out` may be NULL. */
int cl_unit_read(struct cl_unit *unit, uint16_t type, struct cl_str id, struct cl_json **out,
                 struct cl_version *version_out, struct cl_err *e);
/* Low level: validates nothing about workflows. Sets id, meta.versionId, meta.lastUpdated; validates against R4 unless
 * `trusted`; indexes, stores, appends event, audit leaf and change. An update that changes nothing but meta makes no
 * new version (out gives the present one). For deletions `resource` is NULL. */
int cl_unit_put(struct cl_unit *unit, enum cl_operation operation, uint16_t type, struct cl_str id,
                struct cl_json *resource, bool trusted, struct cl_version *out, struct cl_issues *issues,
                struct cl_err *e);

/* ---- what requests and plugins call: dispatches to workflows where they are concerned ---- */
/* Creates. A Task whose code names a workflow (system "urn:careloop:workflow") starts an instance. `id` empty =
 * made. */
int cl_change_create(struct cl_unit *unit, struct cl_json *resource, struct cl_str id, struct cl_version *out,
                     struct cl_issues *issues, struct cl_err *e);
/* Updates; expected_version 0 = any. A Task that is an instance advances by the change of status or businessStatus;
 * other parts of it that the machine owns (owner, restriction.period.end, code, focus, for) are refused with the legal
 * moves named. */
int cl_change_update(struct cl_unit *unit, struct cl_json *resource, int64_t expected_version, struct cl_version *out,
                     struct cl_issues *issues, struct cl_err *e);
/* Deletes. A live instance's Task cannot be deleted: the error says which events end it. */
int cl_change_delete(struct cl_unit *unit, uint16_t type, struct cl_str id, int64_t expected_version,
                     struct cl_version *out, struct cl_err *e);
/* A timer "digest:<role>": what was to be told to the role since the last one, in one Communication. */
int cl_digest_timer(struct cl_unit *unit, const struct cl_stored_timer *timer, struct cl_err *e);
/* Queues a message to a partner: CL_E_RULE for a partner the organization does not have. `key` empty = derived. What
 * goes out has the file's incarnation before its key: after a restore a message is another one (pitfalls 21). */
int cl_change_send(struct cl_unit *unit, struct cl_str partner, struct cl_str key, struct cl_json *bundle,
                   struct cl_err *e);
/* The same, held back so long (amount 0: not at all); cl_change_send holds as the organization's `hold_outgoing` says. Until it
 * goes out, an undo withdraws it. */
int cl_change_send_held(struct cl_unit *unit, struct cl_str partner, struct cl_str key, struct cl_json *bundle,
                        struct cl_duration hold, struct cl_err *e);
/* Creates a Communication (status completed, in-progress when it asks for an answer: its text ends in a question mark)
 * to a role or reference. A role stands in recipient.identifier and, to be searched by, in category (CL_ROLE_SYSTEM).
 * `about` is a reference or empty; the Communication's patient is taken from it. CL_E_RULE for a role that nobody
 * declares. Notices to a role of the organization's `digests` wait for the time of day that stands there, unless they are urgent:
 * then nothing is created yet. */
int cl_change_notify(struct cl_unit *unit, struct cl_str to, struct cl_str text, struct cl_str about,
                     struct cl_str priority, struct cl_err *e);

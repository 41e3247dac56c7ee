/* store.h: one organization's file. The only room that knows SQL. One connection writes and checkpoints, others read
 * (design §6, pitfalls 1, 3, 6; reliability.md §1.2). No function here knows what a resource means. */
#pragma once
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"
#include "org/store/index.h"
#include "org/store/query.h"

struct cl_store;

enum cl_store_mode {
	CL_STORE_WRITER, /* creates and migrates the file; takes the sidecar lock; the only one that writes and checkpoints */
	CL_STORE_READER, /* read-only connection; opens after the writer has created the file */
};

/* Opens <folder>/<name>.db. Temporary files stay in <folder>/tmp (pitfalls 8). A second writer is refused with CL_E_BUSY. */
int cl_store_open(const char *folder, const char *name, enum cl_store_mode mode, struct cl_store **out,
                  struct cl_err *e);
void cl_store_close(struct cl_store *store);
/* For a file that can be made again (tests, simulations): commits no longer wait for the disk, so a power cut may lose or break it.
 * Writer, outside a transaction. */
int cl_store_forgo_durability(struct cl_store *store, struct cl_err *e);
/* Random UUID of the organization's file, its incarnation (raised by restore), and the 32-byte secret ids derive from. */
struct cl_str cl_store_uuid(const struct cl_store *store);
uint64_t cl_store_incarnation(const struct cl_store *store);
const uint8_t *cl_store_secret(const struct cl_store *store);
/* Tells the store what the type numbers are called: names[number], empty = unused; number 0 is none. References hold names
 * and resources numbers, so CL_CHAIN, CL_REVERSE, CL_CARE_TEAM and cl_store_include need both. Writer, outside a transaction,
 * once after opening; kept in the file, so readers need no call. CL_E_CORRUPT when a number had another name before. */
int cl_store_name_types(struct cl_store *store, const struct cl_str *names, size_t count, struct cl_err *e);
/* After a restore from a backup: raises the incarnation. Writer, outside a transaction. */
int cl_store_raise_incarnation(struct cl_store *store, struct cl_err *e);
/* Small named values ("audit.tail"); writer inside a transaction. Empty when absent. */
int cl_store_meta_get(struct cl_store *store, struct cl_arena *arena, const char *name, struct cl_str *out,
                      struct cl_err *e);
int cl_store_meta_set(struct cl_store *store, const char *name, struct cl_str value, struct cl_err *e);

/* ---- transactions (writer) ---- */
int cl_store_begin(struct cl_store *store, struct cl_err *e);
/* CL_E_IO: the outcome is unknown, the process must exit (reliability.md decision 3). CL_E_FULL: rolled back for certain. */
int cl_store_commit(struct cl_store *store, struct cl_err *e);
void cl_store_rollback(struct cl_store *store);
/* One savepoint a request; they do not nest. */
int cl_store_savepoint(struct cl_store *store, struct cl_err *e);
int cl_store_release(struct cl_store *store, struct cl_err *e);
int cl_store_rollback_to(struct cl_store *store, struct cl_err *e);
/* False when SQLite rolled the whole transaction back by itself (FULL, NOMEM, IOERR): pitfall 3. */
bool cl_store_in_transaction(const struct cl_store *store);
/* Asserts that no statement is left busy (pitfall 6). Called at the end of each tick. */
void cl_store_assert_idle(const struct cl_store *store);
/* Bytes in the write-ahead log; checkpoint when past 16 MiB. `truncate` for the RESTART/TRUNCATE kind: the caller holds
 * readers off (gate). Returns CL_E_BUSY when readers prevented it. */
int64_t cl_store_wal_size(const struct cl_store *store);
int cl_store_checkpoint(struct cl_store *store, bool truncate, struct cl_err *e);
/* Readers: a snapshot for several reads. Without it each call sees the newest commit. */
int cl_store_snapshot_begin(struct cl_store *store, struct cl_err *e);
void cl_store_snapshot_end(struct cl_store *store);
/* Stops a long SELECT of this connection from another thread. Readers only (pitfall 3). */
void cl_store_interrupt(struct cl_store *store);
/* Called about every 10,000 virtual-machine steps of SELECTs; non-zero stops the statement with CL_E_LIMIT. */
void cl_store_set_progress(struct cl_store *store, int (*progress)(void *context), void *context);

/* ---- resources ---- */
enum cl_operation { CL_OP_CREATE = 1, CL_OP_UPDATE, CL_OP_DELETE };

struct cl_version {
	int64_t row; /* internal number of the resource, the same for all its versions */
	uint16_t type;
	struct cl_str id;
	int64_t version; /* 1, 2, ...; continues after a delete */
	uint8_t operation; /* enum cl_operation that made it */
	cl_instant updated;
	uint64_t sequence; /* of the event that made it: the organization's global commit order */
	struct cl_str body; /* JSON text with id and meta; empty for a deletion */
};

/* CL_E_NOT_FOUND when it never existed. A deleted one is returned with operation CL_OP_DELETE and no body. */
int cl_store_get(struct cl_store *store, struct cl_arena *arena, uint16_t type, struct cl_str id,
                 struct cl_version *out, struct cl_err *e);
int cl_store_get_version(struct cl_store *store, struct cl_arena *arena, uint16_t type, struct cl_str id,
                         int64_t version, struct cl_version *out, struct cl_err *e);
/* Writes a new current version and moves the former one to history. In: type, id, operation, updated, sequence, body. Out:
 * row, version. `after` are the index values (not looked at for a deletion); only their difference to the stored ones is
 * written. `before` may be NULL: the stored ones are the truth, whatever rules the caller has now. CREATE of a live id is
 * CL_E_CONFLICT, of a deleted one goes on with its versions; UPDATE creates when there is none; DELETE is CL_E_NOT_FOUND or
 * CL_E_GONE. An error may leave a part written: roll back to the savepoint. */
int cl_store_put(struct cl_store *store, struct cl_version *version, const struct cl_index *before,
                 const struct cl_index *after, struct cl_err *e);
/* The version of the extraction rules that made the index values, kept beside each row (pitfalls 15). 0 until set. */
void cl_store_set_index_version(struct cl_store *store, int version);
/* Replaces the index values of a live resource without making a version. CL_E_NOT_FOUND when it is not live. */
int cl_store_reindex(struct cl_store *store, int64_t row, const struct cl_index *after, struct cl_err *e);
struct cl_version_list {
	struct cl_version *items;
	size_t count;
	bool more;
};
struct cl_history_query {
	uint16_t type; /* 0 = all types */
	struct cl_str id; /* empty = all resources */
	cl_instant since; /* updated >= since; INT64_MIN = all */
	cl_instant at_lower,
	        at_upper; /* versions that were current at some time within; INT64_MIN and INT64_MAX = all */
	uint64_t before_sequence; /* 0 = from the newest: what is written meanwhile is no part of later pages */
	uint32_t limit;
};
/* Newest first. CL_E_NOT_FOUND for an id that never was. */
int cl_store_history_query(struct cl_store *store, struct cl_arena *arena, const struct cl_history_query *query,
                           struct cl_version_list *out, struct cl_err *e);
/* The same without a time within which versions were current. */
int cl_store_history(struct cl_store *store, struct cl_arena *arena, uint16_t type, struct cl_str id, cl_instant since,
                     uint64_t before_sequence, uint32_t limit, struct cl_version_list *out, struct cl_err *e);

/* Live resources whose index values another version of the rules made, by row, after `after` (0 = from the first): a pass
 * over the file in batches can stop and go on. */
int cl_store_stale(struct cl_store *store, struct cl_arena *arena, int64_t after, uint32_t limit,
                   struct cl_version_list *out, struct cl_err *e);

/* ---- search ---- */
struct cl_search_result {
	struct cl_version *items;
	size_t count;
	struct cl_str after; /* opaque place for the next page; empty on the last */
	struct cl_str *places; /* searches across types: the place after each item */
	int64_t total; /* -1 unless wanted */
};
/* Without sorts: by row, that is by age. Missing sort values come last; of several values the least counts for an ascending
 * sort, the greatest for a descending one; ties go by row, in the direction of the first sort. The same rows as
 * cl_criterion_decide would choose. */
int cl_store_search(struct cl_store *store, struct cl_arena *arena, const struct cl_query *query,
                    struct cl_search_result *out, struct cl_err *e);
/* Resources that `rows` refer to by `parameter` (0 = any reference parameter) / that refer to them. type 0 = any. Each comes
 * once; those among `rows` are left out. `access` is asked once for each type that occurs and returns the criterion that an
 * included resource must satisfy, or NULL when none of the type may be seen; without `access` all may. */
typedef const struct cl_criterion *(*cl_access_for_type)(uint16_t type, void *context);
int cl_store_include(struct cl_store *store, struct cl_arena *arena, const struct cl_version *rows, size_t row_count,
                     bool reverse, uint16_t parameter, uint16_t type, uint32_t limit, cl_access_for_type access,
                     void *context, struct cl_version_list *out, struct cl_err *e);
/* Encrypts and signs with the file's secret what a client is to bring back unchanged; URL-safe. */
struct cl_str cl_store_seal(struct cl_store *store, struct cl_arena *arena, struct cl_str plain);
/* False for what cl_store_seal of this file did not give. */
bool cl_store_unseal(struct cl_store *store, struct cl_arena *arena, struct cl_str text, struct cl_str *plain);
/* Does the stored resource `row` satisfy the criterion? By its stored index values; false when it is not live. */
int cl_store_matches(struct cl_store *store, int64_t row, const struct cl_criterion *criterion, bool *out,
                     struct cl_err *e);
/* Does a resource with these values? Memory face; `type` and `id` of the resource. CL_CHAIN, CL_REVERSE and CL_CARE_TEAM
 * look at the store for the other resources. */
int cl_criterion_decide(struct cl_store *store, const struct cl_criterion *criterion, uint16_t type, struct cl_str id,
                        const struct cl_index *values, bool *out, struct cl_err *e);

/* ---- events: the replayable log. One row per thing that came from outside, one per change it made ---- */
struct cl_stored_event {
	uint64_t sequence; /* out on append */
	uint64_t cause; /* sequence of the input event this one follows from; 0 for inputs themselves */
	cl_instant at; /* engine time */
	struct cl_str
	        kind; /* inputs: "request" "timer" "load" "message"; changes: "create" "update" "delete" "transition" */
	struct cl_str actor; /* principal */
	struct cl_str key; /* what derived ids hang on; for timers "<name>#<generation>" */
	uint16_t type; /* of the resource changed, or 0 */
	struct cl_str id;
	int64_t version;
	struct cl_str detail; /* JSON: method, target and headers of a request; from, to, event of a transition */
	struct cl_str input; /* body as it came; empty when the version it made is the same (input by reference) */
	struct cl_str outcome; /* "ok", an error code's name, or "budget:<plugin>:<file>:<line>" */
	struct cl_str plugins; /* hash of the plugin set in force */
	struct cl_str zone_data; /* tzdata version */
};
int cl_store_event_append(struct cl_store *store, struct cl_stored_event *event, struct cl_err *e);
/* Sets the outcome of an input event once it has run. */
int cl_store_event_outcome(struct cl_store *store, uint64_t sequence, struct cl_str outcome, struct cl_err *e);
/* Calls back in order for sequence > after; stops when the callback returns non-zero or `limit` rows came. */
typedef int (*cl_event_visitor)(const struct cl_stored_event *event, void *context);
int cl_store_events(struct cl_store *store, uint64_t after, uint32_t limit, cl_event_visitor visit, void *context,
                    struct cl_err *e);
uint64_t cl_store_last_sequence(struct cl_store *store);

/* ---- workflow instances, transitions ---- */
struct cl_stored_instance {
	int64_t row; /* of the Task */
	struct cl_str task; /* Task id */
	struct cl_str workflow;
	struct cl_str state;
	struct cl_str plugins; /* hash of the plugin set whose machine it follows */
	struct cl_str subject; /* "ServiceRequest/x" */
	struct cl_str patient; /* patient id or empty */
	struct cl_str owner; /* role or reference that owns the next action */
	cl_instant started, entered;
	cl_instant due; /* of the running clock; 0 = none (final) */
	bool final;
	struct cl_str data; /* JSON object: what transitions recorded */
};
int cl_store_instance_put(struct cl_store *store, const struct cl_stored_instance *instance, struct cl_err *e);
int cl_store_instance_get(struct cl_store *store, struct cl_arena *arena, struct cl_str task,
                          struct cl_stored_instance *out, struct cl_err *e);
struct cl_instance_list {
	struct cl_stored_instance *items;
	size_t count;
};
/* workflow/state/patient empty = any; live_only leaves final ones out; ordered by due, then task. */
int cl_store_instances(struct cl_store *store, struct cl_arena *arena, struct cl_str workflow, struct cl_str state,
                       struct cl_str patient, bool live_only, uint32_t limit, struct cl_instance_list *out,
                       struct cl_err *e);

/* The same by Task id, those after `after` (empty = from the first): for going through all of them in pages. */
int cl_store_instances_after(struct cl_store *store, struct cl_arena *arena, struct cl_str workflow,
                             struct cl_str state, struct cl_str patient, bool live_only, struct cl_str after,
                             uint32_t limit, struct cl_instance_list *out, struct cl_err *e);

struct cl_stored_transition {
	uint64_t sequence; /* of its event */
	struct cl_str task;
	struct cl_str workflow;
	struct cl_str event; /* "accept"; "overdue" for clocks; "start" for the first */
	struct cl_str from, to;
	cl_instant at;
	struct cl_str actor;
	struct cl_str on_behalf_of; /* partner for whom a coordinator recorded it; empty otherwise */
	struct cl_str source; /* phone, fax, letter, message ...; empty when the actor did it here */
	struct cl_str data; /* JSON object */
	struct cl_str plugins;
	struct cl_str former; /* JSON: what the instance was, for an undo; empty where there was nothing before */
	uint64_t
	        undone; /* sequence of the transition that was taken back: its own, or of the one that this undoes. 0 = it counts */
};
int cl_store_transition_append(struct cl_store *store, const struct cl_stored_transition *transition, struct cl_err *e);
typedef int (*cl_transition_visitor)(const struct cl_stored_transition *transition, void *context);
/* Those that count: what was undone is left out, and its undo. Ordered by sequence. Empty task = all of the workflow; empty
 * workflow = all; at in [from, to). */
int cl_store_transitions(struct cl_store *store, struct cl_str workflow, struct cl_str task, cl_instant from,
                         cl_instant to, cl_transition_visitor visit, void *context, struct cl_err *e);

/* All of them, for the history that people see. */
int cl_store_transitions_all(struct cl_store *store, struct cl_str task, cl_transition_visitor visit, void *context,
                             struct cl_err *e);
/* Marks one that was taken back; `undone` is the first of those taken back with it. */
int cl_store_transition_undone(struct cl_store *store, uint64_t sequence, struct cl_str task, uint64_t undone,
                               struct cl_err *e);
/* Was what happened there taken back? An undo itself was not. */
bool cl_store_transition_is_undone(struct cl_store *store, uint64_t sequence);
int cl_store_instance_delete(struct cl_store *store, struct cl_str task, struct cl_err *e);

/* ---- timers ---- */
struct cl_stored_timer {
	struct cl_str name; /* unique: "clock:<task>", "remind:<task>:1", "every:<plugin>:<n>", "set:<plugin>:<key>" */
	int64_t generation; /* raised on each set; a fired (name, generation) never fires again */
	cl_instant due;
	struct cl_str task; /* or empty */
	struct cl_str plugin; /* or empty */
	struct cl_str rule; /* JSON: anchor, amount, unit, calendar, zone: enough to compute `due` again */
	struct cl_str data; /* JSON for the handler */
};
int cl_store_timer_set(struct cl_store *store, struct cl_stored_timer *timer, struct cl_err *e); /* out: generation */
/* One that is set; CL_E_NOT_FOUND when it is not. */
int cl_store_timer_get(struct cl_store *store, struct cl_arena *arena, struct cl_str name, struct cl_stored_timer *out,
                       struct cl_err *e);
int cl_store_timer_clear(struct cl_store *store, struct cl_str name, struct cl_err *e);
int cl_store_timers_clear_task(struct cl_store *store, struct cl_str task, struct cl_err *e);
/* The earliest due timers, ordered by (due, name); quarantined ones left out. */
struct cl_timer_list {
	struct cl_stored_timer *items;
	size_t count;
};
int cl_store_timers_due(struct cl_store *store, struct cl_arena *arena, cl_instant until, uint32_t limit,
                        struct cl_timer_list *out, struct cl_err *e);
int cl_store_timers(struct cl_store *store, struct cl_arena *arena, struct cl_str task, uint32_t limit,
                    struct cl_timer_list *out, struct cl_err *e); /* for the console; empty task = all */
/* Earliest due instant, or INT64_MAX. */
cl_instant cl_store_timer_next(struct cl_store *store);
/* Removes the timer and records (name, generation) as fired; CL_E_CONFLICT when it fired already. */
int cl_store_timer_fired(struct cl_store *store, struct cl_str name, int64_t generation, struct cl_err *e);
int cl_store_timer_quarantine(struct cl_store *store, struct cl_str name, struct cl_str why, struct cl_err *e);
/* Those that were put aside, for the console; `rule` holds why. cl_store_timer_set lifts a quarantine. */
int cl_store_timers_quarantined(struct cl_store *store, struct cl_arena *arena, uint32_t limit,
                                struct cl_timer_list *out, struct cl_err *e);

/* ---- outbox and inbox ---- */
struct cl_outgoing {
	int64_t number; /* out on append; the order of sending to one destination */
	struct cl_str key; /* idempotency key: stable over retries and replays */
	struct cl_str destination; /* partner id */
	struct cl_str body; /* FHIR message Bundle */
	cl_instant created;
	cl_instant due; /* not before */
	int attempts;
	struct cl_str state; /* "waiting" "sent" "dead" "withdrawn" */
	struct cl_str problem; /* last error, no health information */
};
int cl_store_outbox_append(struct cl_store *store, struct cl_outgoing *message, struct cl_err *e);
struct cl_outgoing_list {
	struct cl_outgoing *items;
	size_t count;
};
/* Waiting messages due by `now`: only the oldest per destination, so that order is kept. */
int cl_store_outbox_due(struct cl_store *store, struct cl_arena *arena, cl_instant now, uint32_t limit,
                        struct cl_outgoing_list *out, struct cl_err *e);
int cl_store_outbox_list(struct cl_store *store, struct cl_arena *arena, struct cl_str state, uint32_t limit,
                         struct cl_outgoing_list *out, struct cl_err *e);
int cl_store_outbox_update(struct cl_store *store, int64_t number, struct cl_str state, int attempts, cl_instant due,
                           struct cl_str problem, struct cl_err *e);
/* A message that is held until after `now` is withdrawn (state "withdrawn"); one that has gone out or may be under way stays as it
 * is. */
int cl_store_outbox_withdraw(struct cl_store *store, struct cl_arena *arena, struct cl_str key, cl_instant now,
                             bool *withdrawn, struct cl_str *destination, struct cl_err *e);
/* One message. CL_E_NOT_FOUND. */
int cl_store_outbox_get(struct cl_store *store, struct cl_arena *arena, int64_t number, struct cl_outgoing *out,
                        struct cl_err *e);
int cl_store_outbox_remove(struct cl_store *store, int64_t number, struct cl_err *e);
/* Every message to `destination` in state `from` gets state `to`: at once due, without attempts when it waits again. Returns
 * how many in *count (may be NULL). */
int cl_store_outbox_move(struct cl_store *store, struct cl_str destination, struct cl_str from, struct cl_str to,
                         cl_instant due, struct cl_str problem, int64_t *count, struct cl_err *e);
int cl_store_outbox_count(struct cl_store *store, struct cl_str destination, struct cl_str state, int64_t *out,
                          struct cl_err *e);
/* Records that the message (sender, key) was taken in; CL_E_CONFLICT when it was before. */
int cl_store_inbox_add(struct cl_store *store, struct cl_str sender, struct cl_str key, cl_instant at,
                       struct cl_err *e);

/* ---- subscriptions: what their resources do not show, and what the match of changes needs ---- */
struct cl_stored_subscription {
	struct cl_str id; /* of the Subscription */
	int64_t version; /* of the Subscription that these values came from, or that the server made since */
	struct cl_str state; /* "requested" "active" "error" "off" */
	uint16_t type; /* of the resources that are watched; 0 when it never was active */
	struct cl_str criteria; /* after the question mark */
	struct cl_str principal; /* whose eyes it sees with */
	cl_instant made; /* when this version was written: what prefix ap compares with */
	cl_instant until; /* 0 = open */
	struct cl_str endpoint, payload; /* payload: "" "id-only" "full-resource" */
	struct cl_str headers; /* JSON array of "Name: value", as they are sent */
	int64_t failures; /* notifications given up in a row */
	int64_t delivered;
	cl_instant delivered_at;
	struct cl_str problem;
};
int cl_store_subscription_put(struct cl_store *store, const struct cl_stored_subscription *subscription,
                              struct cl_err *e);
int cl_store_subscription_get(struct cl_store *store, struct cl_arena *arena, struct cl_str id,
                              struct cl_stored_subscription *out, struct cl_err *e);
int cl_store_subscription_remove(struct cl_store *store, struct cl_str id, struct cl_err *e);
struct cl_subscription_list {
	struct cl_stored_subscription *items;
	size_t count;
};
/* By id; empty state = all. */
int cl_store_subscriptions(struct cl_store *store, struct cl_arena *arena, struct cl_str state,
                           struct cl_subscription_list *out, struct cl_err *e);
int cl_store_subscription_count(struct cl_store *store, int64_t *active, struct cl_err *e); /* or requested */
/* Counts what `delivered` and `failures` say without telling the caches that a subscription changed. */
int cl_store_subscription_note(struct cl_store *store, struct cl_str id, bool delivered, cl_instant at,
                               struct cl_str problem, struct cl_err *e);
/* Another number after every change of a subscription, and after each that was taken back. */
uint64_t cl_store_subscription_generation(const struct cl_store *store);

/* ---- requests: answers kept so that a resent or repeated request is answered once (pitfalls 4) ---- */
struct cl_stored_answer {
	struct cl_str principal; /* idempotency keys are scoped to it; empty for gateway request ids */
	struct cl_str key; /* 16-byte request id, or the client's Idempotency-Key */
	uint8_t body_hash[32]; /* SHA-256 over method, target and body: the same key with another request is refused */
	cl_instant at;
	int status;
	struct cl_str headers; /* "name: value\n" lines */
	struct cl_str body; /* empty when the answer is a version */
	uint16_t type; /* the version that is the answer's body, when type != 0 */
	struct cl_str id;
	int64_t version;
};
int cl_store_answer_put(struct cl_store *store, const struct cl_stored_answer *answer, struct cl_err *e);
int cl_store_answer_get(struct cl_store *store, struct cl_arena *arena, struct cl_str principal, struct cl_str key,
                        struct cl_stored_answer *out, struct cl_err *e);
/* Forgets request ids older than `requests` and idempotency keys older than `keys`; at most 1,000 rows a call. */
int cl_store_answers_purge(struct cl_store *store, cl_instant requests, cl_instant keys, struct cl_err *e);

/* ---- plugin texts by hash: for explain and replay ---- */
int cl_store_plugins_put(struct cl_store *store, struct cl_str hash, struct cl_str archive_json, cl_instant at,
                         struct cl_err *e);
int cl_store_plugins_get(struct cl_store *store, struct cl_arena *arena, struct cl_str hash,
                         struct cl_str *archive_json, struct cl_err *e);

/* ---- tokens: opaque bearer tokens stored hashed; revocation is instant ---- */
struct cl_stored_token {
	uint8_t hash[32]; /* SHA-256 of the token */
	struct cl_str principal;
	struct cl_str client; /* to whom it was issued; empty when an administrator made it */
	struct cl_str scope; /* what it is narrowed to; empty = nothing */
	struct cl_str bound; /* fingerprint of the certificate without which it is worthless (RFC 8705); may be empty */
	cl_instant expires;
};
int cl_store_token_put(struct cl_store *store, const struct cl_stored_token *token, struct cl_err *e);
int cl_store_token_get(struct cl_store *store, struct cl_arena *arena, const uint8_t hash[32],
                       struct cl_stored_token *out, struct cl_err *e);
int cl_store_token_delete(struct cl_store *store, const uint8_t hash[32], struct cl_err *e);
/* All of a principal's; none is no error. */
int cl_store_tokens_delete_of(struct cl_store *store, struct cl_str principal, struct cl_err *e);
/* Every token of a client. */
int cl_store_tokens_delete(struct cl_store *store, struct cl_str client, struct cl_err *e);
/* Forgets tokens and used assertions that have expired; at most 1,000 rows of each a call. */
int cl_store_tokens_purge(struct cl_store *store, cl_instant now, struct cl_err *e);

/* ---- clients that administrators registered ---- */
struct cl_stored_client {
	struct cl_str id;
	struct cl_str principal; /* whose roles it has */
	struct cl_str keys; /* JSON Web Key Set, or empty */
	struct cl_str secret; /* argon2id hash as libsodium writes it, or empty */
	struct cl_str scope; /* the most it may ask for; empty = what its roles allow */
	cl_instant created;
};
struct cl_client_list {
	struct cl_stored_client *items;
	size_t count;
};
/* Adds or replaces. */
int cl_store_client_put(struct cl_store *store, const struct cl_stored_client *client, struct cl_err *e);
int cl_store_client_get(struct cl_store *store, struct cl_arena *arena, struct cl_str id, struct cl_stored_client *out,
                        struct cl_err *e);
int cl_store_client_delete(struct cl_store *store, struct cl_str id, struct cl_err *e);
/* All, by id. */
int cl_store_clients(struct cl_store *store, struct cl_arena *arena, struct cl_client_list *out, struct cl_err *e);
/* Notes that the client has used the assertion whose id has this hash. CL_E_CONFLICT when it did before, unless in the same
 * request, which is being sent again. */
int cl_store_assertion_use(struct cl_store *store, struct cl_str client, const uint8_t hash[32], cl_instant expires,
                           const uint8_t request[16], struct cl_err *e);

/* ---- care of the file ---- */
/* Every row of every table in a defined order as JSON lines, for replay equality, export and tests. `skip` names tables to
 * leave out, comma separated ("audit,request"). */
int cl_store_dump(struct cl_store *store, const char *skip, int (*line)(struct cl_str json, void *context),
                  void *context, struct cl_err *e);
/* Online copy to `path` (SQLite backup API) from a reader or the writer. */
int cl_store_backup(struct cl_store *store, const char *path, struct cl_err *e);
int cl_store_check(struct cl_store *store, bool thorough, struct cl_err *e); /* quick_check or integrity_check */
/* Counts by table for the console. */
int cl_store_counts(struct cl_store *store, struct cl_buf *json, struct cl_err *e);

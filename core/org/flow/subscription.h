/* subscription.h: R4 Subscriptions (FHIR R4 section 2.46): what may be asked for, their life, and the letters they cause. Who
 * sees what is decided above, by the access room; what is sent stands in the outbox under "subscription:<id>". */
#pragma once
#include "org/flow/unit.h"

#define CL_SUBSCRIPTION_HIDDEN "[hidden]" /* stands in a resource for a channel header that is secret */
#define CL_SUBSCRIPTION_TIMER "subscription:" /* names of the timers that end one, and of destinations in the outbox */

/* "Task?status=requested": the type, and what a change must satisfy (NULL = any of the type). `query` is what follows the
 * question mark. CL_E_RULE names the parameter that is not known; its place is not filled. */
int cl_subscription_criteria(struct cl_arena *arena, struct cl_str text, cl_instant now, uint16_t *type,
                             struct cl_criterion **where, struct cl_str *query, struct cl_err *e);
/* Before a version of a Subscription that a client or a plugin wrote is stored: checks it, keeps its secrets apart, sets its
 * status and asks its endpoint. One that is off, in error or past its end is a record: kept as it is, doing nothing. */
int cl_subscription_take(struct cl_unit *unit, const struct cl_version *version, struct cl_json *resource,
                         struct cl_err *e);
/* Its resource is deleted: nothing more is sent. */
int cl_subscription_forget(struct cl_unit *unit, struct cl_str id, struct cl_err *e);
/* The server's own change of status; `problem` becomes Subscription.error. Going to error gives up what waits. */
int cl_subscription_set(struct cl_unit *unit, struct cl_stored_subscription *subscription, const char *state,
                        struct cl_str problem, struct cl_err *e);
/* Its end has come. */
int cl_subscription_timer(struct cl_unit *unit, const struct cl_stored_timer *timer, struct cl_err *e);
/* Queues the notification of a change. */
int cl_subscription_notify(struct cl_unit *unit, struct cl_str id, const struct cl_change *change, struct cl_err *e);
/* Asks again, and sends again what was given up: an administrator's decision. Returns how many in *letters. */
int cl_subscription_restart(struct cl_unit *unit, struct cl_str id, int64_t *letters, struct cl_err *e);
/* The key that notifications are signed with: derived from the file's secret, so it stands nowhere. */
void cl_subscription_key(const struct cl_store *store, struct cl_str id, uint8_t key[32]);
/* Where its notifications, and its handshakes, stand in the outbox. */
struct cl_str cl_subscription_destination(struct cl_arena *arena, struct cl_str id, bool handshake);
/* The id out of such a destination; empty when it is another's. */
struct cl_str cl_subscription_of(struct cl_str destination, bool *handshake);

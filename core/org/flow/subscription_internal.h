/* subscription_internal.h: what the two files about subscriptions share. Not for others. */
#pragma once
#include "org/flow/subscription.h"

/* Active, or about to be. */
bool cl_subscription_runs(const struct cl_stored_subscription *subscription);
/* Takes the channel's headers apart: as they are sent into `row`, without what is secret in them into the resource. With
 * `check`, what may not be sent is refused; without, it is only hidden. */
int cl_subscription_read_headers(struct cl_unit *unit, struct cl_json *resource,
                                 const struct cl_stored_subscription *former, bool check,
                                 struct cl_stored_subscription *row, struct cl_err *e);
/* Criteria, type, endpoint and payload into `row`, each checked. */
int cl_subscription_read_channel(struct cl_unit *unit, const struct cl_json *resource,
                                 struct cl_stored_subscription *row, struct cl_err *e);

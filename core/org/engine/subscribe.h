/* subscribe.h: which subscriptions a change concerns. */
#pragma once
#include "org/engine/organization.h"

struct cl_subscribers;

/* Queues a notification of every change of the unit for every active subscription whose criteria it satisfies and whose principal
 * may read it. Part of the unit: what is rolled back is not told. */
int cl_subscribers_tell(struct cl_organization *organization, struct cl_unit *unit, struct cl_err *e);
void cl_subscribers_free(struct cl_subscribers *subscribers);

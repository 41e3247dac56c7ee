/* mailbag.h: one organization's outgoing mail: asks its process what is due, hands it to the delivery, reports how it went. Holds
 * nothing that a crash could lose: what was not reported is delivered again, under the same key. */
#pragma once
#include "base/json.h"
#include "courier/delivery.h"

struct cl_mailbag;

/* What all mailbags of a courier share. */
struct cl_post {
	struct event_base *base;
	struct cl_delivery *delivery;
	struct cl_mailbag *mailbags;
	struct cl_flight *flights; /* on their way */
	/* Settings, replaced on reload. */
	struct cl_arena *arena;
	const char *data, *certificates;
	const char *authority; /* NULL: the system's */
	const struct cl_json
	        *destinations; /* array of patterns (base/destination.h): nothing else is called. NULL = anything */
};

/* Makes the mailbags those of `organizations` (count of them): new ones begin, missing ones end once nothing of theirs is on its
 * way, the others stay. */
void cl_mailbags_align(struct cl_post *post, const char *const *organizations, size_t count);

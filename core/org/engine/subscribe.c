/* subscribe.c: finds the subscriptions that a change concerns. The criteria of all active ones are kept compiled, and found by a
 * value that a resource must have (a reference or a token of theirs), so that a thousand subscriptions that a change does not
 * concern cost little more than none. The criterion itself is decided on the values that were just indexed. */
#include "org/engine/subscribe.h"
#include "org/fhir/types.h"
#include "org/flow/subscription.h"
#include <stdlib.h>

#define CL_KEYS_MOST 64 /* alternatives of one term that are listed by value */

struct cl_subscriber {
	struct cl_str id;
	int64_t version;
	uint16_t type;
	struct cl_criterion *where; /* NULL = any resource of the type */
	const struct cl_principal *principal; /* of the rules in force; NULL = nobody any more */
	cl_instant until;
	uint64_t looked; /* number of the change it was decided for last */
};

struct cl_subscriber_key {
	uint64_t hash;
	uint32_t subscriber; /* place in the list */
};

struct cl_subscribers {
	struct cl_arena *arena;
	uint64_t generation;
	const struct cl_rules *rules; /* kept */
	struct cl_subscriber *list; /* by id */
	size_t count;
	struct cl_subscriber_key *keys; /* by hash */
	size_t key_count, key_capacity;
	size_t compiled; /* into the arena since it was fresh */
	uint64_t changes;
	bool types[CL_TYPE_END]; /* is any of them watched? */
};

/* ---- values by which they are found ---- */

static uint64_t mix(uint64_t hash, const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ p[i]) * 1099511628211u;
	return hash;
}

static uint64_t hash_of(uint16_t type, uint8_t kind, uint16_t parameter, struct cl_str text)
{
	uint64_t hash = mix(14695981039346656037u, &type, sizeof type);
	hash = mix(hash, &kind, sizeof kind);
	hash = mix(hash, &parameter, sizeof parameter);
	return mix(hash, text.p, text.n);
}

/* Values one of which every resource has that satisfies the criterion. 0 when there is no such list. */
static size_t values_of(const struct cl_criterion *criterion, uint16_t type, uint64_t out[CL_KEYS_MOST])
{
	size_t count = 0;
	switch (criterion->kind) {
	case CL_REFERENCE:
		out[0] = hash_of(type, CL_INDEX_REFERENCE, criterion->parameter, criterion->b);
		return 1;
	case CL_TOKEN:
		if (criterion->match != CL_MATCH_CODE && criterion->match != CL_MATCH_SYSTEM_CODE &&
		    criterion->match != CL_MATCH_NO_SYSTEM_CODE)
			return 0;
		out[0] = hash_of(type, CL_INDEX_TOKEN, criterion->parameter, criterion->b);
		return 1;
	case CL_COMPARTMENT:
		out[0] = hash_of(type, CL_INDEX_COMPARTMENT, 0, criterion->b);
		return 1;
	case CL_OR:
		for (size_t i = 0; i < criterion->child_count; i++) {
			uint64_t some[CL_KEYS_MOST];
			size_t n = values_of(&criterion->children[i], type, some);
			if (!n || count + n > CL_KEYS_MOST)
				return 0;
			memcpy(out + count, some, n * sizeof *some);
			count += n;
		}
		return count;
	default:
		return 0;
	}
}

/* References tell resources apart better than codes do. */
static size_t best_values(const struct cl_criterion *criterion, uint16_t type, uint64_t out[CL_KEYS_MOST])
{
	size_t best = 0;
	bool reference = false;
	if (criterion->kind != CL_AND)
		return values_of(criterion, type, out);
	for (size_t i = 0; i < criterion->child_count && !reference; i++) {
		uint64_t some[CL_KEYS_MOST];
		const struct cl_criterion *child = &criterion->children[i];
		size_t n = child->kind == CL_AND ? best_values(child, type, some) : values_of(child, type, some);
		uint8_t kind = child->kind == CL_OR && child->child_count ? child->children[0].kind : child->kind;
		reference = n && (kind == CL_REFERENCE || kind == CL_COMPARTMENT);
		if (n && (!best || reference)) {
			memcpy(out, some, n * sizeof *some);
			best = n;
		}
	}
	return best;
}

static int compare_keys(const void *a, const void *b)
{
	const struct cl_subscriber_key *x = a, *y = b;
	return x->hash != y->hash ? (x->hash > y->hash) - (x->hash < y->hash)
	                          : (x->subscriber > y->subscriber) - (x->subscriber < y->subscriber);
}

static void add_key(struct cl_subscribers *subscribers, uint64_t hash, size_t subscriber)
{
	if (subscribers->key_count == subscribers->key_capacity) {
		subscribers->key_capacity = subscribers->key_capacity ? subscribers->key_capacity * 2 : 64;
		subscribers->keys = realloc(subscribers->keys, subscribers->key_capacity * sizeof *subscribers->keys);
		if (!subscribers->keys)
			cl_die("no memory for subscriptions");
	}
	subscribers->keys[subscribers->key_count++] = (struct cl_subscriber_key){hash, (uint32_t)subscriber};
}

static void list_keys(struct cl_subscribers *subscribers)
{
	subscribers->key_count = 0;
	memset(subscribers->types, 0, sizeof subscribers->types);
	for (size_t i = 0; i < subscribers->count; i++) {
		const struct cl_subscriber *subscriber = &subscribers->list[i];
		uint64_t hashes[CL_KEYS_MOST];
		size_t n = subscriber->where ? best_values(subscriber->where, subscriber->type, hashes) : 0;
		/* Those without such a value are decided for every resource of the type. */
		if (!n)
			hashes[n++] = hash_of(subscriber->type, 0, 0, CL_STR_NONE);
		for (size_t k = 0; k < n; k++)
			add_key(subscribers, hashes[k], i);
		subscribers->types[subscriber->type] = true;
	}
	if (subscribers->key_count)
		qsort(subscribers->keys, subscribers->key_count, sizeof *subscribers->keys, compare_keys);
}

/* ---- keeping them compiled ---- */

void cl_subscribers_free(struct cl_subscribers *subscribers)
{
	if (!subscribers)
		return;
	cl_rules_release((struct cl_rules *)subscribers->rules);
	cl_arena_free(subscribers->arena);
	free(subscribers->list);
	free(subscribers->keys);
	free(subscribers);
}

static void compile(struct cl_subscribers *subscribers, const struct cl_stored_subscription *row,
                    struct cl_subscriber *out)
{
	struct cl_str query;
	struct cl_err problem = {0};
	struct cl_arena *arena = subscribers->arena;
	struct cl_str text = cl_arena_printf(arena, "%.*s?%.*s", CL_STR_ARGS(cl_fhir_type_name(row->type)),
	                                     CL_STR_ARGS(row->criteria));
	*out = (struct cl_subscriber){
	        .id = cl_arena_copy(arena, row->id),
	        .version = row->version,
	        .until = row->until,
	        .principal = cl_access_principal(subscribers->rules->access, row->principal),
	};
	subscribers->compiled++;
	/* What was accepted and is no longer understood concerns nothing: an empty criterion would be everything. */
	if (cl_subscription_criteria(arena, text, row->made, &out->type, &out->where, &query, &problem)) {
		out->type = row->type;
		out->where = CL_NEW(arena, struct cl_criterion);
		out->where->kind = CL_FALSE;
	}
	if (out->principal)
		cl_access_guard(subscribers->rules->access, arena, out->principal, out->where);
}

static int load(struct cl_organization *organization, struct cl_arena *scratch, struct cl_err *e)
{
	struct cl_subscribers *subscribers = organization->subscribers;
	struct cl_subscription_list rows;
	uint64_t generation = cl_store_subscription_generation(organization->store);
	if (subscribers && subscribers->generation == generation && subscribers->rules == organization->rules)
		return 0;
	int code = cl_store_subscriptions(organization->store, scratch, CL_STR("active"), &rows, e);
	if (code)
		return code;
	if (!subscribers || subscribers->rules != organization->rules || subscribers->compiled > 2 * rows.count + 64) {
		cl_subscribers_free(subscribers);
		organization->subscribers = subscribers = calloc(1, sizeof *subscribers);
		if (!subscribers)
			cl_die("no memory for subscriptions");
		subscribers->arena = cl_arena_new(0);
		subscribers->rules = cl_rules_keep(organization->rules);
	}
	struct cl_subscriber *list = calloc(rows.count + 1, sizeof *list);
	if (!list)
		cl_die("no memory for subscriptions");
	size_t known = 0;
	for (size_t i = 0; i < rows.count; i++) {
		const struct cl_stored_subscription *row = &rows.items[i];
		while (known < subscribers->count && cl_str_compare(subscribers->list[known].id, row->id) < 0)
			known++;
		if (known < subscribers->count && cl_str_equal(subscribers->list[known].id, row->id) &&
		    subscribers->list[known].version == row->version)
			list[i] = subscribers->list[known];
		else
			compile(subscribers, row, &list[i]);
	}
	free(subscribers->list);
	subscribers->list = list;
	subscribers->count = rows.count;
	subscribers->generation = generation;
	list_keys(subscribers);
	return 0;
}

/* ---- one change ---- */

static int decide(struct cl_organization *organization, struct cl_unit *unit, struct cl_subscriber *subscriber,
                  const struct cl_change *change, struct cl_err *e)
{
	bool matches = true;
	struct cl_str rule;
	struct cl_err refused = {0};
	bool own = change->type == CL_TYPE_SUBSCRIPTION && cl_str_equal(change->id, subscriber->id);
	if (own || !subscriber->principal || (subscriber->until && subscriber->until <= unit->now))
		return 0;
	int code = subscriber->where ? cl_criterion_decide(unit->store, subscriber->where, change->type, change->id,
	                                                   change->values, &matches, e)
	                             : 0;
	if (code || !matches)
		return code;
	code = cl_access_decide(organization->rules->access, unit->store, unit->arena, subscriber->principal,
	                        CL_ACCESS_READ, change->type, change->id, change->values, &rule, &refused);
	if (code == CL_E_FORBIDDEN)
		return 0;
	if (code) {
		*e = refused;
		return code;
	}
	return cl_subscription_notify(unit, subscriber->id, change, e);
}

static int decide_all(struct cl_organization *organization, struct cl_unit *unit, const struct cl_change *change,
                      uint64_t hash, struct cl_err *e)
{
	struct cl_subscribers *subscribers = organization->subscribers;
	size_t low = 0, high = subscribers->key_count;
	int code = 0;
	while (low < high) {
		size_t middle = (low + high) / 2;
		if (subscribers->keys[middle].hash < hash)
			low = middle + 1;
		else
			high = middle;
	}
	for (; !code && low < subscribers->key_count && subscribers->keys[low].hash == hash; low++) {
		struct cl_subscriber *subscriber = &subscribers->list[subscribers->keys[low].subscriber];
		if (subscriber->looked == subscribers->changes || subscriber->type != change->type)
			continue;
		subscriber->looked = subscribers->changes;
		code = decide(organization, unit, subscriber, change, e);
	}
	return code;
}

int cl_subscribers_tell(struct cl_organization *organization, struct cl_unit *unit, struct cl_err *e)
{
	int code = unit->changes ? load(organization, unit->arena, e) : 0;
	struct cl_subscribers *subscribers = organization->subscribers;
	/* The criteria apply to the new value of the resource: deletions are not told (R4 section 2.46). */
	for (const struct cl_change *change = unit->changes; !code && change; change = change->next) {
		if (!change->values || !subscribers->types[change->type])
			continue;
		subscribers->changes++;
		code = decide_all(organization, unit, change, hash_of(change->type, 0, 0, CL_STR_NONE), e);
		for (size_t i = 0; !code && i < change->values->count; i++) {
			const struct cl_index_value *value = &change->values->values[i];
			if (value->kind == CL_INDEX_TOKEN || value->kind == CL_INDEX_REFERENCE ||
			    value->kind == CL_INDEX_COMPARTMENT)
				code = decide_all(organization, unit, change,
				                  hash_of(change->type, value->kind, value->parameter, value->b), e);
		}
	}
	return code;
}

/* search_internal.h: what search.c and walk.c share. */
#pragma once
#include "org/store/internal.h"

/* Rows changed since the first page, sorted: they are found as they were then (moved.c). */
struct cl_moved {
	int64_t *rows;
	size_t count, capacity;
};

struct cl_search {
	struct cl_store *store;
	struct cl_arena *arena;
	const struct cl_query *query;
	struct cl_decider decider;
	const struct cl_criterion **terms; /* all must hold */
	size_t term_count;
	size_t driver; /* the term whose index gives the rows: it need not be decided again; term_count = none */
	struct cl_page page;
	struct cl_moved moved;
	/* How often a term's index was asked about a row, and how often it said yes: asking is worth it where it often says no. */
	struct {
		uint32_t asked, held;
	} asked[32];
	bool counting; /* every match is looked at */
	int64_t total;
};

/* Decides on a row and offers it to the page. `known`: its first sort key, when that can be no other (may be NULL). `at`: only
 * when this is its first sort key (may be NULL). `missing_only`: only when it has no first sort key. */
int cl_search_accept(struct cl_search *search, int64_t row, const struct cl_key *known, const struct cl_key *at,
                     bool missing_only, struct cl_err *e);
/* The same with what the row's `live` says at hand. */
int cl_search_accept_values(struct cl_search *search, int64_t row, cl_instant updated, struct cl_str content,
                            bool missing_only, struct cl_err *e);

/* ---- moved.c ---- */
/* On a later page: which rows of the type were changed since the first. */
int cl_moved_load(struct cl_search *search, struct cl_err *e);
bool cl_moved_has(const struct cl_moved *moved, int64_t row);
/* Offers the versions that were current then. */
int cl_moved_offer(struct cl_search *search, struct cl_err *e);
void cl_moved_free(struct cl_moved *moved);

/* ---- walk.c. Both look at no more than `most` index rows; then `complete` is false and the page worth nothing. ----
 * */
/* The rows that have a first sort key, in its order, until the page is full. */
int cl_walk_keys(struct cl_search *search, size_t most, bool *complete, struct cl_err *e);
/* The rows of the type by number, until the page is full where this is the search's order (or its order among rows
 * without first sort key); all of them otherwise. */
int cl_walk_type(struct cl_search *search, size_t most, bool missing_only, bool *complete, struct cl_err *e);

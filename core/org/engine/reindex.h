/* reindex.h: brings the index values of a file to the extraction rules of this program. */
#pragma once
#include "org/store/store.h"

/* Names the version of the rules to the store, and indexes again what another version has indexed: in batches of their own
 * transactions, so that a pass that was stopped goes on where it was. At once when there is nothing to do. Before anything
 * is searched: answers from half of an index would be wrong without saying so. */
int cl_reindex(struct cl_store *store, struct cl_err *e);

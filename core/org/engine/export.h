/* export.h: Bulk Data exports (FHIR Bulk Data Access 2.0, STU 2): asked for once, made in slices in the background, fetched as
 * files. What stands here needs no threads: tests and the export thread (exporter.c) run the same slices.
 *
 * An export is a folder <organization>/exports/<id>: request.json says what was asked, progress.json how far it has come, and
 * there is one NDJSON file a type. It shows every resource as it stood at one place in the commit order, however long it takes
 * (store/scan.h), and goes on where it was after a restart. */
#pragma once
#include "org/engine/interaction.h"
#include <pthread.h>

#define CL_EXPORT_KEPT 64 /* exports in the folder, finished ones too */
#define CL_EXPORT_SLICE_ROWS 500
#define CL_EXPORT_SLICE_BYTES ((size_t)1024 * 1024)
#define CL_EXPORT_SLICE_TIME (10 * 1000) /* microseconds that a slice holds checkpoints off */

struct cl_export_settings {
	cl_instant keep; /* how long the files stay once they are whole */
	unsigned running; /* exports under way at once; more are refused */
	int64_t reserve; /* bytes of the disk that an export leaves free */
};
#define CL_EXPORT_SETTINGS                                                                                             \
	(struct cl_export_settings)                                                                                    \
	{                                                                                                              \
		.keep = CL_DAY, .running = 4, .reserve = (int64_t)256 << 20                                            \
	}

enum cl_export_level { CL_EXPORT_SYSTEM = 1, CL_EXPORT_PATIENT, CL_EXPORT_GROUP };
enum cl_export_state { CL_EXPORT_RUNNING = 1, CL_EXPORT_DONE, CL_EXPORT_FAILED, CL_EXPORT_CANCELLED };

struct cl_export_filter {
	uint16_t type;
	struct cl_str query; /* of _typeFilter, decoded */
};

struct cl_export_file {
	uint64_t count, bytes;
};

struct cl_export {
	struct cl_export *next;
	struct cl_arena *arena; /* what was asked lives in it */
	char id[27];
	/* What was asked. */
	struct cl_str principal, request, base;
	struct cl_str scope; /* what the token was narrowed to that asked for it; empty = nothing */
	enum cl_export_level level;
	struct cl_str *patients; /* sorted; group level, or chosen by `patient` */
	size_t patient_count;
	bool chosen; /* only `patients`, even when there are none */
	uint16_t *types; /* in the order of the files */
	size_t type_count;
	cl_instant since; /* INT64_MIN = from the beginning */
	struct cl_str *elements;
	size_t element_count;
	struct cl_export_filter *filters;
	size_t filter_count;
	struct cl_str *notes; /* what was asked and is left out, for the manifest's errors */
	size_t note_count;
	bool bearer; /* asked for with a token: the files want one, too */
	uint64_t incarnation; /* of the file: after a restore the order of commits is another */
	uint64_t sequence; /* the place in the commit order that is shown */
	cl_instant shown; /* of the last event that is: transactionTime */
	cl_instant begun;
	/* Changed by who runs slices, under the lock. */
	enum cl_export_state state;
	size_t at; /* place in `types` of the one under way */
	int64_t after; /* row */
	uint64_t resources;
	struct cl_export_file *files, deleted, errors; /* one file for each type */
	struct cl_err problem; /* of a failed one */
	cl_instant ended;
	int64_t saved; /* monotonic: when progress.json was last written */
};

/* All exports of one organization. */
struct cl_exports {
	pthread_mutex_t lock;
	pthread_cond_t wake; /* there is something to do */
	char *folder;
	struct cl_export_settings settings;
	unsigned beginning; /* places taken by those that are being written down */
	struct cl_export *first, *turn; /* `turn`: the last one that had a slice */
	struct cl_rules *rules; /* in force; for the thread */
	bool stop;
};

/* Finds what is in the folder; what cannot be read is removed. `rules` is kept. */
int cl_exports_open(const char *folder, const struct cl_export_settings *settings, struct cl_rules *rules,
                    struct cl_exports **out, struct cl_err *e);
void cl_exports_close(struct cl_exports *exports);
/* Any thread: the thread that works on them is to end. */
void cl_exports_stop(struct cl_exports *exports);
/* Any thread. */
void cl_exports_set_rules(struct cl_exports *exports, struct cl_rules *rules);

/* One slice of the export whose turn it is, or the removal of one. Only one thread may call it. `gate` (may be NULL) is held
 * while the store is read. Returns how long there is nothing to do, in microseconds; 0 = call again. */
int64_t cl_exports_work(struct cl_exports *exports, struct cl_store *store, pthread_rwlock_t *gate,
                        struct cl_audit_tail *tail, cl_instant now);

/* Interactions. context->exports must not be NULL. */
int cl_export_ask(struct cl_interaction_context *context, struct cl_err *e); /* $export */
int cl_export_status(struct cl_interaction_context *context, struct cl_err *e); /* GET /exports/id */
int cl_export_fetch(struct cl_interaction_context *context, struct cl_err *e); /* GET /exports/id/Type.ndjson */
int cl_export_cancel(struct cl_interaction_context *context, struct cl_err *e); /* DELETE /exports/id */

/* ---- export_job.c: the folder of one export ---- */
/* From request.json. */
int cl_export_read(const struct cl_json *request, struct cl_export **out, struct cl_err *e);
void cl_export_free(struct cl_export *job);
int cl_export_load(const char *folder, const char *id, struct cl_export **out, struct cl_err *e);
/* Makes the folder and request.json, so that they survive a power cut. */
int cl_export_store(const char *folder, const char *id, const struct cl_json *request, struct cl_err *e);
int cl_export_save(const char *folder, struct cl_export *job, bool durable, struct cl_err *e);
void cl_export_remove(const char *folder, const char *id);
/* Appends to the named file at its known size; CL_E_FULL leaves the known size as it was. */
int cl_export_append(const char *folder, const struct cl_export *job, struct cl_str name, uint64_t at,
                     struct cl_str bytes, struct cl_err *e);
/* Brings all files to the disk at their known sizes. */
int cl_export_settle(const char *folder, const struct cl_export *job, struct cl_err *e);
/* Removes the data files of one that failed. */
void cl_export_discard(const char *folder, const struct cl_export *job);
/* "Patient.ndjson"; index type_count is deleted.ndjson, type_count + 1 is errors.ndjson. */
struct cl_str cl_export_file_name(const struct cl_export *job, size_t index, char out[80]);
const struct cl_export_file *cl_export_file_of(const struct cl_export *job, size_t index);

/* ---- export_slice.c ---- */
/* Reads on for at most CL_EXPORT_SLICE_*; what it found is in `out`, `deleted` and `found`, and `after` is where it ended.
 * 1 = the type is through. */
struct cl_export_slice {
	struct cl_buf out, deleted; /* initialized by the caller; emptied here */
	uint64_t found, found_deleted;
	int64_t after;
};
int cl_export_slice(const struct cl_export *job, struct cl_store *store, const struct cl_rules *rules, cl_instant now,
                    struct cl_export_slice *slice, struct cl_err *e);
/* Is every type of the compartment one of a Patient's? */
bool cl_export_in_compartment(uint16_t type);

/* store_fixture.h: a store in a folder of its own, and short ways to put resources into it. */
#pragma once
#include "org/store/audit.h"
#include "org/store/store.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Types and parameters of the tests' own little model. */
enum { T_PATIENT = 1, T_OBSERVATION, T_CARE_TEAM, T_TASK, T_PRACTITIONER, T_END };
enum {
	P_NAME = 1,
	P_BIRTH,
	P_IDENTIFIER,
	P_HOME,
	P_WEIGHT,
	P_HEIGHT,
	P_LINK,
	P_TAG, /* of Patient */
	P_SUBJECT = 20,
	P_CODE,
	P_DATE,
	P_VALUE,
	P_STATUS,
	P_DERIVED, /* of Observation */
	P_PARTICIPANT = 40,
	P_TEAM_PATIENT,
	P_TEAM_STATUS, /* of CareTeam */
	P_OWNER = 60,
	P_TASK_STATUS,
	P_FOR,
	P_FOCUS, /* of Task */
};

struct fixture {
	char folder[64];
	struct cl_store *store;
	struct cl_arena *arena;
	struct cl_err e;
};

#define assert_ok(fixture, call)                                                                                       \
	do {                                                                                                           \
		(fixture)->e = (struct cl_err){0};                                                                     \
		int assert_ok_code = (call);                                                                           \
		if (assert_ok_code != 0)                                                                               \
			fail_msg("%s: %d %s", #call, assert_ok_code, (fixture)->e.message);                            \
	} while (0)
#define assert_code(expected, call) assert_int_equal(expected, call)
#define assert_str(text, expected)                                                                                     \
	do {                                                                                                           \
		struct cl_str assert_str_text = (text);                                                                \
		if (!cl_str_is(assert_str_text, expected))                                                             \
			fail_msg("'%.*s' is not '%s'", CL_STR_ARGS(assert_str_text), expected);                        \
	} while (0)

/* cmocka setup and teardown: a folder under $TMPDIR or /tmp, a writer, named types. */
int fixture_setup(void **state);
int fixture_teardown(void **state);
void fixture_open(struct fixture *fixture, const char *folder_name);
void fixture_close(struct fixture *fixture);
/* Closes and opens the writer. */
void fixture_reopen(struct fixture *fixture);
struct cl_store *fixture_reader(struct fixture *fixture);
void fixture_remove_folder(const char *folder);
char *fixture_path(struct fixture *fixture, const char *suffix); /* <folder>/org<suffix>, in the arena */
void fixture_name_types(struct cl_store *store);
const struct cl_str *fixture_type_names(void);

/* Deterministic random numbers. */
struct dice {
	uint64_t state;
};
uint64_t dice_next(struct dice *dice);
uint32_t dice_below(struct dice *dice, uint32_t n);

/* A list of index values being built; texts are borrowed. */
struct values {
	struct cl_index_value items[64];
	struct cl_index index;
};
void add_token(struct values *values, uint16_t parameter, const char *system, const char *code);
void add_string(struct values *values, uint16_t parameter, const char *folded);
/* As written, beside the folded form, which is added too. */
void add_written(struct values *values, uint16_t parameter, const char *written, const char *folded);
/* A token or quantity as a part of a group, without the rows of its own parameter. */
void add_member(struct values *values, uint16_t parameter, int64_t group, unsigned part,
                const struct cl_index_value *value);
void add_date(struct values *values, uint16_t parameter, int64_t lower, int64_t upper);
void add_reference(struct values *values, uint16_t parameter, const char *type, const char *id);
void add_number(struct values *values, uint16_t parameter, double low, double high);
void add_quantity(struct values *values, uint16_t parameter, double low, double high, const char *system,
                  const char *code);
void add_uri(struct values *values, uint16_t parameter, const char *uri);
void add_compartment(struct values *values, const char *patient);
const struct cl_index *values_done(struct values *values); /* normalized */

/* Puts one version; operation as given. Returns the row. Inside a transaction of the caller. */
int64_t put(struct fixture *fixture, uint16_t type, const char *id, enum cl_operation operation, cl_instant updated,
            uint64_t sequence, const char *body, const struct cl_index *after);
/* A transaction around one put. */
int64_t put_one(struct fixture *fixture, uint16_t type, const char *id, enum cl_operation operation, cl_instant updated,
                uint64_t sequence, const char *body, const struct cl_index *after);

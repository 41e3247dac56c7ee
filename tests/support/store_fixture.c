/* store_fixture.c: see store_fixture.h. */
#include "support/store_fixture.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

const struct cl_str *fixture_type_names(void)
{
	static const struct cl_str names[T_END] = {
	        [T_PATIENT] = {"Patient", 7}, [T_OBSERVATION] = {"Observation", 11},   [T_CARE_TEAM] = {"CareTeam", 8},
	        [T_TASK] = {"Task", 4},       [T_PRACTITIONER] = {"Practitioner", 12},
	};
	return names;
}

void fixture_name_types(struct cl_store *store)
{
	struct cl_err e = {0};
	if (cl_store_name_types(store, fixture_type_names(), T_END, &e))
		fail_msg("%s", e.message);
}

void fixture_remove_folder(const char *folder)
{
	DIR *directory = opendir(folder);
	if (!directory)
		return;
	for (struct dirent *entry; (entry = readdir(directory)) != NULL;) {
		char path[600];
		struct stat status;
		if (entry->d_name[0] == '.' && (!entry->d_name[1] || entry->d_name[1] == '.'))
			continue;
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		if (lstat(path, &status) == 0 && S_ISDIR(status.st_mode))
			fixture_remove_folder(path);
		else
			unlink(path);
	}
	closedir(directory);
	rmdir(folder);
}

void fixture_open(struct fixture *fixture, const char *folder_name)
{
	const char *base = getenv("TMPDIR");
	*fixture = (struct fixture){0};
	snprintf(fixture->folder, sizeof(fixture->folder), "%.40s/%s-XXXXXX", base ? base : "/tmp", folder_name);
	if (!mkdtemp(fixture->folder))
		fail_msg("cannot make %s", fixture->folder);
	fixture->arena = cl_arena_new(0);
	assert_ok(fixture, cl_store_open(fixture->folder, "org", CL_STORE_WRITER, &fixture->store, &fixture->e));
	fixture_name_types(fixture->store);
}

void fixture_close(struct fixture *fixture)
{
	cl_store_close(fixture->store);
	cl_arena_free(fixture->arena);
	fixture_remove_folder(fixture->folder);
}

int fixture_setup(void **state)
{
	struct fixture *fixture = calloc(1, sizeof(*fixture));
	fixture_open(fixture, "clst");
	*state = fixture;
	return 0;
}

int fixture_teardown(void **state)
{
	struct fixture *fixture = *state;
	if (fixture->store)
		cl_store_assert_idle(fixture->store);
	fixture_close(fixture);
	free(fixture);
	return 0;
}

void fixture_reopen(struct fixture *fixture)
{
	cl_store_close(fixture->store);
	assert_ok(fixture, cl_store_open(fixture->folder, "org", CL_STORE_WRITER, &fixture->store, &fixture->e));
}

struct cl_store *fixture_reader(struct fixture *fixture)
{
	struct cl_store *reader;
	assert_ok(fixture, cl_store_open(fixture->folder, "org", CL_STORE_READER, &reader, &fixture->e));
	return reader;
}

char *fixture_path(struct fixture *fixture, const char *suffix)
{
	return cl_arena_cstring(fixture->arena, cl_arena_printf(fixture->arena, "%s/org%s", fixture->folder, suffix));
}

uint64_t dice_next(struct dice *dice)
{
	/* splitmix64 */
	uint64_t z = (dice->state += 0x9E3779B97F4A7C15u);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return z ^ (z >> 31);
}

uint32_t dice_below(struct dice *dice, uint32_t n)
{
	return (uint32_t)((dice_next(dice) >> 32) * n >> 32);
}

static struct cl_index_value *add(struct values *values, uint16_t parameter, uint8_t kind)
{
	assert_true(values->index.count < sizeof(values->items) / sizeof(values->items[0]));
	values->index.values = values->items;
	struct cl_index_value *value = &values->items[values->index.count++];
	*value = (struct cl_index_value){.parameter = parameter, .kind = kind};
	return value;
}

void add_token(struct values *values, uint16_t parameter, const char *system, const char *code)
{
	struct cl_index_value *value = add(values, parameter, CL_INDEX_TOKEN);
	value->a = cl_str_of(system);
	value->b = cl_str_of(code);
}

void add_string(struct values *values, uint16_t parameter, const char *folded)
{
	add(values, parameter, CL_INDEX_STRING)->a = cl_str_of(folded);
}

void add_written(struct values *values, uint16_t parameter, const char *written, const char *folded)
{
	add_string(values, parameter, folded);
	add(values, parameter, CL_INDEX_EXACT)->a = cl_str_of(written);
}

void add_member(struct values *values, uint16_t parameter, int64_t group, unsigned part,
                const struct cl_index_value *value)
{
	struct cl_index_value *member = add(values, parameter, CL_INDEX_MEMBER);
	*member = *value;
	member->parameter = parameter;
	member->kind = CL_INDEX_MEMBER;
	member->lower = group;
	member->upper = CL_MEMBER_OF(part, value->kind);
}

void add_date(struct values *values, uint16_t parameter, int64_t lower, int64_t upper)
{
	struct cl_index_value *value = add(values, parameter, CL_INDEX_DATE);
	value->lower = lower;
	value->upper = upper;
}

void add_reference(struct values *values, uint16_t parameter, const char *type, const char *id)
{
	struct cl_index_value *value = add(values, parameter, CL_INDEX_REFERENCE);
	value->a = cl_str_of(type);
	value->b = cl_str_of(id);
}

void add_number(struct values *values, uint16_t parameter, double low, double high)
{
	struct cl_index_value *value = add(values, parameter, CL_INDEX_NUMBER);
	value->low = low;
	value->high = high;
}

void add_quantity(struct values *values, uint16_t parameter, double low, double high, const char *system,
                  const char *code)
{
	struct cl_index_value *value = add(values, parameter, CL_INDEX_QUANTITY);
	value->low = low;
	value->high = high;
	value->a = cl_str_of(system);
	value->b = cl_str_of(code);
}

void add_uri(struct values *values, uint16_t parameter, const char *uri)
{
	add(values, parameter, CL_INDEX_URI)->a = cl_str_of(uri);
}

void add_compartment(struct values *values, const char *patient)
{
	add(values, 0, CL_INDEX_COMPARTMENT)->b = cl_str_of(patient);
}

const struct cl_index *values_done(struct values *values)
{
	values->index.values = values->items;
	cl_index_normalize(&values->index);
	return &values->index;
}

int64_t put(struct fixture *fixture, uint16_t type, const char *id, enum cl_operation operation, cl_instant updated,
            uint64_t sequence, const char *body, const struct cl_index *after)
{
	static const struct cl_index none;
	struct cl_version version = {
	        .type = type,
	        .id = cl_str_of(id),
	        .operation = (uint8_t)operation,
	        .updated = updated,
	        .sequence = sequence,
	        .body = cl_str_of(body),
	};
	assert_ok(fixture, cl_store_put(fixture->store, &version, &none, after ? after : &none, &fixture->e));
	return version.row;
}

int64_t put_one(struct fixture *fixture, uint16_t type, const char *id, enum cl_operation operation, cl_instant updated,
                uint64_t sequence, const char *body, const struct cl_index *after)
{
	assert_ok(fixture, cl_store_begin(fixture->store, &fixture->e));
	int64_t row = put(fixture, type, id, operation, updated, sequence, body, after);
	assert_ok(fixture, cl_store_commit(fixture->store, &fixture->e));
	return row;
}

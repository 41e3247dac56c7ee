/* store_fault.c: the store under fault_preload.c. For each kind of fault and each position of a scenario: runs the
 * scenario in a process of its own until it ends or dies, then opens the file and checks that everything acknowledged
 * is there, nothing is doubled when unanswered requests are sent again, and file and audit log are sound. Use:
 * store_fault [stride]   tries every stride-th position (default 1). Prints "N passed, N failed". */
#include "base/log.h"
#include "org/store/audit.h"
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define TICKS 60
#define EACH 3 /* requests in a tick */

static const struct cl_str names[] = {{NULL, 0}, {"Patient", 7}};

/* ---- the scenario ---- */

/* What the engine does with a request that may have come before. */
static int request(struct cl_store *store, struct cl_arena *arena, unsigned number, struct cl_err *e)
{
	char key[24], id[24];
	struct cl_stored_answer answer;
	snprintf(key, sizeof(key), "request %u", number);
	snprintf(id, sizeof(id), "p%u", number % 40);
	if (cl_store_answer_get(store, arena, CL_STR_NONE, cl_str_of(key), &answer, e) == 0)
		return 0;
	struct cl_index_value value = {.kind = CL_INDEX_TOKEN, .parameter = 1, .a = CL_STR("s"), .b = cl_str_of(key)};
	struct cl_index none = {NULL, 0}, index = {&value, 1};
	char body[700];
	memset(body, 'b', sizeof(body));
	struct cl_stored_event event = {.kind = CL_STR("request"), .key = cl_str_of(key)};
	struct cl_audit_record record = {.request = cl_str_of(key)};
	answer = (struct cl_stored_answer){.key = cl_str_of(key), .status = 200};
	int code = cl_store_event_append(store, &event, e);
	struct cl_version version = {.type = 1,
	                             .id = cl_str_of(id),
	                             .operation = CL_OP_UPDATE,
	                             .sequence = event.sequence,
	                             .body = {body, sizeof(body)}};
	if (!code)
		code = cl_store_put(store, &version, &none, &index, e);
	if (!code)
		code = cl_store_answer_put(store, &answer, e);
	return code ? code : cl_audit_append(store, &record, e);
}

static int tick(struct cl_store *store, struct cl_audit_tail *tail, struct cl_arena *arena, unsigned number,
                struct cl_err *e)
{
	int code = cl_store_begin(store, e);
	for (unsigned i = 0; !code && i < EACH; i++)
		code = request(store, arena, number * EACH + i, e);
	if (!code)
		code = cl_audit_tail_fold(tail, store, 100, e);
	if (!code)
		code = cl_store_commit(store, e);
	if (code) {
		cl_store_rollback(store);
		return code;
	}
	return 0;
}

/* Acknowledges to a file outside the folder. 0 = went through, 1 = an error was reported. */
static int work(const char *folder, const char *acknowledgements)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_store *store;
	struct cl_audit_tail *tail;
	struct cl_err e = {0};
	int file = open(acknowledgements, O_WRONLY | O_CREAT | O_APPEND, 0600), code;

	cl_log_set_level(CL_LOG_ERROR + 1);
	if (cl_store_open(folder, "org", CL_STORE_WRITER, &store, &e) || cl_store_name_types(store, names, 2, &e) ||
	    cl_audit_tail_open(folder, "org", &tail, &e))
		return 1;
	for (unsigned number = 0; number < TICKS; number++) {
		char line[40], target[24];
		snprintf(target, sizeof(target), "Patient/%u", number);
		struct cl_audit_record read = {.action = CL_STR("read"), .target = cl_str_of(target)};
		/* A read is answered once its leaf is in the tail. */
		code = cl_audit_tail_append(tail, &read, &e);
		if (!code) {
			int n = snprintf(line, sizeof(line), "read %u\n", number);
			if (write(file, line, (size_t)n) != n)
				return 2;
		}
		code = tick(store, tail, arena, number, &e);
		if (code == CL_E_FULL) {
			/* Refused, and it goes on: reads work, later writes may. */
			struct cl_version version;
			int found = cl_store_get(store, arena, 1, CL_STR("p0"), &version, &e);
			if (found != 0 && found != CL_E_NOT_FOUND)
				return 3;
			continue;
		}
		if (code)
			return 1;
		int n = snprintf(line, sizeof(line), "tick %u\n", number);
		if (write(file, line, (size_t)n) != n)
			return 2;
		if (cl_audit_tail_folded(tail, store, &e))
			return 1;
		if (number % 7 == 6) {
			code = cl_store_checkpoint(store, number % 2, &e);
			if (code && code != CL_E_BUSY && code != CL_E_FULL)
				return 1;
		}
		cl_arena_reset(arena);
	}
	cl_audit_tail_close(tail);
	cl_store_close(store);
	return 0;
}

/* ---- afterwards ---- */

struct keys {
	unsigned times[TICKS * EACH], reads[TICKS];
	bool odd;
};

static int count_event(const struct cl_stored_event *event, void *context)
{
	struct keys *keys = context;
	unsigned number;
	char text[32];
	snprintf(text, sizeof(text), "%.*s", CL_STR_ARGS(event->key));
	if (sscanf(text, "request %u", &number) == 1 && number < TICKS * EACH)
		keys->times[number]++;
	else
		keys->odd = true;
	return 0;
}

static int count_leaf(const struct cl_audit_record *record, void *context)
{
	struct keys *keys = context;
	unsigned number;
	char text[32];
	snprintf(text, sizeof(text), "%.*s", CL_STR_ARGS(record->target));
	if (cl_str_is(record->action, "read") && sscanf(text, "Patient/%u", &number) == 1 && number < TICKS)
		keys->reads[number]++;
	return 0;
}

static int check(const char *folder, const char *acknowledgements, char why[300])
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_store *store;
	struct cl_audit_tail *tail;
	struct cl_err e = {0};
	struct keys *before = calloc(1, sizeof(*before)), *after = calloc(1, sizeof(*after));
	bool acknowledged[TICKS] = {false}, read[TICKS] = {false};
	char word[16];
	unsigned number;
	int code;

	FILE *file = fopen(acknowledgements, "r");
	while (file && fscanf(file, "%15s %u", word, &number) == 2)
		(word[0] == 't' ? acknowledged : read)[number] = true;
	if (file)
		fclose(file);
	code = cl_store_open(folder, "org", CL_STORE_WRITER, &store, &e);
	if (!code)
		code = cl_store_name_types(store, names, 2, &e);
	if (!code)
		code = cl_audit_tail_open(folder, "org", &tail, &e);
	if (!code)
		code = cl_store_check(store, true, &e);
	if (!code)
		code = cl_audit_verify(store, NULL, NULL, &e);
	if (!code)
		code = cl_store_events(store, 0, UINT32_MAX, count_event, before, &e);
	for (unsigned i = 0; !code && i < TICKS * EACH; i++)
		if (acknowledged[i / EACH] && before->times[i] != 1)
			code = cl_fail(&e, CL_E_CORRUPT, "request %u was acknowledged and is there %u times", i,
			               before->times[i]);
	/* Everything is sent again, acknowledged or not. */
	for (unsigned i = 0; !code && i < TICKS; i++)
		code = tick(store, tail, arena, i, &e);
	if (!code)
		code = cl_store_events(store, 0, UINT32_MAX, count_event, after, &e);
	if (!code)
		code = cl_audit_list(store, CL_STR_NONE, CL_STR_NONE, UINT32_MAX, count_leaf, after, &e);
	for (unsigned i = 0; !code && i < TICKS * EACH; i++)
		if (after->times[i] != 1)
			code = cl_fail(&e, CL_E_CORRUPT, "request %u sent again is there %u times", i, after->times[i]);
	for (unsigned i = 0; !code && i < TICKS; i++)
		if (after->reads[i] > 1 || (read[i] && after->reads[i] != 1))
			code = cl_fail(&e, CL_E_CORRUPT, "read %u has %u leaves", i, after->reads[i]);
	if (!code && after->odd)
		code = cl_fail(&e, CL_E_CORRUPT, "an event with a strange key");
	if (!code)
		code = cl_store_check(store, true, &e);
	if (!code)
		code = cl_audit_verify(store, NULL, NULL, &e);
	snprintf(why, 300, "%.290s", e.message);
	free(before);
	free(after);
	if (!code) {
		cl_audit_tail_close(tail);
		cl_store_close(store);
	}
	cl_arena_free(arena);
	return code;
}

/* ---- all of it ---- */

static char self[512], library[600], base[64];

static void clean(void)
{
	char command[200];
	snprintf(command, sizeof(command), "rm -rf %s/org %s/acknowledged", base, base);
	if (system(command) != 0)
		exit(2);
}

/* Runs `what` of this program; with a fault when `mode` is given. */
static int run(const char *what, const char *mode, long position)
{
	pid_t child = fork();
	if (child == 0) {
		char folder[100], counts[100], number[24];
		snprintf(folder, sizeof(folder), "%s/org", base);
		snprintf(counts, sizeof(counts), "%s/counts", base);
		snprintf(number, sizeof(number), "%ld", position);
		if (mode) {
			setenv("LD_PRELOAD", library, 1);
			setenv("CL_FAULT_FOLDER", folder, 1);
			setenv("CL_FAULT_MODE", mode, 1);
			setenv("CL_FAULT_POSITION", number, 1);
			setenv("CL_FAULT_COUNTS", counts, 1);
		}
		execl(self, self, what, base, (char *)NULL);
		_exit(127);
	}
	int status;
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int main(int count, char **arguments)
{
	static const struct {
		const char *mode;
		int counter;
	} modes[] = {{"write_eio", 0}, {"write_short", 0}, {"write_full", 0},  {"write_exit", 0},
	             {"sync_eio", 1},  {"sync_exit", 1},   {"truncate_eio", 2}};
	char folder[100], acknowledgements[100], why[300] = "";
	unsigned passed = 0, failed = 0;

	if (count == 3) {
		snprintf(folder, sizeof(folder), "%s/org", arguments[2]);
		snprintf(acknowledgements, sizeof(acknowledgements), "%s/acknowledged", arguments[2]);
		if (strcmp(arguments[1], "work") == 0)
			return work(folder, acknowledgements);
		cl_log_set_level(CL_LOG_ERROR + 1);
		int code = check(folder, acknowledgements, why);
		if (code)
			fprintf(stderr, "  %s\n", why);
		return code ? 1 : 0;
	}
	long stride = count == 2 ? atol(arguments[1]) : 1;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	if (n < 0)
		return 2;
	char *copy = strdup(self);
	snprintf(library, sizeof(library), "%s/libfault_preload.so", dirname(copy));
	free(copy);
	snprintf(base, sizeof(base), "/tmp/clfa-XXXXXX");
	if (access(library, R_OK) != 0 || !mkdtemp(base)) {
		fprintf(stderr, "store_fault: %s is missing, or no temporary folder\n", library);
		return 2;
	}
	long totals[3] = {0};
	clean();
	if (run("work", "none", 0) != 0)
		return 2;
	snprintf(acknowledgements, sizeof(acknowledgements), "%s/counts", base);
	FILE *file = fopen(acknowledgements, "r");
	if (!file || fscanf(file, "%ld %ld %ld", &totals[0], &totals[1], &totals[2]) != 3)
		return 2;
	fclose(file);
	printf("scenario: %ld writes, %ld syncs, %ld truncations\n", totals[0], totals[1], totals[2]);
	for (size_t mode = 0; mode < sizeof(modes) / sizeof(modes[0]); mode++)
		for (long position = 1; position <= totals[modes[mode].counter];
		     position += modes[mode].counter ? 1 : stride) {
			clean();
			int status = run("work", modes[mode].mode, position);
			bool right = status == 0 || status == 1 || status == 99;
			if (run("check", NULL, 0) == 0 && right) {
				passed++;
			} else {
				failed++;
				fprintf(stderr, "%s at %ld: the work ended with %d\n", modes[mode].mode, position,
				        status);
			}
		}
	clean();
	snprintf(acknowledgements, sizeof(acknowledgements), "%s/counts", base);
	unlink(acknowledgements);
	rmdir(base);
	printf("%u passed, %u failed\n", passed, failed);
	return failed ? 1 : 0;
}

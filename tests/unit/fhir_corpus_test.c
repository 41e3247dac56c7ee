/* fhir_corpus_test.c: published resources, where the workplace has them beside the checkout: all are accepted,
 * written again without loss, and indexed. Skipped elsewhere. */
#include "unit/fhir_support.h"
#include "org/fhir/index.h"
#include "org/fhir/reference.h"
#include "org/fhir/validate.h"

#define DATA CL_SOURCE_DIR "/../shared/data"

static int count_link(void *context, enum cl_fhir_link kind, struct cl_json *text)
{
	(void)kind;
	assert_int_equal(text->kind, CL_JSON_STRING);
	++*(size_t *)context;
	return 0;
}

static void check(const char *path, struct cl_str text)
{
	struct cl_json *resource, *again;
	struct cl_issues issues;
	struct cl_index index;
	size_t links = 0;
	if (cl_json_parse(arena, text, NULL, &resource, &error))
		fail_msg("%s: %s", path, error.message);
	cl_issues_init(&issues, arena, 0);
	if (cl_fhir_validate(arena, resource, text, &issues))
		fail_msg("%s: line %d: %.*s", path, issues.items[0].line, CL_STR_ARGS(issues.items[0].diagnostics));
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_json_write(&out, resource);
	if (cl_json_parse(arena, cl_buf_str(&out), NULL, &again, &error) || !cl_json_equal(resource, again))
		fail_msg("%s changed when it was written", path);
	cl_buf_free(&out);
	uint16_t type = cl_fhir_type(cl_json_get_text(resource, "resourceType"));
	assert_int_equal(cl_fhir_index(arena, type, resource, &index, &error), 0);
	for (size_t i = 1; i < index.count; i++)
		assert_true(cl_index_compare(&index.values[i - 1], &index.values[i]) < 0);
	assert_int_equal(cl_fhir_visit_links(resource, count_link, &links), 0);
}

/* Every file of a folder whose name ends so. Returns how many. */
static size_t check_folder(const char *folder, const char *ending)
{
	char path[1024], command[1200];
	DIR *directory = opendir(folder);
	size_t count = 0;
	if (!directory)
		skip();
	for (struct dirent *entry; (entry = readdir(directory));) {
		size_t n = strlen(entry->d_name), m = strlen(ending);
		if (n < m || strcmp(entry->d_name + n - m, ending) != 0)
			continue;
		snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
		struct cl_str text;
		if (strcmp(ending, ".gz") == 0) {
			snprintf(command, sizeof command, "gzip -dc '%s'", path);
			FILE *pipe = popen(command, "r");
			assert_non_null(pipe);
			text = slurp(pipe);
			assert_int_equal(pclose(pipe), 0);
		} else {
			text = read_path(path);
		}
		check(path, text);
		cl_arena_reset(arena);
		count++;
	}
	closedir(directory);
	return count;
}

static void official_examples(void **state)
{
	(void)state;
	assert_true(check_folder(DATA "/r4-examples", ".json") >= 265);
}

static void referral_story(void **state)
{
	(void)state;
	assert_true(check_folder(DATA "/referral-sdoh", ".json") >= 70);
}

static void subscriptions(void **state)
{
	(void)state;
	assert_true(check_folder(DATA "/subscriptions-r4", ".json") >= 20);
}

static void synthea(void **state)
{
	(void)state;
	assert_int_equal(check_folder(DATA "/synthea-20", ".gz"), 20);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(official_examples, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(referral_story, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(subscriptions, set_up, tear_down),
	        cmocka_unit_test_setup_teardown(synthea, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

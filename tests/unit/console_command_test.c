/* console_command_test.c: the command table, the line parser, completion, and how answers look. */
#include "console/line.h"
#include "console/session.h"
#include "console/table.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static int set_up(void **state)
{
	*state = cl_arena_new(0);
	return 0;
}

static int tear_down(void **state)
{
	cl_arena_free(*state);
	return 0;
}

static void expect_command(void **state, const char *text, const char *command, const char *arguments)
{
	struct cl_line line;
	struct cl_err e = {0};
	struct cl_buf json;
	if (cl_line_parse(*state, cl_str_of(text), CL_STR_NONE, &line, &e))
		fail_msg("%s: %s", text, e.message);
	assert_non_null(line.command);
	assert_string_equal(line.command->name, command);
	cl_buf_init(&json, 0);
	cl_json_write(&json, line.arguments);
	cl_buf_add_byte(&json, '\0');
	assert_string_equal(json.p, arguments);
	cl_buf_free(&json);
}

static void expect_refusal(void **state, const char *text, const char *message)
{
	struct cl_line line;
	struct cl_err e = {0};
	if (cl_line_parse(*state, cl_str_of(text), CL_STR_NONE, &line, &e) != CL_E_INVALID ||
	    !strstr(e.message, message))
		fail_msg("%s: %s", text, e.message);
}

static void table_is_sound(void **state)
{
	size_t count;
	const struct cl_command *commands = cl_commands(&count);
	for (size_t i = 0; i < count; i++) {
		const struct cl_command *command = &commands[i];
		struct cl_line line;
		struct cl_err e = {0};
		assert_ptr_equal(cl_command_find(cl_str_of(command->name)), command);
		assert_non_null(command->help);
		assert_true(strlen(command->help) < 100);
		if (i && commands[i - 1].scope == command->scope)
			assert_true(strcmp(commands[i - 1].name, command->name) < 0);
		/* Every example is a line of its own command. */
		if (cl_line_parse(*state, cl_str_of(command->example), CL_STR_NONE, &line, &e))
			fail_msg("%s: %s", command->example, e.message);
		assert_ptr_equal(line.command, command);
		/* Optional arguments come last; what takes the rest of the line is the last. */
		for (int k = 1; k < CL_COMMAND_ARGUMENTS && command->arguments[k].name; k++) {
			assert_true(command->arguments[k].optional || !command->arguments[k - 1].optional);
			assert_true(command->arguments[k - 1].kind < CL_ARGUMENT_COMMAND);
		}
	}
}

static void parses_commands(void **state)
{
	expect_command(state, "workflows", "workflows", "{}");
	expect_command(state, "  instances   referral\treceived ", "instances",
	               "{\"workflow\":\"referral\",\"state\":\"received\"}");
	expect_command(state, "audit", "audit", "{}");
	expect_command(state, "audit 50", "audit", "{\"count\":50}");
	expect_command(state, "audit verify", "audit verify", "{}");
	expect_command(state, "outbox replay 17", "outbox replay", "{\"number\":17}");
	expect_command(state, "outbox dead", "outbox", "{\"state\":\"dead\"}");
	expect_command(state, "metrics 2026-11", "metrics", "{\"month\":\"2026-11\"}");
	expect_command(state, "search Task?owner=a b&x=\"y", "search", "{\"query\":\"Task?owner=a b&x=\\\"y\"}");
	expect_command(state, "read Task/x", "read", "{\"resource\":\"Task/x\"}");
	expect_command(state, "advance t1 decline reason='no room' note=\"say \\\"hi\\\"\" e=", "advance",
	               "{\"task\":\"t1\",\"event\":\"decline\",\"data\":{\"reason\":\"no room\",\"note\":\"say "
	               "\\\"hi\\\"\",\"e\":\"\"}}");
	expect_command(state, "advance t1 send", "advance", "{\"task\":\"t1\",\"event\":\"send\",\"data\":{}}");
	expect_command(state, "log level debug", "log level", "{\"level\":\"debug\"}");
	expect_command(state, "watch 2 instances referral", "watch",
	               "{\"seconds\":2,\"command\":\"instances referral\"}");
	expect_command(state, "exit", "quit", "{}");
	expect_command(state, "view \"two words\"", "view", "{\"name\":\"two words\"}");
	expect_command(state, "view a\\ b", "view", "{\"name\":\"a b\"}");
	expect_command(state, "> #tasks + 1", "lua", "{\"code\":\"#tasks + 1\"}");
	expect_command(state, ">!x = \"a", "lua", "{\"code\":\"x = \\\"a\"}");
	expect_command(state, "lua return 'x", "lua", "{\"code\":\"return 'x\"}");
}

static void refuses_what_makes_no_sense(void **state)
{
	expect_refusal(state, "workfows", "did you mean \"workflows\"?");
	expect_refusal(state, "token crate x", "did you mean \"token create\"?");
	expect_refusal(state, "zzzzzzz", "help lists");
	expect_refusal(state, "workflow", "name is missing: workflow NAME");
	expect_refusal(state, "workflow a b", "\"b\" is more than the command takes");
	expect_refusal(state, "audit many", "count must be a whole number");
	expect_refusal(state, "audit 99999999999999999999", "count must be a whole number");
	expect_refusal(state, "outbox deat",
	               "state must be one of waiting sent dead withdrawn withheld (did you mean \"dead\"?)");
	expect_refusal(state, "metrics 2026-13", "month must look like 2026-11");
	expect_refusal(state, "read Task", "resource must be a type and an id");
	expect_refusal(state, "view \"open", "a quotation is not closed");
	expect_refusal(state, "advance t e reason", "key=value");
	expect_refusal(state, "advance t e a=1 a=2", "\"a\" is given twice");
	expect_refusal(state, "view \xff", "no UTF-8");
	expect_refusal(state, ">", "nothing after");
	expect_refusal(state, "quarantine clear", "organization is missing");
}

static void knows_what_changes_and_what_is_secret(void **state)
{
	struct cl_line line;
	assert_int_equal(cl_line_parse(*state, CL_STR("  # a comment"), CL_STR_NONE, &line, NULL), CL_OK);
	assert_null(line.command);
	assert_int_equal(cl_line_parse(*state, CL_STR(""), CL_STR_NONE, &line, NULL), CL_OK);
	assert_null(line.command);
	assert_int_equal(cl_line_parse(*state, CL_STR("> x"), CL_STR_NONE, &line, NULL), CL_OK);
	assert_false(line.write);
	assert_int_equal(cl_line_parse(*state, CL_STR(">! x"), CL_STR_NONE, &line, NULL), CL_OK);
	assert_true(line.write);
	assert_int_equal(cl_line_parse(*state, CL_STR("advance a b"), CL_STR_NONE, &line, NULL), CL_OK);
	assert_true(line.write);
	assert_int_equal(cl_line_parse(*state, CL_STR("token revoke short"), CL_STR_NONE, &line, NULL), CL_OK);
	assert_true(line.is_secret);
	assert_string_equal(line.text.p, "token revoke ...");
	assert_true(cl_line_has_secret(CL_STR("view eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9")));
	assert_true(cl_line_has_secret(CL_STR("> f('0123456789abcdef0123456789abcdef')")));
	assert_false(cl_line_has_secret(CL_STR("instance 01k9ab3m5q7r9tvwxyz0123456")));
	assert_false(cl_line_has_secret(CL_STR("search Task?status=requested&_count=5&owner=Practitioner/x")));
	/* The selected organization is the default. */
	assert_int_equal(cl_line_parse(*state, CL_STR("reload"), CL_STR("riverside"), &line, NULL), CL_OK);
	assert_string_equal(cl_json_get_text(line.arguments, "organization").p, "riverside");
	assert_int_equal(cl_line_parse(*state, CL_STR("use"), CL_STR("riverside"), &line, NULL), CL_OK);
	assert_int_equal(line.arguments->count, 0);
}

static void expect_completion(void **state, const char *text, const char *expected)
{
	static const char *const organizations[] = {"lakeside", "riverside"};
	struct cl_completion completion;
	char joined[1024] = "";
	cl_line_complete(*state, cl_str_of(text), organizations, 2, &completion);
	for (size_t i = 0; i < completion.count; i++) {
		strncat(joined, completion.items[i], sizeof joined - strlen(joined) - 2);
		strncat(joined, " ", sizeof joined - strlen(joined) - 1);
	}
	if (strcmp(joined, expected) != 0)
		fail_msg("\"%s\" gives \"%s\", not \"%s\"", text, joined, expected);
}

static void completes(void **state)
{
	struct cl_completion completion;
	expect_completion(state, "inst", "instance instances ");
	expect_completion(state, "workflows", "workflows ");
	expect_completion(state, "token ", "create revoke ");
	expect_completion(state, "token c", "create ");
	expect_completion(state, "quarantine ", "clear list ");
	expect_completion(state, "quarantine clear r", "riverside ");
	expect_completion(state, "use ", "lakeside riverside ");
	expect_completion(state, "outbox ", "dead replay sent waiting withdrawn withheld ");
	expect_completion(state, "log level d", "debug ");
	expect_completion(state, "audit ", "verify ");
	expect_completion(state, "help tok", "token ");
	expect_completion(state, "help token ", "create revoke ");
	expect_completion(state, "watch 2 inst", "instance instances ");
	expect_completion(state, "watch 2 outbox d", "dead ");
	expect_completion(state, "watch ", "");
	expect_completion(state, "instance x ", "");
	expect_completion(state, "view \"x", "");
	expect_completion(state, "nothing ", "");
	cl_line_complete(*state, CL_STR("outbox wai"), NULL, 0, &completion);
	assert_int_equal(completion.begun, 3);
	cl_line_complete(*state, CL_STR(""), NULL, 0, &completion);
	assert_true(completion.count > 30);
}

static void expect_usage(void **state, const char *name, const char *usage)
{
	struct cl_str text = cl_line_usage(*state, cl_command_find(cl_str_of(name)));
	assert_string_equal(text.p, usage);
}

static void shows_usage(void **state)
{
	expect_usage(state, "advance", "advance TASK EVENT [KEY=VALUE ...]");
	expect_usage(state, "outbox", "outbox [waiting|sent|dead|withdrawn|withheld]");
	expect_usage(state, "read", "read TYPE/ID");
	expect_usage(state, "why", "why PRINCIPAL ACTION TARGET");
}

static struct cl_json *parse(void **state, const char *text)
{
	struct cl_json *tree;
	assert_int_equal(cl_json_parse(*state, cl_str_of(text), NULL, &tree, NULL), CL_OK);
	return tree;
}

static void expect_table(void **state, const char *answer, int width, const char *expected)
{
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_table_print(&out, parse(state, answer), &(struct cl_table_style){.width = width});
	cl_buf_add_byte(&out, '\0');
	assert_string_equal(out.p, expected);
	cl_buf_free(&out);
}

static void prints_tables(void **state)
{
	const char *answer = "{\"columns\":[\"name\",\"n\",\"when\"],\"rows\":[[\"r\xc3\xa9"
	                     "f\xc3\xa9rral\",3,null],"
	                     "[\"\xe6\x97\xa5\xe6\x9c\xac\",14,true],[\"x\",2]]}";
	expect_table(state, answer, 0,
	             "name       n  when\nr\xc3\xa9"
	             "f\xc3\xa9rral   3  \n\xe6\x97\xa5\xe6\x9c\xac      14  yes\n"
	             "x          2  \n(3 rows)\n");
	expect_table(state, "{\"columns\":[\"a\"],\"rows\":[]}", 80, "a\n(0 rows)\n");
	expect_table(state, "{\"columns\":[\"a\"],\"rows\":[[1]]}", 80, "a\n1\n(1 row)\n");
	expect_table(state, "{\"text\":\"one\\ntwo\\u001b[2J\"}", 80, "one\ntwo?[2J\n");
	expect_table(state, "{\"columns\":[\"a\"],\"rows\":[[\"x\\ny\\u0007\\u202ez\"]]}", 80, "a\nx y??z\n(1 row)\n");
	expect_table(state, "{\"columns\":[\"a\"],\"rows\":[[{\"b\":[1]}],[\"c\"]],\"text\":\"note\"}", 80,
	             "a\n{\"b\":[1]}\nc\n(2 rows)\nnote\n");
	expect_table(state, "{}", 80, "");
}

static void fits_tables_to_the_width(void **state)
{
	const char *answer =
	        "{\"columns\":[\"id\",\"text\",\"other\"],\"rows\":[[1,\"a long text that does not fit\",\"short\"]]}";
	expect_table(state, answer, 24, "id  text           other\n 1  a long text \xe2\x80\xa6  short\n(1 row)\n");
	expect_table(state, answer, 5, "id  text  oth\xe2\x80\xa6\n 1  a l\xe2\x80\xa6  sho\xe2\x80\xa6\n(1 row)\n");
}

static void widths_count_columns(void **state)
{
	(void)state;
	assert_int_equal(cl_table_text_width(CL_STR("abc")), 3);
	assert_int_equal(cl_table_text_width(CL_STR("\xe6\x97\xa5\xe6\x9c\xac")), 4);
	assert_int_equal(cl_table_text_width(CL_STR("e\xcc\x81")), 1);
	assert_int_equal(cl_table_text_width(CL_STR("\xff\xfe")), 2);
}

static void writes_csv_and_json(void **state)
{
	const struct cl_json *answer =
	        parse(state, "{\"columns\":[\"a b\",\"c\"],\"rows\":[[\"x,\\\"y\\\"\",1],[\"l\\nm\"]]}");
	struct cl_buf out;
	cl_buf_init(&out, 0);
	cl_table_csv(&out, answer);
	cl_buf_add_byte(&out, '\0');
	assert_string_equal(out.p, "a b,c\r\n\"x,\"\"y\"\"\",1\r\n\"l\nm\",\r\n");
	cl_buf_clear(&out);
	cl_table_json(&out, answer);
	cl_buf_add_byte(&out, '\0');
	assert_string_equal(out.p, "[{\"a b\":\"x,\\\"y\\\"\",\"c\":1},{\"a b\":\"l\\nm\",\"c\":null}]\n");
	cl_buf_clear(&out);
	cl_table_json(&out, parse(state, "{\"text\":\"done\"}"));
	cl_buf_add_byte(&out, '\0');
	assert_string_equal(out.p, "{\"text\":\"done\"}\n");
	cl_buf_free(&out);
}

static void knows_incomplete_lua(void **state)
{
	(void)state;
	assert_true(cl_session_is_incomplete(CL_STR("> function f()")));
	assert_true(cl_session_is_incomplete(CL_STR("  >! for i = 1, 2 do")));
	assert_true(cl_session_is_incomplete(CL_STR("> f(")));
	assert_false(cl_session_is_incomplete(CL_STR("> 1 + 1")));
	assert_false(cl_session_is_incomplete(CL_STR("> 1 +* 1")));
	assert_false(cl_session_is_incomplete(CL_STR("workflow (")));
	assert_false(cl_session_is_incomplete(CL_STR(">")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test(table_is_sound),
	        cmocka_unit_test(parses_commands),
	        cmocka_unit_test(refuses_what_makes_no_sense),
	        cmocka_unit_test(knows_what_changes_and_what_is_secret),
	        cmocka_unit_test(completes),
	        cmocka_unit_test(shows_usage),
	        cmocka_unit_test(prints_tables),
	        cmocka_unit_test(fits_tables_to_the_width),
	        cmocka_unit_test(widths_count_columns),
	        cmocka_unit_test(writes_csv_and_json),
	        cmocka_unit_test(knows_incomplete_lua),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}

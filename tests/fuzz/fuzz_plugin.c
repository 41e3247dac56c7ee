/* fuzz_plugin.c: the loader on arbitrary text: it loads, or says why with a place, within its limits, and leaves nothing. */
#include "base/log.h"
#include "org/lua/lua_state.h"
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char configuration[] =
        "{\"organization\":{\"id\":\"o\",\"name\":\"O\",\"zone\":\"UTC\",\"settings\":{\"a\":{\"b\":1}},\"metrics\":{"
        "\"m\":{\"target\":1}}},"
        "\"order\":[\"lib/x\",\"services/a\",\"orgs/o/b\"],\"files\":{\"lib/x.lua\":\"return { 1 }\"}}";

static const char extension[] =
        "return plugin { name = 'b', api = 1, summary = 'B', extends = 'a', workflow 'w' { s = { within = '2 days', on "
        "= { e = false } } },\n"
        "settings = { b = { default = 5 } }, roles = { x = { allow = { { 'read' } } } }, metric 'm' { target = 3 } }";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct cl_arena *arena = cl_arena_new(0);
	struct cl_json *archive, *files;
	struct cl_lua *lua = NULL;
	struct cl_buf problems;
	struct cl_err e = {0};
	cl_log_set_level(CL_LOG_ERROR);
	cl_buf_init(&problems, 1 << 20);
	if (cl_json_parse(arena, cl_str_of(configuration), NULL, &archive, &e))
		abort();
	files = cl_json_get(archive, "files");
	cl_json_set_text(arena, files, "services/a/plugin.lua", (struct cl_str){(const char *)data, size});
	cl_json_set_text(arena, files, "orgs/o/b/plugin.lua", cl_str_of(extension));
	struct cl_lua_limits limits = {.memory = 8u << 20, .load_cpu = 200000};
	int code = cl_lua_open(archive, &limits, NULL, &lua, &problems, &e);
	if (code == 0 ? lua == NULL : lua != NULL || !e.message[0] || e.code != code)
		abort();
	cl_lua_close(lua);
	cl_buf_free(&problems);
	cl_arena_free(arena);
	return 0;
}

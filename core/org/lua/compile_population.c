/* compile_population.c: measures of a population, and code lists. */
#include "base/hash.h"
#include "org/lua/compile.h"
#include <math.h>
#include <stdlib.h>

/* ---- code lists ---- */

static void compile_codes(lua_State *L, int at, struct cl_code_list *list)
{
	struct cl_arena *arena = cl_lua_of(L)->arena;
	list->name = cl_field_text(L, at, "name");
	list->summary = cl_field_text(L, at, "summary");
	list->source = cl_field_text(L, at, "source");
	list->version = cl_field_text(L, at, "version");
	list->url = cl_field_text(L, at, "url");
	list->origin = cl_field_origin(L, at);
	if (!list->url.n)
		list->url = cl_arena_printf(arena, "urn:careloop:codes:%.*s", CL_STR_ARGS(list->name));
	list->count = cl_push_list(L, at, "pairs");
	list->systems = CL_NEW_ARRAY(arena, struct cl_str, list->count + 1);
	list->codes = CL_NEW_ARRAY(arena, struct cl_str, list->count + 1);
	for (size_t i = 0; i < list->count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		list->systems[i] = cl_field_text(L, lua_gettop(L), "system");
		list->codes[i] = cl_field_text(L, lua_gettop(L), "code");
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

void cl_compile_codes(lua_State *L, int index)
{
	struct cl_catalog *catalog = &cl_lua_of(L)->catalog;
	catalog->code_list_count = cl_push_list(L, index, "codes");
	catalog->code_lists = CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_code_list, catalog->code_list_count + 1);
	for (size_t i = 0; i < catalog->code_list_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		compile_codes(L, lua_gettop(L), &catalog->code_lists[i]);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

/* ---- measures ---- */

static uint8_t scoring_of(struct cl_str word)
{
	return cl_str_is(word, "ratio")        ? CL_SCORING_RATIO
	       : cl_str_is(word, "continuous") ? CL_SCORING_CONTINUOUS
	                                       : CL_SCORING_PROPORTION;
}

static uint8_t show_of(struct cl_str word)
{
	return cl_str_is(word, "median")  ? CL_SHOW_MEDIAN
	       : cl_str_is(word, "p90")   ? CL_SHOW_P90
	       : cl_str_is(word, "count") ? CL_SHOW_COUNT
	       : cl_str_is(word, "sum")   ? CL_SHOW_SUM
	                                  : CL_SHOW_MEAN;
}

static uint8_t span_of(struct cl_str word)
{
	return cl_str_is(word, "month")          ? CL_SPAN_MONTH
	       : cl_str_is(word, "quarter")      ? CL_SPAN_QUARTER
	       : cl_str_is(word, "rolling year") ? CL_SPAN_ROLLING_YEAR
	                                         : CL_SPAN_YEAR;
}

static void hash_part(struct cl_sha256 *hash, struct cl_str part)
{
	struct {
		uint64_t n;
	} length = {part.n};
	cl_sha256_add(hash, &length, sizeof length);
	cl_sha256_add(hash, part.p ? part.p : "", part.n);
}

/* What makes the measure what it is: version, scale, the file that its function stands in, the settings that the function sees,
 * the lists that the plugins ship, and plugins/lib. One that changes begins a new series: numbers before and after are not of
 * the same thing. */
static struct cl_str definition_of(struct cl_lua *lua, const struct cl_measure *measure, struct cl_str file)
{
	struct cl_sha256 hash;
	uint8_t bytes[CL_SHA256_SIZE];
	char hex[2 * CL_SHA256_SIZE + 1];
	cl_sha256_init(&hash);
	hash_part(&hash, measure->version);
	hash_part(&hash, cl_arena_printf(lua->arena, "%.17g %d %d %d", measure->scale, measure->scoring, measure->show,
	                                 measure->basis));
	for (uint32_t i = 0; i < lua->files->count; i++) {
		struct cl_str name = lua->files->members[i].name;
		if (cl_str_equal(name, file) || cl_str_starts(name, "lib/")) {
			hash_part(&hash, name);
			hash_part(&hash, cl_json_text(&lua->files->members[i].value));
		}
	}
	int plugin = cl_plugin_index(lua, measure->origin.plugin);
	struct cl_str scope = plugin < 0 ? measure->origin.plugin : lua->plugins[lua->plugins[plugin].scope].name;
	for (size_t i = 0; i < lua->catalog.setting_count; i++) {
		const struct cl_setting *setting = &lua->catalog.settings[i];
		struct cl_buf value;
		/* How results are told is not what they are. */
		if (!cl_str_equal(setting->plugin, scope) || cl_str_starts(setting->name, "share_") || !setting->value)
			continue;
		cl_buf_init(&value, 0);
		cl_json_write(&value, setting->value);
		hash_part(&hash, setting->name);
		hash_part(&hash, cl_buf_str(&value));
		cl_buf_free(&value);
	}
	for (size_t i = 0; i < measure->code_count; i++) {
		const struct cl_code_list *list = cl_catalog_code_list(&lua->catalog, measure->codes[i]);
		hash_part(&hash, measure->codes[i]);
		for (size_t k = 0; list && k < list->count; k++) {
			hash_part(&hash, list->systems[k]);
			hash_part(&hash, list->codes[k]);
		}
	}
	cl_sha256_done(&hash, bytes);
	cl_hex(bytes, sizeof bytes, hex);
	return cl_arena_copy(lua->arena, cl_str_of(hex));
}

static void compile_measure(lua_State *L, int at, struct cl_measure *measure)
{
	struct cl_lua *lua = cl_lua_of(L);
	struct cl_str basis = cl_field_text(L, at, "basis");
	measure->name = cl_field_text(L, at, "name");
	measure->summary = cl_field_text(L, at, "summary");
	measure->unit = cl_field_text(L, at, "unit");
	measure->source = cl_field_text(L, at, "source");
	measure->version = cl_field_text(L, at, "version");
	measure->category = cl_field_text(L, at, "category");
	measure->initial = cl_field_text(L, at, "initial");
	measure->denominator = cl_field_text(L, at, "denominator");
	measure->exclusions = cl_field_text(L, at, "exclusions");
	measure->numerator = cl_field_text(L, at, "numerator");
	measure->counts = cl_field_text(L, at, "counts");
	measure->higher_is_better = !cl_str_is(cl_field_text(L, at, "better"), "lower");
	measure->scoring = scoring_of(cl_field_text(L, at, "scoring"));
	measure->show = show_of(cl_field_text(L, at, "show"));
	measure->span = span_of(cl_field_text(L, at, "period"));
	measure->scale = cl_field_number(L, at, "scale", cl_str_is(measure->unit, "%") ? 100 : 1);
	measure->baseline = cl_field_number(L, at, "baseline", NAN);
	measure->target = cl_field_number(L, at, "target", NAN);
	measure->candidates = cl_field_texts(L, at, "candidates", &measure->candidate_count);
	measure->codes = cl_field_texts(L, at, "needs_codes", &measure->code_count);
	measure->origin = cl_field_origin(L, at);
	measure->basis = cl_fhir_type(basis.n ? basis : CL_STR("Patient"));
	if (!measure->basis)
		cl_problem(lua, measure->origin.file, measure->origin.line,
		           "measure '%.*s': '%.*s' is no type of FHIR R4", CL_STR_ARGS(measure->name),
		           CL_STR_ARGS(basis));
	for (size_t i = 0; i < measure->candidate_count; i++) {
		struct cl_str text = measure->candidates[i];
		const char *mark = memchr(text.p, '?', text.n);
		if (!cl_fhir_type((struct cl_str){text.p, mark ? (size_t)(mark - text.p) : text.n}))
			cl_problem(lua, measure->origin.file, measure->origin.line,
			           "measure '%.*s': candidates '%.*s' is no search: \"Type?name=value\"",
			           CL_STR_ARGS(measure->name), CL_STR_ARGS(text));
	}
	measure->function = cl_field_function(L, at, "subject", &measure->origin, "subject of measure %.*s",
	                                      CL_STR_ARGS(measure->name));
	measure->definition = definition_of(
	        lua, measure, measure->function ? lua->functions[measure->function - 1].origin.file : CL_STR_NONE);
}

void cl_compile_measures(lua_State *L, int index)
{
	struct cl_catalog *catalog = &cl_lua_of(L)->catalog;
	catalog->measure_count = cl_push_list(L, index, "measures");
	catalog->measures = CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_measure, catalog->measure_count + 1);
	for (size_t i = 0; i < catalog->measure_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		compile_measure(L, lua_gettop(L), &catalog->measures[i]);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

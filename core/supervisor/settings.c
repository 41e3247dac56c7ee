/* settings.c: the table of rules for the configuration file, and what follows from it. */
#include "supervisor/settings.h"
#include "base/closest.h"
#include "base/config.h"
#include "base/destination.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum rule_kind {
	RULE_TEXT,
	RULE_PATH,
	RULE_INTEGER,
	RULE_CHOICE,
	RULE_TABLE,
	RULE_TABLES,
	RULE_PATHS,
	RULE_TEXTS,
	RULE_DESTINATIONS,
	RULE_ORGANIZATIONS
};

struct rule {
	const char *name;
	enum rule_kind kind;
	int64_t least, most; /* integers: value; lists: number of elements */
	const char *otherwise; /* default as text; NULL: absent unless `required` */
	bool required;
	const char *choices; /* " a b c " for RULE_CHOICE */
	const struct rule *inside; /* of tables */
};

#define MANY 1000000

static const struct rule listen_rules[] = {
        {.name = "address", .kind = RULE_TEXT, .otherwise = "127.0.0.1"},
        {.name = "port", .kind = RULE_INTEGER, .least = 0, .most = 65535, .otherwise = "8443"},
        {.name = "client_certificates", .kind = RULE_CHOICE, .choices = " optional none ", .otherwise = "optional"},
        {.name = NULL},
};
static const struct rule pair_rules[] = {
        {.name = "certificate", .kind = RULE_PATH, .required = true},
        {.name = "key", .kind = RULE_PATH, .required = true},
        {.name = NULL},
};
static const struct rule tls_rules[] = {
        {.name = "certificate", .kind = RULE_PATH, .required = true},
        {.name = "key", .kind = RULE_PATH, .required = true},
        {.name = "client_authorities", .kind = RULE_PATHS, .most = 64},
        {.name = "crl", .kind = RULE_PATH},
        {.name = "certificates", .kind = RULE_TABLES, .most = 1000, .inside = pair_rules},
        {.name = NULL},
};
/* Refused or put off beyond these: gateway/settings.h. */
static const struct rule limits_rules[] = {
        {.name = "body", .kind = RULE_INTEGER, .least = 1, .most = 16777216, .otherwise = "16777216"},
        {.name = "connections", .kind = RULE_INTEGER, .least = 1, .most = MANY, .otherwise = "10000"},
        {.name = "connections_per_address", .kind = RULE_INTEGER, .least = 1, .most = MANY, .otherwise = "256"},
        {.name = "in_flight", .kind = RULE_INTEGER, .least = 1, .most = MANY, .otherwise = "2048"},
        {.name = "in_flight_per_organization", .kind = RULE_INTEGER, .least = 1, .most = MANY, .otherwise = "1024"},
        {.name = "handshakes_per_second", .kind = RULE_INTEGER, .least = 1, .most = MANY, .otherwise = "1000"},
        {.name = "held", .kind = RULE_INTEGER, .least = 1, .most = INT64_C(1) << 40, .otherwise = "268435456"},
        {.name = NULL},
};
static const struct rule timeouts_rules[] = {
        {.name = "handshake", .kind = RULE_INTEGER, .least = 1, .most = 3600, .otherwise = "5"},
        {.name = "head", .kind = RULE_INTEGER, .least = 1, .most = 3600, .otherwise = "10"},
        {.name = "idle", .kind = RULE_INTEGER, .least = 1, .most = 3600, .otherwise = "75"},
        {.name = "body", .kind = RULE_INTEGER, .least = 1, .most = 3600, .otherwise = "300"},
        {.name = "request", .kind = RULE_INTEGER, .least = 1, .most = 3600, .otherwise = "30"},
        {.name = NULL},
};
static const struct rule courier_rules[] = {
        {.name = "certificates", .kind = RULE_PATH},
        {.name = "authority", .kind = RULE_PATH},
        {.name = "destinations", .kind = RULE_DESTINATIONS, .most = 10000},
        {.name = NULL},
};
static const struct rule watchdog_rules[] = {
        {.name = "lua_milliseconds", .kind = RULE_INTEGER, .least = 100, .most = 600000, .otherwise = "2000"},
        {.name = NULL},
};
static const struct rule exports_rules[] = {
        {.name = "keep_hours", .kind = RULE_INTEGER, .least = 1, .most = 24 * 366, .otherwise = "24"},
        {.name = "running", .kind = RULE_INTEGER, .least = 1, .most = 64, .otherwise = "4"},
        {.name = "free_megabytes", .kind = RULE_INTEGER, .least = 0, .most = INT64_C(1) << 30, .otherwise = "256"},
        {.name = NULL},
};
static const struct rule root_rules[] = {
        {.name = "data", .kind = RULE_PATH, .required = true},
        {.name = "organizations_folder", .kind = RULE_PATH, .otherwise = "orgs"},
        {.name = "organizations", .kind = RULE_ORGANIZATIONS, .most = 10000},
        {.name = "plugins", .kind = RULE_PATH, .otherwise = "../plugins"},
        {.name = "domain", .kind = RULE_TEXT, .otherwise = "localhost"},
        {.name = "gateways", .kind = RULE_INTEGER, .least = 1, .most = 64},
        {.name = "listen", .kind = RULE_TABLES, .least = 1, .most = 16, .inside = listen_rules, .required = true},
        {.name = "tls", .kind = RULE_TABLE, .inside = tls_rules, .required = true},
        {.name = "board", .kind = RULE_PATH},
        {.name = "limits", .kind = RULE_TABLE, .inside = limits_rules},
        {.name = "timeouts", .kind = RULE_TABLE, .inside = timeouts_rules},
        {.name = "courier", .kind = RULE_TABLE, .inside = courier_rules},
        {.name = "watchdog", .kind = RULE_TABLE, .inside = watchdog_rules},
        {.name = "exports", .kind = RULE_TABLE, .inside = exports_rules},
        {.name = "log", .kind = RULE_CHOICE, .choices = " debug info warning error ", .otherwise = "info"},
        {.name = NULL},
};

/* One pass over the file: the copy being completed beside what was written. */
struct pass {
	struct cl_arena *arena;
	const char *file, *folder;
	struct cl_server_problem **end; /* where the next problem goes; NULL: stop at the first */
	struct cl_err *e;
	int result;
};

static void __attribute__((format(printf, 3, 4)))
complain(struct pass *pass, const struct cl_json *at, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	const char *message = cl_arena_vprintf(pass->arena, format, arguments).p;
	va_end(arguments);
	int line = cl_config_line(pass->file, at);
	const char *where = line > 0 ? cl_arena_printf(pass->arena, "%s:%d", pass->file, line).p : pass->file;
	if (pass->result == CL_OK) {
		pass->result = cl_fail(pass->e, CL_E_INVALID, "%s", message);
		cl_fail_at(pass->e, "%s", where);
	}
	if (!pass->end)
		return;
	struct cl_server_problem *problem = CL_NEW(pass->arena, struct cl_server_problem);
	*problem = (struct cl_server_problem){.where = where, .message = message};
	*pass->end = problem;
	pass->end = &problem->next;
}

/* Without "..", whether the last part of the path exists yet or not: the same before and after the data folder was
 * made. */
static const char *absolute(struct pass *pass, struct cl_str path)
{
	char real[PATH_MAX];
	bool whole = cl_str_starts(path, "/");
	struct cl_str joined = whole ? cl_arena_copy(pass->arena, path)
	                             : cl_arena_printf(pass->arena, "%s/%.*s", pass->folder, CL_STR_ARGS(path));
	while (joined.n > 1 && joined.p[joined.n - 1] == '/')
		joined.n--;
	char *text = cl_arena_cstring(pass->arena, joined);
	if (realpath(text, real))
		return cl_arena_cstring(pass->arena, cl_str_of(real));
	char *slash = strrchr(text, '/');
	*slash = '\0';
	const char *parent = realpath(slash > text ? text : "/", real);
	*slash = '/';
	if (!parent)
		return text;
	return cl_arena_printf(pass->arena, "%s%s", strcmp(real, "/") == 0 ? "" : real, slash).p;
}

/* An empty Lua table is an empty array in the tree. */
static bool is_table(const struct cl_json *value)
{
	return value->kind == CL_JSON_OBJECT || (value->kind == CL_JSON_ARRAY && value->count == 0);
}

static void check_table(struct pass *pass, const struct rule *rules, struct cl_json *tree,
                        const struct cl_json *written, const char *name);

static void check_path(struct pass *pass, struct cl_json *value, const struct cl_json *written, const char *name)
{
	if (value->kind != CL_JSON_STRING || value->text.n == 0)
		complain(pass, written, "%s must be a path in quotes", name);
	else
		value->text = cl_str_of(absolute(pass, value->text));
}

/* "riverside" or { id = "lakeside", hosts = { "care.lakeside.example" } } */
static void check_organization(struct pass *pass, struct cl_json *value, const struct cl_json *written,
                               const char *name)
{
	static const struct rule rules[] = {{.name = "id", .kind = RULE_TEXT, .required = true},
	                                    {.name = "hosts", .kind = RULE_TEXTS, .most = 64},
	                                    {.name = NULL}};
	if (value->kind != CL_JSON_STRING && !is_table(value))
		complain(pass, written, "%s must be an organization's id, or { id = ..., hosts = { ... } }", name);
	else if (value->kind != CL_JSON_STRING)
		check_table(pass, rules, value, written, name);
}

/* An address that a list of destinations may have (base/destination.h). */
static void check_destination(struct pass *pass, const struct cl_json *value, const struct cl_json *written,
                              const char *name)
{
	struct cl_err problem = {0};
	if (value->kind != CL_JSON_STRING)
		complain(pass, written, "%s must be text in quotes", name);
	else if (cl_destination_check_pattern(value->text, &problem))
		complain(pass, written, "%s: %s", name, problem.message);
}

static void check_list(struct pass *pass, const struct rule *rule, struct cl_json *value, const struct cl_json *written,
                       const char *name)
{
	if (value->kind != CL_JSON_ARRAY) {
		complain(pass, written, "%s must be a list: { ... }%s", name,
		         rule->kind == RULE_TABLES ? " of tables, as in { { port = 8443 } }" : "");
		return;
	}
	if (value->count < (uint64_t)rule->least || value->count > (uint64_t)rule->most)
		complain(pass, written, "%s must have %lld to %lld elements", name, (long long)rule->least,
		         (long long)rule->most);
	for (uint32_t i = 0; i < value->count; i++) {
		const char *element = cl_arena_printf(pass->arena, "%s[%u]", name, i + 1).p;
		if (rule->kind == RULE_PATHS)
			check_path(pass, &value->items[i], &written->items[i], element);
		else if (rule->kind == RULE_DESTINATIONS)
			check_destination(pass, &value->items[i], &written->items[i], element);
		else if (rule->kind == RULE_TEXTS && value->items[i].kind != CL_JSON_STRING)
			complain(pass, &written->items[i], "%s must be text in quotes", element);
		else if (rule->kind == RULE_TEXTS)
			continue;
		else if (rule->kind == RULE_ORGANIZATIONS)
			check_organization(pass, &value->items[i], &written->items[i], element);
		else if (!is_table(&value->items[i]))
			complain(pass, &written->items[i], "%s must be a table: { ... }", element);
		else
			check_table(pass, rule->inside, &value->items[i], &written->items[i], element);
	}
}

static void check_value(struct pass *pass, const struct rule *rule, struct cl_json *value,
                        const struct cl_json *written, const char *name)
{
	int64_t number;
	switch (rule->kind) {
	case RULE_TEXT:
		if (value->kind != CL_JSON_STRING || value->text.n == 0)
			complain(pass, written, "%s must be text in quotes", name);
		break;
	case RULE_PATH:
		check_path(pass, value, written, name);
		break;
	case RULE_INTEGER:
		if (!cl_json_integer(value, &number))
			complain(pass, written, "%s must be a whole number", name);
		else if (number < rule->least || number > rule->most)
			complain(pass, written, "%s must be between %lld and %lld", name, (long long)rule->least,
			         (long long)rule->most);
		break;
	case RULE_CHOICE: {
		struct cl_str text = cl_json_text(value);
		const char *padded = cl_arena_printf(pass->arena, " %.*s ", CL_STR_ARGS(text)).p;
		if (value->kind != CL_JSON_STRING || text.n == 0 || !strstr(rule->choices, padded))
			complain(pass, written, "%s must be one of:%s", name, rule->choices);
		break;
	}
	case RULE_TABLE:
		if (!is_table(value))
			complain(pass, written, "%s must be a table: { ... }", name);
		else
			check_table(pass, rule->inside, value, written, name);
		break;
	case RULE_TABLES:
	case RULE_PATHS:
	case RULE_TEXTS:
	case RULE_DESTINATIONS:
	case RULE_ORGANIZATIONS:
		check_list(pass, rule, value, written, name);
		break;
	}
}

static void check_unknown(struct pass *pass, const struct rule *rules, const struct cl_json *written, const char *name)
{
	for (uint32_t i = 0; written->kind == CL_JSON_OBJECT && i < written->count; i++) {
		const struct cl_json_member *member = &written->members[i];
		struct cl_closest closest = {.wanted = member->name};
		const struct rule *rule = rules;
		for (; rule->name && !cl_str_is(member->name, rule->name); rule++)
			cl_closest_offer(&closest, rule->name);
		if (rule->name)
			continue;
		const char *what = *name ? cl_arena_printf(pass->arena, " in %s", name).p : "";
		if (closest.best)
			complain(pass, &member->value, "unknown setting \"%.*s\"%s (did you mean \"%s\"?)",
			         CL_STR_ARGS(member->name), what, closest.best);
		else
			complain(pass, &member->value, "unknown setting \"%.*s\"%s", CL_STR_ARGS(member->name), what);
	}
}

static void fill_in(struct pass *pass, const struct rule *rule, struct cl_json *tree)
{
	if (rule->kind == RULE_INTEGER) {
		cl_json_set_integer(pass->arena, tree, rule->name, strtoll(rule->otherwise, NULL, 10));
		return;
	}
	const char *text = rule->kind == RULE_PATH ? absolute(pass, cl_str_of(rule->otherwise)) : rule->otherwise;
	cl_json_set_text(pass->arena, tree, rule->name, cl_str_of(text));
}

static void check_table(struct pass *pass, const struct rule *rules, struct cl_json *tree,
                        const struct cl_json *written, const char *name)
{
	tree->kind = CL_JSON_OBJECT; /* an empty one was read as an array */
	check_unknown(pass, rules, written, name);
	for (const struct rule *rule = rules; rule->name; rule++) {
		const char *full = *name ? cl_arena_printf(pass->arena, "%s.%s", name, rule->name).p : rule->name;
		const struct cl_json *mine = cl_json_get(written, rule->name);
		if (mine)
			check_value(pass, rule, cl_json_get(tree, rule->name), mine, full);
		else if (rule->required)
			complain(pass, written, "%s is missing", full);
		else if (rule->otherwise)
			fill_in(pass, rule, tree);
		else if (rule->kind == RULE_TABLE)
			check_table(pass, rule->inside, cl_json_set_object(pass->arena, tree, rule->name),
			            &(struct cl_json){.kind = CL_JSON_OBJECT}, full);
	}
}

bool cl_server_settings_id_good(struct cl_str id)
{
	/* Paths that the gateway answers itself, and the supervisor's own socket. */
	static const char *const taken[] = {"admin", "board", "fhir", "healthz", "oauth2", "readyz"};
	if (id.n == 0 || id.n > 40 || id.p[0] == '-' || id.p[id.n - 1] == '-')
		return false;
	for (size_t i = 0; i < id.n; i++)
		if (!((id.p[i] >= 'a' && id.p[i] <= 'z') || (id.p[i] >= '0' && id.p[i] <= '9') || id.p[i] == '-'))
			return false;
	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		if (cl_str_is(id, taken[i]))
			return false;
	return true;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void add_organization(struct pass *pass, struct cl_server_settings *settings, struct cl_str id,
                             const struct cl_json *at)
{
	if (!cl_server_settings_id_good(id)) {
		complain(pass, at,
		         "\"%.*s\" cannot be an organization's id: it is a part of its host name (a to z, digits, "
		         "hyphens, at most 40 letters), and not admin, board, fhir, healthz, oauth2 or readyz",
		         CL_STR_ARGS(id));
		return;
	}
	size_t count = settings->organization_count;
	for (size_t i = 0; i < count; i++)
		if (cl_str_is(id, settings->organizations[i])) {
			complain(pass, at, "the organization \"%.*s\" is there twice", CL_STR_ARGS(id));
			return;
		}
	if (count == 0 || (count >= 16 && (count & (count - 1)) == 0)) {
		const char **more = CL_NEW_ARRAY(pass->arena, const char *, count ? 2 * count : 16);
		if (count)
			memcpy(more, settings->organizations, count * sizeof *more);
		settings->organizations = more;
	}
	settings->organizations[settings->organization_count++] = cl_arena_cstring(pass->arena, id);
}

static void list_folder(struct pass *pass, struct cl_server_settings *settings)
{
	const struct cl_json *at = cl_json_get(settings->written, "organizations_folder");
	struct dirent *entry;
	DIR *folder = opendir(settings->organizations_folder);
	if (!folder) {
		complain(pass, at, "organizations_folder %s: %s", settings->organizations_folder, strerror(errno));
		return;
	}
	while ((entry = readdir(folder))) {
		struct cl_str name = cl_str_of(entry->d_name);
		if (name.n > 4 && name.p[0] != '.' && strcmp(name.p + name.n - 4, ".lua") == 0)
			add_organization(pass, settings, (struct cl_str){name.p, name.n - 4}, at);
	}
	closedir(folder);
}

/* Named one by one, or every file of the folder. */
static void list_organizations(struct pass *pass, struct cl_server_settings *settings)
{
	const struct cl_json *named = cl_json_get(settings->tree, "organizations");
	const struct cl_json *written = cl_json_get(settings->written, "organizations");
	if (!named && cl_json_get_text(settings->tree, "organizations_folder").n)
		list_folder(pass, settings);
	for (uint32_t i = 0; named && named->kind == CL_JSON_ARRAY && i < named->count; i++) {
		const struct cl_json *item = &named->items[i];
		struct cl_str id = item->kind == CL_JSON_OBJECT ? cl_json_get_text(item, "id") : cl_json_text(item);
		if (id.n)
			add_organization(pass, settings, id, &written->items[i]);
	}
	if (settings->organization_count)
		qsort(settings->organizations, settings->organization_count, sizeof *settings->organizations,
		      compare_names);
}

static int64_t integer_of(const struct cl_json *value, int64_t otherwise)
{
	int64_t number;
	return cl_json_integer(value, &number) ? number : otherwise;
}

static enum cl_log_level log_level_of(struct cl_str name)
{
	static const char *const names[] = {"debug", "info", "warning", "error"};
	for (int i = 0; i < 4; i++)
		if (cl_str_is(name, names[i]))
			return (enum cl_log_level)i;
	return CL_LOG_INFO;
}

int cl_server_settings_load(struct cl_arena *arena, const char *path, struct cl_server_settings *out,
                            struct cl_server_problem **problems, struct cl_err *e)
{
	char real[PATH_MAX];
	*out = (struct cl_server_settings){0};
	if (problems)
		*problems = NULL;
	if (!realpath(path, real)) {
		cl_fail(e, CL_E_NOT_FOUND, "cannot be opened: %s", strerror(errno));
		return cl_fail_at(e, "%s", path);
	}
	out->file = cl_arena_cstring(arena, cl_str_of(real));
	*strrchr(real, '/') = '\0';
	int result = cl_config_load(arena, out->file, &out->written, e);
	if (result)
		return result;
	struct pass pass = {.arena = arena, .file = out->file, .end = problems, .e = e};
	pass.folder = cl_arena_cstring(arena, cl_str_of(real));
	out->tree = cl_json_copy(arena, out->written);
	if (!is_table(out->tree)) {
		complain(&pass, NULL, "the file must return a table of settings, as in { data = \"...\" }");
		return pass.result;
	}
	check_table(&pass, root_rules, out->tree, out->written, "");
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int64_t processes = cores < 1 ? 1 : cores > 64 ? 64 : cores;
	if (!cl_json_get(out->tree, "gateways"))
		cl_json_set_integer(arena, out->tree, "gateways", processes);
	out->gateways = (int)integer_of(cl_json_get(out->tree, "gateways"), processes);
	out->lua_limit = 1000 * integer_of(cl_json_path(out->tree, "watchdog", "lua_milliseconds", NULL), 2000);
	out->log = log_level_of(cl_json_get_text(out->tree, "log"));
	out->data = cl_arena_cstring(arena, cl_json_get_text(out->tree, "data"));
	out->organizations_folder = cl_arena_cstring(arena, cl_json_get_text(out->tree, "organizations_folder"));
	list_organizations(&pass, out);
	return pass.result;
}

/* ---- dump ---- */

static void dump_text(struct cl_buf *out, struct cl_str text)
{
	cl_buf_add_byte(out, '"');
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];
		if (c == '"' || c == '\\')
			cl_buf_printf(out, "\\%c", c);
		else if (c < ' ' || c == 0x7f)
			cl_buf_printf(out, "\\%03d", c);
		else
			cl_buf_add_byte(out, (char)c);
	}
	cl_buf_add_byte(out, '"');
}

static void dump_value(const struct cl_server_settings *settings, struct cl_buf *out, const struct cl_json *value,
                       const struct cl_json *written, int depth);

static void dump_origin(const struct cl_server_settings *settings, struct cl_buf *out, const struct cl_json *written)
{
	int line = cl_config_line(settings->file, written);
	if (line > 0)
		cl_buf_printf(out, " -- line %d\n", line);
	else
		cl_buf_add_cstring(out, written ? " -- computed in the file\n" : " -- default\n");
}

static void dump_children(const struct cl_server_settings *settings, struct cl_buf *out, const struct cl_json *value,
                          const struct cl_json *written, int depth)
{
	for (uint32_t i = 0; i < value->count; i++) {
		bool named = value->kind == CL_JSON_OBJECT;
		const struct cl_json *child = named ? &value->members[i].value : &value->items[i];
		const struct cl_json *source = NULL;
		if (named && written)
			source = cl_json_get_str(written, value->members[i].name);
		else if (written && written->kind == CL_JSON_ARRAY && i < written->count)
			source = &written->items[i];
		for (int tab = 0; tab <= depth; tab++)
			cl_buf_add_byte(out, '\t');
		if (named)
			cl_buf_printf(out, "%.*s = ", CL_STR_ARGS(value->members[i].name));
		dump_value(settings, out, child, source, depth + 1);
		cl_buf_add_byte(out, ',');
		if (child->kind == CL_JSON_OBJECT || child->kind == CL_JSON_ARRAY)
			cl_buf_add_byte(out, '\n');
		else
			dump_origin(settings, out, source);
	}
}

static void dump_value(const struct cl_server_settings *settings, struct cl_buf *out, const struct cl_json *value,
                       const struct cl_json *written, int depth)
{
	switch (value->kind) {
	case CL_JSON_STRING:
		dump_text(out, value->text);
		break;
	case CL_JSON_NUMBER:
		cl_buf_add_str(out, value->text);
		break;
	case CL_JSON_TRUE:
		cl_buf_add_cstring(out, "true");
		break;
	case CL_JSON_FALSE:
		cl_buf_add_cstring(out, "false");
		break;
	case CL_JSON_ARRAY:
	case CL_JSON_OBJECT:
		if (value->count == 0) {
			cl_buf_add_cstring(out, "{}");
			break;
		}
		cl_buf_add_cstring(out, "{\n");
		dump_children(settings, out, value, written, depth);
		for (int tab = 0; tab < depth; tab++)
			cl_buf_add_byte(out, '\t');
		cl_buf_add_byte(out, '}');
		break;
	default:
		cl_buf_add_cstring(out, "nil");
		break;
	}
}

void cl_server_settings_dump(const struct cl_server_settings *settings, struct cl_buf *out)
{
	cl_buf_printf(out, "-- %s\nreturn ", settings->file);
	dump_value(settings, out, settings->tree, settings->written, 0);
	cl_buf_printf(out, "\n-- organizations:");
	for (size_t i = 0; i < settings->organization_count; i++)
		cl_buf_printf(out, " %s", settings->organizations[i]);
	cl_buf_add_byte(out, '\n');
}

/* settings.c: what an organization needs of the server's configuration: its folder, its plugins, its trust anchors. */
#include "org/engine/settings.h"
#include "base/hash.h"
#include "org/lua/lua_state.h"
#include <errno.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* A path of the configuration, relative to the file that names it. */
char *cl_settings_path(struct cl_arena *arena, const char *config, struct cl_str path)
{
	const char *slash = strrchr(config, '/');
	if (!path.n || path.p[0] == '/' || !slash)
		return cl_arena_cstring(arena, path);
	return cl_arena_cstring(arena,
	                        cl_arena_printf(arena, "%.*s/%.*s", (int)(slash - config), config, CL_STR_ARGS(path)));
}

/* The fingerprint of the first certificate in a file, as the gateway computes it for trust anchors. */
static int fingerprint(const char *path, char hex[65], struct cl_err *e)
{
	FILE *in = fopen(path, "re");
	X509 *certificate = in ? PEM_read_X509(in, NULL, NULL, NULL) : NULL;
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	if (in)
		fclose(in);
	if (!certificate || !X509_digest(certificate, EVP_sha256(), hash, &n)) {
		X509_free(certificate);
		return cl_fail(e, CL_E_NOT_FOUND, "'%s' holds no certificate", path);
	}
	X509_free(certificate);
	cl_hex(hash, n, hex);
	return 0;
}

static int fill_anchors(struct cl_arena *arena, const char *config_path, struct cl_json *entries, const char *standard,
                        struct cl_err *e)
{
	for (uint32_t i = 0; entries && entries->kind == CL_JSON_OBJECT && i < entries->count; i++) {
		struct cl_json *entry = &entries->members[i].value;
		struct cl_str named = cl_json_get_text(entry, "anchor");
		char hex[65];
		if (entry->kind != CL_JSON_OBJECT)
			continue;
		if (named.n && fingerprint(cl_settings_path(arena, config_path, named), hex, e))
			return cl_fail_at(e, "%.*s.anchor", CL_STR_ARGS(entries->members[i].name));
		cl_json_set_text(arena, entry, "anchor",
		                 named.n ? cl_arena_copy(arena, cl_str_of(hex)) : cl_str_of(standard));
	}
	return 0;
}

#define KEYS_FILE_MAX ((size_t)64 * 1024)

/* A client's public keys may stand in a file beside the organization's: it is read here, before the process is confined. */
static int read_keys(struct cl_arena *arena, const char *path, struct cl_json **out, struct cl_err *e)
{
	char *text = cl_arena_alloc(arena, KEYS_FILE_MAX);
	FILE *in = fopen(path, "re");
	if (!in)
		return cl_fail(e, CL_E_NOT_FOUND, "'%s' cannot be read: %s", path, strerror(errno));
	size_t n = fread(text, 1, KEYS_FILE_MAX, in);
	fclose(in);
	if (n == KEYS_FILE_MAX)
		return cl_fail(e, CL_E_TOO_LARGE, "'%s' is too large for a key set", path);
	struct cl_err problem = {0};
	if (cl_json_parse(arena, (struct cl_str){text, n}, NULL, out, &problem))
		return cl_fail(e, CL_E_INVALID, "'%s': %s", path, problem.message);
	return 0;
}

static int fill_keys(struct cl_arena *arena, const char *folder, struct cl_json *entries, struct cl_err *e)
{
	for (uint32_t i = 0; entries && entries->kind == CL_JSON_OBJECT && i < entries->count; i++) {
		struct cl_json *entry = &entries->members[i].value, *keys;
		struct cl_str file = entry->kind == CL_JSON_OBJECT ? cl_json_get_text(entry, "jwks_file") : CL_STR_NONE;
		if (!file.n)
			continue;
		const char *path = file.p[0] == '/' ? cl_arena_cstring(arena, file)
		                                    : cl_arena_printf(arena, "%s/%.*s", folder, CL_STR_ARGS(file)).p;
		if (read_keys(arena, path, &keys, e))
			return cl_fail_at(e, "principals.%.*s.jwks_file", CL_STR_ARGS(entries->members[i].name));
		*cl_json_set(arena, entry, CL_STR("jwks")) = *keys;
	}
	return 0;
}

int cl_settings_archive(struct cl_arena *arena, const char *config_path, const struct cl_json *config, const char *id,
                        struct cl_json **archive, struct cl_err *e)
{
	char standard[65] = "";
	struct cl_str organizations = cl_json_get_text(config, "organizations_folder");
	struct cl_str plugins = cl_json_get_text(config, "plugins");
	char *folder = cl_settings_path(arena, config_path, organizations.n ? organizations : CL_STR("orgs"));
	int code = cl_lua_archive(arena, folder,
	                          cl_settings_path(arena, config_path, plugins.n ? plugins : CL_STR("../plugins")), id,
	                          archive, e);
	if (code)
		return code;
	struct cl_str authority = cl_json_text(cl_json_path(config, "tls", "client_authorities", "0", NULL));
	if (authority.n) {
		code = fingerprint(cl_settings_path(arena, config_path, authority), standard, e);
		if (code)
			return code;
	}
	struct cl_str anchor = cl_arena_copy(arena, cl_str_of(standard));
	struct cl_json *organization = cl_json_get(*archive, "organization");
	code = fill_anchors(arena, config_path, cl_json_get(organization, "principals"), anchor.p, e);
	if (!code)
		code = fill_keys(arena, folder, cl_json_get(organization, "principals"), e);
	return code ? code : fill_anchors(arena, config_path, cl_json_get(organization, "partners"), anchor.p, e);
}

int cl_settings_folder(struct cl_arena *arena, const char *config_path, const struct cl_json *config, const char *id,
                       char **out, struct cl_err *e)
{
	char *data = cl_settings_path(arena, config_path, cl_json_get_text(config, "data"));
	char *parent = cl_arena_cstring(arena, cl_arena_printf(arena, "%s/organizations", data));
	*out = cl_arena_cstring(arena, cl_arena_printf(arena, "%s/%s", parent, id));
	if ((mkdir(data, 0700) && errno != EEXIST) || (mkdir(parent, 0700) && errno != EEXIST) ||
	    (mkdir(*out, 0700) && errno != EEXIST))
		return cl_fail(e, CL_E_IO, "cannot make %s: %s", *out, strerror(errno));
	return 0;
}

struct cl_export_settings cl_settings_exports(const struct cl_json *config)
{
	struct cl_export_settings out = CL_EXPORT_SETTINGS;
	const struct cl_json *exports = cl_json_get(config, "exports");
	int64_t value;
	if (cl_json_integer(cl_json_get(exports, "keep_hours"), &value))
		out.keep = value * CL_HOUR;
	if (cl_json_integer(cl_json_get(exports, "running"), &value))
		out.running = (unsigned)value;
	if (cl_json_integer(cl_json_get(exports, "free_megabytes"), &value))
		out.reserve = value << 20;
	return out;
}

/* settings.h: what an organization needs of the server's configuration: its folder, its plugins, its trust anchors. */
#pragma once
#include "base/json.h"
#include "org/engine/export.h"

/* A path of the configuration, relative to the file that names it. */
char *cl_settings_path(struct cl_arena *arena, const char *config, struct cl_str path);
/* Everything that is read from outside the organization's folder, as cl_lua_archive gives it, with the trust anchor of every
 * principal and partner filled in: the fingerprint of the certificate that `anchor` names, else of the server's first client
 * authority (pitfalls 16). */
int cl_settings_archive(struct cl_arena *arena, const char *config_path, const struct cl_json *config, const char *id,
                        struct cl_json **archive, struct cl_err *e);
/* <data>/organizations/<id>, made when it is missing. */
int cl_settings_folder(struct cl_arena *arena, const char *config_path, const struct cl_json *config, const char *id,
                       char **out, struct cl_err *e);
/* How long files of exports stay, how many are made at once, how much of the disk they leave. */
struct cl_export_settings cl_settings_exports(const struct cl_json *config);

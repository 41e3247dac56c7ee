/* config_command.c: see config_command.h. Checks what `serve` would stumble over, files and certificates included. */
#include "supervisor/config_command.h"
#include "base/config.h"
#include "supervisor/settings.h"
#include <getopt.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct check {
	const struct cl_server_settings *settings;
	int errors, warnings;
};

static void __attribute__((format(printf, 4, 5)))
report(struct check *check, bool is_error, const struct cl_json *at, const char *format, ...)
{
	va_list arguments;
	int line = cl_config_line(check->settings->file, at);
	fputs(check->settings->file, stderr);
	if (line > 0)
		fprintf(stderr, ":%d", line);
	fputs(is_error ? ": error: " : ": warning: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	check->errors += is_error;
	check->warnings += !is_error;
}

static X509 *read_certificate(const char *path)
{
	FILE *file = fopen(path, "re");
	X509 *certificate = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
	if (file)
		fclose(file);
	return certificate;
}

static EVP_PKEY *read_key(const char *path)
{
	FILE *file = fopen(path, "re");
	EVP_PKEY *key = file ? PEM_read_PrivateKey(file, NULL, NULL, (void *)(uintptr_t) "") : NULL;
	if (file)
		fclose(file);
	return key;
}

static void check_certificate_file(struct check *check, const struct cl_json *at, const char *what, const char *path)
{
	X509 *certificate = read_certificate(path);
	if (!certificate)
		report(check, true, at,
		       "%s %s cannot be read as a PEM certificate (scripts/certificates makes some for "
		       "development)",
		       what, path);
	else if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
		report(check, true, at, "%s %s has expired", what, path);
	X509_free(certificate);
}

static const char *path_of(const struct cl_json *value)
{
	struct cl_str text = cl_json_text(value);
	return text.n ? text.p : NULL; /* made by cl_server_settings_load: NUL-terminated */
}

static void check_tls(struct check *check)
{
	const struct cl_server_settings *settings = check->settings;
	const struct cl_json *tls = cl_json_get(settings->tree, "tls"),
	                     *written = cl_json_get(settings->written, "tls");
	const char *certificate_path = path_of(cl_json_get(tls, "certificate")),
	           *key_path = path_of(cl_json_get(tls, "key"));
	struct stat status;
	if (!certificate_path || !key_path)
		return;
	check_certificate_file(check, cl_json_get(written, "certificate"), "tls.certificate", certificate_path);
	EVP_PKEY *key = read_key(key_path);
	X509 *certificate = read_certificate(certificate_path);
	if (!key)
		report(check, true, cl_json_get(written, "key"),
		       "tls.key %s cannot be read as a PEM key without password", key_path);
	else if (certificate && X509_check_private_key(certificate, key) != 1)
		report(check, true, cl_json_get(written, "key"), "tls.key does not belong to tls.certificate");
	if (key && stat(key_path, &status) == 0 && (status.st_mode & 077))
		report(check, false, cl_json_get(written, "key"), "tls.key %s can be read by others; use chmod 600",
		       key_path);
	EVP_PKEY_free(key);
	X509_free(certificate);
	const struct cl_json *authorities = cl_json_get(tls, "client_authorities");
	const struct cl_json *written_authorities = cl_json_get(written, "client_authorities");
	for (uint32_t i = 0; authorities && authorities->kind == CL_JSON_ARRAY && i < authorities->count; i++)
		if (path_of(&authorities->items[i]))
			check_certificate_file(check, &written_authorities->items[i], "tls.client_authorities",
			                       path_of(&authorities->items[i]));
}

static void check_folder(struct check *check, const char *name)
{
	struct stat status;
	const char *path = path_of(cl_json_get(check->settings->tree, name));
	if (path && (stat(path, &status) || !S_ISDIR(status.st_mode)))
		report(check, true, cl_json_get(check->settings->written, name), "%s: there is no folder %s", name,
		       path);
}

static void check_organizations(struct check *check)
{
	const struct cl_server_settings *settings = check->settings;
	for (size_t i = 0; i < settings->organization_count; i++) {
		struct cl_err e = {0};
		struct cl_json *tree;
		struct cl_arena *arena = cl_arena_new(0);
		struct cl_str path =
		        cl_arena_printf(arena, "%s/%s.lua", settings->organizations_folder, settings->organizations[i]);
		if (cl_config_load(arena, path.p, &tree, &e)) {
			fprintf(stderr, "%s: error: %s\n", e.where, e.message);
			check->errors++;
		}
		cl_arena_free(arena);
	}
	if (settings->organization_count == 0)
		report(check, false, cl_json_get(settings->written, "organizations_folder"),
		       "there is no organization in %s", settings->organizations_folder);
}

static int check_configuration(struct cl_arena *arena, const char *path)
{
	struct cl_server_settings settings;
	struct cl_server_problem *problems;
	struct cl_err e = {0};
	int result = cl_server_settings_load(arena, path, &settings, &problems, &e);
	if (result && !problems) {
		fprintf(stderr, "%s%s%s\n", e.where, e.where[0] ? ": error: " : "", e.message);
		return 1;
	}
	struct check check = {.settings = &settings};
	for (; problems; problems = problems->next) {
		fprintf(stderr, "%s: error: %s\n", problems->where, problems->message);
		check.errors++;
	}
	check_tls(&check);
	check_folder(&check, "plugins");
	check_folder(&check, "board");
	check_organizations(&check);
	if (check.errors) {
		fprintf(stderr, "%s: %d problem%s\n", settings.file, check.errors, check.errors == 1 ? "" : "s");
		return 1;
	}
	printf("%s: good: %zu organization%s, %d gateway%s%s\n", settings.file, settings.organization_count,
	       settings.organization_count == 1 ? "" : "s", settings.gateways, settings.gateways == 1 ? "" : "s",
	       check.warnings ? ", with warnings" : "");
	return 0;
}

static int dump_configuration(struct cl_arena *arena, const char *path)
{
	struct cl_server_settings settings;
	struct cl_err e = {0};
	struct cl_buf text;
	if (cl_server_settings_load(arena, path, &settings, NULL, &e)) {
		fprintf(stderr, "%s%s%s\n", e.where, e.where[0] ? ": error: " : "", e.message);
		return 1;
	}
	cl_buf_init(&text, 0);
	cl_server_settings_dump(&settings, &text);
	fwrite(text.p, 1, text.n, stdout);
	cl_buf_free(&text);
	return 0;
}

static int usage(FILE *out, int code)
{
	fprintf(out,
	        "usage: careloop config check [--config] FILE   look for mistakes; exit code 1 when there are any\n"
	        "       careloop config dump [--config] FILE    print what is in force, and where each value comes "
	        "from\n");
	return code;
}

int cl_config_command_main(int argc, char **argv)
{
	static const struct option options[] = {
	        {"config", required_argument, NULL, 'c'}, {"help", no_argument, NULL, 'h'}, {NULL, 0, NULL, 0}};
	const char *path = NULL;
	int option;
	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		if (option != 'c')
			return usage(option == 'h' ? stdout : stderr, option == 'h' ? 0 : 2);
		path = optarg;
	}
	const char *what = optind < argc ? argv[optind++] : "";
	if (!path && optind < argc)
		path = argv[optind++];
	bool dump = strcmp(what, "dump") == 0;
	if (!path || optind < argc || (!dump && strcmp(what, "check") != 0))
		return usage(stderr, 2);
	struct cl_arena *arena = cl_arena_new(0);
	int code = dump ? dump_configuration(arena, path) : check_configuration(arena, path);
	cl_arena_free(arena);
	return code;
}

/* verify.c: see verify.h. Opens the organization's file read-only; the server may run meanwhile. */
#include "console/verify.h"
#include "base/hash.h"
#include "org/store/audit.h"
#include "supervisor/heads.h"
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

struct verification {
	const char *data, *organization, *folder; /* folder: of the organization's file; NULL for the usual place */
};

static int usage(FILE *out, int code)
{
	fprintf(out, "usage: careloop audit verify --data DIR --organization ID [--folder DIR]\n"
	             "Recomputes the audit log of an organization and compares it with the newest head in "
	             "DIR/audit-heads.log.\n"
	             "  --folder DIR  where ID.db is, when not in DIR/organizations/ID\n"
	             "Exit codes: 0 whole, 1 not whole or not readable, 2 usage.\n");
	return code;
}

static int fail(const char *what, const struct cl_err *e)
{
	fprintf(stderr, "%s: %s%s%s\n", what, e->where, e->where[0] ? ": " : "", e->message);
	return 1;
}

static int verify(const struct verification *wanted)
{
	char heads_path[PATH_MAX], folder[PATH_MAX], root[65];
	struct cl_err e = {0};
	struct cl_head witnessed = {0};
	struct cl_store *store;
	struct cl_audit_head head;
	if (snprintf(heads_path, sizeof heads_path, "%s/audit-heads.log", wanted->data) >= (int)sizeof heads_path ||
	    snprintf(folder, sizeof folder, "%s%s%s", wanted->folder ? wanted->folder : wanted->data,
	             wanted->folder ? "" : "/organizations/",
	             wanted->folder ? "" : wanted->organization) >= (int)sizeof folder)
		return usage(stderr, 2);
	int known = cl_heads_read(heads_path, wanted->organization, &witnessed, &e);
	if (known && known != CL_E_NOT_FOUND)
		return fail("NOT WHOLE: the supervisor's record of heads", &e);
	int result = cl_store_open(folder, wanted->organization, CL_STORE_READER, &store, &e);
	if (result)
		return fail("cannot be read", &e);
	struct cl_audit_head older = {.size = witnessed.size};
	memcpy(older.root, witnessed.root, sizeof older.root);
	result = cl_audit_verify(store, known == CL_OK ? &older : NULL, &head, &e);
	cl_store_close(store);
	if (result)
		return fail(result == CL_E_CORRUPT ? "NOT WHOLE" : "cannot be verified", &e);
	cl_hex(head.root, sizeof head.root, root);
	printf("whole: %llu leaves, root %s\n", (unsigned long long)head.size, root);
	if (known == CL_OK)
		printf("extends what the supervisor witnessed at %s: %llu leaves\n", witnessed.at,
		       (unsigned long long)witnessed.size);
	else
		printf("the supervisor has witnessed no head of %s yet: a log that was replaced as a whole would not "
		       "be noticed\n",
		       wanted->organization);
	return 0;
}

int cl_verify_main(int argc, char **argv)
{
	static const struct option options[] = {{"data", required_argument, NULL, 'd'},
	                                        {"organization", required_argument, NULL, 'o'},
	                                        {"folder", required_argument, NULL, 'f'},
	                                        {"help", no_argument, NULL, 'h'},
	                                        {NULL, 0, NULL, 0}};
	struct verification wanted = {0};
	int option;
	/* clang-format off */
	while ((option = getopt_long(argc, argv, "o:h", options, NULL)) != -1) {
		switch (option) {
		case 'd': wanted.data = optarg; break;
		case 'o': wanted.organization = optarg; break;
		case 'f': wanted.folder = optarg; break;
		case 'h': return usage(stdout, 0);
		default: return usage(stderr, 2);
		}
	}
	/* clang-format on */
	if (optind + 1 != argc || strcmp(argv[optind], "verify") != 0 || !wanted.data || !wanted.organization)
		return usage(stderr, 2);
	return verify(&wanted);
}

/* certificate.c: see certificate.h. Names follow wire/frame.h: first SAN URI, else "dns:" and the first SAN DNS
 * name, else "cn:" and the common name. */
#include "console/certificate.h"
#include "base/hash.h"
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool copy_text(char *out, size_t size, const char *prefix, const ASN1_STRING *text)
{
	int n = text ? ASN1_STRING_length(text) : 0;
	const char *bytes = text ? (const char *)ASN1_STRING_get0_data(text) : NULL;
	if (n <= 0 || memchr(bytes, 0, (size_t)n))
		return false;
	return snprintf(out, size, "%s%.*s", prefix, n, bytes) < (int)size;
}

static bool alternative_name(X509 *certificate, int kind, const char *prefix, char *out, size_t size)
{
	bool found = false;
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; names && !found && i < sk_GENERAL_NAME_num(names); i++) {
		int type;
		const ASN1_STRING *value = GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(names, i), &type);
		found = type == kind && copy_text(out, size, prefix, value);
	}
	GENERAL_NAMES_free(names);
	return found;
}

static void principal_name(X509 *certificate, char *out, size_t size)
{
	if (alternative_name(certificate, GEN_URI, "", out, size) ||
	    alternative_name(certificate, GEN_DNS, "dns:", out, size))
		return;
	const X509_NAME *subject = X509_get_subject_name(certificate);
	int place = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	const X509_NAME_ENTRY *entry = place >= 0 ? X509_NAME_get_entry(subject, place) : NULL;
	if (!entry || !copy_text(out, size, "cn:", X509_NAME_ENTRY_get_data(entry)))
		snprintf(out, size, "(no name)");
}

static void print_time(const char *label, const ASN1_TIME *time)
{
	struct tm parts;
	char text[40] = "unknown";
	if (ASN1_TIME_to_tm(time, &parts) == 1)
		strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
	printf("%s%s", label, text);
}

static int show(const char *path)
{
	char name[512], fingerprint[65];
	uint8_t hash[EVP_MAX_MD_SIZE];
	unsigned size;
	FILE *file = fopen(path, "re");
	X509 *certificate = file ? PEM_read_X509(file, NULL, NULL, NULL) : NULL;
	if (file)
		fclose(file);
	if (!certificate || X509_digest(certificate, EVP_sha256(), hash, &size) != 1 || size != CL_SHA256_SIZE) {
		fprintf(stderr, "%s: cannot be read as a PEM certificate\n", path);
		X509_free(certificate);
		return 1;
	}
	cl_hex(hash, size, fingerprint);
	principal_name(certificate, name, sizeof name);
	bool authority = X509_check_ca(certificate) > 0;
	printf("%s\n  name         %s\n  %s  %s\n", path, name, authority ? "anchor     " : "fingerprint", fingerprint);
	print_time("  valid        ", X509_get0_notBefore(certificate));
	print_time(" to ", X509_get0_notAfter(certificate));
	int days = 0, seconds = 0;
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) == 1)
		printf(days < 0 || seconds < 0 ? " (EXPIRED)" : " (%d days left)", days);
	printf("\n");
	X509_free(certificate);
	return 0;
}

int cl_certificate_main(int argc, char **argv)
{
	int code = 0;
	if (argc < 2 || argv[1][0] == '-') {
		bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
		fprintf(help ? stdout : stderr,
		        "usage: careloop certificate FILE ...\n"
		        "Shows what the server sees in each certificate: the name and fingerprint of a client, the "
		        "anchor of an authority.\n"
		        "scripts/certificates DIR ORGANIZATION ... makes certificates for development.\n");
		return help ? 0 : 2;
	}
	for (int i = 1; i < argc; i++)
		code |= show(argv[i]);
	return code;
}

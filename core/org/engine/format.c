/* format.c: the forms of bodies: which one a client sends, which one it takes (FHIR R4 http.html section 3.1.0.1.10, RFC 9110
 * section 12.5.1). FHIR resources are JSON here; what a Binary holds goes out as it is. */
#include "org/engine/interaction.h"
#include "org/fhir/types.h"
#include <strings.h>

struct cl_media {
	struct cl_str name; /* "application/fhir+json" */
	int quality; /* thousandths */
	bool other_version; /* of FHIR than R4 */
};

static struct cl_str trim(struct cl_str text)
{
	while (text.n && (text.p[0] == ' ' || text.p[0] == '\t'))
		text = (struct cl_str){text.p + 1, text.n - 1};
	while (text.n && (text.p[text.n - 1] == ' ' || text.p[text.n - 1] == '\t'))
		text.n--;
	return text;
}

static struct cl_str cut(struct cl_str *rest, char mark)
{
	const char *at = rest->n ? memchr(rest->p, mark, rest->n) : NULL;
	struct cl_str part = {rest->p, at ? (size_t)(at - rest->p) : rest->n};
	*rest = at ? (struct cl_str){at + 1, rest->n - part.n - 1} : CL_STR_NONE;
	return trim(part);
}

static bool is_named(struct cl_str name, const char *wanted)
{
	return name.n == strlen(wanted) && strncasecmp(name.p, wanted, name.n) == 0;
}

/* "0.25" -> 250. What is no quality counts as 1. */
static int thousandths(struct cl_str text)
{
	int value = 0, scale = 1000;
	for (size_t i = 0; i < text.n && i < 5; i++) {
		if (text.p[i] == '.')
			continue;
		if (text.p[i] < '0' || text.p[i] > '9')
			return 1000;
		value += (text.p[i] - '0') * scale;
		scale /= 10;
	}
	return text.n ? value : 1000;
}

static struct cl_media read_media(struct cl_str text)
{
	struct cl_media media = {.quality = 1000};
	media.name = cut(&text, ';');
	while (text.n) {
		struct cl_str value = cut(&text, ';'), name = cut(&value, '=');
		value = trim(value);
		if (value.n > 1 && value.p[0] == '"' && value.p[value.n - 1] == '"')
			value = (struct cl_str){value.p + 1, value.n - 2};
		if (is_named(name, "q"))
			media.quality = thousandths(value);
		else if (is_named(name, "fhirversion"))
			media.other_version = !cl_str_is(value, "4.0") && !cl_str_is(value, "4.0.1");
	}
	return media;
}

static bool is_fhir_json(const struct cl_media *media)
{
	static const char *const names[] = {"application/fhir+json", "application/json", "text/json", "json",
	                                    "application/json+fhir"};
	for (size_t i = 0; i < sizeof names / sizeof *names && !media->other_version; i++)
		if (is_named(media->name, names[i]))
			return true;
	return false;
}

/* Exports are lines of JSON. */
static bool is_lines(const struct cl_media *media)
{
	return is_named(media->name, "application/fhir+ndjson") || is_named(media->name, "application/ndjson") ||
	       is_named(media->name, "application/x-ndjson") || is_named(media->name, "ndjson");
}

static bool takes_anything(const struct cl_media *media)
{
	return is_named(media->name, "*/*") || is_named(media->name, "application/*") || is_named(media->name, "*");
}

bool cl_format_is_json(struct cl_str content_type)
{
	struct cl_media media = read_media(content_type);
	return is_fhir_json(&media);
}

bool cl_format_is(struct cl_str content_type, const char *name)
{
	return is_named(read_media(content_type).name, name);
}

int cl_format_check(const struct cl_request *request, const struct cl_route *route, struct cl_err *e)
{
	struct cl_str accept = route->format.n ? route->format : cl_request_header(request, "accept");
	struct cl_str rest = accept;
	/* What a Binary holds is decided when it is known. */
	bool binary = (route->kind == CL_ROUTE_READ || route->kind == CL_ROUTE_VREAD) &&
	              cl_str_is(cl_fhir_type_name(route->type), "Binary");
	if (!trim(accept).n || binary)
		return 0;
	while (rest.n) {
		struct cl_media media = read_media(cut(&rest, ','));
		if (media.quality && (is_fhir_json(&media) || is_lines(&media) || takes_anything(&media)))
			return 0;
	}
	return cl_fail(e, CL_E_NOT_ACCEPTABLE, "this server speaks application/fhir+json (FHIR 4.0) only");
}

bool cl_format_wants_content(const struct cl_request *request, const struct cl_route *route, struct cl_str content_type)
{
	struct cl_str rest = route->format.n ? route->format : cl_request_header(request, "accept");
	int resource = -1, content = -1, anything = -1;
	while (rest.n) {
		struct cl_media media = read_media(cut(&rest, ','));
		int *kind = is_fhir_json(&media) ? &resource : takes_anything(&media) ? &anything : NULL;
		if (!kind && media.name.n == content_type.n &&
		    strncasecmp(media.name.p, content_type.p, content_type.n) == 0)
			kind = &content;
		if (kind && media.quality > *kind)
			*kind = media.quality;
	}
	/* The resource only when it is asked for by name; what is named counts before what is merely allowed. */
	return resource < 0 || (content < 0 ? anything : content) > resource;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* "application%2Ffhir%2Bjson"; a bare plus is meant as one, though it decodes to a space. */
static struct cl_str decode(struct cl_arena *arena, struct cl_str text)
{
	char *out = cl_arena_alloc(arena, text.n + 1);
	size_t n = 0;
	for (size_t i = 0; i < text.n; i++) {
		if (text.p[i] == '%' && i + 2 < text.n && hex_digit(text.p[i + 1]) >= 0 &&
		    hex_digit(text.p[i + 2]) >= 0) {
			out[n++] = (char)(hex_digit(text.p[i + 1]) * 16 + hex_digit(text.p[i + 2]));
			i += 2;
		} else {
			out[n++] = text.p[i];
		}
	}
	return (struct cl_str){out, n};
}

void cl_format_cut(struct cl_arena *arena, struct cl_route *route)
{
	struct cl_str rest = route->query;
	if (!rest.n || (!memmem(rest.p, rest.n, "_format=", 8) && !memmem(rest.p, rest.n, "_pretty=", 8)))
		return;
	char *kept = cl_arena_alloc(arena, rest.n);
	size_t n = 0;
	while (rest.n) {
		const char *end = memchr(rest.p, '&', rest.n);
		struct cl_str pair = {rest.p, end ? (size_t)(end - rest.p) : rest.n};
		rest = end ? (struct cl_str){end + 1, rest.n - pair.n - 1} : CL_STR_NONE;
		if (cl_str_starts(pair, "_format=")) {
			route->format = decode(arena, (struct cl_str){pair.p + 8, pair.n - 8});
		} else if (!cl_str_starts(pair, "_pretty=") && pair.n) {
			if (n)
				kept[n++] = '&';
			memcpy(kept + n, pair.p, pair.n);
			n += pair.n;
		}
	}
	route->query = (struct cl_str){kept, n};
}

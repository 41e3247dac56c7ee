/* subscription_channel.c: what a Subscription may ask for: criteria, destination, payload, headers. */
#include "org/flow/subscription_internal.h"
#include "base/destination.h"
#include "org/fhir/types.h"
#include "org/flow/unit_internal.h"
#include <ctype.h>
#include <strings.h>

#define CL_SUBSCRIPTION_HEADERS 20
#define CL_SUBSCRIPTION_HEADER_BYTES 4096
#define CL_SUBSCRIPTION_CRITERIA_BYTES 4000

/* ---- headers ---- */

static bool same_word(struct cl_str a, struct cl_str b)
{
	return a.n == b.n && strncasecmp(a.p, b.p, a.n) == 0;
}

static bool has_word(struct cl_str text, const char *word)
{
	size_t n = strlen(word);
	for (size_t i = 0; i + n <= text.n; i++)
		if (strncasecmp(text.p + i, word, n) == 0)
			return true;
	return false;
}

/* A header that lets somebody in is nobody's to read, not even its writer's: versions and logs are read by others. */
static bool is_secret(struct cl_str name, struct cl_str value)
{
	static const char *const words[] = {"auth",   "token",     "key",        "secret", "pass",
	                                    "cookie", "signature", "credential", "session"};
	static const char *const beginnings[] = {"Bearer ", "Basic ", "Digest ", "Negotiate "};
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		if (has_word(name, words[i]))
			return true;
	for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++)
		if (value.n > strlen(beginnings[i]) &&
		    same_word((struct cl_str){value.p, strlen(beginnings[i])}, cl_str_of(beginnings[i])))
			return true;
	return false;
}

static bool split(struct cl_str line, struct cl_str *name, struct cl_str *value)
{
	const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
	if (!colon)
		return false;
	*name = (struct cl_str){line.p, (size_t)(colon - line.p)};
	*value = (struct cl_str){colon + 1, line.n - name->n - 1};
	while (value->n && (value->p[0] == ' ' || value->p[0] == '\t')) {
		value->p++;
		value->n--;
	}
	while (value->n && (value->p[value->n - 1] == ' ' || value->p[value->n - 1] == '\t'))
		value->n--;
	return name->n > 0;
}

/* RFC 9110, sections 5.1 and 5.5; and none that frames the request, or that this server sets itself. */
static int check_header(struct cl_str line, struct cl_err *e)
{
	static const char *const reserved[] = {
	        "host", "connection", "content-length", "content-type", "content-encoding", "transfer-encoding",
	        "te",   "trailer",    "upgrade",        "expect",       "keep-alive",       "accept-encoding",
	        "date", "range"};
	static const char *const families[] = {"webhook-", "careloop-", "proxy-", "sec-"};
	static const char marks[] = "!#$%&'*+-.^_`|~";
	struct cl_str name, value;
	if (line.n > CL_SUBSCRIPTION_HEADER_BYTES)
		return cl_fail(e, CL_E_RULE, "a header has at most %d bytes", CL_SUBSCRIPTION_HEADER_BYTES);
	if (!split(line, &name, &value))
		return cl_fail(e, CL_E_RULE, "a header is written as Name: value");
	for (size_t i = 0; i < name.n; i++)
		if (!isalnum((unsigned char)name.p[i]) && !strchr(marks, name.p[i]))
			return cl_fail(e, CL_E_RULE, "a header's name has a character that it may not have");
	for (size_t i = 0; i < value.n; i++)
		if ((value.p[i] < ' ' || value.p[i] > '~') && value.p[i] != '\t')
			return cl_fail(e, CL_E_RULE,
			               "a header's value has a line break or another character that it may not have");
	bool refused = false;
	for (size_t i = 0; i < sizeof reserved / sizeof *reserved; i++)
		refused |= same_word(name, cl_str_of(reserved[i]));
	for (size_t i = 0; i < sizeof families / sizeof *families; i++)
		refused |= name.n >= strlen(families[i]) &&
		           same_word((struct cl_str){name.p, strlen(families[i])}, cl_str_of(families[i]));
	return refused ? cl_fail(e, CL_E_RULE, "the header %.*s is the server's to set", CL_STR_ARGS(name)) : 0;
}

/* What the server keeps for "Name: [hidden]". */
static struct cl_str kept_header(const struct cl_json *former, struct cl_str wanted)
{
	struct cl_str name, value;
	for (uint32_t i = 0; former && former->kind == CL_JSON_ARRAY && i < former->count; i++)
		if (split(cl_json_text(&former->items[i]), &name, &value) && same_word(name, wanted))
			return cl_json_text(&former->items[i]);
	return CL_STR_NONE;
}

int cl_subscription_read_headers(struct cl_unit *unit, struct cl_json *resource,
                                 const struct cl_stored_subscription *former, bool check,
                                 struct cl_stored_subscription *row, struct cl_err *e)
{
	struct cl_arena *arena = unit->arena;
	struct cl_json *shown = cl_json_path(resource, "channel", "header", NULL), *kept = NULL;
	struct cl_json *sent = cl_json_new(arena, CL_JSON_ARRAY);
	struct cl_err ignored = {0};
	if (former->headers.n && cl_json_parse(arena, former->headers, NULL, &kept, &ignored))
		kept = NULL;
	for (uint32_t i = 0; shown && shown->kind == CL_JSON_ARRAY && i < shown->count; i++) {
		struct cl_str line = cl_json_text(&shown->items[i]), name, value;
		bool whole = split(line, &name, &value);
		int code = 0;
		if (whole && cl_str_is(value, CL_SUBSCRIPTION_HIDDEN)) {
			line = kept_header(kept, name);
			if (!line.n && check)
				code = cl_fail(e, CL_E_RULE,
				               "%s stands for a value that this server does not have: write it again",
				               CL_SUBSCRIPTION_HIDDEN);
		}
		if (!code && check && i >= CL_SUBSCRIPTION_HEADERS)
			code = cl_fail(e, CL_E_RULE, "a channel has at most %d headers", CL_SUBSCRIPTION_HEADERS);
		if (!code && check)
			code = check_header(line, e);
		if (code)
			return cl_fail_at(e, "Subscription.channel.header[%u]", i);
		if (line.n)
			cl_json_append_text(arena, sent, line);
		if (whole && is_secret(name, value))
			shown->items[i].text =
			        cl_arena_printf(arena, "%.*s: %s", CL_STR_ARGS(name), CL_SUBSCRIPTION_HIDDEN);
	}
	row->headers = cl_json_arena_text(arena, sent);
	return 0;
}

/* ---- destination ---- */

static int check_endpoint(const struct cl_unit *unit, struct cl_str endpoint, struct cl_err *e)
{
	const struct cl_subscription_facts *facts = &unit->organization->subscriptions;
	struct cl_destination destination;
	if (!endpoint.n)
		return cl_fail(e, CL_E_RULE, "a rest-hook needs an endpoint, an address that begins with https://");
	if (cl_destination_read(endpoint, &destination, e))
		return e ? (e->code = CL_E_RULE) : CL_E_RULE;
	if (!destination.secure && !facts->http)
		return cl_fail(e, CL_E_RULE,
		               "an endpoint begins with https:// (subscriptions.http of the configuration)");
	bool listed = false;
	for (uint32_t i = 0; facts->destinations && !listed && i < facts->destinations->count; i++)
		listed = cl_destination_allowed(&destination, cl_json_text(&facts->destinations->items[i]));
	if (!listed)
		return cl_fail(e, CL_E_RULE,
		               "notifications may not be sent there: an administrator must first list the address in "
		               "subscriptions.destinations of the organization's configuration");
	/* What a name leads to is looked at again when it is called. */
	if (!facts->private_addresses && cl_destination_is_private(&destination))
		return cl_fail(e, CL_E_RULE,
		               "the endpoint is an address of this machine or its own network "
		               "(subscriptions.private_addresses of the configuration)");
	return 0;
}

/* "": a request without a body. The extension is that of the Subscriptions R5 Backport. */
static int read_payload(const struct cl_json *channel, struct cl_str *out, struct cl_err *e)
{
	static const char url[] =
	        "http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content";
	struct cl_str payload = cl_json_get_text(channel, "payload"), content = CL_STR_NONE;
	const struct cl_json *extensions = cl_json_path(channel, "_payload", "extension", NULL);
	for (uint32_t i = 0; extensions && extensions->kind == CL_JSON_ARRAY && i < extensions->count; i++)
		if (cl_str_is(cl_json_get_text(&extensions->items[i], "url"), url))
			content = cl_json_get_text(&extensions->items[i], "valueCode");
	*out = CL_STR_NONE;
	if (!payload.n || cl_str_is(content, "empty"))
		return 0;
	if (!cl_str_is(payload, "application/fhir+json") && !cl_str_is(payload, "application/json"))
		return cl_fail(e, CL_E_RULE,
		               "a payload is application/fhir+json, or left out for a request without a body");
	*out = cl_str_is(content, "id-only") ? CL_STR("id-only") : CL_STR("full-resource");
	if (content.n && !cl_str_equal(content, *out))
		return cl_fail(e, CL_E_RULE, "the content of a payload is empty, id-only or full-resource");
	return 0;
}

int cl_subscription_read_channel(struct cl_unit *unit, const struct cl_json *resource,
                                 struct cl_stored_subscription *row, struct cl_err *e)
{
	struct cl_criterion *where;
	const struct cl_json *channel = cl_json_get(resource, "channel");
	struct cl_str criteria = cl_json_get_text(resource, "criteria"), type = cl_json_get_text(channel, "type");
	int code = criteria.n > CL_SUBSCRIPTION_CRITERIA_BYTES
	                   ? cl_fail(e, CL_E_RULE, "criteria have at most %d bytes", CL_SUBSCRIPTION_CRITERIA_BYTES)
	                   : cl_subscription_criteria(unit->arena, criteria, unit->now, &row->type, &where,
	                                              &row->criteria, e);
	if (code) {
		cl_fail_at(e, "Subscription.criteria");
		return code;
	}
	if (!cl_str_is(type, "rest-hook")) {
		cl_fail(e, CL_E_RULE,
		        "channels are of type rest-hook here; whoever can hold a connection open reads "
		        "/events?criteria=... instead");
		return cl_fail_at(e, "Subscription.channel.type");
	}
	row->endpoint = cl_json_get_text(channel, "endpoint");
	if (check_endpoint(unit, row->endpoint, e))
		return cl_fail_at(e, "Subscription.channel.endpoint");
	if (read_payload(channel, &row->payload, e))
		return cl_fail_at(e, "Subscription.channel.payload");
	return 0;
}

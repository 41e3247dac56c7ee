/* reply.c: /reply/<token>: a plain page without script, style, cookie or login, by which a partner who has no account answers
 * once. It shows what the plugin put into the link and nothing else; the event is fired on the partner's behalf, with the source
 * "reply link". */
#include "org/engine/form.h"
#include "org/engine/interaction.h"
#include "org/flow/instance.h"
#include "org/flow/reply_link.h"
#include "base/date.h"

#define SOURCE "reply link"
#define MISSES_A_MINUTE 60 /* unknown tokens, before they are not even looked for */

/* ---- the page ---------------------------------------------------------------------------------------------------- */

static void write_escaped(struct cl_buf *out, struct cl_str text)
{
	for (size_t i = 0; i < text.n; i++)
		switch (text.p[i]) {
		case '&':
			cl_buf_add_cstring(out, "&amp;");
			break;
		case '<':
			cl_buf_add_cstring(out, "&lt;");
			break;
		case '>':
			cl_buf_add_cstring(out, "&gt;");
			break;
		case '"':
			cl_buf_add_cstring(out, "&quot;");
			break;
		case '\'':
			cl_buf_add_cstring(out, "&#39;");
			break;
		default:
			cl_buf_add_byte(out, text.p[i]);
		}
}

static void begin_page(struct cl_buf *out, struct cl_str title)
{
	cl_buf_add_cstring(out, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">"
	                        "<meta name=\"viewport\" content=\"width=device-width\"><title>");
	write_escaped(out, title);
	cl_buf_add_cstring(out, "</title></head><body>\n<h1>");
	write_escaped(out, title);
	cl_buf_add_cstring(out, "</h1>\n");
}

static void write_paragraph(struct cl_buf *out, struct cl_str text)
{
	cl_buf_add_cstring(out, "<p>");
	write_escaped(out, text);
	cl_buf_add_cstring(out, "</p>\n");
}

static void answer_page(struct cl_arena *arena, struct cl_response *response, int status, struct cl_buf *page)
{
	cl_buf_add_cstring(page, "</body></html>\n");
	response->status = status;
	response->body = cl_arena_copy(arena, cl_buf_str(page));
	response->header_count = 0;
	cl_response_add_header(arena, response, "content-type", CL_STR("text/html; charset=utf-8"));
	cl_buf_free(page);
}

/* ---- inputs ------------------------------------------------------------------------------------------------------ */

static void write_option(struct cl_buf *out, struct cl_str value, struct cl_str shown)
{
	cl_buf_add_cstring(out, "<option value=\"");
	write_escaped(out, value);
	cl_buf_add_cstring(out, "\">");
	write_escaped(out, shown);
	cl_buf_add_cstring(out, "</option>");
}

static void write_input(struct cl_buf *out, const struct cl_needed *need)
{
	static const struct {
		const char *type, *attributes;
	} kinds[] = {
	        {"date", "type=\"date\""},
	        {"dateTime", "type=\"datetime-local\""},
	        {"integer", "type=\"number\" step=\"1\""},
	        {"number", "type=\"number\" step=\"any\""},
	};
	const char *attributes = "type=\"text\" maxlength=\"2000\" size=\"60\"";
	bool boolean = cl_str_is(need->type, "boolean");
	cl_buf_add_cstring(out, "<p><label>");
	write_escaped(out, need->help.n ? need->help : need->name);
	cl_buf_add_cstring(out, need->optional ? " (optional)<br>" : "<br>");
	if (need->choice_count || boolean) {
		cl_buf_add_cstring(out, "<select name=\"");
		write_escaped(out, need->name);
		cl_buf_add_cstring(out, "\">");
		if (need->optional)
			write_option(out, CL_STR_NONE, CL_STR_NONE);
		for (size_t i = 0; i < need->choice_count; i++)
			write_option(out, need->choices[i], need->choices[i]);
		if (boolean) {
			write_option(out, CL_STR("true"), CL_STR("yes"));
			write_option(out, CL_STR("false"), CL_STR("no"));
		}
		cl_buf_add_cstring(out, "</select></label></p>\n");
		return;
	}
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
		if (cl_str_is(need->type, kinds[i].type))
			attributes = kinds[i].attributes;
	cl_buf_printf(out, "<input %s name=\"", attributes);
	write_escaped(out, need->name);
	cl_buf_printf(out, "\"%s></label></p>\n", need->optional ? "" : " required");
}

static void write_event(struct cl_buf *out, const struct cl_transition_rule *transition)
{
	/* Without an action the form goes back to where it came from: the token is in no page. */
	cl_buf_add_cstring(out, "<form method=\"post\" autocomplete=\"off\"><fieldset><legend>");
	write_escaped(out, transition->help.n ? transition->help : transition->event);
	cl_buf_add_cstring(out, "</legend>\n<input type=\"hidden\" name=\"event\" value=\"");
	write_escaped(out, transition->event);
	cl_buf_add_cstring(out, "\">\n");
	for (size_t i = 0; i < transition->need_count; i++)
		write_input(out, &transition->needs[i]);
	cl_buf_add_cstring(out, "<button>Send</button></fieldset></form>\n");
}

/* ---- asking and answering ---------------------------------------------------------------------------------------- */

struct place {
	struct cl_reply_link link;
	struct cl_stored_instance instance;
	const struct cl_workflow *workflow;
	const struct cl_state_rule *state;
};

static bool is_offered(const struct cl_reply_link *link, struct cl_str event)
{
	const struct cl_json *events = cl_json_get(link->offer, "events");
	for (uint32_t i = 0; events && events->kind == CL_JSON_ARRAY && i < events->count; i++)
		if (cl_str_equal(cl_json_text(&events->items[i]), event))
			return true;
	return false;
}

static int find_place(struct cl_interaction_context *context, struct place *place, struct cl_err *e)
{
	int code =
	        cl_reply_link_find(context->store, context->arena, context->route->name, context->now, &place->link, e);
	if (!code)
		code = cl_store_instance_get(context->store, context->arena, place->link.task, &place->instance, e);
	if (code)
		return code;
	context->target = cl_arena_printf(context->arena, "Task/%.*s", CL_STR_ARGS(place->link.task));
	place->workflow = cl_catalog_workflow(context->rules->catalog, place->instance.workflow);
	int state = place->workflow ? cl_workflow_state(place->workflow, place->instance.state) : -1;
	place->state = state >= 0 ? &place->workflow->states[state] : NULL;
	return place->state ? 0 : cl_fail(e, CL_E_NOT_FOUND, "this link is not valid any more");
}

static void show(struct cl_interaction_context *context, const struct place *place)
{
	const struct cl_json *offer = place->link.offer, *shown = cl_json_get(offer, "show");
	struct cl_str title = cl_json_get_text(offer, "title"), note = cl_json_get_text(offer, "note");
	struct cl_buf page;
	size_t forms = 0;
	cl_buf_init(&page, 0);
	begin_page(&page, title.n ? title : context->rules->facts->name);
	if (note.n)
		write_paragraph(&page, note);
	for (uint32_t i = 0; shown && shown->kind == CL_JSON_ARRAY && i < shown->count; i++) {
		cl_buf_add_cstring(&page, i ? "" : "<dl>");
		cl_buf_add_cstring(&page, "<dt>");
		write_escaped(&page, cl_json_get_text(&shown->items[i], "label"));
		cl_buf_add_cstring(&page, "</dt><dd>");
		write_escaped(&page, cl_json_get_text(&shown->items[i], "value"));
		cl_buf_add_cstring(&page, i + 1 == shown->count ? "</dd></dl>\n" : "</dd>\n");
	}
	for (size_t i = 0; i < place->state->transition_count; i++)
		if (is_offered(&place->link, place->state->transitions[i].event)) {
			write_event(&page, &place->state->transitions[i]);
			forms++;
		}
	write_paragraph(&page,
	                forms ? CL_STR("This page can be answered once. It is of no use to anybody else; please do "
	                               "not pass it on.")
	                      : CL_STR("Nothing more is to be answered here. Thank you."));
	answer_page(context->arena, context->response, 200, &page);
}

/* A browser's text as the value that the event needs; what it is not stays a text, and the machine says what is wrong. */
static void set_value(struct cl_interaction_context *context, struct cl_json *data, const struct cl_needed *need,
                      struct cl_str text)
{
	struct cl_arena *arena = context->arena;
	struct cl_json *parsed, *member = cl_json_set(arena, data, need->name);
	struct cl_err ignored = {0};
	struct cl_moment moment;
	*member = (struct cl_json){.kind = CL_JSON_STRING, .text = text};
	bool number = cl_str_is(need->type, "integer") || cl_str_is(need->type, "number");
	if ((number || cl_str_is(need->type, "boolean")) && !cl_json_parse(arena, text, NULL, &parsed, &ignored) &&
	    (parsed->kind == CL_JSON_NUMBER) == number && parsed->kind != CL_JSON_NULL && parsed->kind < CL_JSON_ARRAY)
		*member = *parsed;
	if (!cl_str_is(need->type, "dateTime") || cl_moment_parse(text, 0, &moment, &ignored) || moment.has_zone ||
	    moment.precision < CL_MINUTE_PRECISION)
		return;
	int64_t day = moment.lower / CL_DAY - (moment.lower % CL_DAY < 0);
	int64_t second = (moment.lower - day * CL_DAY) / CL_SECOND;
	const struct cl_zone *zone = context->rules->facts->calendar.zone;
	cl_instant at = cl_zone_instant(zone, cl_date_from_days(day), (int)(second / 3600), (int)(second / 60 % 60),
	                                (int)(second % 60));
	member->text = cl_zone_text(arena, zone, at);
}

/* For whom: as the link says, else the partner, else the workflow's other side; none in a workflow without sides. */
static struct cl_str on_behalf_of(const struct place *place, struct cl_arena *arena)
{
	struct cl_json *record = NULL;
	struct cl_err ignored = {0};
	struct cl_str given = cl_json_get_text(place->link.offer, "on_behalf_of");
	if (given.n || cl_json_parse(arena, place->instance.data, NULL, &record, &ignored))
		return given;
	struct cl_str partner = cl_json_get_text(record, "partner"), own = cl_json_get_text(record, "party");
	if (partner.n)
		return partner;
	for (size_t i = 0; i < place->workflow->party_count; i++)
		if (!cl_str_equal(place->workflow->parties[i].name, own))
			return place->workflow->parties[i].name;
	return CL_STR_NONE;
}

static int take_answer(struct cl_interaction_context *context, const struct place *place, struct cl_err *e)
{
	struct cl_json *form;
	struct cl_version version;
	struct cl_buf page;
	int code = cl_form_parse(context->arena, context->request->body, &form, e);
	if (code)
		return code;
	struct cl_advance advance = {
	        .task = place->link.task,
	        .event = cl_json_get_text(form, "event"),
	        .data = cl_json_new(context->arena, CL_JSON_OBJECT),
	        .on_behalf_of = on_behalf_of(place, context->arena),
	        .source = CL_STR(SOURCE),
	        .by_link = true,
	};
	const struct cl_transition_rule *transition = cl_state_transition(place->state, advance.event);
	if (!is_offered(&place->link, advance.event) || !transition)
		return cl_fail(e, CL_E_RULE, "this cannot be answered here, or not any more");
	for (size_t i = 0; i < transition->need_count; i++) {
		struct cl_str text = cl_json_text(cl_json_get_str(form, transition->needs[i].name));
		if (text.n)
			set_value(context, advance.data, &transition->needs[i], text);
	}
	context->unit->actor = (struct cl_actor){.name = CL_STR("reply-link"), .kind = CL_STR("system")};
	context->unit->rule = CL_STR(SOURCE);
	code = cl_instance_advance(context->unit, &advance, &version, context->issues, e);
	if (!code)
		code = cl_reply_link_use(context->unit, context->route->name, e);
	if (code)
		return code;
	cl_buf_init(&page, 0);
	begin_page(&page, CL_STR("Thank you"));
	write_paragraph(&page, CL_STR("Your answer was recorded. You can close this page."));
	answer_page(context->arena, context->response, 200, &page);
	return 0;
}

int cl_interaction_reply(struct cl_interaction_context *context, struct cl_err *e)
{
	struct place place;
	struct cl_organization *organization = context->organization;
	int64_t minute = context->now / CL_MINUTE;
	context->rule = CL_STR(SOURCE);
	if (organization->reply_minute != minute) {
		organization->reply_minute = minute;
		organization->reply_misses = 0;
	}
	if (organization->reply_misses >= MISSES_A_MINUTE)
		return cl_fail(e, CL_E_BUSY, "too many links that do not exist; try again in a minute");
	int code = find_place(context, &place, e);
	if (code == CL_E_NOT_FOUND)
		organization->reply_misses++;
	if (code)
		return code;
	if (cl_str_is(context->request->method, "POST"))
		return take_answer(context, &place, e);
	code = cl_interaction_audit_read(context, e);
	if (!code)
		show(context, &place);
	return code;
}

void cl_reply_answer_error(struct cl_arena *arena, const struct cl_err *problem, struct cl_response *response)
{
	struct cl_buf page;
	bool known = problem->code == CL_E_RULE || problem->code == CL_E_CONFLICT || problem->code == CL_E_INVALID ||
	             problem->code == CL_E_TOO_LARGE;
	int status = problem->code == CL_E_NOT_FOUND ? 404 : problem->code == CL_E_BUSY ? 429 : known ? 422 : 500;
	cl_buf_init(&page, 0);
	begin_page(&page, status == 404 ? CL_STR("This link is not valid") : CL_STR("This could not be recorded"));
	/* Who has no account learns what was wrong with the answer, and nothing of the machine. */
	if (known)
		write_paragraph(&page, cl_str_of(problem->message));
	write_paragraph(&page, status == 404   ? CL_STR("It has been used, was withdrawn, or has expired.")
	                       : status == 429 ? CL_STR("Please try again in a minute.")
	                                       : CL_STR("Please go back and try again, or call the sender."));
	answer_page(arena, response, status, &page);
}

/* console_subscription.c: administrators' commands about subscriptions and about letters that wait, in the outbox. */
#include "org/engine/console.h"
#include "base/hash.h"
#include "org/fhir/types.h"
#include "org/flow/subscription.h"

static int subscriptions(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"id",        "state",   "principal", "criteria", "endpoint", "until",
	                                      "delivered", "last at", "waiting",   "dead",     "problem",  NULL};
	struct cl_subscription_list list;
	int code = cl_store_subscriptions(c->context->store, c->arena, cl_console_argument(c, "state"), &list, e);
	cl_console_columns(c, columns);
	for (size_t i = 0; !code && i < list.count; i++) {
		const struct cl_stored_subscription *s = &list.items[i];
		struct cl_str destination = cl_subscription_destination(c->arena, s->id, false);
		int64_t waiting = 0, dead = 0;
		code = cl_store_outbox_count(c->context->store, destination, CL_STR("waiting"), &waiting, e);
		if (!code)
			code = cl_store_outbox_count(c->context->store, destination, CL_STR("dead"), &dead, e);
		struct cl_json *row = cl_console_row(c);
		cl_console_cell(c, row, s->id);
		cl_console_cell(c, row, s->state);
		cl_console_cell(c, row, s->principal);
		cl_console_cell(c, row,
		                s->type ? cl_arena_printf(c->arena, "%.*s?%.*s",
		                                          CL_STR_ARGS(cl_fhir_type_name(s->type)),
		                                          CL_STR_ARGS(s->criteria))
		                        : CL_STR("(a record)"));
		cl_console_cell(c, row, s->endpoint);
		cl_console_cell_time(c, row, s->until);
		cl_console_cell_number(c, row, s->delivered);
		cl_console_cell_time(c, row, s->delivered_at);
		cl_console_cell_number(c, row, waiting);
		cl_console_cell_number(c, row, dead);
		cl_console_cell(c, row, s->problem);
	}
	return code;
}

static int subscription_restart(struct cl_console *c, struct cl_err *e)
{
	struct cl_str id;
	int64_t letters = 0;
	int code = cl_console_need(c, "id", &id, e);
	if (!code)
		code = cl_subscription_restart(c->unit, cl_console_id(id), &letters, e);
	if (!code)
		cl_buf_printf(
		        &c->text,
		        "Subscription/%.*s is asked again; %lld notification%s that had been given up will follow",
		        CL_STR_ARGS(cl_console_id(id)), (long long)letters, letters == 1 ? "" : "s");
	return code;
}

static int subscription_secret(struct cl_console *c, struct cl_err *e)
{
	struct cl_stored_subscription row;
	struct cl_str id;
	uint8_t key[32];
	int code = cl_console_need(c, "id", &id, e);
	if (!code)
		code = cl_store_subscription_get(c->context->store, c->arena, cl_console_id(id), &row, e);
	if (code)
		return code;
	cl_subscription_key(c->context->store, row.id, key);
	struct cl_str text = cl_base64(c->arena, (struct cl_str){(const char *)key, sizeof key});
	cl_buf_printf(&c->text, "whsec_%.*s", CL_STR_ARGS(text));
	return 0;
}

/* ---- the outbox, of messages to partners too ---- */

static int outbox(struct cl_console *c, struct cl_err *e)
{
	static const char *const columns[] = {"number", "destination", "state",   "attempts",
	                                      "due",    "key",         "problem", NULL};
	struct cl_outgoing_list list;
	int code = cl_store_outbox_list(c->context->store, c->arena, cl_console_argument(c, "state"), 200, &list, e);
	if (code)
		return code;
	cl_console_columns(c, columns);
	for (size_t i = 0; i < list.count; i++) {
		struct cl_json *row = cl_console_row(c);
		cl_console_cell_number(c, row, list.items[i].number);
		cl_console_cell(c, row, list.items[i].destination);
		cl_console_cell(c, row, list.items[i].state);
		cl_console_cell_number(c, row, list.items[i].attempts);
		cl_console_cell_time(c, row, list.items[i].due);
		cl_console_cell(c, row, list.items[i].key);
		cl_console_cell(c, row, list.items[i].problem);
	}
	return 0;
}

/* A notification of one that does not run would be withheld at once. */
static int check_running(struct cl_console *c, const struct cl_outgoing *letter, struct cl_err *e)
{
	struct cl_stored_subscription row = {0};
	struct cl_err absent = {0};
	bool handshake;
	struct cl_str id = cl_subscription_of(letter->destination, &handshake);
	if (!id.n)
		return 0;
	cl_store_subscription_get(c->context->store, c->arena, id, &row, &absent);
	if (!handshake && (cl_str_is(row.state, "active") || cl_str_is(row.state, "requested")))
		return 0;
	return cl_fail(e, CL_E_RULE,
	               "Subscription/%.*s does not run: 'subscription restart %.*s' asks it again and sends all",
	               CL_STR_ARGS(id), CL_STR_ARGS(id));
}

static int outbox_replay(struct cl_console *c, struct cl_err *e)
{
	struct cl_outgoing letter;
	int64_t number = cl_console_number(c, "number", 0);
	if (number <= 0)
		return cl_fail(e, CL_E_INVALID, "say which number (see 'outbox dead')");
	int code = cl_store_outbox_get(c->context->store, c->arena, number, &letter, e);
	if (!code)
		code = check_running(c, &letter, e);
	if (!code)
		code = cl_store_outbox_update(c->context->store, number, CL_STR("waiting"), 0, c->context->now,
		                              CL_STR(""), e);
	c->unit->outbox_changed = !code;
	if (!code)
		cl_buf_printf(&c->text, "message %lld will be sent again", (long long)number);
	return code;
}

const struct cl_console_command cl_console_subscription_commands[] = {
        {"outbox", outbox, false},
        {"outbox replay", outbox_replay, true},
        {"subscription restart", subscription_restart, true},
        {"subscription secret", subscription_secret, false},
        {"subscriptions", subscriptions, false},
        {NULL, NULL, false},
};

/* store_records_test.c: events, instances, transitions, timers, outbox, inbox, answers, plugin texts, tokens. */
#include "support/store_fixture.h"
#include <stdio.h>
#include <stdlib.h>

static void begin(struct fixture *f)
{
	assert_ok(f, cl_store_begin(f->store, &f->e));
}

static void commit(struct fixture *f)
{
	assert_ok(f, cl_store_commit(f->store, &f->e));
}

/* ---- events ---- */

struct seen {
	struct fixture *fixture;
	uint64_t sequences[50];
	size_t count, stop_after;
	struct cl_stored_event last;
};

static int see_event(const struct cl_stored_event *event, void *context)
{
	struct seen *seen = context;
	struct cl_arena *arena = seen->fixture->arena;
	seen->sequences[seen->count++] = event->sequence;
	seen->last = *event;
	seen->last.kind = cl_arena_copy(arena, event->kind);
	seen->last.actor = cl_arena_copy(arena, event->actor);
	seen->last.key = cl_arena_copy(arena, event->key);
	seen->last.id = cl_arena_copy(arena, event->id);
	seen->last.detail = cl_arena_copy(arena, event->detail);
	seen->last.input = cl_arena_copy(arena, event->input);
	seen->last.outcome = cl_arena_copy(arena, event->outcome);
	seen->last.plugins = cl_arena_copy(arena, event->plugins);
	seen->last.zone_data = cl_arena_copy(arena, event->zone_data);
	return seen->stop_after && seen->count >= seen->stop_after;
}

static void test_events(void **state)
{
	struct fixture *f = *state;
	struct cl_stored_event event = {
	        .cause = 0,
	        .at = 77,
	        .kind = CL_STR("request"),
	        .actor = CL_STR("Practitioner/x"),
	        .key = CL_STR("k\0ey"),
	        .type = T_TASK,
	        .id = CL_STR("t"),
	        .version = 3,
	        .detail = CL_STR("{\"a\":1}"),
	        .input = CL_STR("\0binary\xff"),
	        .outcome = CL_STR(""),
	        .plugins = CL_STR("hash"),
	        .zone_data = CL_STR("2024a"),
	};

	assert_int_equal(cl_store_last_sequence(f->store), 0);
	assert_code(CL_E_INTERNAL, cl_store_event_append(f->store, &event, &f->e));
	begin(f);
	for (uint64_t i = 1; i <= 20; i++) {
		assert_ok(f, cl_store_event_append(f->store, &event, &f->e));
		assert_int_equal(event.sequence, i);
		assert_int_equal(cl_store_last_sequence(f->store), i);
	}
	assert_ok(f, cl_store_event_outcome(f->store, 20, CL_STR("budget:p:f.lua:3"), &f->e));
	assert_code(CL_E_NOT_FOUND, cl_store_event_outcome(f->store, 21, CL_STR("ok"), &f->e));
	commit(f);
	struct cl_store *reader = fixture_reader(f);
	assert_int_equal(cl_store_last_sequence(reader), 20);
	struct seen seen = {.fixture = f};
	assert_ok(f, cl_store_events(reader, 0, 100, see_event, &seen, &f->e));
	assert_int_equal(seen.count, 20);
	assert_int_equal(seen.sequences[0], 1);
	assert_int_equal(seen.last.sequence, 20);
	assert_int_equal(seen.last.at, 77);
	assert_str(seen.last.kind, "request");
	assert_true(cl_str_equal(seen.last.key, CL_STR("k\0ey")));
	assert_true(cl_str_equal(seen.last.input, CL_STR("\0binary\xff")));
	assert_int_equal(seen.last.type, T_TASK);
	assert_str(seen.last.id, "t");
	assert_int_equal(seen.last.version, 3);
	assert_str(seen.last.detail, "{\"a\":1}");
	assert_str(seen.last.outcome, "budget:p:f.lua:3");
	assert_str(seen.last.plugins, "hash");
	assert_str(seen.last.zone_data, "2024a");
	seen = (struct seen){.fixture = f};
	assert_ok(f, cl_store_events(reader, 5, 3, see_event, &seen, &f->e));
	assert_int_equal(seen.count, 3);
	assert_int_equal(seen.sequences[0], 6);
	seen = (struct seen){.fixture = f, .stop_after = 2};
	assert_ok(f, cl_store_events(reader, 5, 30, see_event, &seen, &f->e));
	assert_int_equal(seen.count, 2);
	seen = (struct seen){.fixture = f};
	assert_ok(f, cl_store_events(reader, UINT64_MAX, 30, see_event, &seen, &f->e));
	assert_int_equal(seen.count, 0);
	cl_store_assert_idle(reader);
	cl_store_close(reader);
	/* The number goes on after a restart. */
	fixture_reopen(f);
	begin(f);
	assert_ok(f, cl_store_event_append(f->store, &event, &f->e));
	assert_int_equal(event.sequence, 21);
	commit(f);
}

/* ---- instances ---- */

static struct cl_stored_instance an_instance(const char *task, const char *workflow, const char *at,
                                             const char *patient, cl_instant due, bool final)
{
	return (struct cl_stored_instance){.row = 5,
	                                   .task = cl_str_of(task),
	                                   .workflow = cl_str_of(workflow),
	                                   .state = cl_str_of(at),
	                                   .plugins = CL_STR("h"),
	                                   .subject = CL_STR("ServiceRequest/s"),
	                                   .patient = cl_str_of(patient),
	                                   .owner = CL_STR("receiver"),
	                                   .started = 1,
	                                   .entered = 2,
	                                   .due = due,
	                                   .final = final,
	                                   .data = CL_STR("{}")};
}

static void expect_instances(struct fixture *f, const char *workflow, const char *at, const char *patient, bool live,
                             uint32_t limit, const char *expected)
{
	struct cl_instance_list list;
	char text[200] = "";
	assert_ok(f, cl_store_instances(f->store, f->arena, cl_str_of(workflow), cl_str_of(at), cl_str_of(patient),
	                                live, limit, &list, &f->e));
	for (size_t i = 0; i < list.count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%.*s", i ? " " : "",
		         CL_STR_ARGS(list.items[i].task));
	assert_string_equal(text, expected);
}

static void test_instances(void **state)
{
	struct fixture *f = *state;
	struct cl_stored_instance out, items[] = {
	                                       an_instance("t1", "referral", "sent", "p1", 50, false),
	                                       an_instance("t2", "referral", "sent", "p2", 40, false),
	                                       an_instance("t3", "referral", "done", "p1", 0, true),
	                                       an_instance("t4", "handoff", "sent", "p1", 40, false),
	                                       an_instance("t5", "handoff", "open", "", 60, false),
	                               };

	begin(f);
	for (size_t i = 0; i < 5; i++)
		assert_ok(f, cl_store_instance_put(f->store, &items[i], &f->e));
	commit(f);
	assert_ok(f, cl_store_instance_get(f->store, f->arena, CL_STR("t4"), &out, &f->e));
	assert_int_equal(out.row, 5);
	assert_str(out.workflow, "handoff");
	assert_str(out.state, "sent");
	assert_str(out.plugins, "h");
	assert_str(out.subject, "ServiceRequest/s");
	assert_str(out.patient, "p1");
	assert_str(out.owner, "receiver");
	assert_int_equal(out.started, 1);
	assert_int_equal(out.entered, 2);
	assert_int_equal(out.due, 40);
	assert_false(out.final);
	assert_str(out.data, "{}");
	assert_code(CL_E_NOT_FOUND, cl_store_instance_get(f->store, f->arena, CL_STR("none"), &out, &f->e));
	expect_instances(f, "", "", "", false, 10, "t3 t2 t4 t1 t5");
	expect_instances(f, "", "", "", true, 10, "t2 t4 t1 t5");
	expect_instances(f, "", "", "", true, 2, "t2 t4");
	expect_instances(f, "referral", "", "", false, 10, "t3 t2 t1");
	expect_instances(f, "referral", "", "", true, 10, "t2 t1");
	expect_instances(f, "referral", "sent", "", true, 10, "t2 t1");
	expect_instances(f, "", "sent", "", false, 10, "t2 t4 t1");
	expect_instances(f, "", "", "p1", false, 10, "t3 t4 t1");
	expect_instances(f, "", "", "p1", true, 10, "t4 t1");
	expect_instances(f, "handoff", "sent", "p1", true, 10, "t4");
	expect_instances(f, "handoff", "sent", "p2", true, 10, "");
	items[3].state = CL_STR("done");
	items[3].final = true;
	items[3].due = 0;
	begin(f);
	assert_ok(f, cl_store_instance_put(f->store, &items[3], &f->e));
	commit(f);
	expect_instances(f, "", "", "p1", true, 10, "t1");
}

struct steps {
	char text[200];
};

static int see_step(const struct cl_stored_transition *transition, void *context)
{
	struct steps *steps = context;
	assert_str(transition->actor, "a");
	assert_str(transition->on_behalf_of, "Organization/o");
	assert_str(transition->source, "fax");
	assert_str(transition->data, "{\"x\":1}");
	assert_str(transition->plugins, "hash");
	snprintf(steps->text + strlen(steps->text), sizeof(steps->text) - strlen(steps->text), "%.*s:%.*s>%.*s@%lld ",
	         CL_STR_ARGS(transition->task), CL_STR_ARGS(transition->from), CL_STR_ARGS(transition->to),
	         (long long)transition->at);
	return 0;
}

static void expect_steps(struct fixture *f, const char *workflow, const char *task, cl_instant from, cl_instant to,
                         const char *expected)
{
	struct steps steps = {""};
	assert_ok(f, cl_store_transitions(f->store, cl_str_of(workflow), cl_str_of(task), from, to, see_step, &steps,
	                                  &f->e));
	assert_string_equal(steps.text, expected);
}

static void test_transitions(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *task, *workflow, *from, *to;
		cl_instant at;
	} made[] = {{"t1", "referral", "", "draft", 1},
	            {"t2", "handoff", "", "open", 2},
	            {"t1", "referral", "draft", "sent", 3},
	            {"t3", "referral", "", "draft", 4},
	            {"t1", "referral", "sent", "done", 5}};

	begin(f);
	for (size_t i = 0; i < 5; i++) {
		struct cl_stored_transition transition = {.sequence = 10 + i,
		                                          .task = cl_str_of(made[i].task),
		                                          .workflow = cl_str_of(made[i].workflow),
		                                          .event = CL_STR("e"),
		                                          .from = cl_str_of(made[i].from),
		                                          .to = cl_str_of(made[i].to),
		                                          .at = made[i].at,
		                                          .actor = CL_STR("a"),
		                                          .on_behalf_of = CL_STR("Organization/o"),
		                                          .source = CL_STR("fax"),
		                                          .data = CL_STR("{\"x\":1}"),
		                                          .plugins = CL_STR("hash")};
		assert_ok(f, cl_store_transition_append(f->store, &transition, &f->e));
		if (i == 0)
			assert_code(CL_E_CONFLICT, cl_store_transition_append(f->store, &transition, &f->e));
	}
	commit(f);
	expect_steps(f, "", "", 0, 100, "t1:>draft@1 t2:>open@2 t1:draft>sent@3 t3:>draft@4 t1:sent>done@5 ");
	expect_steps(f, "", "t1", 0, 100, "t1:>draft@1 t1:draft>sent@3 t1:sent>done@5 ");
	expect_steps(f, "referral", "", 1, 5, "t1:>draft@1 t1:draft>sent@3 t3:>draft@4 ");
	expect_steps(f, "handoff", "t1", 0, 100, "");
	expect_steps(f, "", "", 2, 4, "t2:>open@2 t1:draft>sent@3 ");
}

/* ---- timers ---- */

static void set_timer(struct fixture *f, const char *name, const char *task, cl_instant due, int64_t generation)
{
	struct cl_stored_timer timer = {.name = cl_str_of(name),
	                                .due = due,
	                                .task = cl_str_of(task),
	                                .plugin = CL_STR("pl"),
	                                .rule = CL_STR("{\"unit\":\"day\"}"),
	                                .data = CL_STR("{}")};
	assert_ok(f, cl_store_timer_set(f->store, &timer, &f->e));
	assert_int_equal(timer.generation, generation);
}

static void expect_due(struct fixture *f, cl_instant until, uint32_t limit, const char *expected)
{
	struct cl_timer_list list;
	char text[200] = "";
	assert_ok(f, cl_store_timers_due(f->store, f->arena, until, limit, &list, &f->e));
	for (size_t i = 0; i < list.count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s#%lld@%lld ",
		         CL_STR_ARGS(list.items[i].name), (long long)list.items[i].generation,
		         (long long)list.items[i].due);
	assert_string_equal(text, expected);
}

static void test_timers(void **state)
{
	struct fixture *f = *state;
	struct cl_timer_list list;

	assert_int_equal(cl_store_timer_next(f->store), INT64_MAX);
	begin(f);
	set_timer(f, "clock:t1", "t1", 50, 1);
	set_timer(f, "remind:t1:1", "t1", 30, 1);
	set_timer(f, "every:p:1", "", 40, 1);
	set_timer(f, "clock:t2", "t2", 30, 1);
	commit(f);
	assert_int_equal(cl_store_timer_next(f->store), 30);
	expect_due(f, 29, 10, "");
	expect_due(f, 40, 10, "clock:t2#1@30 remind:t1:1#1@30 every:p:1#1@40 ");
	expect_due(f, 40, 2, "clock:t2#1@30 remind:t1:1#1@30 ");
	begin(f);
	assert_ok(f, cl_store_timer_fired(f->store, CL_STR("clock:t2"), 1, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_timer_fired(f->store, CL_STR("clock:t2"), 1, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_timer_fired(f->store, CL_STR("never set"), 1, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_timer_fired(f->store, CL_STR("every:p:1"), 2, &f->e));
	/* Set again while due: the former generation never fires. */
	set_timer(f, "every:p:1", "", 45, 2);
	assert_code(CL_E_CONFLICT, cl_store_timer_fired(f->store, CL_STR("every:p:1"), 1, &f->e));
	/* Generations go on over firing and clearing. */
	set_timer(f, "clock:t2", "t2", 60, 2);
	assert_ok(f, cl_store_timer_clear(f->store, CL_STR("clock:t2"), &f->e));
	assert_code(CL_E_CONFLICT, cl_store_timer_fired(f->store, CL_STR("clock:t2"), 2, &f->e));
	set_timer(f, "clock:t2", "t2", 61, 3);
	assert_ok(f, cl_store_timer_clear(f->store, CL_STR("not there"), &f->e));
	commit(f);
	expect_due(f, 100, 10, "remind:t1:1#1@30 every:p:1#2@45 clock:t1#1@50 clock:t2#3@61 ");
	assert_ok(f, cl_store_timers(f->store, f->arena, CL_STR("t1"), 10, &list, &f->e));
	assert_int_equal(list.count, 2);
	assert_str(list.items[0].rule, "{\"unit\":\"day\"}");
	assert_str(list.items[0].plugin, "pl");
	assert_str(list.items[0].task, "t1");
	assert_ok(f, cl_store_timers(f->store, f->arena, CL_STR_NONE, 3, &list, &f->e));
	assert_int_equal(list.count, 3);
	begin(f);
	assert_ok(f, cl_store_timers_clear_task(f->store, CL_STR("t1"), &f->e));
	assert_ok(f, cl_store_timers_clear_task(f->store, CL_STR_NONE, &f->e)); /* clears no timer without task */
	commit(f);
	expect_due(f, 100, 10, "every:p:1#2@45 clock:t2#3@61 ");
	begin(f);
	assert_ok(f, cl_store_timer_quarantine(f->store, CL_STR("every:p:1"), CL_STR("crashed twice"), &f->e));
	assert_code(CL_E_NOT_FOUND, cl_store_timer_quarantine(f->store, CL_STR("none"), CL_STR("w"), &f->e));
	commit(f);
	expect_due(f, 100, 10, "clock:t2#3@61 ");
	assert_int_equal(cl_store_timer_next(f->store), 61);
	assert_ok(f, cl_store_timers_quarantined(f->store, f->arena, 10, &list, &f->e));
	assert_int_equal(list.count, 1);
	assert_str(list.items[0].name, "every:p:1");
	assert_str(list.items[0].rule, "crashed twice");
	assert_ok(f, cl_store_timers(f->store, f->arena, CL_STR_NONE, 10, &list, &f->e));
	assert_int_equal(list.count, 2);
	begin(f);
	set_timer(f, "every:p:1", "", 46, 3); /* lifts it */
	commit(f);
	expect_due(f, 50, 10, "every:p:1#3@46 ");
}

/* Whatever order of setting, clearing, firing, rolling back and restarting: no generation fires twice. */
static void test_timers_fire_once(void **state)
{
	struct fixture *f = *state;
	struct dice dice = {11};
	bool fired[8][200] = {{false}};
	unsigned firings = 0;

	for (unsigned round = 0; round < 200; round++) {
		struct {
			unsigned which;
			int64_t generation;
		} now[32];
		size_t count = 0;
		begin(f);
		for (unsigned i = 0; i < 6; i++) {
			unsigned which = dice_below(&dice, 8);
			char name[8];
			snprintf(name, sizeof(name), "n%u", which);
			if (dice_below(&dice, 3)) {
				struct cl_stored_timer timer = {.name = cl_str_of(name), .due = dice_below(&dice, 300)};
				assert_ok(f, cl_store_timer_set(f->store, &timer, &f->e));
			} else {
				assert_ok(f, cl_store_timer_clear(f->store, cl_str_of(name), &f->e));
			}
		}
		struct cl_timer_list list;
		assert_ok(f, cl_store_timers_due(f->store, f->arena, (cl_instant)round, 10, &list, &f->e));
		for (size_t i = 0; i < list.count; i++) {
			assert_ok(f,
			          cl_store_timer_fired(f->store, list.items[i].name, list.items[i].generation, &f->e));
			assert_code(CL_E_CONFLICT, cl_store_timer_fired(f->store, list.items[i].name,
			                                                list.items[i].generation, &f->e));
			now[count].which = (unsigned)(list.items[i].name.p[1] - '0');
			now[count++].generation = list.items[i].generation;
		}
		if (dice_below(&dice, 4) == 0) {
			cl_store_rollback(f->store);
		} else {
			commit(f);
			for (size_t i = 0; i < count; i++) {
				assert_true(now[i].generation < 200);
				assert_false(fired[now[i].which][now[i].generation]);
				fired[now[i].which][now[i].generation] = true;
				firings++;
			}
		}
		if (round % 40 == 39)
			fixture_reopen(f);
	}
	assert_true(firings > 50);
}

/* ---- outbox, inbox ---- */

static int64_t send(struct fixture *f, const char *key, const char *destination, cl_instant due)
{
	struct cl_outgoing message = {.key = cl_str_of(key),
	                              .destination = cl_str_of(destination),
	                              .body = CL_STR("{}"),
	                              .created = 1,
	                              .due = due};
	assert_ok(f, cl_store_outbox_append(f->store, &message, &f->e));
	return message.number;
}

static void expect_outgoing(struct fixture *f, cl_instant now, uint32_t limit, const char *expected)
{
	struct cl_outgoing_list list;
	char text[200] = "";
	assert_ok(f, cl_store_outbox_due(f->store, f->arena, now, limit, &list, &f->e));
	for (size_t i = 0; i < list.count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%.*s ", CL_STR_ARGS(list.items[i].key));
	assert_string_equal(text, expected);
}

static void test_outbox(void **state)
{
	struct fixture *f = *state;
	struct cl_outgoing_list list;

	expect_outgoing(f, 100, 10, "");
	begin(f);
	int64_t a1 = send(f, "a1", "alpha", 10);
	int64_t a2 = send(f, "a2", "alpha", 5);
	int64_t b1 = send(f, "b1", "beta", 20);
	send(f, "b2", "beta", 1);
	send(f, "c1", "gamma", 30);
	assert_true(a1 < a2 && a2 < b1);
	struct cl_outgoing again = {.key = CL_STR("a1"), .destination = CL_STR("alpha")};
	assert_code(CL_E_CONFLICT, cl_store_outbox_append(f->store, &again, &f->e));
	commit(f);
	/* Order is kept for each destination: the later one waits although it is due. */
	expect_outgoing(f, 5, 10, "");
	expect_outgoing(f, 10, 10, "a1 ");
	expect_outgoing(f, 30, 10, "a1 b1 c1 ");
	expect_outgoing(f, 30, 2, "a1 b1 ");
	begin(f);
	assert_ok(f, cl_store_outbox_update(f->store, a1, CL_STR("waiting"), 1, 50, CL_STR("connect refused"), &f->e));
	assert_ok(f, cl_store_outbox_update(f->store, b1, CL_STR("sent"), 1, 20, CL_STR(""), &f->e));
	assert_code(CL_E_NOT_FOUND, cl_store_outbox_update(f->store, 999, CL_STR("sent"), 1, 20, CL_STR(""), &f->e));
	commit(f);
	expect_outgoing(f, 30, 10, "b2 c1 ");
	expect_outgoing(f, 50, 10, "b2 c1 a1 ");
	assert_ok(f, cl_store_outbox_list(f->store, f->arena, CL_STR("waiting"), 10, &list, &f->e));
	assert_int_equal(list.count, 4);
	assert_int_equal(list.items[0].attempts, 1);
	assert_str(list.items[0].problem, "connect refused");
	assert_str(list.items[0].state, "waiting");
	assert_ok(f, cl_store_outbox_list(f->store, f->arena, CL_STR("sent"), 10, &list, &f->e));
	assert_int_equal(list.count, 1);
	assert_ok(f, cl_store_outbox_list(f->store, f->arena, CL_STR_NONE, 3, &list, &f->e));
	assert_int_equal(list.count, 3);
	begin(f);
	assert_ok(f, cl_store_outbox_update(f->store, a1, CL_STR("dead"), 9, 50, CL_STR("gave up"), &f->e));
	commit(f);
	expect_outgoing(f, 50, 10, "b2 a2 c1 ");

	begin(f);
	assert_ok(f, cl_store_inbox_add(f->store, CL_STR("alpha"), CL_STR("k"), 1, &f->e));
	assert_ok(f, cl_store_inbox_add(f->store, CL_STR("beta"), CL_STR("k"), 1, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_inbox_add(f->store, CL_STR("alpha"), CL_STR("k"), 2, &f->e));
	assert_true(cl_store_in_transaction(f->store));
	commit(f);
}

/* ---- answers ---- */

static void test_answers(void **state)
{
	struct fixture *f = *state;
	struct cl_stored_answer out, answer = {.key = CL_STR("0123456789\0abcde"),
	                                       .at = 100,
	                                       .status = 201,
	                                       .headers = CL_STR("location: x\netag: W/\"1\"\n"),
	                                       .type = T_TASK,
	                                       .id = CL_STR("t"),
	                                       .version = 4};

	memset(answer.body_hash, 0xab, 32);
	begin(f);
	assert_ok(f, cl_store_answer_put(f->store, &answer, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_answer_put(f->store, &answer, &f->e));
	answer.principal = CL_STR("client/x");
	answer.key = CL_STR("my key");
	answer.body = CL_STR("\0body");
	answer.type = 0;
	assert_ok(f, cl_store_answer_put(f->store, &answer, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_answer_put(f->store, &answer, &f->e));
	answer.principal = CL_STR("client/y");
	answer.status = 200;
	assert_ok(f, cl_store_answer_put(f->store, &answer, &f->e));
	commit(f);
	assert_ok(f, cl_store_answer_get(f->store, f->arena, CL_STR_NONE, CL_STR("0123456789\0abcde"), &out, &f->e));
	assert_int_equal(out.status, 201);
	assert_int_equal(out.at, 100);
	assert_int_equal(out.type, T_TASK);
	assert_str(out.id, "t");
	assert_int_equal(out.version, 4);
	assert_str(out.headers, "location: x\netag: W/\"1\"\n");
	assert_int_equal(out.body.n, 0);
	assert_memory_equal(out.body_hash, answer.body_hash, 32);
	assert_ok(f, cl_store_answer_get(f->store, f->arena, CL_STR("client/x"), CL_STR("my key"), &out, &f->e));
	assert_int_equal(out.status, 201);
	assert_true(cl_str_equal(out.body, CL_STR("\0body")));
	assert_str(out.principal, "client/x");
	assert_ok(f, cl_store_answer_get(f->store, f->arena, CL_STR("client/y"), CL_STR("my key"), &out, &f->e));
	assert_int_equal(out.status, 200);
	assert_code(CL_E_NOT_FOUND,
	            cl_store_answer_get(f->store, f->arena, CL_STR("client/z"), CL_STR("my key"), &out, &f->e));
	assert_code(CL_E_NOT_FOUND,
	            cl_store_answer_get(f->store, f->arena, CL_STR_NONE, CL_STR("my key"), &out, &f->e));
}

static int64_t count_of(struct fixture *f, const char *table)
{
	struct cl_buf json;
	char name[40];
	cl_buf_init(&json, 0);
	assert_ok(f, cl_store_counts(f->store, &json, &f->e));
	cl_buf_add_byte(&json, 0);
	snprintf(name, sizeof(name), "\"%s\":", table);
	char *place = strstr(json.p, name);
	assert_non_null(place);
	int64_t count = strtoll(place + strlen(name), NULL, 10);
	cl_buf_free(&json);
	return count;
}

static void test_answers_purge(void **state)
{
	struct fixture *f = *state;

	begin(f);
	for (unsigned i = 0; i < 1500; i++) {
		char key[16];
		snprintf(key, sizeof(key), "k%u", i);
		struct cl_stored_answer answer = {.key = cl_str_of(key), .at = i};
		assert_ok(f, cl_store_answer_put(f->store, &answer, &f->e));
		answer.principal = CL_STR("p");
		if (i < 300)
			assert_ok(f, cl_store_answer_put(f->store, &answer, &f->e));
	}
	commit(f);
	begin(f);
	assert_ok(f, cl_store_answers_purge(f->store, 1200, 100, &f->e));
	assert_int_equal(count_of(f, "request"), 500);
	assert_int_equal(count_of(f, "idempotency"), 300); /* the call was full */
	assert_ok(f, cl_store_answers_purge(f->store, 1200, 100, &f->e));
	assert_int_equal(count_of(f, "request"), 300);
	assert_int_equal(count_of(f, "idempotency"), 200);
	assert_ok(f, cl_store_answers_purge(f->store, 1200, 100, &f->e));
	assert_int_equal(count_of(f, "request"), 300);
	assert_int_equal(count_of(f, "idempotency"), 200);
	commit(f);
}

static void test_plugins_and_tokens(void **state)
{
	struct fixture *f = *state;
	uint8_t hash[32] = {1, 2, 0, 4}, other[32] = {9};
	struct cl_str text;
	struct cl_stored_token token = {.hash = {1, 2, 0, 4},
	                                .principal = CL_STR("person/ana"),
	                                .client = CL_STR("registry"),
	                                .scope = CL_STR("system/*.rs"),
	                                .bound = CL_STR("ab"),
	                                .expires = 99},
	                       got;

	begin(f);
	assert_ok(f, cl_store_plugins_put(f->store, CL_STR("h1"), CL_STR("{\"a.lua\":\"return 1\"}"), 5, &f->e));
	assert_ok(f, cl_store_plugins_put(f->store, CL_STR("h1"), CL_STR("other"), 6, &f->e));
	assert_ok(f, cl_store_token_put(f->store, &token, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_token_put(f->store, &token, &f->e));
	commit(f);
	assert_ok(f, cl_store_plugins_get(f->store, f->arena, CL_STR("h1"), &text, &f->e));
	assert_str(text, "{\"a.lua\":\"return 1\"}");
	assert_code(CL_E_NOT_FOUND, cl_store_plugins_get(f->store, f->arena, CL_STR("h2"), &text, &f->e));
	assert_ok(f, cl_store_token_get(f->store, f->arena, hash, &got, &f->e));
	assert_str(got.principal, "person/ana");
	assert_int_equal(got.expires, 99);
	assert_str(got.scope, "system/*.rs");
	assert_str(got.client, "registry");
	assert_str(got.bound, "ab");
	assert_memory_equal(got.hash, hash, sizeof hash);
	assert_code(CL_E_NOT_FOUND, cl_store_token_get(f->store, f->arena, other, &got, &f->e));
	begin(f);
	assert_ok(f, cl_store_token_delete(f->store, hash, &f->e));
	assert_code(CL_E_NOT_FOUND, cl_store_token_delete(f->store, hash, &f->e));
	commit(f);
	assert_code(CL_E_NOT_FOUND, cl_store_token_get(f->store, f->arena, hash, &got, &f->e));
}

static bool token_is_there(struct fixture *f, uint8_t first)
{
	struct cl_stored_token got;
	struct cl_err e = {0};
	uint8_t hash[32] = {first};
	return !cl_store_token_get(f->store, f->arena, hash, &got, &e);
}

static void test_tokens_of_clients_go_with_time_and_with_them(void **state)
{
	struct fixture *f = *state;
	begin(f);
	for (uint8_t i = 1; i <= 4; i++) {
		struct cl_stored_token token = {.hash = {i},
		                                .principal = CL_STR("p"),
		                                .client = i < 3 ? CL_STR("a") : CL_STR("b"),
		                                .expires = i * 100};
		assert_ok(f, cl_store_token_put(f->store, &token, &f->e));
	}
	assert_ok(f, cl_store_tokens_purge(f->store, 101, &f->e));
	commit(f);
	assert_false(token_is_there(f, 1));
	assert_true(token_is_there(f, 2));
	begin(f);
	assert_ok(f, cl_store_tokens_delete(f->store, CL_STR("b"), &f->e));
	commit(f);
	assert_true(token_is_there(f, 2));
	assert_false(token_is_there(f, 3) || token_is_there(f, 4));
}

static void test_clients_and_their_assertions(void **state)
{
	struct fixture *f = *state;
	struct cl_stored_client client = {.id = CL_STR("registry"),
	                                  .principal = CL_STR("ehr"),
	                                  .secret = CL_STR("$argon2id$x"),
	                                  .scope = CL_STR("system/*.rs"),
	                                  .created = 5},
	                        got;
	struct cl_client_list list;
	uint8_t hash[32] = {7}, other[32] = {8}, first[16] = {1}, second[16] = {2};
	begin(f);
	assert_ok(f, cl_store_client_put(f->store, &client, &f->e));
	client.keys = CL_STR("{\"keys\":[]}");
	client.created = 9;
	assert_ok(f, cl_store_client_put(f->store, &client, &f->e));
	client.id = CL_STR("bulk");
	assert_ok(f, cl_store_client_put(f->store, &client, &f->e));
	/* Once, but the same request may be sent again. */
	assert_ok(f, cl_store_assertion_use(f->store, CL_STR("bulk"), hash, 50, first, &f->e));
	assert_ok(f, cl_store_assertion_use(f->store, CL_STR("bulk"), hash, 50, first, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_assertion_use(f->store, CL_STR("bulk"), hash, 50, second, &f->e));
	assert_ok(f, cl_store_assertion_use(f->store, CL_STR("bulk"), other, 50, second, &f->e));
	assert_ok(f, cl_store_assertion_use(f->store, CL_STR("registry"), hash, 50, second, &f->e));
	assert_ok(f, cl_store_tokens_purge(f->store, 50, &f->e));
	assert_code(CL_E_CONFLICT, cl_store_assertion_use(f->store, CL_STR("bulk"), hash, 50, second, &f->e));
	assert_ok(f, cl_store_tokens_purge(f->store, 51, &f->e));
	assert_ok(f, cl_store_assertion_use(f->store, CL_STR("bulk"), hash, 90, second, &f->e));
	commit(f);
	assert_ok(f, cl_store_client_get(f->store, f->arena, CL_STR("registry"), &got, &f->e));
	assert_str(got.keys, "{\"keys\":[]}");
	assert_int_equal(got.created, 5);
	assert_ok(f, cl_store_clients(f->store, f->arena, &list, &f->e));
	assert_int_equal(list.count, 2);
	assert_str(list.items[0].id, "bulk");
	begin(f);
	assert_ok(f, cl_store_client_delete(f->store, CL_STR("bulk"), &f->e));
	assert_code(CL_E_NOT_FOUND, cl_store_client_delete(f->store, CL_STR("bulk"), &f->e));
	commit(f);
	assert_code(CL_E_NOT_FOUND, cl_store_client_get(f->store, f->arena, CL_STR("bulk"), &got, &f->e));
}

/* Every write refuses to run outside a transaction. */
static void test_writes_need_a_transaction(void **state)
{
	struct fixture *f = *state;
	uint8_t hash[32] = {0};
	struct cl_stored_instance instance = an_instance("t", "w", "s", "p", 1, false);
	struct cl_stored_transition transition = {.task = CL_STR("t")};
	struct cl_stored_timer timer = {.name = CL_STR("n")};
	struct cl_outgoing message = {.key = CL_STR("k")};
	struct cl_stored_answer answer = {.key = CL_STR("k")};
	struct cl_audit_record record = {.at = 1};
	struct cl_stored_token token = {.principal = CL_STR("p")};
	struct cl_stored_client client = {.id = CL_STR("c")};
	struct cl_store *reader = fixture_reader(f);
	struct cl_store *both[2] = {f->store, reader};

	for (size_t i = 0; i < 2; i++) {
		struct cl_store *store = both[i];
		assert_code(CL_E_INTERNAL, cl_store_event_outcome(store, 1, CL_STR("ok"), &f->e));
		assert_code(CL_E_INTERNAL, cl_store_instance_put(store, &instance, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_transition_append(store, &transition, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_timer_set(store, &timer, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_timer_clear(store, CL_STR("n"), &f->e));
		assert_code(CL_E_INTERNAL, cl_store_timers_clear_task(store, CL_STR("n"), &f->e));
		assert_code(CL_E_INTERNAL, cl_store_timer_fired(store, CL_STR("n"), 1, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_timer_quarantine(store, CL_STR("n"), CL_STR("w"), &f->e));
		assert_code(CL_E_INTERNAL, cl_store_outbox_append(store, &message, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_outbox_update(store, 1, CL_STR("sent"), 1, 1, CL_STR(""), &f->e));
		assert_code(CL_E_INTERNAL, cl_store_inbox_add(store, CL_STR("s"), CL_STR("k"), 1, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_answer_put(store, &answer, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_answers_purge(store, 1, 1, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_plugins_put(store, CL_STR("h"), CL_STR("t"), 1, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_token_put(store, &token, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_tokens_delete(store, CL_STR("c"), &f->e));
		assert_code(CL_E_INTERNAL, cl_store_tokens_purge(store, 1, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_client_put(store, &client, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_client_delete(store, CL_STR("c"), &f->e));
		assert_code(CL_E_INTERNAL, cl_store_assertion_use(store, CL_STR("c"), hash, 1, hash, &f->e));
		assert_code(CL_E_INTERNAL, cl_store_token_delete(store, hash, &f->e));
		assert_code(CL_E_INTERNAL, cl_audit_append(store, &record, &f->e));
	}
	cl_store_close(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	        cmocka_unit_test_setup_teardown(test_events, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_instances, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_transitions, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_timers, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_timers_fire_once, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_outbox, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_answers, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_answers_purge, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_plugins_and_tokens, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_tokens_of_clients_go_with_time_and_with_them, fixture_setup,
	                                        fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_clients_and_their_assertions, fixture_setup, fixture_teardown),
	        cmocka_unit_test_setup_teardown(test_writes_need_a_transaction, fixture_setup, fixture_teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}

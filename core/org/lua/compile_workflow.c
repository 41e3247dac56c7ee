/* compile_workflow.c: workflows: states, transitions, what events need, parties. */
#include "org/lua/compile.h"

static void compile_needs(lua_State *L, int index, struct cl_transition_rule *out)
{
	out->need_count = cl_push_list(L, index, "needs");
	out->needs = out->need_count ? CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_needed, out->need_count) : NULL;
	for (size_t i = 0; i < out->need_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		int need = lua_gettop(L);
		out->needs[i] = (struct cl_needed){
		        .name = cl_field_text(L, need, "name"),
		        .type = cl_field_text(L, need, "type"),
		        .optional = cl_field_flag(L, need, "optional"),
		        .help = cl_field_text(L, need, "help"),
		};
		out->needs[i].choices = cl_field_texts(L, need, "choices", &out->needs[i].choice_count);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void compile_transitions(lua_State *L, int index, const struct cl_workflow *workflow,
                                struct cl_state_rule *state)
{
	state->transition_count = cl_push_list(L, index, "transitions");
	state->transitions = state->transition_count ? CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_transition_rule,
	                                                            state->transition_count)
	                                             : NULL;
	for (size_t i = 0; i < state->transition_count; i++) {
		struct cl_transition_rule *transition = &state->transitions[i];
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		int at = lua_gettop(L);
		transition->event = cl_field_text(L, at, "event");
		transition->target = (uint16_t)cl_field_integer(L, at, "number", UINT16_MAX);
		transition->by = cl_field_texts(L, at, "by", &transition->by_count);
		transition->keep_clock = cl_field_flag(L, at, "keep_clock");
		transition->help = cl_field_text(L, at, "help");
		transition->rule = cl_field_text(L, at, "rule");
		transition->origin = cl_field_origin(L, at);
		compile_needs(L, at, transition);
		transition->guard = cl_field_function(L, at, "guard", &transition->origin, "guard of %.*s.%.*s.%.*s",
		                                      CL_STR_ARGS(workflow->name), CL_STR_ARGS(state->name),
		                                      CL_STR_ARGS(transition->event));
		transition->effect = cl_field_function(L, at, "effect", &transition->origin, "effect of %.*s.%.*s.%.*s",
		                                       CL_STR_ARGS(workflow->name), CL_STR_ARGS(state->name),
		                                       CL_STR_ARGS(transition->event));
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void compile_reminders(lua_State *L, int index, struct cl_state_rule *state)
{
	state->reminder_count = cl_push_list(L, index, "reminders");
	state->reminders = state->reminder_count
	                           ? CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_reminder, state->reminder_count)
	                           : NULL;
	for (size_t i = 0; i < state->reminder_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		state->reminders[i].before = cl_field_duration(L, lua_gettop(L), "before");
		state->reminders[i].after = cl_field_duration(L, lua_gettop(L), "after");
		state->reminders[i].to = cl_field_text(L, lua_gettop(L), "to");
		state->reminders[i].text = cl_field_text(L, lua_gettop(L), "text");
		state->reminders[i].event = cl_field_text(L, lua_gettop(L), "fire");
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

/* A clock that the instance's data decide. */
static void compile_clock(lua_State *L, int index, const struct cl_workflow *workflow, struct cl_state_rule *state)
{
	struct cl_clock_rule *clock = &state->clock;
	if (lua_getfield(L, index, "clock") == LUA_TTABLE) {
		int at = lua_gettop(L);
		struct cl_duration before = cl_field_duration(L, at, "before");
		clock->kind = (uint8_t)cl_field_integer(L, at, "kind", CL_CLOCK_FIXED);
		clock->field = cl_field_text(L, at, "field");
		clock->offset = before.amount ? (struct cl_duration){-before.amount, before.unit}
		                              : cl_field_duration(L, at, "after");
		clock->otherwise = cl_field_duration(L, at, "otherwise");
		clock->function = cl_field_function(L, at, "run", &state->origin, "clock of %.*s.%.*s",
		                                    CL_STR_ARGS(workflow->name), CL_STR_ARGS(state->name));
		clock->tier_count = cl_push_list(L, at, "tiers");
		clock->tiers =
		        clock->tier_count ? CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_tier, clock->tier_count) : NULL;
		for (size_t i = 0; i < clock->tier_count; i++) {
			lua_rawgeti(L, -1, (lua_Integer)i + 1);
			clock->tiers[i].value = cl_field_text(L, lua_gettop(L), "value");
			clock->tiers[i].within = cl_field_duration(L, lua_gettop(L), "within");
			lua_pop(L, 1);
		}
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void compile_state(lua_State *L, int at, const struct cl_workflow *workflow, struct cl_state_rule *state)
{
	state->name = cl_field_text(L, at, "name");
	state->status = cl_field_text(L, at, "status");
	state->business_system = cl_field_text(L, at, "business_system");
	state->business_code = cl_field_text(L, at, "business_code");
	state->business_display = cl_field_text(L, at, "business_display");
	state->accepts = cl_field_texts(L, at, "accepts", &state->accept_count);
	state->owner = cl_field_text(L, at, "owner");
	state->action = cl_field_text(L, at, "action");
	state->final = cl_field_flag(L, at, "final");
	state->within = cl_field_duration(L, at, "within");
	state->within_setting = cl_field_text(L, at, "within_setting");
	state->overdue_event = cl_field_text(L, at, "overdue_event");
	state->escalate_to = cl_field_text(L, at, "escalate_to");
	state->again = cl_field_duration(L, at, "again");
	state->times = (int)cl_field_integer(L, at, "times", 0);
	state->finally_event = cl_field_text(L, at, "finally_event");
	state->origin = cl_field_origin(L, at);
	compile_clock(L, at, workflow, state);
	compile_reminders(L, at, state);
	compile_transitions(L, at, workflow, state);
	state->enter = cl_field_function(L, at, "enter", &state->origin, "enter of %.*s.%.*s",
	                                 CL_STR_ARGS(workflow->name), CL_STR_ARGS(state->name));
}

static void compile_conflicts(lua_State *L, int index, struct cl_workflow *workflow)
{
	workflow->conflict_count = cl_push_list(L, index, "conflict_list");
	workflow->conflicts = workflow->conflict_count
	                              ? CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_conflict, workflow->conflict_count)
	                              : NULL;
	for (size_t i = 0; i < workflow->conflict_count; i++) {
		struct cl_conflict *conflict = &workflow->conflicts[i];
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		int at = lua_gettop(L);
		*conflict = (struct cl_conflict){
		        .name = cl_field_text(L, at, "name"),
		        .summary = cl_field_text(L, at, "summary"),
		        .workflow = workflow->name,
		        .with = cl_field_text(L, at, "with"),
		        .action = (uint8_t)cl_field_integer(L, at, "number", CL_CONFLICT_REFUSE),
		        .tell = cl_field_text(L, at, "tell"),
		        .origin = cl_field_origin(L, at),
		};
		conflict->states = cl_field_texts(L, at, "states", &conflict->state_count);
		conflict->when = cl_field_function(L, at, "when", &conflict->origin, "conflict %.*s of %.*s",
		                                   CL_STR_ARGS(conflict->name), CL_STR_ARGS(workflow->name));
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

static void compile_workflow(lua_State *L, int at, struct cl_workflow *workflow)
{
	struct cl_arena *arena = cl_lua_of(L)->arena;
	workflow->name = cl_field_text(L, at, "name");
	workflow->summary = cl_field_text(L, at, "summary");
	workflow->subject = cl_field_text(L, at, "subject");
	workflow->start = (uint16_t)cl_field_integer(L, at, "start_number", UINT16_MAX);
	workflow->recorders = cl_field_texts(L, at, "recorders", &workflow->recorder_count);
	workflow->single = cl_field_flag(L, at, "single");
	workflow->origin = cl_field_origin(L, at);

	workflow->party_count = cl_push_list(L, at, "party_list");
	workflow->parties = workflow->party_count ? CL_NEW_ARRAY(arena, struct cl_party, workflow->party_count) : NULL;
	for (size_t i = 0; i < workflow->party_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		workflow->parties[i].name = cl_field_text(L, lua_gettop(L), "name");
		workflow->parties[i].roles =
		        cl_field_texts(L, lua_gettop(L), "roles", &workflow->parties[i].role_count);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);

	workflow->migrate_count = cl_push_list(L, at, "migrations");
	workflow->migrate =
	        workflow->migrate_count ? CL_NEW_ARRAY(arena, struct cl_state_map, workflow->migrate_count) : NULL;
	for (size_t i = 0; i < workflow->migrate_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		workflow->migrate[i].from = cl_field_text(L, lua_gettop(L), "from");
		workflow->migrate[i].to = cl_field_text(L, lua_gettop(L), "to");
		lua_pop(L, 1);
	}
	lua_pop(L, 1);

	compile_conflicts(L, at, workflow);
	workflow->state_count = cl_push_list(L, at, "state_list");
	workflow->states =
	        workflow->state_count ? CL_NEW_ARRAY(arena, struct cl_state_rule, workflow->state_count) : NULL;
	for (size_t i = 0; i < workflow->state_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		compile_state(L, lua_gettop(L), workflow, &workflow->states[i]);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

void cl_compile_workflows(lua_State *L, int index)
{
	struct cl_catalog *catalog = &cl_lua_of(L)->catalog;
	catalog->workflow_count = cl_push_list(L, index, "workflows");
	catalog->workflows = catalog->workflow_count
	                             ? CL_NEW_ARRAY(cl_lua_of(L)->arena, struct cl_workflow, catalog->workflow_count)
	                             : NULL;
	for (size_t i = 0; i < catalog->workflow_count; i++) {
		lua_rawgeti(L, -1, (lua_Integer)i + 1);
		compile_workflow(L, lua_gettop(L), &catalog->workflows[i]);
		lua_pop(L, 1);
	}
	lua_pop(L, 1);
}

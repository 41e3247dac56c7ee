/* machine_diagram.c: a machine as a picture: Mermaid's stateDiagram-v2. */
#include "org/flow/catalog.h"
#include <stdlib.h>

/* Mermaid's identifiers are letters, digits and underscores, a letter first; other state names get an alias. */
static bool is_plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

static bool starts_with_digit(struct cl_str name)
{
	return name.n && name.p[0] >= '0' && name.p[0] <= '9';
}

static void write_identifier(struct cl_buf *out, struct cl_str name)
{
	if (starts_with_digit(name))
		cl_buf_add_byte(out, 's');
	for (size_t i = 0; i < name.n; i++)
		cl_buf_add_byte(out, is_plain(name.p[i]) ? name.p[i] : '_');
}

/* Colons and semicolons end a label. */
static void write_label(struct cl_buf *out, struct cl_str text)
{
	for (size_t i = 0; i < text.n; i++)
		cl_buf_add_byte(out, text.p[i] == ':' || text.p[i] == ';' || text.p[i] == '\n' ? ',' : text.p[i]);
}

static void write_duration(struct cl_buf *out, struct cl_duration duration)
{
	struct cl_arena *arena = cl_arena_new(0);
	cl_buf_add_str(out, cl_duration_text(arena, duration));
	cl_arena_free(arena);
}

static void write_transition(struct cl_buf *out, const struct cl_workflow *workflow, const struct cl_state_rule *state,
                             const struct cl_transition_rule *transition)
{
	cl_buf_add_cstring(out, "    ");
	write_identifier(out, state->name);
	cl_buf_add_cstring(out, " --> ");
	write_identifier(out, workflow->states[transition->target].name);
	cl_buf_add_cstring(out, " : ");
	write_label(out, transition->event);
	cl_buf_add_cstring(out, " (");
	for (size_t i = 0; i < transition->by_count; i++) {
		cl_buf_add_cstring(out, i ? ", " : "");
		write_label(out, transition->by[i]);
	}
	if (!transition->by_count)
		write_label(out, state->owner);
	cl_buf_add_cstring(out, ")\n");
}

void cl_state_clock_write(struct cl_buf *out, const struct cl_state_rule *state)
{
	const struct cl_clock_rule *clock = &state->clock;
	switch (clock->kind) {
	case CL_CLOCK_FIELD:
		if (clock->offset.amount) {
			struct cl_duration offset = {abs(clock->offset.amount), clock->offset.unit};
			write_duration(out, offset);
			cl_buf_add_cstring(out, clock->offset.amount < 0 ? " before " : " after ");
		}
		cl_buf_add_str(out, clock->field);
		break;
	case CL_CLOCK_TIER:
		cl_buf_printf(out, "by %.*s, ", CL_STR_ARGS(clock->field));
		for (size_t i = 0; i < clock->tier_count; i++) {
			cl_buf_printf(out, "%s%.*s ", i ? ", " : "", CL_STR_ARGS(clock->tiers[i].value));
			write_duration(out, clock->tiers[i].within);
		}
		break;
	case CL_CLOCK_FUNCTION:
		cl_buf_add_cstring(out, "as the plugin computes");
		return;
	default:
		if (state->within.amount)
			write_duration(out, state->within);
		return;
	}
	if (clock->otherwise.amount) {
		cl_buf_add_cstring(out, ", otherwise ");
		write_duration(out, clock->otherwise);
	}
}

static void write_note(struct cl_buf *out, const struct cl_state_rule *state)
{
	cl_buf_add_cstring(out, "    note right of ");
	write_identifier(out, state->name);
	cl_buf_add_cstring(out, "\n        ");
	write_label(out, state->owner);
	if (state->action.n) {
		cl_buf_add_cstring(out, ", ");
		write_label(out, state->action);
	}
	cl_buf_add_cstring(out, "\n        within ");
	cl_state_clock_write(out, state);
	if (state->overdue_event.n) {
		cl_buf_add_cstring(out, ", then ");
		write_label(out, state->overdue_event);
	} else {
		cl_buf_add_cstring(out, ", then escalate to ");
		write_label(out, state->escalate_to.n ? state->escalate_to : state->owner);
		if (state->finally_event.n) {
			cl_buf_printf(out, " (%d times), finally ", state->times);
			write_label(out, state->finally_event);
		}
	}
	cl_buf_add_cstring(out, "\n    end note\n");
}

void cl_workflow_diagram(const struct cl_workflow *workflow, struct cl_buf *out)
{
	cl_buf_add_cstring(out, "stateDiagram-v2\n");
	for (size_t s = 0; s < workflow->state_count; s++) {
		struct cl_str name = workflow->states[s].name;
		bool plain = !starts_with_digit(name);
		for (size_t i = 0; i < name.n; i++)
			plain &= is_plain(name.p[i]);
		if (plain)
			continue;
		cl_buf_printf(out, "    state \"%.*s\" as ", CL_STR_ARGS(name));
		write_identifier(out, name);
		cl_buf_add_byte(out, '\n');
	}
	if (workflow->start < workflow->state_count) {
		cl_buf_add_cstring(out, "    [*] --> ");
		write_identifier(out, workflow->states[workflow->start].name);
		cl_buf_add_byte(out, '\n');
	}
	for (size_t s = 0; s < workflow->state_count; s++) {
		const struct cl_state_rule *state = &workflow->states[s];
		for (size_t i = 0; i < state->transition_count; i++)
			if (state->transitions[i].target < workflow->state_count)
				write_transition(out, workflow, state, &state->transitions[i]);
		if (state->final) {
			cl_buf_add_cstring(out, "    ");
			write_identifier(out, state->name);
			cl_buf_add_cstring(out, " --> [*]\n");
		} else {
			write_note(out, state);
		}
	}
}

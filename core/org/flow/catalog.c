/* catalog.c: finding declarations by name. Catalogs are small: they are searched from the front. */
#include "org/flow/catalog.h"

struct cl_workflow *cl_catalog_workflow(const struct cl_catalog *catalog, struct cl_str name)
{
	for (size_t i = 0; i < catalog->workflow_count; i++)
		if (cl_str_equal(catalog->workflows[i].name, name))
			return &catalog->workflows[i];
	return NULL;
}

struct cl_metric *cl_catalog_metric(const struct cl_catalog *catalog, struct cl_str name)
{
	for (size_t i = 0; i < catalog->metric_count; i++)
		if (cl_str_equal(catalog->metrics[i].name, name))
			return &catalog->metrics[i];
	return NULL;
}

static bool names(struct cl_str name, struct cl_str wanted)
{
	if (name.n != wanted.n)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] != wanted.p[i] && !(name.p[i] == '_' && wanted.p[i] == '-'))
			return false;
	return true;
}

struct cl_measure *cl_catalog_measure(const struct cl_catalog *catalog, struct cl_str name)
{
	for (size_t i = 0; i < catalog->measure_count; i++)
		if (names(catalog->measures[i].name, name))
			return &catalog->measures[i];
	return NULL;
}

struct cl_code_list *cl_catalog_code_list(const struct cl_catalog *catalog, struct cl_str name)
{
	for (size_t i = 0; i < catalog->code_list_count; i++)
		if (cl_str_equal(catalog->code_lists[i].name, name))
			return &catalog->code_lists[i];
	return NULL;
}

const struct cl_json *cl_catalog_setting(const struct cl_catalog *catalog, struct cl_str plugin, struct cl_str name)
{
	for (size_t i = 0; i < catalog->setting_count; i++)
		if (cl_str_equal(catalog->settings[i].plugin, plugin) && cl_str_equal(catalog->settings[i].name, name))
			return catalog->settings[i].value;
	return NULL;
}

struct cl_view *cl_catalog_view(const struct cl_catalog *catalog, struct cl_str name)
{
	for (size_t i = 0; i < catalog->view_count; i++)
		if (cl_str_equal(catalog->views[i].name, name))
			return &catalog->views[i];
	return NULL;
}

bool cl_catalog_has_role(const struct cl_catalog *catalog, struct cl_str name)
{
	for (size_t i = 0; i < catalog->role_count; i++)
		if (cl_str_equal(catalog->roles[i].name, name))
			return true;
	return false;
}

bool cl_state_clock_fires(const struct cl_state_rule *state, struct cl_str event)
{
	for (size_t i = 0; i < state->reminder_count; i++)
		if (state->reminders[i].event.n && cl_str_equal(state->reminders[i].event, event))
			return true;
	return cl_str_equal(event, state->overdue_event) || cl_str_equal(event, state->finally_event);
}

int cl_workflow_state(const struct cl_workflow *workflow, struct cl_str name)
{
	for (size_t i = 0; i < workflow->state_count; i++)
		if (cl_str_equal(workflow->states[i].name, name))
			return (int)i;
	return -1;
}

const struct cl_party *cl_workflow_party(const struct cl_workflow *workflow, struct cl_str name)
{
	for (size_t i = 0; i < workflow->party_count; i++)
		if (cl_str_equal(workflow->parties[i].name, name))
			return &workflow->parties[i];
	return NULL;
}

const struct cl_transition_rule *cl_state_transition(const struct cl_state_rule *state, struct cl_str event)
{
	for (size_t i = 0; i < state->transition_count; i++)
		if (cl_str_equal(state->transitions[i].event, event))
			return &state->transitions[i];
	return NULL;
}

/* capability.c: what this organization can do, for programs that ask before they try: its CapabilityStatement (FHIR R4 section
 * 3.1.0.11), and the definitions of the operations that no standard defines: moves of workflows, and what plugins add. */
#include "org/engine/interaction.h"
#include "base/date.h"
#include "base/hash.h"
#include "org/fhir/capability.h"
#include "org/fhir/types.h"
#include <stdio.h>
#include <stdlib.h>

struct parameter {
	const char *name, *use, *type, *most;
	int least;
	const char *documentation;
};

/* Operations that no standard has: their definitions are "<type>-<name>". */
static const struct {
	const char *type, *name, *title, *description; /* without a description: the events of all workflows */
	bool of_type; /* else of one resource */
	struct parameter parameters[6];
} own[] = {
        {"Task",
         "transition",
         "Fire an event of a workflow",
         NULL,
         false,
         {{"event", "in", "string", "1", 1, "One of the events that the Task's state has"},
          {"on-behalf-of", "in", "string", "1", 0, "The partner who said it, when it is recorded for them"},
          {"source", "in", "string", "1", 0, "How they said it: phone, fax, letter ..."},
          {"occurred", "in", "dateTime", "1", 0, "When it happened, if earlier than now"},
          {"return", "out", "Task", "1", 1, "The Task in its new state"}}},
        {"Task",
         "undo",
         "Take the last event of a workflow back",
         "The instance returns to its former state and data. What the event did in the house is reversed where it is "
         "still as it was "
         "left; what cannot be reversed is named.",
         false,
         {{"reason", "in", "string", "1", 1, "Why, for the log"},
          {"event", "in", "string", "1", 0, "Only if the last event is this one"},
          {"state", "out", "string", "1", 0, "The state in which the instance is now; none when it never began"},
          {"not-reversed", "out", "string", "*", 0, "What stays as the event left it, and why"}}},
        {"Task",
         "import",
         "Take over instances that began elsewhere",
         "Each Task says its workflow (code), its state (businessStatus), when it began (authoredOn) and when it came "
         "into that state "
         "(lastModified). All of them, or none.",
         true,
         {{"resource", "in", "Bundle", "1", 1, "The Tasks, in a Bundle of type collection, as the body"},
          {"taken-over", "out", "integer", "1", 1, "How many"}}},
        {"Subscription",
         "secret",
         "What verifies the notifications of a subscription",
         "The key of the HMAC in their headers, for who made the subscription.",
         false,
         {{"secret", "out", "string", "1", 1, "The key"}}},
};
#define OWN (sizeof own / sizeof *own)

/* Operations of standards. Those of this house have their definition here, below OperationDefinition/. */
static const struct {
	const char *type; /* NULL = of the system */
	const char *name, *definition, *documentation;
} standard[] = {
        {NULL, "process-message", "http://hl7.org/fhir/OperationDefinition/MessageHeader-process-message",
         "Messages of partners; each is taken in once, by Bundle.id"},
        {NULL, "validate", "http://hl7.org/fhir/OperationDefinition/Resource-validate",
         "Also on each type, with the bare resource or Parameters"},
        {NULL, "meta", "http://hl7.org/fhir/OperationDefinition/Resource-meta", "On one resource or version"},
        {NULL, "meta-add", "http://hl7.org/fhir/OperationDefinition/Resource-meta-add", "On one resource"},
        {NULL, "meta-delete", "http://hl7.org/fhir/OperationDefinition/Resource-meta-delete", "On one resource"},
        {NULL, "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/export",
         "With Prefer: respond-async; _type, _since, _elements, _typeFilter, _outputFormat"},
        {"Patient", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/patient-export",
         "With Prefer: respond-async; also `patient`"},
        {"Group", "export", "http://hl7.org/fhir/uv/bulkdata/OperationDefinition/group-export",
         "With Prefer: respond-async; the members that are Patients here and not inactive"},
        {"Patient", "everything", "http://hl7.org/fhir/OperationDefinition/Patient-everything",
         "On one patient, in pages; start, end, _since, _type, _count"},
};
#define STANDARD (sizeof standard / sizeof *standard)

/* ---- definitions of this house's operations ---- */

static struct cl_json *add_parameter(struct cl_arena *arena, struct cl_json *list, const char *name, const char *use,
                                     int least, const char *type, const char *most, struct cl_str words)
{
	struct cl_json *parameter = cl_json_append(arena, list);
	parameter->kind = CL_JSON_OBJECT;
	cl_json_set_text(arena, parameter, "name", cl_str_of(name));
	cl_json_set_text(arena, parameter, "use", cl_str_of(use));
	cl_json_set_integer(arena, parameter, "min", least);
	cl_json_set_text(arena, parameter, "max", cl_str_of(most));
	cl_json_set_text(arena, parameter, "documentation", words);
	cl_json_set_text(arena, parameter, "type", cl_str_of(type));
	return parameter;
}

static struct cl_json *begin(const struct cl_interaction_context *context, struct cl_str id, struct cl_str code)
{
	struct cl_arena *arena = context->arena;
	struct cl_json *definition = cl_json_new(arena, CL_JSON_OBJECT);
	/* A name for programs (R4 invariant inv-0): "Operation_care_plan". */
	char *name = cl_arena_cstring(arena, cl_arena_printf(arena, "Operation_%.*s", CL_STR_ARGS(code)));
	for (char *at = name; *at; at++)
		if (!((*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9')))
			*at = '_';
	cl_json_set_text(arena, definition, "resourceType", CL_STR("OperationDefinition"));
	cl_json_set_text(arena, definition, "id", id);
	cl_json_set_text(arena, definition, "url",
	                 cl_arena_printf(arena, "%.*s/fhir/OperationDefinition/%.*s",
	                                 CL_STR_ARGS(context->request->base), CL_STR_ARGS(id)));
	cl_json_set_text(arena, definition, "name", cl_str_of(name));
	cl_json_set_text(arena, definition, "status", CL_STR("active"));
	cl_json_set_text(arena, definition, "kind", CL_STR("operation"));
	cl_json_set_text(arena, definition, "date", cl_instant_text(arena, context->rules->loaded));
	return definition;
}

static void set_level(struct cl_arena *arena, struct cl_json *definition, struct cl_str code, const char *resource,
                      bool system, bool type)
{
	cl_json_set_text(arena, definition, "code", code);
	cl_json_append_text(arena, cl_json_set_array(arena, definition, "resource"), cl_str_of(resource));
	cl_json_set_boolean(arena, definition, "system", system);
	cl_json_set_boolean(arena, definition, "type", type);
	cl_json_set_boolean(arena, definition, "instance", !type);
}

static bool said_before(const struct cl_workflow *workflow, size_t state, size_t transition)
{
	struct cl_str event = workflow->states[state].transitions[transition].event;
	for (size_t s = 0; s <= state; s++)
		for (size_t t = 0; t < (s == state ? transition : workflow->states[s].transition_count); t++)
			if (cl_str_equal(workflow->states[s].transitions[t].event, event))
				return true;
	return false;
}

/* "referral: send, accept, decline (reason)": every event, with the data that it needs. */
static struct cl_str events_of(struct cl_arena *arena, const struct cl_catalog *catalog)
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_buf_add_cstring(
	        &text, "Moves a workflow. The events of each workflow, with the data that they need beside `event` as "
	               "parameters of their own:");
	for (size_t w = 0; w < catalog->workflow_count; w++) {
		const struct cl_workflow *workflow = &catalog->workflows[w];
		const char *mark = " ";
		cl_buf_printf(&text, "\n\n* `%.*s`:", CL_STR_ARGS(workflow->name));
		for (size_t s = 0; s < workflow->state_count; s++)
			for (size_t t = 0; t < workflow->states[s].transition_count; t++) {
				const struct cl_transition_rule *rule = &workflow->states[s].transitions[t];
				if (said_before(workflow, s, t))
					continue;
				cl_buf_printf(&text, "%s`%.*s`", mark, CL_STR_ARGS(rule->event));
				mark = ", ";
				for (size_t n = 0; n < rule->need_count; n++)
					cl_buf_printf(&text, "%s%.*s%s", n ? ", " : " (",
					              CL_STR_ARGS(rule->needs[n].name),
					              n + 1 == rule->need_count ? ")" : "");
			}
	}
	struct cl_str copy = cl_arena_copy(arena, cl_buf_str(&text));
	cl_buf_free(&text);
	return copy;
}

static struct cl_str own_id(struct cl_arena *arena, size_t i)
{
	return cl_arena_printf(arena, "%s-%s", own[i].type, own[i].name);
}

static struct cl_json *define_own(const struct cl_interaction_context *context, size_t i)
{
	struct cl_arena *arena = context->arena;
	struct cl_str code = cl_str_of(own[i].name);
	struct cl_json *definition = begin(context, own_id(arena, i), code);
	cl_json_set_text(arena, definition, "title", cl_str_of(own[i].title));
	cl_json_set_text(arena, definition, "description",
	                 own[i].description ? cl_str_of(own[i].description)
	                                    : events_of(arena, context->rules->catalog));
	set_level(arena, definition, code, own[i].type, false, own[i].of_type);
	struct cl_json *list = cl_json_set_array(arena, definition, "parameter");
	for (const struct parameter *one = own[i].parameters; one->name; one++)
		add_parameter(arena, list, one->name, one->use, one->least, one->type, one->most,
		              cl_str_of(one->documentation));
	return definition;
}

static struct cl_json *define_plugin(const struct cl_interaction_context *context,
                                     const struct cl_operation_rule *operation)
{
	struct cl_arena *arena = context->arena;
	struct cl_str code = {operation->name.p + 1, operation->name.n - 1};
	struct cl_json *definition = begin(context, code, code);
	if (operation->summary.n)
		cl_json_set_text(arena, definition, "description", operation->summary);
	set_level(arena, definition, code, "Resource", true, false);
	struct cl_json *list = cl_json_set_array(arena, definition, "parameter");
	add_parameter(arena, list, "resource", "in", 0, "Any", "1", CL_STR("A resource, or Parameters, as the body"));
	add_parameter(arena, list, "return", "out", 0, "Any", "1", CL_STR("What the operation answers"));
	return definition;
}

bool cl_interaction_definition(struct cl_interaction_context *context)
{
	const struct cl_catalog *catalog = context->rules->catalog;
	const struct cl_route *route = context->route;
	struct cl_json *definition = NULL;
	if (!cl_str_is(cl_fhir_type_name(route->type), "OperationDefinition"))
		return false;
	for (size_t i = 0; !definition && i < OWN; i++)
		if (cl_str_equal(route->id, own_id(context->arena, i)))
			definition = define_own(context, i);
	for (size_t i = 0; !definition && i < catalog->operation_count; i++) {
		struct cl_str name = catalog->operations[i].name;
		if (cl_str_equal(route->id, (struct cl_str){name.p + 1, name.n - 1}))
			definition = define_plugin(context, &catalog->operations[i]);
	}
	if (definition)
		cl_interaction_answer_json(context, 200, definition);
	return definition != NULL;
}

/* ---- the statement ---- */

static struct cl_str own_definition(const struct cl_interaction_context *context, struct cl_str id)
{
	return cl_arena_printf(context->arena, "%.*s/fhir/OperationDefinition/%.*s",
	                       CL_STR_ARGS(context->request->base), CL_STR_ARGS(id));
}

static void write_statement(const struct cl_interaction_context *context, struct cl_buf *out)
{
	const struct cl_catalog *catalog = context->rules->catalog;
	struct cl_arena *arena = context->arena;
	size_t count = 0;
	struct cl_capability_operation *operations =
	        CL_NEW_ARRAY(arena, struct cl_capability_operation, catalog->operation_count + STANDARD + OWN + 1);
	for (size_t i = 0; i < OWN; i++)
		operations[count++] = (struct cl_capability_operation){
		        cl_fhir_type(cl_str_of(own[i].type)), cl_str_of(own[i].name),
		        own_definition(context, own_id(arena, i)), cl_str_of(own[i].title)};
	for (size_t i = 0; i < STANDARD; i++)
		operations[count++] = (struct cl_capability_operation){
		        standard[i].type ? cl_fhir_type(cl_str_of(standard[i].type)) : 0, cl_str_of(standard[i].name),
		        cl_str_of(standard[i].definition), cl_str_of(standard[i].documentation)};
	if (catalog->measure_count)
		operations[count++] = (struct cl_capability_operation){
		        cl_fhir_type(CL_STR("Measure")), CL_STR("evaluate-measure"),
		        CL_STR("http://hl7.org/fhir/OperationDefinition/Measure-evaluate-measure"),
		        CL_STR("Of a measure that a plugin computes")};
	for (size_t i = 0; i < catalog->operation_count; i++) {
		struct cl_str name = catalog->operations[i].name;
		name = (struct cl_str){name.p + 1, name.n - 1};
		operations[count++] = (struct cl_capability_operation){0, name, own_definition(context, name),
		                                                       catalog->operations[i].summary};
	}
	struct cl_capability capability = {
	        .base = cl_arena_printf(arena, "%.*s/fhir", CL_STR_ARGS(context->request->base)),
	        .oauth = cl_arena_printf(arena, "%.*s/oauth2", CL_STR_ARGS(context->request->base)),
	        .date = cl_instant_text(arena, context->rules->loaded),
	        .software = CL_STR(CL_VERSION),
	        .name = context->rules->facts->name,
	        .json_patch = true,
	        .operations = operations,
	        .operation_count = count,
	};
	cl_fhir_capability_write(out, &capability);
}

/* Half a megabyte that changes only with the rules: written once for each address. */
static const struct cl_statement *statement_of(struct cl_interaction_context *context)
{
	struct cl_rules *rules = (struct cl_rules *)context->rules;
	struct cl_str base = context->request->base;
	struct cl_statement *found = NULL;
	pthread_mutex_lock(&rules->statement_lock);
	for (size_t i = 0; i < CL_STATEMENTS && rules->statements[i].base; i++)
		if (cl_str_is(base, rules->statements[i].base))
			found = &rules->statements[i];
	if (!found) {
		/* A client may say any name that leads here; what it says last must not push out the rest. */
		size_t place = 0;
		while (place < CL_STATEMENTS && rules->statements[place].base)
			place++;
		struct cl_statement fresh = {0};
		struct cl_buf text;
		uint8_t hash[CL_SHA256_SIZE];
		char hex[33];
		cl_buf_init(&text, 0);
		write_statement(context, &text);
		cl_sha256_of(cl_buf_str(&text), hash);
		cl_hex(hash, 16, hex);
		snprintf(fresh.tag, sizeof fresh.tag, "W/\"%s\"", hex);
		if (place < CL_STATEMENTS) {
			fresh.base = strndup(base.p, base.n);
			fresh.text = cl_buf_str(&text);
			rules->statements[place] = fresh;
			found = &rules->statements[place];
		} else {
			found = CL_NEW(context->arena, struct cl_statement);
			*found = fresh;
			found->text = cl_arena_copy(context->arena, cl_buf_str(&text));
			cl_buf_free(&text);
		}
	}
	pthread_mutex_unlock(&rules->statement_lock);
	return found;
}

int cl_interaction_capability(struct cl_interaction_context *context, struct cl_err *e)
{
	(void)e;
	const struct cl_statement *statement = statement_of(context);
	struct cl_str match = cl_request_header(context->request, "if-none-match");
	if (match.n && memmem(match.p, match.n, statement->tag, strlen(statement->tag)))
		context->response->status = 304;
	else
		cl_interaction_answer_bytes(context, 200, "application/fhir+json; charset=utf-8", statement->text);
	cl_response_add_header(context->arena, context->response, "etag", cl_str_of(statement->tag));
	cl_response_add_header(context->arena, context->response, "cache-control", CL_STR("public, max-age=60"));
	return 0;
}

void cl_statements_free(struct cl_rules *rules)
{
	for (size_t i = 0; i < CL_STATEMENTS; i++) {
		free(rules->statements[i].base);
		free((char *)(uintptr_t)rules->statements[i].text.p);
	}
	pthread_mutex_destroy(&rules->statement_lock);
}

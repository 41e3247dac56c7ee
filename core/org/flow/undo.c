/* undo.c: the last event of an instance is taken back, with a reason: the instance returns to its former state, what its effects
 * and the handlers of it did inside the house is reversed where nobody has changed it since, and what cannot be reversed is
 * named. The log only grows: a row "undo" compensates the row it takes back, and neither counts in measures.
 *
 * What an event did is found in the log: rows of the same cause whose detail says `by`, the sequence of the transition under which
 * they were made; those of nested transitions by theirs. */
#include "base/date.h"
#include "org/fhir/types.h"
#include "org/flow/instance_internal.h"

/* One resource, timer or message that the event touched. */
struct touched {
	struct touched *next; /* latest first */
	const char *kind; /* "resource" "instance" "timer" "send" */
	uint16_t type;
	struct cl_str id; /* of the resource or Task, name of the timer, key of the message */
	int64_t first, last; /* versions it made */
	bool created;
	struct cl_json *former; /* timer: what was set before */
};

struct undo {
	struct cl_unit *unit;
	struct cl_json *left; /* array of texts: what could not be reversed */
	uint64_t *sequences; /* of the transitions that are taken back */
	size_t count, capacity;
	struct touched *touched;
	uint64_t cause;
	struct cl_err problem;
};

static void leave(struct undo *undo, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void leave(struct undo *undo, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	cl_json_append_text(undo->unit->arena, undo->left, cl_arena_vprintf(undo->unit->arena, format, arguments));
	va_end(arguments);
}

static bool is_taken_back(const struct undo *undo, uint64_t sequence)
{
	for (size_t i = 0; i < undo->count; i++)
		if (undo->sequences[i] == sequence)
			return true;
	return false;
}

static void *room_for(struct cl_arena *arena, void *items, size_t count, size_t *capacity, size_t size)
{
	if (count < *capacity)
		return items;
	*capacity = *capacity ? 2 * *capacity : 16;
	void *larger = cl_arena_alloc(arena, *capacity * size);
	if (count)
		memcpy(larger, items, count * size);
	return larger;
}

static void add_sequence(struct undo *undo, uint64_t sequence)
{
	undo->sequences =
	        room_for(undo->unit->arena, undo->sequences, undo->count, &undo->capacity, sizeof *undo->sequences);
	undo->sequences[undo->count++] = sequence;
}

/* ---- what it did ------------------------------------------------------------------------------------------------- */

static struct touched *find(struct undo *undo, const char *kind, uint16_t type, struct cl_str id)
{
	for (struct touched *each = undo->touched; each; each = each->next)
		if (each->type == type && !strcmp(each->kind, kind) && cl_str_equal(each->id, id))
			return each;
	return NULL;
}

static struct touched *touch(struct undo *undo, const char *kind, uint16_t type, struct cl_str id)
{
	struct touched *touched = find(undo, kind, type, id);
	if (touched)
		return touched;
	touched = CL_NEW(undo->unit->arena, struct touched);
	*touched = (struct touched){
	        .next = undo->touched, .kind = kind, .type = type, .id = cl_arena_copy(undo->unit->arena, id)};
	undo->touched = touched;
	return touched;
}

static void take_change(struct undo *undo, const struct cl_stored_event *event)
{
	struct touched *touched = touch(undo, "resource", event->type, event->id);
	if (!touched->first) {
		touched->first = event->version;
		touched->created = cl_str_is(event->kind, "create");
	}
	touched->last = event->version;
}

static int visit(const struct cl_stored_event *event, void *context)
{
	struct undo *undo = context;
	struct cl_arena *arena = undo->unit->arena;
	struct cl_json *detail = NULL;
	int64_t by = 0;
	if (event->cause != undo->cause)
		return 1;
	if (!event->detail.n ||
	    cl_json_parse(arena, cl_arena_copy(arena, event->detail), NULL, &detail, &undo->problem))
		return 0;
	if (!cl_json_integer(cl_json_get(detail, "by"), &by) || !is_taken_back(undo, (uint64_t)by))
		return 0;
	if (cl_str_is(event->kind, "transition")) {
		add_sequence(undo, event->sequence);
		touch(undo, "instance", CL_TYPE_TASK, event->id);
	} else if (cl_str_is(event->kind, "timer-set")) {
		struct cl_str name = cl_json_get_text(detail, "name");
		if (!find(undo, "timer", 0, name))
			touch(undo, "timer", 0, name)->former = cl_json_get(detail, "former");
	} else if (cl_str_is(event->kind, "send")) {
		touch(undo, "send", 0, cl_json_get_text(detail, "key"));
	} else if (event->type) {
		take_change(undo, event);
	}
	return 0;
}

/* ---- reversing --------------------------------------------------------------------------------------------------- */

static struct cl_str name_of(struct undo *undo, const struct touched *touched)
{
	return cl_arena_printf(undo->unit->arena, "%.*s/%.*s", CL_STR_ARGS(cl_fhir_type_name(touched->type)),
	                       CL_STR_ARGS(touched->id));
}

/* A rule that refuses the former content is no reason to stop: it is named. */
static int tolerate(struct undo *undo, const struct touched *touched, int code, struct cl_err *e)
{
	if (code != CL_E_RULE && code != CL_E_CONFLICT)
		return code;
	leave(undo, "%.*s: %s", CL_STR_ARGS(name_of(undo, touched)), e->message);
	*e = (struct cl_err){0};
	return 0;
}

/* What was made is marked as an error; where FHIR has no such status, it is deleted. */
static int unmake(struct undo *undo, const struct touched *touched, const struct cl_version *current, struct cl_err *e)
{
	struct cl_unit *unit = undo->unit;
	struct cl_json *resource;
	struct cl_err ignored = {0};
	if (cl_json_parse(unit->arena, current->body, NULL, &resource, e))
		return CL_E_CORRUPT;
	if (cl_json_get(resource, "status")) {
		cl_json_set_text(unit->arena, resource, "status", CL_STR("entered-in-error"));
		int code = cl_unit_put_over(unit, CL_OP_UPDATE, touched->type, touched->id, resource, 0, current, NULL,
		                            NULL, NULL, &ignored);
		if (code != CL_E_RULE && code != CL_E_INVALID)
			return code;
	}
	return cl_unit_put_over(unit, CL_OP_DELETE, touched->type, touched->id, NULL, 0, current, NULL, NULL, NULL, e);
}

static int reverse_resource(struct undo *undo, const struct touched *touched, struct cl_err *e)
{
	struct cl_unit *unit = undo->unit;
	struct cl_version current, former;
	struct cl_json *resource;
	int code = cl_unit_current(unit, touched->type, touched->id, &current, e);
	if (code)
		return code;
	if (current.version != touched->last) {
		leave(undo, "%.*s has been changed since", CL_STR_ARGS(name_of(undo, touched)));
		return 0;
	}
	if (touched->created)
		return tolerate(undo, touched,
		                current.operation == CL_OP_DELETE ? 0 : unmake(undo, touched, &current, e), e);
	code = cl_store_get_version(unit->store, unit->arena, touched->type, touched->id, touched->first - 1, &former,
	                            e);
	if (!code && cl_json_parse(unit->arena, former.body, NULL, &resource, e))
		code = CL_E_CORRUPT;
	if (!code)
		code = cl_unit_put_over(unit, CL_OP_UPDATE, touched->type, touched->id, resource, CL_PUT_TRUSTED,
		                        &current, NULL, NULL, NULL, e);
	return tolerate(undo, touched, code, e);
}

static int reverse_timer(struct undo *undo, const struct touched *touched, struct cl_err *e)
{
	struct cl_unit *unit = undo->unit;
	int64_t due = 0;
	unit->timers_changed = true;
	if (!touched->former || !cl_json_integer(cl_json_get(touched->former, "due"), &due)) {
		int code = cl_store_timer_clear(unit->store, touched->id, e);
		return code == CL_E_NOT_FOUND ? 0 : code;
	}
	struct cl_stored_timer timer = {
	        .name = touched->id,
	        .due = due,
	        .plugin = cl_json_get_text(touched->former, "plugin"),
	        .rule = cl_json_get_text(touched->former, "rule"),
	        .data = cl_json_get_text(touched->former, "data"),
	};
	return cl_store_timer_set(unit->store, &timer, e);
}

static int reverse_message(struct undo *undo, const struct touched *touched, struct cl_err *e)
{
	struct cl_str destination;
	bool withdrawn;
	int code = cl_store_outbox_withdraw(undo->unit->store, undo->unit->arena, touched->id, undo->unit->now,
	                                    &withdrawn, &destination, e);
	if (!code && !withdrawn)
		leave(undo, "a message to %.*s has gone out, or is on its way", CL_STR_ARGS(destination));
	undo->unit->outbox_changed = true;
	return code;
}

/* ---- the instance ------------------------------------------------------------------------------------------------ */

struct history {
	struct undo *undo;
	struct cl_stored_transition *items;
	size_t count, capacity;
};

static int keep_row(const struct cl_stored_transition *row, void *context)
{
	struct history *history = context;
	struct cl_arena *arena = history->undo->unit->arena;
	history->items = room_for(arena, history->items, history->count, &history->capacity, sizeof *history->items);
	struct cl_stored_transition *copy = &history->items[history->count++];
	*copy = *row;
	copy->task = cl_arena_copy(arena, row->task);
	copy->event = cl_arena_copy(arena, row->event);
	copy->from = cl_arena_copy(arena, row->from);
	copy->to = cl_arena_copy(arena, row->to);
	copy->former = cl_arena_copy(arena, row->former);
	return 0;
}

static bool is_overdue(const struct cl_stored_transition *row)
{
	return cl_str_is(row->event, "overdue") && cl_str_equal(row->from, row->to);
}

static bool is_beginning(const struct cl_stored_transition *row)
{
	return !row->from.n || cl_str_is(row->event, "import");
}

static int64_t former_integer(const struct cl_json *former, const char *name)
{
	int64_t value = 0;
	cl_json_integer(cl_json_get(former, name), &value);
	return value;
}

/* As it was promised; when that has passed meanwhile, the time that was left when the event came. */
static cl_instant rebased(const struct undo *undo, const struct cl_json *former, cl_instant happened)
{
	cl_instant due = former_integer(former, "due"), now = undo->unit->now;
	if (due > now)
		return due;
	cl_instant left = due - happened;
	return now + (left > 15 * CL_MINUTE ? left : 15 * CL_MINUTE);
}

/* The Task as it was, unless somebody has edited it since: then only what the machine says in it. */
static int former_task(struct undo *undo, struct cl_move *move, const struct cl_json *former, struct cl_err *e)
{
	struct cl_version version;
	int64_t before = former_integer(former, "version"), made = former_integer(former, "made");
	const struct touched *touched = find(undo, "resource", CL_TYPE_TASK, move->instance.task);
	if (touched && touched->last > made)
		made = touched->last;
	move->former_task = move->task;
	if (!before || move->former.version != made) {
		move->task = cl_json_copy(undo->unit->arena, move->task);
		cl_json_remove(move->task, "statusReason");
		return 0;
	}
	int code = cl_store_get_version(undo->unit->store, undo->unit->arena, CL_TYPE_TASK, move->instance.task, before,
	                                &version, e);
	if (code)
		return code;
	return cl_json_parse(undo->unit->arena, version.body, NULL, &move->task, e) ? CL_E_CORRUPT : 0;
}

static int go_back(struct undo *undo, struct cl_move *move, const struct cl_stored_transition *row, int64_t fired,
                   struct cl_str reason, struct cl_err *e)
{
	struct cl_unit *unit = undo->unit;
	struct cl_json *former = NULL, *record = NULL;
	if (row->former.n && cl_json_parse(unit->arena, row->former, NULL, &former, e))
		return CL_E_CORRUPT;
	int target = cl_workflow_state(move->workflow, row->from);
	if (!former || target < 0)
		return cl_fail(e, CL_E_RULE, "%.*s, and the state %.*s before it is not known any more",
		               CL_STR_ARGS(cl_move_place(unit, move)), CL_STR_ARGS(row->from));
	struct cl_json *open = cl_json_get(move->record, "escalations");
	int code = open && open->count ? cl_escalations_close(unit, move, open, e) : 0;
	if (!code)
		code = former_task(undo, move, former, e);
	if (code)
		return code;
	record = cl_json_get(former, "data");
	move->record = record && record->kind == CL_JSON_OBJECT ? record : cl_json_new(unit->arena, CL_JSON_OBJECT);
	move->target = target;
	move->transition = NULL;
	move->quiet = true;
	move->restored_due = rebased(undo, former, row->at);
	move->restored_entered = former_integer(former, "entered");
	move->timer_data = cl_arena_printf(unit->arena, "{\"fired\":%lld}", (long long)fired);
	move->undoes = row->sequence;
	move->data = cl_json_new(unit->arena, CL_JSON_OBJECT);
	cl_json_set_text(unit->arena, move->data, "reason", reason);
	cl_json_set_text(unit->arena, move->data, "undone", row->event);
	move->bare = true;
	return cl_move_apply(unit, move, NULL, NULL, e);
}

/* Never begun: the Task is an error, the instance is no more. */
static int never_begun(struct undo *undo, struct cl_move *move, const struct cl_stored_transition *row,
                       struct cl_str reason, struct cl_err *e)
{
	struct cl_unit *unit = undo->unit;
	struct cl_json *open = cl_json_get(move->record, "escalations");
	int code = open && open->count ? cl_escalations_close(unit, move, open, e) : 0;
	cl_json_set_text(unit->arena, move->task, "status", CL_STR("entered-in-error"));
	cl_json_set_text(unit->arena, cl_json_set_object(unit->arena, move->task, "statusReason"), "text", reason);
	cl_task_set_due(unit, move->task, 0);
	move->data = cl_json_new(unit->arena, CL_JSON_OBJECT);
	cl_json_set_text(unit->arena, move->data, "reason", reason);
	cl_json_set_text(unit->arena, move->data, "undone", row->event);
	move->undoes = row->sequence;
	if (!code)
		code = cl_move_withdraw(unit, move, e);
	return code;
}

/* Takes the instance back to before its transition `first` of those that are taken back. */
static int reverse_instance(struct undo *undo, struct cl_str task, struct cl_str reason, struct cl_err *e)
{
	struct cl_unit *unit = undo->unit;
	struct history history = {.undo = undo};
	struct cl_move move;
	const struct cl_stored_transition *first = NULL;
	int64_t fired = 0; /* how often the clock of before had run out */
	int code = cl_store_transitions(unit->store, CL_STR_NONE, task, INT64_MIN, INT64_MAX, keep_row, &history, e);
	if (!code)
		code = cl_move_load(unit, task, &move, e);
	for (size_t i = 0; i < history.count && !code; i++) {
		bool taken = is_taken_back(undo, history.items[i].sequence);
		if (!first && !taken)
			fired = is_overdue(&history.items[i]) ? fired + 1 : 0;
		if (taken && !first)
			first = &history.items[i];
		else if (first && !taken && !is_overdue(&history.items[i])) {
			leave(undo, "Task/%.*s has moved on", CL_STR_ARGS(task));
			return 0;
		}
	}
	if (code || !first)
		return code;
	move.event = CL_STR("undo");
	move.occurred = unit->now;
	code = is_beginning(first) ? never_begun(undo, &move, first, reason, e)
	                           : go_back(undo, &move, first, fired, reason, e);
	for (const struct cl_stored_transition *row = first; !code && row < history.items + history.count; row++)
		code = cl_store_transition_undone(unit->store, row->sequence, task, first->sequence, e);
	return code;
}

/* ---- the whole --------------------------------------------------------------------------------------------------- */

struct first_event {
	uint64_t cause;
};

static int read_cause(const struct cl_stored_event *event, void *context)
{
	((struct first_event *)context)->cause = event->cause;
	return 1;
}

/* The last event of the instance itself; what its clock said since belongs to it. */
static int find_last(struct undo *undo, const struct cl_undo *wish, struct cl_err *e)
{
	struct cl_unit *unit = undo->unit;
	struct history history = {.undo = undo};
	struct first_event first = {0};
	const struct cl_stored_transition *last = NULL;
	int code =
	        cl_store_transitions(unit->store, CL_STR_NONE, wish->task, INT64_MIN, INT64_MAX, keep_row, &history, e);
	if (code)
		return code;
	for (size_t i = 0; i < history.count; i++)
		if (!is_overdue(&history.items[i]))
			last = &history.items[i];
	if (!last)
		return cl_fail(e, CL_E_NOT_FOUND, "Task/%.*s is no workflow instance", CL_STR_ARGS(wish->task));
	if (wish->event.n && !cl_str_equal(wish->event, last->event)) {
		cl_fail(e, CL_E_CONFLICT, "the last event of Task/%.*s is '%.*s', not '%.*s'", CL_STR_ARGS(wish->task),
		        CL_STR_ARGS(last->event), CL_STR_ARGS(wish->event));
		return cl_fail_at(e, "event");
	}
	/* What was taken over from elsewhere has two rows of its beginning. */
	for (size_t i = 0; i < history.count; i++)
		if (is_beginning(last) && is_beginning(&history.items[i]))
			add_sequence(undo, history.items[i].sequence);
	if (!undo->count)
		add_sequence(undo, last->sequence);
	code = cl_store_events(unit->store, last->sequence - 1, 1, read_cause, &first, e);
	undo->cause = first.cause;
	return code ? code : cl_store_events(unit->store, undo->sequences[0], UINT32_MAX, visit, undo, e);
}

int cl_instance_undo(struct cl_unit *unit, const struct cl_undo *wish, struct cl_json **left, struct cl_err *e)
{
	struct undo undo = {.unit = unit, .left = cl_json_new(unit->arena, CL_JSON_ARRAY)};
	*left = undo.left;
	if (!wish->reason.n) {
		cl_fail(e, CL_E_RULE, "an undo needs its reason");
		return cl_fail_at(e, "reason");
	}
	int code = find_last(&undo, wish, e);
	bool former = unit->undoing;
	unit->undoing = true;
	for (struct touched *each = undo.touched; each && !code; each = each->next) {
		if (!strcmp(each->kind, "instance"))
			code = reverse_instance(&undo, each->id, wish->reason, e);
		else if (!strcmp(each->kind, "timer"))
			code = reverse_timer(&undo, each, e);
		else if (!strcmp(each->kind, "send"))
			code = reverse_message(&undo, each, e);
		else if (!cl_str_equal(each->id, wish->task) && !find(&undo, "instance", each->type, each->id))
			code = reverse_resource(&undo, each, e);
	}
	if (!code)
		code = reverse_instance(&undo, wish->task, wish->reason, e);
	unit->undoing = former;
	return code;
}

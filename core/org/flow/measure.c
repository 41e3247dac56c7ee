/* measure.c: a run of measures over their subjects, in slices. */
#include "org/flow/measure.h"
#include "base/clock.h"
#include "base/log.h"
#include "org/fhir/search.h"
#include "org/fhir/types.h"
#include <stdlib.h>

#define PAGE 1000 /* rows of a search for subjects */

/* ---- periods ----------------------------------------------------------------------------------------------------- */

struct cl_measure_period cl_measure_period(struct cl_arena *arena, const struct cl_calendar *calendar,
                                           enum cl_measure_span span, cl_instant at, int back)
{
	struct cl_date date = cl_zone_local(calendar->zone, at).date;
	struct cl_measure_period period = {0};
	int first, length; /* months relative to that of `at` */
	if (span == CL_SPAN_YEAR) {
		first = 1 - date.month - 12 * back;
		length = 12;
	} else if (span == CL_SPAN_QUARTER) {
		first = -((date.month - 1) % 3) - 3 * back;
		length = 3;
	} else if (span == CL_SPAN_ROLLING_YEAR) {
		/* The twelve months that end with this one. */
		first = -11 - back;
		length = 12;
	} else {
		first = -back;
		length = 1;
	}
	period.from = cl_calendar_month_start(calendar, at, first);
	period.to = cl_calendar_month_start(calendar, at, first + length);
	date = cl_zone_local(calendar->zone, period.from).date;
	if (span == CL_SPAN_YEAR) {
		period.name = cl_arena_printf(arena, "%04d", date.year);
	} else if (span == CL_SPAN_QUARTER) {
		period.name = cl_arena_printf(arena, "%04d-Q%d", date.year, (date.month - 1) / 3 + 1);
	} else if (span == CL_SPAN_ROLLING_YEAR) {
		struct cl_date last = cl_zone_local(calendar->zone, period.to - CL_SECOND).date;
		period.name = cl_arena_printf(arena, "%04d-%02d-%02d..%04d-%02d-%02d", date.year, date.month, date.day,
		                              last.year, last.month, last.day);
	} else {
		period.name = cl_arena_printf(arena, "%04d-%02d", date.year, date.month);
	}
	return period;
}

static cl_instant midnight(const struct cl_calendar *calendar, struct cl_date date)
{
	return cl_zone_instant(calendar->zone, date, 0, 0, 0);
}

struct cl_measure_period cl_measure_period_between(struct cl_arena *arena, const struct cl_calendar *calendar,
                                                   struct cl_date first, struct cl_date last)
{
	struct cl_date after = cl_date_from_days(cl_date_to_days(last) + 1);
	return (struct cl_measure_period){
	        .from = midnight(calendar, first),
	        .to = midnight(calendar, after),
	        .name = cl_arena_printf(arena, "%04d-%02d-%02d..%04d-%02d-%02d", first.year, first.month, first.day,
	                                last.year, last.month, last.day),
	};
}

/* A whole date of FHIR: "2026-03-31". */
static bool read_date(struct cl_str text, struct cl_date *out)
{
	struct cl_moment moment;
	struct cl_err ignored = {0};
	if (text.n != 10 || cl_moment_parse(text, 0, &moment, &ignored))
		return false;
	*out = cl_date_from_days(moment.lower / CL_DAY);
	return true;
}

int cl_measure_period_parse(struct cl_arena *arena, const struct cl_calendar *calendar, struct cl_str text,
                            struct cl_measure_period *out, struct cl_err *e)
{
	struct cl_date first, last;
	struct cl_moment moment;
	struct cl_err ignored = {0};
	if (text.n == 22 && text.p[10] == '.' && text.p[11] == '.' && read_date((struct cl_str){text.p, 10}, &first) &&
	    read_date((struct cl_str){text.p + 12, 10}, &last) && cl_date_to_days(first) <= cl_date_to_days(last)) {
		*out = cl_measure_period_between(arena, calendar, first, last);
		return 0;
	}
	if (text.n == 7 && text.p[5] == 'Q' && text.p[6] >= '1' && text.p[6] <= '4' &&
	    !cl_moment_parse((struct cl_str){text.p, 4}, 0, &moment, &ignored)) {
		int month = 3 * (text.p[6] - '1');
		*out = cl_measure_period(arena, calendar, CL_SPAN_QUARTER,
		                         cl_calendar_month_start(calendar, moment.lower + 2 * CL_DAY, month) + CL_DAY,
		                         0);
		return 0;
	}
	if ((text.n == 4 || text.n == 7) && !cl_moment_parse(text, 0, &moment, &ignored)) {
		*out = cl_measure_period(arena, calendar, text.n == 4 ? CL_SPAN_YEAR : CL_SPAN_MONTH,
		                         moment.lower + 2 * CL_DAY, 0);
		return 0;
	}
	return cl_fail(e, CL_E_INVALID, "'%.*s' is no period: write 2026, 2026-Q3, 2026-11 or 2026-01-01..2026-03-31",
	               (int)(text.n < 40 ? text.n : 40), text.p ? text.p : "");
}

/* ---- subjects ---------------------------------------------------------------------------------------------------- */

struct ids {
	struct cl_str *items; /* malloc, unless borrowed; texts in the run's arena */
	size_t count, capacity;
	bool borrowed; /* another measure's, whose candidates are the same */
};

/* A search whose pages are gone through in slices. */
struct paging {
	struct cl_str after; /* in the run's arena; empty = the first page */
	bool done;
};

struct cl_measure_place {
	uint16_t bases
	        [16]; /* the types of subjects that the measures have, in the order in which they are gone through */
	size_t base_count, base; /* base: the one that is gone through now */
	struct ids subjects; /* of that type */
	size_t next; /* of subjects */
	bool listed; /* subjects are those of this base */
	struct paging listing, collecting;
	size_t filling, candidate; /* the result and the search whose candidates are found now */
	struct ids *candidates; /* one for each result, sorted; items NULL = whoever is a subject. malloc */
	struct cl_arena *scratch; /* of one subject */
	struct cl_codes_cache *codes;
};

static void add_id(struct cl_arena *arena, struct ids *ids, struct cl_str id)
{
	if (!id.n || id.n > 64)
		return;
	if (ids->count == ids->capacity) {
		ids->capacity = ids->capacity ? 2 * ids->capacity : 256;
		ids->items = realloc(ids->items, ids->capacity * sizeof *ids->items);
		if (!ids->items)
			cl_die("out of memory (measure)");
	}
	ids->items[ids->count++] = cl_arena_copy(arena, id);
}

static int compare_ids(const void *left, const void *right)
{
	return cl_str_compare(*(const struct cl_str *)left, *(const struct cl_str *)right);
}

static void sort_ids(struct ids *ids)
{
	size_t kept = 0;
	if (ids->count)
		qsort(ids->items, ids->count, sizeof *ids->items, compare_ids);
	for (size_t i = 0; i < ids->count; i++)
		if (!kept || !cl_str_equal(ids->items[kept - 1], ids->items[i]))
			ids->items[kept++] = ids->items[i];
	ids->count = kept;
}

static bool is_among(const struct cl_str *items, size_t count, struct cl_str id)
{
	return count && bsearch(&id, items, count, sizeof *items, compare_ids);
}

/* "Patient/x" of an element such as subject, patient or beneficiary; the id when it is of the type. */
static struct cl_str referred_id(const struct cl_json *resource, const char *element, uint16_t type)
{
	struct cl_str reference = cl_json_text(cl_json_path(resource, element, "reference", NULL));
	struct cl_str name = cl_fhir_type_name(type);
	if (reference.n <= name.n + 1 || memcmp(reference.p, name.p, name.n) != 0 || reference.p[name.n] != '/')
		return CL_STR_NONE;
	return (struct cl_str){reference.p + name.n + 1, reference.n - name.n - 1};
}

static struct cl_str subject_id(struct cl_arena *scratch, const struct cl_version *version, uint16_t base)
{
	static const char *const elements[] = {"subject", "patient", "for", "beneficiary", "individual"};
	struct cl_json *resource;
	struct cl_err ignored = {0};
	if (version->type == base)
		return version->id;
	if (cl_json_parse(scratch, version->body, NULL, &resource, &ignored))
		return CL_STR_NONE;
	for (size_t i = 0; i < sizeof elements / sizeof *elements; i++) {
		struct cl_str id = referred_id(resource, elements[i], base);
		if (id.n)
			return id;
	}
	/* Appointments name theirs among the participants. */
	const struct cl_json *participants = cl_json_get(resource, "participant");
	for (uint32_t i = 0; participants && i < participants->count; i++) {
		struct cl_str id = referred_id(&participants->items[i], "actor", base);
		if (id.n)
			return id;
	}
	return CL_STR_NONE;
}

/* One page of a search ("Type?query" or "Type"). */
static int collect(struct cl_measure_run *run, struct cl_unit *unit, struct cl_str text, uint16_t base, struct ids *out,
                   struct paging *paging, struct cl_err *e)
{
	const char *mark = memchr(text.p, '?', text.n);
	struct cl_str name = {text.p, mark ? (size_t)(mark - text.p) : text.n};
	struct cl_str query = mark ? (struct cl_str){mark + 1, text.n - name.n - 1} : CL_STR("");
	struct cl_fhir_search_context context = {.type = cl_fhir_type(name), .now = unit->now};
	struct cl_fhir_search search = {0};
	struct cl_search_result page = {0};
	struct cl_arena *scratch = cl_arena_new(0);
	int code = context.type ? cl_fhir_search_parse(scratch, &context, query, &search, e)
	                        : cl_fail(e, CL_E_PLUGIN, "'%.*s' is no search for candidates", CL_STR_ARGS(text));
	search.query.limit = PAGE;
	search.query.bodies = context.type != base;
	search.query.after = paging->after;
	if (!code)
		code = cl_store_search(unit->store, scratch, &search.query, &page, e);
	for (size_t i = 0; !code && i < page.count; i++) {
		page.items[i].type = context.type;
		add_id(run->arena, out, subject_id(scratch, &page.items[i], base));
	}
	paging->done = code || !page.after.n;
	paging->after = paging->done ? CL_STR_NONE : cl_arena_copy(run->arena, page.after);
	cl_arena_free(scratch);
	return code;
}

/* Measures that ask for the same candidates share them: the index of an earlier one, or that of the measure itself. */
static size_t same_candidates(const struct cl_measure_run *run, size_t result)
{
	const struct cl_measure *measure = run->results[result].measure;
	for (size_t r = 0; r < result; r++) {
		const struct cl_measure *other = run->results[r].measure;
		size_t same = 0;
		if (other->basis != measure->basis || other->candidate_count != measure->candidate_count)
			continue;
		while (same < measure->candidate_count &&
		       cl_str_equal(measure->candidates[same], other->candidates[same]))
			same++;
		if (same == measure->candidate_count)
			return r;
	}
	return result;
}

/* A page, or the end of one measure's candidates. */
static int find_candidates(struct cl_measure_run *run, struct cl_unit *unit, struct cl_err *e)
{
	struct cl_measure_place *place = run->place;
	size_t r = place->filling;
	const struct cl_measure *measure = run->results[r].measure;
	struct ids *ids = &place->candidates[r];
	size_t earlier = same_candidates(run, r);
	int code = 0;
	if (!measure->candidate_count || run->only) {
		place->filling++;
	} else if (earlier != r) {
		*ids = place->candidates[earlier];
		ids->borrowed = true;
		place->filling++;
	} else if (place->candidate < measure->candidate_count) {
		code = collect(run, unit, measure->candidates[place->candidate], measure->basis, ids,
		               &place->collecting, e);
		place->candidate += place->collecting.done;
	} else {
		sort_ids(ids);
		if (!ids->items)
			ids->items = calloc(1, sizeof *ids->items); /* nobody, not everybody */
		place->filling++;
		place->candidate = 0;
	}
	return code;
}

/* A page of the subjects, or all those that the run is about. */
static int list_subjects(struct cl_measure_run *run, struct cl_unit *unit, struct cl_err *e)
{
	struct cl_measure_place *place = run->place;
	uint16_t base = place->bases[place->base];
	int code = 0;
	if (!place->listing.after.n) {
		place->subjects.count = 0;
		place->next = 0;
	}
	if (run->only) {
		for (size_t i = 0; i < run->only_count; i++)
			add_id(run->arena, &place->subjects, run->only[i]);
		place->listing.done = true;
	} else {
		code = collect(run, unit, cl_fhir_type_name(base), base, &place->subjects, &place->listing, e);
	}
	place->listed = place->listing.done;
	if (place->listed)
		sort_ids(&place->subjects);
	return code;
}

/* ---- the run ----------------------------------------------------------------------------------------------------- */

struct cl_measure_run *cl_measure_run_new(struct cl_arena *arena, size_t result_count, enum cl_measure_keep keep)
{
	struct cl_measure_run *run = CL_NEW(arena, struct cl_measure_run);
	run->arena = arena;
	run->results = CL_NEW_ARRAY(arena, struct cl_measure_result, result_count + 1);
	run->result_count = result_count;
	run->keep = keep;
	return run;
}

void cl_measure_run_end(struct cl_measure_run *run)
{
	for (size_t r = 0; r < run->result_count; r++) {
		struct cl_measure_result *result = &run->results[r];
		free(result->all.values);
		for (size_t s = 0; s < result->stratum_count; s++)
			free(result->strata[s].values);
		free(result->strata);
		free(result->reasons);
		free(result->cases);
		if (run->place && run->place->candidates && !run->place->candidates[r].borrowed)
			free(run->place->candidates[r].items);
	}
	if (!run->place)
		return;
	free(run->place->candidates);
	free(run->place->subjects.items);
	cl_arena_free(run->place->scratch);
	run->place = NULL;
}

/* A measure one of whose lists is missing is not computable, never zero. */
static int look_for_codes(struct cl_measure_run *run, struct cl_unit *unit, struct cl_err *e)
{
	int code = 0;
	for (size_t r = 0; r < run->result_count && !code; r++) {
		struct cl_measure_result *result = &run->results[r];
		struct cl_buf missing;
		cl_buf_init(&missing, 0);
		for (size_t i = 0; i < result->measure->code_count && !code; i++) {
			const struct cl_codes *codes;
			struct cl_str name = result->measure->codes[i];
			code = cl_codes_find(unit, name, &codes, e);
			if (!code && codes->problem.n)
				cl_buf_printf(&missing, "%sthe code list '%.*s' (%.*s) %.*s", missing.n ? "; " : "",
				              CL_STR_ARGS(name),
				              CL_STR_ARGS(cl_catalog_code_list(unit->catalog, name)->url),
				              CL_STR_ARGS(codes->problem));
		}
		result->missing = cl_arena_copy(run->arena, cl_buf_str(&missing));
		result->provisional = result->period.to > unit->now;
		cl_buf_free(&missing);
	}
	return code;
}

static int begin(struct cl_measure_run *run, struct cl_unit *unit, struct cl_err *e)
{
	struct cl_measure_place *place = CL_NEW(run->arena, struct cl_measure_place);
	run->place = place;
	place->scratch = cl_arena_new(0);
	place->codes = cl_codes_cache_new(run->arena);
	unit->codes = place->codes;
	for (size_t r = 0; r < run->result_count; r++) {
		size_t b = 0;
		while (b < place->base_count && place->bases[b] != run->results[r].measure->basis)
			b++;
		if (b == place->base_count && b < sizeof place->bases / sizeof *place->bases)
			place->bases[place->base_count++] = run->results[r].measure->basis;
		else if (b == place->base_count)
			return cl_fail(e, CL_E_LIMIT, "measures over more than %zu types of subjects at once", b);
	}
	place->candidates = calloc(run->result_count + 1, sizeof *place->candidates);
	if (!place->candidates)
		cl_die("out of memory (measure)");
	return look_for_codes(run, unit, e);
}

/* Where a subject's cases go. */
struct taking {
	struct cl_measure_sink sink;
	struct cl_measure_run *run;
	struct cl_measure_result *result;
	struct cl_str subject;
};

static void keep_case(struct cl_measure_run *run, struct cl_measure_result *result, const struct cl_measure_case *one)
{
	if (result->case_count == result->case_capacity) {
		result->case_capacity = result->case_capacity ? 2 * result->case_capacity : 64;
		result->cases = realloc(result->cases, result->case_capacity * sizeof *result->cases);
		if (!result->cases)
			cl_die("out of memory (measure)");
	}
	struct cl_measure_case *kept = &result->cases[result->case_count++];
	*kept = *one;
	kept->subject = cl_arena_copy(run->arena, one->subject);
	kept->about = cl_arena_copy(run->arena, one->about);
	kept->exclusion = cl_arena_copy(run->arena, one->exclusion);
	kept->exception = cl_arena_copy(run->arena, one->exception);
	kept->strata = CL_NEW_ARRAY(run->arena, struct cl_str, one->stratum_count + 1);
	for (size_t i = 0; i < one->stratum_count; i++)
		kept->strata[i] = cl_arena_copy(run->arena, one->strata[i]);
	kept->fact_count = run->keep == CL_KEEP_FACTS ? one->fact_count : 0;
	kept->facts = CL_NEW_ARRAY(run->arena, struct cl_measure_fact, kept->fact_count + 1);
	for (size_t i = 0; i < kept->fact_count; i++)
		kept->facts[i] = (struct cl_measure_fact){cl_arena_copy(run->arena, one->facts[i].reference),
		                                          cl_arena_copy(run->arena, one->facts[i].text)};
}

static void take_case(struct cl_measure_sink *sink, const struct cl_measure_case *one)
{
	struct taking *taking = (struct taking *)(void *)sink;
	struct cl_measure_case named = *one;
	named.subject = taking->subject;
	cl_measure_add(taking->result, taking->run->arena, &named);
	if (taking->run->keep != CL_KEEP_TOTALS && (one->initial || taking->run->keep == CL_KEEP_FACTS))
		keep_case(taking->run, taking->result, &named);
}

static int measure_subject(struct cl_measure_run *run, struct cl_unit *unit, uint16_t base, struct cl_str id,
                           struct cl_err *e)
{
	struct cl_measure_place *place = run->place;
	struct cl_version version;
	struct cl_json *resource = NULL;
	struct cl_unit own = *unit;
	cl_arena_reset(place->scratch);
	own.arena = place->scratch;
	own.codes = place->codes;
	own.searches = NULL;
	own.remember_searches = true;
	int code = cl_unit_read(&own, base, id, &resource, &version, e);
	if (code == CL_E_NOT_FOUND || code == CL_E_GONE) { /* deleted since it was listed */
		*e = (struct cl_err){0};
		return 0;
	}
	struct taking taking = {.sink = {take_case}, .run = run};
	taking.subject =
	        cl_arena_printf(place->scratch, "%.*s/%.*s", CL_STR_ARGS(cl_fhir_type_name(base)), CL_STR_ARGS(id));
	for (size_t r = 0; r < run->result_count && !code; r++) {
		struct cl_measure_result *result = &run->results[r];
		const struct ids *candidates = &place->candidates[r];
		if (result->measure->basis != base || result->missing.n ||
		    (candidates->items && !is_among(candidates->items, candidates->count, id)))
			continue;
		taking.result = result;
		if (!unit->script->measure(unit->script->context, &own, result->measure, resource, &result->period,
		                           &taking.sink, e))
			continue;
		/* A number that leaves somebody out by accident is worse than none; the other measures go on. */
		result->missing = cl_arena_printf(run->arena, "it failed for %.*s: %s%s%s", CL_STR_ARGS(taking.subject),
		                                  e->where, e->where[0] ? ": " : "", e->message);
		cl_log(CL_LOG_WARNING, "measure-failed", "measure=%.*s where=%s", CL_STR_ARGS(result->measure->name),
		       e->where);
		*e = (struct cl_err){0};
	}
	return code;
}

int cl_measure_run_step(struct cl_measure_run *run, struct cl_unit *unit, int64_t deadline, bool *done,
                        struct cl_err *e)
{
	*done = false;
	if (!unit->script || !unit->script->measure)
		return cl_fail(e, CL_E_UNSUPPORTED, "measures are computed by plugins, which this thread cannot ask");
	int code = run->place ? 0 : begin(run, unit, e);
	struct cl_measure_place *place = run->place;
	while (!code && place->filling < run->result_count) {
		if (cl_monotonic() >= deadline)
			return 0;
		code = find_candidates(run, unit, e);
	}
	while (!code && place->base < place->base_count) {
		if (cl_monotonic() >= deadline)
			return 0;
		if (!place->listed) {
			code = list_subjects(run, unit, e);
			continue;
		}
		for (; !code && place->next < place->subjects.count; place->next++) {
			if (cl_monotonic() >= deadline)
				return 0;
			code = measure_subject(run, unit, place->bases[place->base], place->subjects.items[place->next],
			                       e);
		}
		place->base++;
		place->listed = false;
		place->listing = (struct paging){0};
	}
	if (code)
		return code;
	for (size_t r = 0; r < run->result_count; r++)
		cl_measure_settle(&run->results[r]);
	*done = true;
	return 0;
}

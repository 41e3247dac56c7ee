/* issue.c: the list of issues and its OperationOutcome. */
#include "org/fhir/issue.h"
#include "base/json.h"
#include "base/utf8.h"
#include <stdio.h>

void cl_issues_init(struct cl_issues *issues, struct cl_arena *arena, size_t maximum)
{
	*issues = (struct cl_issues){.arena = arena, .maximum = maximum ? maximum : CL_ISSUES_MAXIMUM};
}

static struct cl_issue *append(struct cl_issues *issues, enum cl_severity severity)
{
	if (severity <= CL_SEVERITY_ERROR)
		issues->errors++;
	if (issues->count >= issues->maximum) {
		issues->left_out++;
		return NULL;
	}
	if (issues->count == issues->capacity) {
		size_t capacity = issues->capacity ? issues->capacity * 2 : 8;
		struct cl_issue *items = CL_NEW_ARRAY(issues->arena, struct cl_issue, capacity);
		if (issues->count)
			memcpy(items, issues->items, issues->count * sizeof(*items));
		issues->items = items;
		issues->capacity = capacity;
	}
	struct cl_issue *issue = &issues->items[issues->count++];
	issue->severity = (uint8_t)severity;
	return issue;
}

struct cl_issue *cl_issues_add(struct cl_issues *issues, enum cl_severity severity, const char *code,
                               struct cl_str expression, const char *format, ...)
{
	struct cl_issue *issue = append(issues, severity);
	if (!issue)
		return NULL;
	va_list arguments;
	va_start(arguments, format);
	issue->diagnostics = cl_arena_vprintf(issues->arena, format, arguments);
	va_end(arguments);
	issue->code = code;
	issue->expression = expression;
	return issue;
}

const char *cl_issue_code_of(const struct cl_err *e)
{
	switch (e->code) {
	case CL_OK:
		return "informational";
	case CL_E_INVALID:
		/* A place in the text means that its syntax is broken; otherwise it is some value of the request. */
		return e->line > 0 ? "structure" : "invalid";
	case CL_E_RULE:
		return "business-rule";
	case CL_E_NOT_FOUND:
		return "not-found";
	case CL_E_GONE:
		return "deleted";
	case CL_E_CONFLICT:
	case CL_E_PRECONDITION:
		return "conflict";
	case CL_E_UNAUTHENTICATED:
		return "login";
	case CL_E_FORBIDDEN:
		return "forbidden";
	case CL_E_TOO_LARGE:
		return "too-long";
	case CL_E_UNSUPPORTED:
	case CL_E_MEDIA_TYPE:
	case CL_E_NOT_ACCEPTABLE:
		return "not-supported";
	case CL_E_LIMIT:
		return cl_code_http_status(CL_E_LIMIT) == 429 ? "throttled" : "too-costly";
	case CL_E_BUSY:
	case CL_E_CLOSED:
		return "transient";
	case CL_E_FULL:
		return "no-store";
	default:
		return "exception";
	}
}

void cl_issues_add_error(struct cl_issues *issues, const struct cl_err *e)
{
	struct cl_issue *issue = append(issues, CL_SEVERITY_ERROR);
	if (!issue)
		return;
	issue->code = cl_issue_code_of(e);
	issue->diagnostics = cl_arena_copy(issues->arena, cl_str_of(e->message));
	issue->expression = cl_arena_copy(issues->arena, cl_str_of(e->where));
	issue->line = e->line;
	issue->column = e->column;
}

int cl_issues_first_error(const struct cl_issues *issues, int code, struct cl_err *e)
{
	for (size_t i = 0; i < issues->count; i++) {
		const struct cl_issue *issue = &issues->items[i];
		if (issue->severity > CL_SEVERITY_ERROR)
			continue;
		cl_fail(e, code, "%.*s", CL_STR_ARGS(issue->diagnostics));
		if (e) {
			cl_fail_at(e, "%.*s", CL_STR_ARGS(issue->expression));
			e->line = issue->line;
			e->column = issue->column;
		}
		return code;
	}
	return cl_fail(e, code, "The resource was refused.");
}

static const char *severity_name(unsigned severity)
{
	static const char *const names[] = {"error", "fatal", "error", "warning", "information"};
	return names[severity < sizeof(names) / sizeof(*names) ? severity : 0];
}

static void write_issue(struct cl_buf *out, const struct cl_issue *issue)
{
	size_t begin = out->n;
	cl_buf_printf(out, "{\"severity\":\"%s\",\"code\":\"%s\",\"diagnostics\":", severity_name(issue->severity),
	              issue->code);
	if (issue->line > 0) {
		/* The place goes inside the quotes, before the escaped text. */
		cl_buf_printf(out, "\"Line %d column %d: ", issue->line, issue->column);
		size_t start = out->n;
		cl_json_write_text(out, issue->diagnostics);
		if (out->n > start) {
			memmove(out->p + start, out->p + start + 1, out->n - start - 1);
			out->n--;
		}
	} else {
		cl_json_write_text(out, issue->diagnostics);
	}
	if (issue->expression.n) {
		cl_buf_add_cstring(out, ",\"expression\":[");
		cl_json_write_text(out, issue->expression);
		cl_buf_add_byte(out, ']');
	}
	cl_buf_add_byte(out, '}');
	/* A long value that it quotes was cut somewhere. */
	if (out->n > begin)
		cl_utf8_mend(out->p + begin, out->n - begin);
}

void cl_outcome_write(struct cl_buf *out, const struct cl_issues *issues)
{
	cl_buf_add_cstring(out, "{\"resourceType\":\"OperationOutcome\",\"issue\":[");
	for (size_t i = 0; i < issues->count; i++) {
		if (i)
			cl_buf_add_byte(out, ',');
		write_issue(out, &issues->items[i]);
	}
	if (issues->left_out) {
		cl_buf_printf(out,
		              ",{\"severity\":\"information\",\"code\":\"incomplete\",\"diagnostics\":"
		              "\"%zu more issues are not shown.\"}",
		              issues->left_out);
	} else if (issues->count == 0) {
		cl_buf_add_cstring(
		        out, "{\"severity\":\"information\",\"code\":\"informational\",\"diagnostics\":\"All OK\"}");
	}
	cl_buf_add_cstring(out, "]}");
}

void cl_outcome_write_error(struct cl_buf *out, const struct cl_err *e)
{
	struct cl_issue issue = {
	        .severity = CL_SEVERITY_ERROR,
	        .code = cl_issue_code_of(e),
	        .diagnostics = cl_str_of(e->message[0] ? e->message : cl_code_name(e->code)),
	        .expression = cl_str_of(e->where),
	        .line = e->line,
	        .column = e->column,
	};
	cl_buf_add_cstring(out, "{\"resourceType\":\"OperationOutcome\",\"issue\":[");
	write_issue(out, &issue);
	cl_buf_add_cstring(out, "]}");
}

/* journal.c: see journal.h. */
#include "supervisor/journal.h"
#include "base/date.h"
#include "base/json.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct cl_journal {
	int file;
};

int cl_journal_open(const char *path, struct cl_journal **out, struct cl_err *e)
{
	*out = NULL;
	int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
	if (file < 0)
		return cl_fail(e, CL_E_IO, "%s cannot be opened: %s", path, strerror(errno));
	struct cl_journal *journal = malloc(sizeof *journal);
	if (!journal)
		abort();
	journal->file = file;
	*out = journal;
	return CL_OK;
}

void cl_journal_close(struct cl_journal *journal)
{
	if (!journal)
		return;
	close(journal->file);
	free(journal);
}

static void add_text(struct cl_buf *line, const char *name, struct cl_str text)
{
	cl_buf_printf(line, ",\"%s\":", name);
	cl_json_write_text(line, text);
}

int cl_journal_write(struct cl_journal *journal, const struct cl_journal_entry *entry, struct cl_err *e)
{
	char at[28];
	struct cl_buf line;
	cl_instant_format(entry->at, at);
	cl_buf_init(&line, 0);
	cl_buf_printf(&line, "{\"at\":\"%s\"", at);
	add_text(&line, "user", cl_str_of(entry->user));
	cl_buf_printf(&line, ",\"pid\":%d", (int)entry->pid);
	if (entry->organization.n)
		add_text(&line, "organization", entry->organization);
	add_text(&line, "command", entry->command);
	if (entry->arguments.n) {
		cl_buf_add_cstring(&line, ",\"arguments\":");
		cl_buf_add_str(&line, entry->arguments);
	}
	add_text(&line, "outcome", cl_str_of(entry->outcome));
	if (entry->detail)
		add_text(&line, "detail", cl_str_of(entry->detail));
	cl_buf_add_cstring(&line, "}\n");
	int result = CL_OK;
	if (write(journal->file, line.p, line.n) != (ssize_t)line.n || fdatasync(journal->file))
		result = cl_fail(e, CL_E_IO, "admin.log cannot be written: %s", strerror(errno));
	cl_buf_free(&line);
	return result;
}

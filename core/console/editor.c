/* editor.c: see editor.h. */
#include "console/editor.h"
#include <errno.h>
#include <fcntl.h>
#include <histedit.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#define HISTORY_LINES 1000

struct cl_editor {
	struct cl_session *session;
	EditLine *edit;
	History *history;
	char history_path[PATH_MAX]; /* empty: nowhere to keep one */
	char prompt[128];
	struct cl_buf line;
	bool asking; /* a question: Tab does nothing */
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

/* Waits for one character. SIGINT is blocked everywhere else, so that no Ctrl-C falls between a check and a read. */
static int read_character(EditLine *edit, wchar_t *out)
{
	char bytes[MB_LEN_MAX];
	size_t n = 0;
	sigset_t waiting, pending;
	(void)edit;
	sigprocmask(SIG_SETMASK, NULL, &waiting);
	sigdelset(&waiting, SIGINT);
	for (;;) {
		struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
		int ready = ppoll(&input, 1, NULL, &waiting);
		/* With input there, ppoll leaves the signal pending, though it may have come first. */
		if (interrupted || (sigpending(&pending) == 0 && sigismember(&pending, SIGINT) == 1)) {
			interrupted = 1;
			return -1;
		}
		if (ready < 0 && errno == EINTR)
			continue;
		ssize_t got = read(STDIN_FILENO, bytes + n, 1);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			return (int)got;
		mbstate_t state = {0};
		size_t used = mbrtowc(out, bytes, ++n, &state);
		/* No character: forget it. NUL is what a Ctrl-D becomes that was typed before the prompt was there. */
		if (used == 0 || used == (size_t)-1 || (used == (size_t)-2 && n == sizeof bytes))
			n = 0;
		else if (used != (size_t)-2)
			return 1;
	}
}

static char *show_prompt(EditLine *edit)
{
	struct cl_editor *editor;
	el_get(edit, EL_CLIENTDATA, &editor);
	return editor->prompt;
}

static void list_choices(const struct cl_completion *completion)
{
	size_t widest = 0, column = 0;
	for (size_t i = 0; i < completion->count; i++)
		if (strlen(completion->items[i]) > widest)
			widest = strlen(completion->items[i]);
	size_t columns = 80 / (widest + 2) ? 80 / (widest + 2) : 1;
	putchar('\n');
	for (size_t i = 0; i < completion->count; i++) {
		bool last = ++column == columns || i + 1 == completion->count;
		if (last) {
			printf("%s\n", completion->items[i]);
			column = 0;
		} else {
			printf("%-*s", (int)widest + 2, completion->items[i]);
		}
	}
}

/* Letters that all choices have in common. */
static size_t common_length(const struct cl_completion *completion)
{
	size_t n = strlen(completion->items[0]);
	for (size_t i = 1; i < completion->count; i++) {
		size_t same = 0;
		while (same < n && completion->items[i][same] == completion->items[0][same])
			same++;
		n = same;
	}
	return n;
}

static unsigned char complete(EditLine *edit, int key)
{
	struct cl_editor *editor;
	struct cl_completion completion;
	unsigned char result = CC_ERROR;
	(void)key;
	el_get(edit, EL_CLIENTDATA, &editor);
	if (editor->asking)
		return CC_ERROR;
	const LineInfo *info = el_line(edit);
	struct cl_str line = {info->buffer, (size_t)(info->cursor - info->buffer)};
	if (line.n && line.p[0] == '>')
		return CC_ERROR;
	cl_session_load_organizations(editor->session);
	struct cl_arena *arena = cl_arena_new(0);
	line = cl_arena_copy(arena, line);
	cl_line_complete(arena, line, (const char *const *)editor->session->organizations,
	                 editor->session->organization_count, &completion);
	if (completion.count) {
		size_t common = common_length(&completion);
		struct cl_str insert =
		        cl_arena_printf(arena, "%.*s%s", (int)(common - completion.begun),
		                        completion.items[0] + completion.begun, completion.count == 1 ? " " : "");
		if (insert.n && el_insertstr(edit, insert.p) == 0)
			result = CC_REFRESH;
		if (completion.count > 1 && common == completion.begun) {
			list_choices(&completion);
			result = CC_REDISPLAY;
		}
	}
	cl_arena_free(arena);
	return result;
}

/* Makes the folder and an empty private file. False when that cannot be done. */
static bool find_history(char path[PATH_MAX])
{
	const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
	int n;
	if (state && state[0] == '/')
		n = snprintf(path, PATH_MAX, "%s/careloop/history", state);
	else if (home && home[0] == '/')
		n = snprintf(path, PATH_MAX, "%s/.local/state/careloop/history", home);
	else
		return false;
	if (n >= PATH_MAX)
		return false;
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		bool bad = mkdir(path, 0700) && errno != EEXIST && errno != EROFS && errno != EACCES;
		*slash = '/';
		if (bad)
			return false;
	}
	int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (file < 0)
		return false;
	fchmod(file, 0600);
	close(file);
	return true;
}

struct cl_editor *cl_editor_new(struct cl_session *session)
{
	HistEvent event;
	struct cl_editor *editor = calloc(1, sizeof *editor);
	if (!editor)
		abort();
	umask(077);
	editor->session = session;
	cl_buf_init(&editor->line, CL_LINE_MAXIMUM);
	editor->edit = el_init("careloop", stdin, stdout, stderr);
	editor->history = history_init();
	if (!editor->edit || !editor->history)
		abort();
	if (!find_history(editor->history_path))
		editor->history_path[0] = '\0';
	history(editor->history, &event, H_SETSIZE, HISTORY_LINES);
	history(editor->history, &event, H_SETUNIQUE, 1);
	if (editor->history_path[0])
		history(editor->history, &event, H_LOAD, editor->history_path);
	el_set(editor->edit, EL_CLIENTDATA, editor);
	el_set(editor->edit, EL_PROMPT, show_prompt);
	el_set(editor->edit, EL_GETCFN, read_character);
	el_set(editor->edit, EL_EDITOR, "emacs");
	el_set(editor->edit, EL_HIST, history, editor->history);
	el_set(editor->edit, EL_ADDFN, "careloop-complete", "Complete a command", complete);
	el_set(editor->edit, EL_BIND, "^I", "careloop-complete", NULL);
	el_source(editor->edit, NULL);
	return editor;
}

void cl_editor_free(struct cl_editor *editor)
{
	if (!editor)
		return;
	history_end(editor->history);
	el_end(editor->edit);
	cl_buf_free(&editor->line);
	free(editor);
}

/* One physical line, without its newline. */
static enum cl_editor_result read_line(struct cl_editor *editor, struct cl_str *line)
{
	struct sigaction action_before, action = {.sa_handler = on_interrupt};
	sigset_t interrupt, mask_before;
	int count = 0;
	sigemptyset(&interrupt);
	sigaddset(&interrupt, SIGINT);
	interrupted = 0;
	sigprocmask(SIG_BLOCK, &interrupt, &mask_before);
	sigaction(SIGINT, &action, &action_before);
	el_resize(editor->edit);
	const char *text = el_gets(editor->edit, &count);
	bool cancelled = interrupted;
	sigprocmask(SIG_SETMASK, &mask_before, NULL);
	sigaction(SIGINT, &action_before, NULL);
	if (cancelled) {
		el_reset(editor->edit);
		putchar('\n');
		return CL_EDITOR_CANCELLED;
	}
	if (!text || count <= 0) {
		putchar('\n');
		return CL_EDITOR_END;
	}
	*line = (struct cl_str){text, (size_t)count};
	while (line->n && (line->p[line->n - 1] == '\n' || line->p[line->n - 1] == '\r'))
		line->n--;
	return CL_EDITOR_LINE;
}

enum cl_editor_result cl_editor_read(struct cl_editor *editor, struct cl_str *line)
{
	const char *organization = editor->session->organization;
	struct cl_str part;
	snprintf(editor->prompt, sizeof editor->prompt, "careloop%s%s> ", organization[0] ? " " : "", organization);
	cl_buf_clear(&editor->line);
	for (;;) {
		enum cl_editor_result result = read_line(editor, &part);
		if (result != CL_EDITOR_LINE)
			return result;
		if (editor->line.n)
			cl_buf_add_byte(&editor->line, '\n');
		cl_buf_add_str(&editor->line, part);
		*line = cl_buf_str(&editor->line);
		if (editor->line.overflow || !cl_session_is_incomplete(*line))
			return CL_EDITOR_LINE;
		snprintf(editor->prompt, sizeof editor->prompt, "%*s... ", (int)strlen(organization) + 6, "");
	}
}

void cl_editor_remember(struct cl_editor *editor, struct cl_str line)
{
	struct cl_line parsed;
	HistEvent event;
	struct cl_arena *arena = cl_arena_new(0);
	cl_line_parse(arena, line, CL_STR_NONE, &parsed, NULL);
	char *text = cl_arena_cstring(arena, line);
	bool keep = line.n && !parsed.is_secret && !cl_line_has_secret(line) && !memchr(line.p, '\n', line.n);
	if (keep) {
		history(editor->history, &event, H_ENTER, text);
		if (editor->history_path[0] && history(editor->history, &event, H_SAVE, editor->history_path) >= 0)
			chmod(editor->history_path, 0600);
	}
	cl_arena_free(arena);
}

bool cl_editor_question(struct cl_editor *editor, const char *prompt, char *answer, size_t size)
{
	struct cl_str line;
	const char *last = strrchr(prompt, '\n');
	if (last)
		printf("%.*s", (int)(last - prompt + 1), prompt);
	snprintf(editor->prompt, sizeof editor->prompt, "%s", last ? last + 1 : prompt);
	editor->asking = true;
	enum cl_editor_result result = read_line(editor, &line);
	editor->asking = false;
	if (result != CL_EDITOR_LINE)
		return false;
	snprintf(answer, size, "%.*s", CL_STR_ARGS(line));
	return true;
}

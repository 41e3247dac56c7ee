/* console.c: options, and where the lines come from: -e, a script on standard input, or a person at a terminal. */
#include "console/console.h"
#include "console/editor.h"
#include <getopt.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define COMMANDS_MAXIMUM 64

struct options {
	const char *socket, *data, *organization, *commands[COMMANDS_MAXIMUM];
	int command_count;
	struct cl_session session;
};

static struct cl_editor *asked_editor; /* session->question has no other way to it */

static bool ask_at_prompt(struct cl_session *session, const char *prompt, char *answer, size_t size)
{
	(void)session;
	return cl_editor_question(asked_editor, prompt, answer, size);
}

static int usage(FILE *out, int code)
{
	fprintf(out, "usage: careloop console [OPTION ...]\n"
	             "Without -e and at a terminal: a prompt. Otherwise commands are read from standard input; the "
	             "first error ends them.\n"
	             "  --socket PATH        the server's admin socket\n"
	             "  --data DIR           the server's data folder; its socket is DIR/run/admin.sock\n"
	             "                       (default: $CARELOOP_DATA, ./data, /var/lib/careloop)\n"
	             "  -o, --organization N the organization that commands go to\n"
	             "  -e, --execute LINE   run this command; may be given several times\n"
	             "  --json, --csv        how answers are shown\n"
	             "  --yes                dangerous commands need no confirmation\n"
	             "  --write              > EXPRESSION may change something\n"
	             "  --reason TEXT        why, for the audit log\n"
	             "Exit codes: 0 good, 1 a command failed, 2 usage, 3 no server, 4 refused.\n");
	return code;
}

/* -1 to go on, or the exit code. */
static int read_options(int argc, char **argv, struct options *options)
{
	/* clang-format off */
	static const struct option known[] = {
		{"socket", required_argument, NULL, 's'}, {"data", required_argument, NULL, 'd'},
		{"organization", required_argument, NULL, 'o'}, {"execute", required_argument, NULL, 'e'},
		{"json", no_argument, NULL, 'j'}, {"csv", no_argument, NULL, 'c'}, {"yes", no_argument, NULL, 'y'},
		{"write", no_argument, NULL, 'w'}, {"reason", required_argument, NULL, 'r'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0}};
	int option;
	while ((option = getopt_long(argc, argv, "o:e:h", known, NULL)) != -1) {
		switch (option) {
		case 's': options->socket = optarg; break;
		case 'd': options->data = optarg; break;
		case 'o': options->organization = optarg; break;
		case 'e':
			if (options->command_count == COMMANDS_MAXIMUM)
				return usage(stderr, CL_SESSION_USAGE);
			options->commands[options->command_count++] = optarg;
			break;
		case 'j': options->session.output = CL_OUTPUT_JSON; break;
		case 'c': options->session.output = CL_OUTPUT_CSV; break;
		case 'y': options->session.yes = true; break;
		case 'w': options->session.write = true; break;
		case 'r': options->session.reason = optarg; break;
		case 'h': return usage(stdout, 0);
		default: return usage(stderr, CL_SESSION_USAGE);
		}
	}
	/* clang-format on */
	if (optind < argc || (options->socket && options->data))
		return usage(stderr, CL_SESSION_USAGE);
	if (options->organization && strlen(options->organization) >= sizeof options->session.organization) {
		fprintf(stderr, "error: no organization has such a long name\n");
		return CL_SESSION_USAGE;
	}
	return -1;
}

/* Where the socket is. False when the path is too long. */
static bool find_socket(const struct options *options, char *path, size_t size)
{
	const char *folders[] = {options->data, getenv("CARELOOP_DATA"), "./data", "/var/lib/careloop"};
	if (options->socket)
		return snprintf(path, size, "%s", options->socket) < (int)size;
	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
		if (!folders[i] || !*folders[i])
			continue;
		if (snprintf(path, size, "%s/run/admin.sock", folders[i]) >= (int)size)
			return false;
		if (i < 2 || access(path, F_OK) == 0)
			return true;
	}
	return true; /* the last; connecting says what is wrong */
}

static enum cl_session_result run_script(struct cl_session *session)
{
	enum cl_session_result result = CL_SESSION_OK;
	char *line = NULL;
	size_t room = 0;
	ssize_t length;
	int number = 0;
	struct cl_buf whole; /* a line of Lua may go on */
	cl_buf_init(&whole, CL_LINE_MAXIMUM);
	while (!session->quit && result == CL_SESSION_OK && (length = getline(&line, &room, stdin)) > 0) {
		number++;
		while (length > 0 && (line[length - 1] == '\n' || line[length - 1] == '\r'))
			length--;
		if (whole.n)
			cl_buf_add_byte(&whole, '\n');
		cl_buf_add(&whole, line, (size_t)length);
		if (!whole.overflow && cl_session_is_incomplete(cl_buf_str(&whole)))
			continue;
		result = cl_session_run(session, cl_buf_str(&whole));
		cl_buf_clear(&whole);
	}
	if (result == CL_SESSION_OK && whole.n)
		result = cl_session_run(session, cl_buf_str(&whole));
	if (result != CL_SESSION_OK)
		fprintf(stderr, "stopped at line %d\n", number);
	cl_buf_free(&whole);
	free(line);
	return result;
}

static enum cl_session_result run_prompt(struct cl_session *session)
{
	struct cl_str line;
	enum cl_editor_result read;
	enum cl_session_result result = cl_session_run(session, CL_STR("organizations"));
	if (result == CL_SESSION_NO_SERVER || result == CL_SESSION_REFUSED)
		return result;
	printf("help lists the commands; Ctrl-D leaves.\n");
	signal(SIGINT, SIG_IGN); /* but while a line is typed, and while a command runs */
	struct cl_editor *editor = asked_editor = cl_editor_new(session);
	while (!session->quit && (read = cl_editor_read(editor, &line)) != CL_EDITOR_END) {
		if (read == CL_EDITOR_CANCELLED)
			continue;
		cl_editor_remember(editor, line);
		cl_session_run(session, line);
	}
	cl_editor_free(editor);
	asked_editor = NULL;
	return CL_SESSION_OK;
}

static bool wants_colour(int file)
{
	const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");
	return isatty(file) && !(no && *no) && terminal && strcmp(terminal, "dumb") != 0;
}

int cl_console_main(int argc, char **argv)
{
	struct options options = {0};
	struct cl_session *session = &options.session;
	char path[4096];
	enum cl_session_result result = CL_SESSION_OK;
	int code = read_options(argc, argv, &options);
	if (code >= 0)
		return code;
	if (!find_socket(&options, path, sizeof path)) {
		fprintf(stderr, "error: the path of the socket is too long\n");
		return CL_SESSION_USAGE;
	}
	setlocale(LC_CTYPE, "");
	session->client = cl_client_new(path);
	session->colour_out = wants_colour(STDOUT_FILENO);
	session->colour_error = wants_colour(STDERR_FILENO);
	session->question = ask_at_prompt;
	if (options.organization)
		memcpy(session->organization, options.organization, strlen(options.organization) + 1);
	if (options.command_count) {
		for (int i = 0; i < options.command_count && result == CL_SESSION_OK && !session->quit; i++)
			result = cl_session_run(session, cl_str_of(options.commands[i]));
	} else if (isatty(STDIN_FILENO) && isatty(STDOUT_FILENO)) {
		session->interactive = true;
		result = run_prompt(session);
	} else {
		result = run_script(session);
	}
	cl_session_done(session);
	return (int)result;
}

/* admin.c: see admin.h. */
#include "supervisor/admin.h"
#include "base/log.h"
#include "supervisor/relay.h"
#include <errno.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CLIENTS_MAXIMUM 32
#define CALLS_MAXIMUM 8 /* of one client at a time */
#define CALL_MEMORY ((size_t)2 * CL_BODY_MAX)

struct cl_admin_client {
	struct cl_admin *admin;
	struct cl_channel *channel;
	char user[64];
	pid_t pid;
	bool refused; /* neither root nor the server's user: every command is answered with 403 */
	int calls;
	struct cl_admin_client *next;
};

struct cl_admin {
	struct event_base *base;
	char path[108];
	int listener;
	struct event *acceptable;
	struct cl_journal *journal;
	void (*command)(struct cl_admin_call *call, void *context);
	void *context;
	struct cl_admin_client *clients;
	int client_count;
	struct cl_admin_call *calls;
};

static void free_call(struct cl_admin_call *call)
{
	struct cl_admin_call **place = &call->admin->calls;
	while (*place != call)
		place = &(*place)->next;
	*place = call->next;
	if (call->client)
		call->client->calls--;
	cl_arena_free(call->arena); /* the call itself lives in it */
}

static void free_client(struct cl_admin_client *client)
{
	struct cl_admin *admin = client->admin;
	struct cl_admin_client **place = &admin->clients;
	while (*place != client)
		place = &(*place)->next;
	*place = client->next;
	admin->client_count--;
	for (struct cl_admin_call *call = admin->calls, *next; call; call = next) {
		next = call->next;
		if (call->client != client)
			continue;
		call->client = NULL;
		if (call->relay) {
			cl_relay_cancel(call->relay, call->relay_number);
			free_call(call);
		}
	}
	cl_channel_free(client->channel);
	free(client);
}

static void respond(struct cl_admin_call *call, const struct cl_response *response)
{
	if (!call->client)
		return;
	int result = cl_channel_send_response(call->client->channel, call->request, response);
	if (result)
		cl_log(CL_LOG_WARNING, "console-answer-lost", "user=%s reason=%s", call->user, cl_code_name(result));
}

static void write_journal(struct cl_admin_call *call, const char *outcome, const char *detail)
{
	struct cl_err e = {0};
	struct cl_buf arguments;
	cl_buf_init(&arguments, 4096);
	if (call->arguments)
		cl_json_write(&arguments, call->arguments);
	struct cl_journal_entry entry = {.at = cl_clock_now(&(struct cl_clock){0}),
	                                 .user = call->user,
	                                 .pid = call->pid,
	                                 .organization = call->organization,
	                                 .command = call->command,
	                                 .arguments = arguments.overflow ? CL_STR_NONE : cl_buf_str(&arguments),
	                                 .outcome = outcome,
	                                 .detail = detail};
	if (cl_journal_write(call->admin->journal, &entry, &e))
		cl_log(CL_LOG_ERROR, "admin-log-failed", "error=\"%s\"", e.message);
	cl_buf_free(&arguments);
}

void cl_admin_answer(struct cl_admin_call *call, const struct cl_json *answer)
{
	struct cl_buf body;
	cl_buf_init(&body, CL_BODY_MAX);
	cl_buf_add_cstring(&body, "{\"ok\":true");
	for (uint32_t i = 0; answer && answer->kind == CL_JSON_OBJECT && i < answer->count; i++) {
		cl_buf_add_byte(&body, ',');
		cl_json_write_text(&body, answer->members[i].name);
		cl_buf_add_byte(&body, ':');
		cl_json_write(&body, &answer->members[i].value);
	}
	cl_buf_add_byte(&body, '}');
	respond(call, &(struct cl_response){.status = 200, .body = cl_buf_str(&body)});
	cl_buf_free(&body);
	write_journal(call, cl_json_is_true(cl_json_get(answer, "failed")) ? "failed" : "ok", NULL);
	free_call(call);
}

void cl_admin_fail(struct cl_admin_call *call, int status, const char *format, ...)
{
	struct cl_buf body;
	va_list arguments;
	va_start(arguments, format);
	struct cl_str message = cl_arena_vprintf(call->arena, format, arguments);
	va_end(arguments);
	cl_buf_init(&body, 65536);
	cl_buf_add_cstring(&body, "{\"ok\":false,\"error\":");
	cl_json_write_text(&body, message);
	cl_buf_add_cstring(&body, "}");
	respond(call, &(struct cl_response){.status = status, .body = cl_buf_str(&body)});
	cl_buf_free(&body);
	write_journal(call, status == 403 ? "refused" : "failed", message.p);
	free_call(call);
}

static void on_relayed(const struct cl_response *response, void *context)
{
	struct cl_admin_call *call = context;
	respond(call, response);
	free_call(call);
}

void cl_admin_forward(struct cl_admin_call *call, struct cl_relay *relay)
{
	struct cl_err e = {0};
	const char *organization = cl_arena_cstring(call->arena, call->organization);
	if (cl_relay_send(relay, call->user, organization, call->body, on_relayed, call, &call->relay_number, &e))
		cl_admin_fail(call, 503, "%s", e.message);
	else
		call->relay = relay;
}

struct cl_json *cl_admin_table(struct cl_admin_call *call, const char *const *columns)
{
	struct cl_json *answer = cl_json_new(call->arena, CL_JSON_OBJECT);
	struct cl_json *names = cl_json_set_array(call->arena, answer, "columns");
	for (; *columns; columns++)
		cl_json_append_text(call->arena, names, cl_str_of(*columns));
	cl_json_set_array(call->arena, answer, "rows");
	return answer;
}

struct cl_json *cl_admin_row(struct cl_admin_call *call, struct cl_json *answer)
{
	struct cl_json *row = cl_json_append(call->arena, cl_json_get(answer, "rows"));
	*row = *cl_json_new(call->arena, CL_JSON_ARRAY);
	return row;
}

void cl_admin_cell_text(struct cl_admin_call *call, struct cl_json *row, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	cl_json_append_text(call->arena, row, cl_arena_vprintf(call->arena, format, arguments));
	va_end(arguments);
}

void cl_admin_cell_number(struct cl_admin_call *call, struct cl_json *row, int64_t number)
{
	struct cl_json *cell = cl_json_append(call->arena, row);
	cell->kind = CL_JSON_NUMBER;
	cell->text = cl_arena_printf(call->arena, "%lld", (long long)number);
}

/* ---- connections ---- */

/* Reads what the administrator wants. NULL, or why it cannot be done. */
static const char *read_call(struct cl_admin_call *call, struct cl_str payload, int descriptor, struct cl_err *e)
{
	struct cl_request request;
	struct cl_json *body;
	if (cl_request_decode(call->arena, payload, descriptor, &request, e))
		return e->message;
	if (!cl_str_is(request.method, "CONSOLE"))
		return "only console commands are served here";
	if (cl_json_parse(call->arena, request.body, NULL, &body, e))
		return e->message;
	call->organization = request.target;
	call->body = request.body;
	call->command = cl_json_get_text(body, "command");
	call->arguments = cl_json_get(body, "arguments");
	if (call->arguments && call->arguments->kind != CL_JSON_OBJECT)
		return "\"arguments\" must be an object";
	return call->command.n ? NULL : "\"command\" is missing";
}

static void on_frame(struct cl_channel *channel, enum cl_frame_type type, uint64_t id, struct cl_str payload,
                     int descriptor, void *context)
{
	struct cl_admin_client *client = context;
	struct cl_admin *admin = client->admin;
	struct cl_err e = {0};
	if (type == CL_FRAME_CANCEL) {
		for (struct cl_admin_call *call = admin->calls; call; call = call->next)
			if (call->client == client && call->request == id && call->relay) {
				cl_relay_cancel(call->relay, call->relay_number);
				free_call(call);
				break;
			}
	} else if (type == CL_FRAME_REQUEST && client->calls >= CALLS_MAXIMUM) {
		cl_channel_send_response(
		        channel, id,
		        &(struct cl_response){
		                .status = 503,
		                .body = CL_STR("{\"ok\":false,\"error\":\"too many commands at once\"}")});
	} else if (type == CL_FRAME_REQUEST) {
		struct cl_arena *arena = cl_arena_new(CALL_MEMORY);
		struct cl_admin_call *call = CL_NEW(arena, struct cl_admin_call);
		*call = (struct cl_admin_call){.arena = arena,
		                               .pid = client->pid,
		                               .admin = admin,
		                               .client = client,
		                               .request = id,
		                               .next = admin->calls};
		memcpy(call->user, client->user, sizeof call->user);
		admin->calls = call;
		client->calls++;
		const char *problem = read_call(call, payload, descriptor, &e);
		if (client->refused)
			cl_admin_fail(call, 403, "only root and the server's own user may use the console; you are %s",
			              client->user);
		else if (problem)
			cl_admin_fail(call, 400, "%s", problem);
		else
			admin->command(call, admin->context);
	}
	if (descriptor >= 0)
		close(descriptor);
}

static void on_closed(struct cl_channel *channel, const char *reason, void *context)
{
	(void)channel;
	(void)reason;
	free_client(context);
}

static void on_acceptable(evutil_socket_t listener, short what, void *context)
{
	static const struct cl_channel_callbacks callbacks = {.frame = on_frame, .closed = on_closed};
	struct cl_admin *admin = context;
	struct ucred peer;
	socklen_t size = sizeof peer;
	struct passwd entry, *found = NULL;
	char names[4096];
	(void)what;
	int socket = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (socket < 0)
		return;
	if (admin->client_count >= CLIENTS_MAXIMUM || getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size)) {
		cl_log(CL_LOG_WARNING, "console-turned-away", "connections=%d", admin->client_count);
		close(socket);
		return;
	}
	struct cl_admin_client *client = calloc(1, sizeof *client);
	if (!client)
		abort();
	client->admin = admin;
	client->pid = peer.pid;
	client->refused = peer.uid != 0 && peer.uid != geteuid();
	getpwuid_r(peer.uid, &entry, names, sizeof names, &found);
	if (found)
		snprintf(client->user, sizeof client->user, "%s", found->pw_name);
	else
		snprintf(client->user, sizeof client->user, "uid:%u", (unsigned)peer.uid);
	if (client->refused)
		cl_log(CL_LOG_WARNING, "console-refused", "user=%s pid=%d", client->user, (int)client->pid);
	client->channel = cl_channel_new(admin->base, socket, CL_ROLE_SUPERVISOR, &callbacks, client);
	client->next = admin->clients;
	admin->clients = client;
	admin->client_count++;
}

int cl_admin_open(struct event_base *base, const char *path, struct cl_journal *journal,
                  void (*command)(struct cl_admin_call *call, void *context), void *context, struct cl_admin **out,
                  struct cl_err *e)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	*out = NULL;
	if (strlen(path) >= sizeof address.sun_path)
		return cl_fail(e, CL_E_INVALID,
		               "the socket path %s is longer than %zu bytes; choose a shorter data folder", path,
		               sizeof address.sun_path - 1);
	memcpy(address.sun_path, path, strlen(path));
	struct cl_admin *admin = calloc(1, sizeof *admin);
	if (!admin)
		abort();
	*admin = (struct cl_admin){.base = base, .journal = journal, .command = command, .context = context};
	snprintf(admin->path, sizeof admin->path, "%s", path);
	unlink(path);
	admin->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (admin->listener < 0 || bind(admin->listener, (const struct sockaddr *)&address, sizeof address) ||
	    chmod(path, 0600) || listen(admin->listener, CLIENTS_MAXIMUM)) {
		int result = cl_fail(e, CL_E_IO, "%s: %s", path, strerror(errno));
		if (admin->listener >= 0)
			close(admin->listener);
		free(admin);
		return result;
	}
	admin->acceptable = event_new(base, admin->listener, EV_READ | EV_PERSIST, on_acceptable, admin);
	if (!admin->acceptable || event_add(admin->acceptable, NULL))
		abort();
	*out = admin;
	return CL_OK;
}

void cl_admin_close(struct cl_admin *admin)
{
	if (!admin)
		return;
	event_free(admin->acceptable);
	close(admin->listener);
	unlink(admin->path);
	while (admin->clients)
		free_client(admin->clients);
	while (admin->calls)
		free_call(admin->calls);
	free(admin);
}

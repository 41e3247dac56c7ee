/* commands.c: the table. */
#include "console/commands.h"
#include "base/closest.h"

#define LOCAL CL_COMMAND_LOCAL
#define SERVER CL_COMMAND_SUPERVISOR
#define ORGANIZATION CL_COMMAND_ORGANIZATION
#define READ CL_COMMAND_READ
#define CHANGE CL_COMMAND_CHANGE
#define DANGER CL_COMMAND_DANGER
/* clang-format off */
#define NOTHING {{.name = NULL}}

static const struct cl_command commands[] = {
	{"help", LOCAL, READ, false, {{"command", CL_ARGUMENT_COMMAND, true, NULL}},
	 "What commands there are, or all about one", "help instances"},
	{"output", LOCAL, READ, false, {{"format", CL_ARGUMENT_CHOICE, false, "table json csv"}},
	 "How answers are shown", "output json"},
	{"quit", LOCAL, READ, false, NOTHING, "Leave (also exit, or Ctrl-D)", "quit"},
	{"timing", LOCAL, READ, false, {{"state", CL_ARGUMENT_CHOICE, true, "on off"}},
	 "Show how long each command took", "timing on"},
	{"use", LOCAL, READ, false, {{"organization", CL_ARGUMENT_ORGANIZATION, true, NULL}},
	 "Select the organization that commands go to; without a name, none", "use riverside"},
	{"watch", LOCAL, READ, false,
	 {{"seconds", CL_ARGUMENT_NUMBER, false, NULL}, {"command", CL_ARGUMENT_COMMAND, false, NULL}},
	 "Repeat a command until Ctrl-C", "watch 2 organizations"},

	{"connections", SERVER, READ, false, NOTHING, "What each gateway serves now", "connections"},
	{"heads", SERVER, READ, false, NOTHING, "The newest head of every organization's audit log", "heads"},
	{"log level", SERVER, CHANGE, false, {{"level", CL_ARGUMENT_CHOICE, false, "debug info warning error"}},
	 "How much all processes log, until they restart", "log level debug"},
	{"organizations", SERVER, READ, false, NOTHING,
	 "Organizations and the state of their processes", "organizations"},
	{"processes", SERVER, READ, false, NOTHING, "Every process of the server", "processes"},
	{"quarantine clear", SERVER, DANGER, false, {{"organization", CL_ARGUMENT_ORGANIZATION, false, NULL}},
	 "Let requests, timers and plugins that crashed twice run again", "quarantine clear riverside"},
	{"quarantine list", SERVER, READ, false, NOTHING, "What crashed a process twice and is kept from running",
	 "quarantine list"},
	{"reload", SERVER, CHANGE, false, {{"organization", CL_ARGUMENT_ORGANIZATION, true, NULL}},
	 "Read configuration, certificates and plugins again; of one organization its plugins", "reload riverside"},
	{"status", SERVER, READ, false, NOTHING, "The server in a few lines", "status"},
	{"stop", SERVER, DANGER, false, NOTHING, "Stop the whole server in good order", "stop"},

	{"advance", ORGANIZATION, CHANGE, false,
	 {{"task", CL_ARGUMENT_WORD, false, NULL}, {"event", CL_ARGUMENT_WORD, false, NULL},
	  {"data", CL_ARGUMENT_PAIRS, true, NULL}},
	 "Fire a transition of an instance on behalf of the administrator", "advance 01k9 decline reason=duplicate"},
	{"audit", ORGANIZATION, READ, false,
	 {{"count", CL_ARGUMENT_NUMBER, true, NULL}, {"principal", CL_ARGUMENT_WORD, true, NULL},
	  {"target", CL_ARGUMENT_WORD, true, NULL}},
	 "The newest leaves of the audit log, of one principal, about one target", "audit 50 coordinator Patient/ana"},
	{"audit verify", ORGANIZATION, READ, false, NOTHING,
	 "Recompute the audit log and compare its head", "audit verify"},
	{"backup", ORGANIZATION, CHANGE, false, {{"path", CL_ARGUMENT_WORD, false, NULL}},
	 "Copy the organization's file while it is in use, into its own folder", "backup before-upgrade.db"},
	{"check", ORGANIZATION, READ, false, NOTHING, "Look for damage in the organization's file", "check"},
	{"client add", ORGANIZATION, CHANGE, false,
	 {{"client", CL_ARGUMENT_WORD, false, NULL}, {"principal", CL_ARGUMENT_WORD, false, NULL},
	  {"scopes", CL_ARGUMENT_REST, true, NULL}},
	 "Let a program get tokens at /oauth2/token: a principal's roles, at most these scopes",
	 "client add registry ehr system/*.rs"},
	{"client key", ORGANIZATION, CHANGE, false,
	 {{"client", CL_ARGUMENT_WORD, false, NULL}, {"key", CL_ARGUMENT_REST, false, NULL}},
	 "The public keys that a client signs for, as a JSON Web Key (Set); replaces those before",
	 "client key registry {\"kty\":\"EC\",\"crv\":\"P-384\",\"kid\":\"1\",\"x\":\"...\",\"y\":\"...\"}"},
	{"client list", ORGANIZATION, READ, false, NOTHING,
	 "Programs that may ask for tokens, how they prove it, and for what", "client list"},
	{"client revoke", ORGANIZATION, CHANGE, false, {{"client", CL_ARGUMENT_WORD, false, NULL}},
	 "Forget a client and make its tokens worthless at once", "client revoke registry"},
	{"client secret", ORGANIZATION, CHANGE, false, {{"client", CL_ARGUMENT_WORD, false, NULL}},
	 "A new secret for a client, in place of the one before; shown once", "client secret registry"},
	{"events", ORGANIZATION, READ, false, {{"count", CL_ARGUMENT_NUMBER, true, NULL}},
	 "The newest events", "events 20"},
	{"explain", ORGANIZATION, READ, false, {{"what", CL_ARGUMENT_WORD, true, NULL}},
	 "The merged plugins, and the file and line each part came from", "explain referral"},
	{"explain-measure", ORGANIZATION, READ, false,
	 {{"name", CL_ARGUMENT_WORD, false, NULL}, {"subject", CL_ARGUMENT_WORD, false, NULL},
	  {"period", CL_ARGUMENT_WORD, true, NULL}},
	 "Every fact and rule that put one patient in or out of a measure (audited)",
	 "explain-measure cms122 Patient/ana 2026"},
	{"export delete", ORGANIZATION, CHANGE, false, {{"export", CL_ARGUMENT_WORD, false, NULL}},
	 "End a bulk export and delete its files", "export delete 0000000000b3"},
	{"exports", ORGANIZATION, READ, false, NOTHING,
	 "Bulk exports: whose, how far, how large, until they expire", "exports"},
	{"instance", ORGANIZATION, READ, false, {{"task", CL_ARGUMENT_WORD, false, NULL}},
	 "One workflow instance: state, owner, clock, what may happen next", "instance 01k9"},
	{"instances", ORGANIZATION, READ, false,
	 {{"workflow", CL_ARGUMENT_WORD, true, NULL}, {"state", CL_ARGUMENT_WORD, true, NULL}},
	 "Live workflow instances, soonest due first", "instances referral received"},
	{"lua", ORGANIZATION, READ, false, {{"code", CL_ARGUMENT_REST, false, NULL}},
	 "Evaluate Lua in the organization, changing nothing; short: > CODE. With changes: >! CODE", "> 1 + 1"},
	{"machine", ORGANIZATION, READ, false, {{"name", CL_ARGUMENT_WORD, false, NULL}},
	 "A workflow as a Mermaid diagram",
	 "machine referral"},
	{"measures", ORGANIZATION, READ, false, NOTHING,
	 "Measures of the population: what each is, and which code lists it lacks", "measures"},
	{"metric", ORGANIZATION, READ, false,
	 {{"name", CL_ARGUMENT_WORD, false, NULL}, {"count", CL_ARGUMENT_NUMBER, true, NULL},
	  {"period", CL_ARGUMENT_CHOICE, true, "months weeks"}},
	 "One metric over the last months or weeks", "metric loop_closed 8 weeks"},
	{"metrics", ORGANIZATION, READ, false, {{"month", CL_ARGUMENT_MONTH, true, NULL}},
	 "All metrics of a month, by default this one", "metrics 2026-10"},
	{"outbox", ORGANIZATION, READ, false, {{"state", CL_ARGUMENT_CHOICE, true, "waiting sent dead withdrawn withheld"}},
	 "Messages to partners and notifications of subscriptions", "outbox dead"},
	{"outbox replay", ORGANIZATION, CHANGE, false, {{"number", CL_ARGUMENT_NUMBER, false, NULL}},
	 "Send a message that was given up once more", "outbox replay 17"},
	{"plugins", ORGANIZATION, READ, false, NOTHING,
	 "Plugins in force, with version, time and memory used", "plugins"},
	{"principals", ORGANIZATION, READ, false, NOTHING,
	 "Who may come in, with roles and certificates", "principals"},
	{"quarantine", ORGANIZATION, READ, false, NOTHING,
	 "Timers that were put aside because they failed", "quarantine"},
	{"read", ORGANIZATION, READ, false, {{"resource", CL_ARGUMENT_RESOURCE, false, NULL}}, "One resource (audited)",
	 "read Task/01k9"},
	{"resources", ORGANIZATION, READ, false, NOTHING, "How many there are of each kind", "resources"},
	{"search", ORGANIZATION, READ, false, {{"query", CL_ARGUMENT_REST, false, NULL}}, "A FHIR search (audited)",
	 "search Task?status=requested&_count=5"},
	{"settings", ORGANIZATION, READ, false, NOTHING,
	 "Plugin settings, their values and where they were set", "settings"},
	{"subscription restart", ORGANIZATION, CHANGE, false, {{"id", CL_ARGUMENT_WORD, false, NULL}},
	 "Ask a subscription's endpoint again, and send what had been given up", "subscription restart 01k9"},
	{"subscription secret", ORGANIZATION, READ, false, {{"id", CL_ARGUMENT_WORD, false, NULL}},
	 "The key that verifies a subscription's notifications", "subscription secret 01k9"},
	{"subscriptions", ORGANIZATION, READ, false,
	 {{"state", CL_ARGUMENT_CHOICE, true, "requested active error off"}},
	 "Who is notified of what, where, and how it goes", "subscriptions error"},
	{"timers", ORGANIZATION, READ, false, {{"task", CL_ARGUMENT_WORD, true, NULL}}, "Running clocks, soonest first",
	 "timers 01k9"},
	{"token create", ORGANIZATION, CHANGE, false,
	 {{"principal", CL_ARGUMENT_WORD, false, NULL}, {"hours", CL_ARGUMENT_NUMBER, true, NULL},
	  {"scopes", CL_ARGUMENT_REST, true, NULL}},
	 "A bearer token for a principal, narrowed to scopes if there are any; shown once",
	 "token create coordinator 8 system/Task.rs"},
	{"token revoke", ORGANIZATION, CHANGE, true, {{"token", CL_ARGUMENT_WORD, false, NULL}},
	 "Make a bearer token worthless at once", "token revoke TOKEN"},
	{"trace", ORGANIZATION, READ, false, {{"task", CL_ARGUMENT_WORD, false, NULL}},
	 "Everything that happened to an instance, in order", "trace 01k9"},
	{"undo", ORGANIZATION, CHANGE, true,
	 {{"task", CL_ARGUMENT_WORD, false, NULL}, {"reason", CL_ARGUMENT_REST, false, NULL}},
	 "Take back the last event of an instance and what it did; says what it cannot reverse", "undo 01k9 wrong patient"},
	{"view", ORGANIZATION, READ, false, {{"name", CL_ARGUMENT_WORD, false, NULL}}, "A named list of the plugins",
	 "view referral_board"},
	{"views", ORGANIZATION, READ, false, NOTHING, "The named lists there are", "views"},
	{"why", ORGANIZATION, READ, false,
	 {{"principal", CL_ARGUMENT_WORD, false, NULL}, {"action", CL_ARGUMENT_WORD, false, NULL},
	  {"target", CL_ARGUMENT_WORD, false, NULL}},
	 "Which rule allows or refuses an action", "why coordinator read Patient/ana"},
	{"workflow", ORGANIZATION, READ, false, {{"name", CL_ARGUMENT_WORD, false, NULL}},
	 "States and transitions of a workflow",
	 "workflow referral"},
	{"workflows", ORGANIZATION, READ, false, NOTHING, "Workflows in force, with live instances", "workflows"},
};

/* clang-format on */

#define COUNT (sizeof commands / sizeof *commands)

const struct cl_command *cl_commands(size_t *count)
{
	*count = COUNT;
	return commands;
}

const struct cl_command *cl_command_find(struct cl_str name)
{
	for (size_t i = 0; i < COUNT; i++)
		if (cl_str_is(name, commands[i].name))
			return &commands[i];
	return NULL;
}

const char *cl_command_closest(struct cl_str name)
{
	struct cl_closest closest = {.wanted = name};
	for (size_t i = 0; i < COUNT; i++)
		cl_closest_offer(&closest, commands[i].name);
	return closest.best;
}

/* main.c: one program: `careloop`, a table of subcommands. */
#include "base/closest.h"
#include "console/certificate.h"
#include "console/console.h"
#include "console/verify.h"
#include "courier/courier.h"
#include "gateway/gateway.h"
#include "org/engine/demo.h"
#include "org/engine/plugin_test.h"
#include "org/engine/process.h"
#include "org/engine/replay_command.h"
#include "supervisor/config_command.h"
#include "supervisor/supervisor.h"
#include <stdio.h>

static int print_version(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	printf("careloop %s\n", CL_VERSION);
	return 0;
}

static int print_help(int argc, char **argv);

/* Each gets its own name as argv[0] and returns the exit code. Those without a summary are started by `serve` only. */
static const struct subcommand {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} subcommands[] = {
        {"serve", cl_supervisor_main, "start the server"},
        {"console", cl_console_main, "talk to a running server: a prompt, single commands, scripts"},
        {"config", cl_config_command_main, "check the configuration, or print what is in force"},
        {"audit", cl_verify_main, "verify an organization's audit log without the server"},
        {"replay", cl_replay_main, "replay an organization's event log and compare every row"},
        {"certificate", cl_certificate_main, "show what the server sees in a certificate"},
        {"plugin", cl_plugin_main, "plugin test FOLDER ...: run plugins' tests in the real engine"},
        {"demo", cl_demo_main, "lay a demonstration's story over fresh organizations"},
        {"version", print_version, "print the version"},
        {"help", print_help, "print this"},
        {"gateway", cl_gateway_main, NULL},
        {"organization", cl_organization_main, NULL},
        {"courier", cl_courier_main, NULL},
};
#define COUNT (sizeof subcommands / sizeof *subcommands)

static void list(FILE *out)
{
	fprintf(out, "usage: careloop COMMAND [OPTION ...]\n\n");
	for (size_t i = 0; i < COUNT; i++)
		if (subcommands[i].summary)
			fprintf(out, "  %-12s %s\n", subcommands[i].name, subcommands[i].summary);
	fprintf(out, "\ncareloop COMMAND --help says more.\n");
}

static int print_help(int argc, char **argv)
{
	(void)argc;
	(void)argv;
	list(stdout);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		list(stderr);
		return 2;
	}
	struct cl_str name = cl_str_of(argv[1]);
	if (cl_str_is(name, "--help") || cl_str_is(name, "-h"))
		return print_help(argc, argv);
	if (cl_str_is(name, "--version"))
		return print_version(argc, argv);
	struct cl_closest closest = {.wanted = name};
	for (size_t i = 0; i < COUNT; i++) {
		if (cl_str_is(name, subcommands[i].name))
			return subcommands[i].run(argc - 1, argv + 1);
		if (subcommands[i].summary)
			cl_closest_offer(&closest, subcommands[i].name);
	}
	fprintf(stderr, "careloop: there is no command \"%s\"", argv[1]);
	if (closest.best)
		fprintf(stderr, " (did you mean \"%s\"?)", closest.best);
	fprintf(stderr, "; careloop help lists them\n");
	return 2;
}

/* verify.h: `careloop audit verify`: checks an organization's audit log without the server, against what the
 * supervisor witnessed. */
#pragma once

/* argv[0] is "audit". Exit codes: 0 the log is whole, 1 it is not or cannot be read, 2 usage. */
int cl_verify_main(int argc, char **argv);

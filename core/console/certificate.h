/* certificate.h: `careloop certificate FILE ...`: what the server sees in a client certificate, to be written into
 * an organization's list of principals. */
#pragma once

/* argv[0] is "certificate". Exit codes: 0, 1 when a file cannot be read, 2 usage. */
int cl_certificate_main(int argc, char **argv);

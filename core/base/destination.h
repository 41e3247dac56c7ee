/* destination.h: addresses that this server may be asked to call. They come from outside, so they are read strictly, held
 * against a list of those that are allowed, and what a name turned out to mean is looked at before anything is sent. */
#pragma once
#include "base/arena.h"
#include "base/error.h"
#include <sys/socket.h>

#define CL_DESTINATION_LONGEST 1500 /* bytes of an address */

/* Borrows from the text it was read from. */
struct cl_destination {
	bool secure; /* https; else http */
	bool literal; /* the host is an IP address; those of version 6 without their brackets */
	int port;
	struct cl_str host;
	struct cl_str path; /* with its slash; empty for none */
	struct cl_str query; /* after the question mark */
};

/* "https://host[:port][/path][?query]". CL_E_INVALID for everything else: other schemes, user names, fragments, characters
 * that must be escaped, "..", and ways to write an IP address that only some readers understand. */
int cl_destination_read(struct cl_str url, struct cl_destination *out, struct cl_err *e);
/* Does it lie below `pattern`: a destination whose host may begin with "*." (any name below, not the name itself), whose port
 * may be "*", and whose path is a beginning in whole segments? False for a pattern that cannot be read. */
bool cl_destination_allowed(const struct cl_destination *destination, struct cl_str pattern);
/* Can this text be a pattern? Says what is wrong with it. */
int cl_destination_check_pattern(struct cl_str pattern, struct cl_err *e);
/* Addresses inside: loopback, private, link-local, shared (RFC 6890) and whatever is no host's own address. */
bool cl_address_is_private(const struct sockaddr *address);
/* The same of what can be told without looking a name up: literals, and the names of this machine. */
bool cl_destination_is_private(const struct cl_destination *destination);
/* "https://host:port", for counting what goes to one server. */
struct cl_str cl_destination_origin(struct cl_arena *arena, const struct cl_destination *destination);

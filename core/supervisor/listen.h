/* listen.h: are the ports of the configuration free? */
#pragma once
#include "base/error.h"
#include "base/json.h"

/* Gateways share their ports (SO_REUSEPORT), so a second server on the same port would go unnoticed and get every other
 * connection. This binds each without sharing, and lets go. `tree` is the whole configuration. CL_E_CONFLICT names the
 * port. */
int cl_listen_check(const struct cl_json *tree, struct cl_err *e);

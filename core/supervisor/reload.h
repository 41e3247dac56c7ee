/* reload.h: reads the configuration again while everything runs: certificates, plugins, organizations added and
 * removed. */
#pragma once
#include "supervisor/tree.h"

/* Starts a reload on behalf of a console call, or of SIGHUP (call NULL). `only` (or NULL for everything) names the
 * one organization whose plugins are to be reloaded. The call is answered when all is done. A configuration with
 * errors changes nothing; plugins with errors change nothing for their organization. */
void cl_reload_begin(struct cl_supervisor *supervisor, struct cl_admin_call *call, struct cl_seat *only);
/* An organization's {"do":"reloaded",...}. */
void cl_reload_answered(struct cl_supervisor *supervisor, struct cl_seat *seat, const struct cl_json *message);
/* The same from a gateway (awaited) or the courier (reported when it comes in time). */
void cl_reload_answered_other(struct cl_supervisor *supervisor, struct cl_child *child, const struct cl_json *message);
/* The process of an organization, or of something else, ended. */
void cl_reload_lost(struct cl_supervisor *supervisor, struct cl_seat *seat);
void cl_reload_lost_other(struct cl_supervisor *supervisor, struct cl_child *child);
/* The supervisor ends: forgets a reload under way. */
void cl_reload_abandon(struct cl_supervisor *supervisor);

/* process.h: `careloop organization`: one organization as a process of its own, locked into its folder. */
#pragma once
int cl_organization_main(int argc, char **argv);

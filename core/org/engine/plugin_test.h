/* plugin_test.h: `careloop plugin test`: runs plugins' tests inside the real engine under a virtual clock. */
#pragma once
int cl_plugin_main(int argc, char **argv);

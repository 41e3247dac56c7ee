/* courier.h: `careloop courier`: the only process that dials out (design §2). */
#pragma once
int cl_courier_main(int argc, char **argv);

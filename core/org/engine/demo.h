/* demo.h: `careloop demo`: lays a script's story over fresh organizations under a virtual clock that ends now. */
#pragma once
int cl_demo_main(int argc, char **argv);

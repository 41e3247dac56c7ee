/* gateway_alone.c: the gateway without the rest of careloop, for its own tests and measurements. */
#include "gateway/gateway.h"

int main(int argc, char **argv)
{
	return cl_gateway_main(argc, argv);
}

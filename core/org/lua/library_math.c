/* library_math.c: Lua's own mathematics and UTF-8, and random numbers that a replay gives again: seeded by the unit's key. */
#include "base/hash.h"
#include "org/lua/internal.h"
#include <lualib.h>

/* xoshiro256** by Blackman and Vigna (public domain). */
static uint64_t rotate_left(uint64_t value, int by)
{
	return value << by | value >> (64 - by);
}

static uint64_t draw(struct cl_lua *lua)
{
	uint64_t *s = lua->random, result = rotate_left(s[1] * 5, 7) * 9, t = s[1] << 17;
	if (!lua->seeded) {
		struct cl_str key = lua->frame && lua->frame->unit ? lua->frame->unit->key : CL_STR("load");
		uint8_t hash[CL_SHA256_SIZE];
		cl_sha256_of(key, hash);
		memcpy(s, hash, sizeof hash);
		s[0] |= 1; /* all zero is the one state that it cannot leave */
		lua->seeded = true;
		return draw(lua);
	}
	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotate_left(s[3], 45);
	return result;
}

/* In 0 ... limit, each as likely. */
static uint64_t draw_up_to(struct cl_lua *lua, uint64_t limit)
{
	uint64_t mask = limit, drawn;
	for (int shift = 1; shift < 64; shift *= 2)
		mask |= mask >> shift;
	do
		drawn = draw(lua) & mask;
	while (drawn > limit);
	return drawn;
}

static int random_number(lua_State *L)
{
	struct cl_lua *lua = cl_lua_of(L);
	lua_Integer low = 1, high;
	switch (lua_gettop(L)) {
	case 0:
		lua_pushnumber(L, (lua_Number)(draw(lua) >> 11) * 0x1.0p-53);
		return 1;
	case 1:
		high = luaL_checkinteger(L, 1);
		if (high == 0) {
			lua_pushinteger(L, (lua_Integer)draw(lua));
			return 1;
		}
		break;
	case 2:
		low = luaL_checkinteger(L, 1);
		high = luaL_checkinteger(L, 2);
		break;
	default:
		return cl_raise_misuse(L, "math.random: takes at most a lower and an upper bound");
	}
	if (low > high)
		return cl_raise_misuse(L, "math.random: %lld to %lld is empty", (long long)low, (long long)high);
	lua_pushinteger(L, (lua_Integer)(draw_up_to(lua, (uint64_t)high - (uint64_t)low) + (uint64_t)low));
	return 1;
}

static int no_seed(lua_State *L)
{
	return cl_raise_misuse(L,
	                       "math.randomseed: random numbers are seeded by the event, so that it can be replayed");
}

/* Copies `names` from the library that `open` makes into a new table. */
static void choose(lua_State *L, lua_CFunction open, const char *const *names)
{
	lua_newtable(L);
	lua_pushcfunction(L, open);
	lua_call(L, 0, 1);
	for (; *names; names++) {
		lua_getfield(L, -1, *names);
		lua_setfield(L, -3, *names);
	}
	lua_pop(L, 1);
}

void cl_library_math(lua_State *L)
{
	static const char *const names[] = {
	        "abs",  "acos", "asin", "atan", "ceil",       "cos",  "deg",        "exp",  "floor",
	        "fmod", "huge", "log",  "max",  "maxinteger", "min",  "mininteger", "modf", "pi",
	        "rad",  "sin",  "sqrt", "tan",  "tointeger",  "type", "ult",        NULL,
	};
	static const luaL_Reg own[] = {{"random", random_number}, {"randomseed", no_seed}, {NULL, NULL}};
	choose(L, luaopen_math, names);
	luaL_setfuncs(L, own, 0);
}

void cl_library_utf8(lua_State *L)
{
	static const char *const names[] = {"char", "charpattern", "codepoint", "codes", "len", "offset", NULL};
	choose(L, luaopen_utf8, names);
}

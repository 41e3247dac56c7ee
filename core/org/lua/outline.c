/* outline.c: Lua tables do not know where their keys stood. This reads the source of a literal table once more, so that an
 * error about `asked.on.reached` names its line, and states come in the order in which they were written. */
#include "org/lua/internal.h"
#include <ctype.h>
#include <stdio.h>

#define DEPTH_MAXIMUM 40
#define PATH_MAXIMUM 400

enum kind { TOKEN_END, TOKEN_NAME, TOKEN_TEXT, TOKEN_OTHER };

struct token {
	enum kind kind;
	char symbol; /* TOKEN_OTHER: its first byte */
	struct cl_str text; /* name, or what stands between the quotes */
	int line;
	bool doubled; /* "==", "~=" and the like */
};

struct reader {
	const char *at, *end;
	int line;
	struct token token;
	/* What is found: */
	lua_State *L;
	int lines, order, twice; /* indexes of the tables */
	lua_Integer count, twice_count;
	char path[PATH_MAXIMUM];
	int depth;
};

/* ---- tokens ---- */

/* "[[" or "[=[": the number of equals signs, or -1. */
static int long_bracket(const struct reader *reader, const char *at)
{
	int level = 0;
	if (at >= reader->end || *at++ != '[')
		return -1;
	while (at < reader->end && *at == '=') {
		level++;
		at++;
	}
	return at < reader->end && *at == '[' ? level : -1;
}

static void skip_long(struct reader *reader, int level)
{
	reader->at += level + 2;
	for (; reader->at < reader->end; reader->at++) {
		if (*reader->at == '\n')
			reader->line++;
		if (*reader->at != ']')
			continue;
		const char *at = reader->at + 1;
		int equals = 0;
		while (at < reader->end && *at == '=') {
			equals++;
			at++;
		}
		if (equals == level && at < reader->end && *at == ']') {
			reader->at = at + 1;
			return;
		}
	}
}

static void skip_space(struct reader *reader)
{
	while (reader->at < reader->end) {
		if (*reader->at == '\n') {
			reader->line++;
			reader->at++;
		} else if (isspace((unsigned char)*reader->at)) {
			reader->at++;
		} else if (reader->end - reader->at >= 2 && reader->at[0] == '-' && reader->at[1] == '-') {
			reader->at += 2;
			int level = long_bracket(reader, reader->at);
			if (level >= 0) {
				skip_long(reader, level);
				continue;
			}
			while (reader->at < reader->end && *reader->at != '\n')
				reader->at++;
		} else {
			return;
		}
	}
}

static void read_text(struct reader *reader)
{
	char quote = *reader->at++;
	reader->token.kind = TOKEN_TEXT;
	reader->token.text.p = reader->at;
	while (reader->at < reader->end && *reader->at != quote && *reader->at != '\n') {
		if (*reader->at == '\\' && reader->end - reader->at > 1) {
			reader->at++;
			reader->line += *reader->at == '\n';
		}
		reader->at++;
	}
	reader->token.text.n = (size_t)(reader->at - reader->token.text.p);
	if (reader->at < reader->end && *reader->at == quote)
		reader->at++;
}

static void next(struct reader *reader)
{
	skip_space(reader);
	reader->token = (struct token){.line = reader->line};
	if (reader->at >= reader->end)
		return;
	const char *start = reader->at;
	int level = long_bracket(reader, start);
	if (level >= 0) {
		reader->token.kind = TOKEN_TEXT;
		skip_long(reader, level);
	} else if (*start == '"' || *start == '\'') {
		read_text(reader);
	} else if (isalnum((unsigned char)*start) || *start == '_') {
		while (reader->at < reader->end && (isalnum((unsigned char)*reader->at) || *reader->at == '_'))
			reader->at++;
		reader->token.kind = TOKEN_NAME; /* or a number, which is no key here either */
		reader->token.text = (struct cl_str){start, (size_t)(reader->at - start)};
	} else {
		reader->token.kind = TOKEN_OTHER;
		reader->token.symbol = *start;
		reader->at++;
		if (reader->at < reader->end && *reader->at == '=' && strchr("=~<>", *start)) {
			reader->token.doubled = true;
			reader->at++;
		}
	}
}

static bool is_symbol(const struct reader *reader, char symbol)
{
	return reader->token.kind == TOKEN_OTHER && reader->token.symbol == symbol && !reader->token.doubled;
}

static bool is_word(const struct reader *reader, const char *word)
{
	return reader->token.kind == TOKEN_NAME && cl_str_is(reader->token.text, word);
}

/* ---- tables ---- */

/* From "function" to its "end". What is in it declares nothing. */
static void skip_function(struct reader *reader)
{
	int blocks = 0;
	do {
		if (is_word(reader, "function") || is_word(reader, "do") || is_word(reader, "if") ||
		    is_word(reader, "repeat"))
			blocks++;
		else if (is_word(reader, "end") || is_word(reader, "until"))
			blocks--;
		next(reader);
	} while (blocks > 0 && reader->token.kind != TOKEN_END);
}

static void note(struct reader *reader, int line, bool may_clash)
{
	lua_State *L = reader->L;
	if (lua_getfield(L, reader->lines, reader->path) != LUA_TNIL) {
		if (may_clash) {
			lua_pushstring(L, reader->path);
			lua_rawseti(L, reader->twice, ++reader->twice_count);
			lua_pushinteger(L, line); /* Lua takes the later one */
			lua_setfield(L, reader->lines, reader->path);
		}
	} else {
		lua_pushinteger(L, line);
		lua_setfield(L, reader->lines, reader->path);
		lua_pushinteger(L, ++reader->count);
		lua_setfield(L, reader->order, reader->path);
	}
	lua_pop(L, 1);
}

static void read_table(struct reader *reader, bool direct);

/* An expression up to "," ";" or the bracket that closes what contains it. Tables within belong to the path at hand. */
static void read_value(struct reader *reader)
{
	bool first = true;
	int brackets = 0;
	while (reader->token.kind != TOKEN_END) {
		if (is_word(reader, "function")) {
			skip_function(reader);
		} else if (is_symbol(reader, '{')) {
			read_table(reader, first && brackets == 0);
		} else if (is_symbol(reader, '(') || is_symbol(reader, '[')) {
			brackets++;
			next(reader);
		} else if (is_symbol(reader, ')') || is_symbol(reader, ']')) {
			if (brackets-- == 0)
				return;
			next(reader);
		} else if (is_symbol(reader, '}') ||
		           (brackets == 0 && (is_symbol(reader, ',') || is_symbol(reader, ';')))) {
			return;
		} else {
			next(reader);
		}
		first = false;
	}
}

/* At the beginning of a field: its name when it has one; the "=" is passed. */
static bool read_key(struct reader *reader, struct cl_str *key)
{
	struct reader before = *reader;
	bool bracketed = is_symbol(reader, '[');
	if (bracketed)
		next(reader);
	*key = reader->token.text;
	if (reader->token.kind == TOKEN_NAME || (bracketed && reader->token.kind == TOKEN_TEXT)) {
		next(reader);
		if (bracketed && is_symbol(reader, ']'))
			next(reader);
		else if (bracketed)
			key->n = 0;
		if (is_symbol(reader, '=') && key->n) {
			next(reader);
			return true;
		}
	}
	lua_Integer count = reader->count, twice = reader->twice_count;
	*reader = before;
	reader->count = count;
	reader->twice_count = twice;
	return false;
}

/* At "{"; ends after "}". `direct`: a name that comes twice is a mistake; tables within calls may share a path. */
static void read_table(struct reader *reader, bool direct)
{
	size_t length = strlen(reader->path);
	int position = 0;
	next(reader);
	if (++reader->depth > DEPTH_MAXIMUM)
		reader->at = reader->end; /* no plugin nests so deep: give up, lines become those of the declaration */
	luaL_checkstack(reader->L, 4, NULL);
	while (reader->token.kind != TOKEN_END && !is_symbol(reader, '}')) {
		struct cl_str key;
		int line = reader->token.line;
		if (is_symbol(reader, ',') || is_symbol(reader, ';') || is_symbol(reader, ')') ||
		    is_symbol(reader, ']')) {
			next(reader);
			continue;
		}
		bool named = read_key(reader, &key);
		if (named)
			snprintf(reader->path + length, sizeof reader->path - length, ".%.*s", CL_STR_ARGS(key));
		else
			snprintf(reader->path + length, sizeof reader->path - length, ".%d", ++position);
		note(reader, line, named && direct);
		read_value(reader);
		reader->path[length] = 0;
	}
	reader->depth--;
	next(reader);
}

/* Goes to the "{" that follows `word` ("name" in between), perhaps in brackets. `line` gets that of the word, or 0. */
static bool find_table(struct reader *reader, struct cl_str word, struct cl_str name, int *line)
{
	for (;; next(reader)) {
		*line = 0;
		while (reader->token.kind != TOKEN_END &&
		       !(reader->token.kind == TOKEN_NAME && cl_str_equal(reader->token.text, word)))
			next(reader);
		if (reader->token.kind == TOKEN_END)
			return false;
		*line = reader->token.line;
		next(reader);
		while (is_symbol(reader, '('))
			next(reader);
		if (name.n && !(reader->token.kind == TOKEN_TEXT && cl_str_equal(reader->token.text, name)))
			continue;
		if (name.n)
			next(reader);
		while (is_symbol(reader, '(') || is_symbol(reader, ')'))
			next(reader);
		return is_symbol(reader, '{');
	}
}

void cl_push_outline(lua_State *L, struct cl_str text, int line, struct cl_str word, struct cl_str name)
{
	struct reader reader = {.at = text.n ? text.p : "", .line = 1, .L = L};
	reader.end = reader.at + text.n;
	lua_newtable(L);
	lua_newtable(L);
	lua_newtable(L);
	reader.twice = lua_gettop(L);
	reader.order = reader.twice - 1;
	reader.lines = reader.twice - 2;
	/* Tokens may span lines: read from the beginning. */
	do
		next(&reader);
	while (reader.token.kind != TOKEN_END && reader.token.line < line);
	int found;
	if (find_table(&reader, word, name, &found))
		read_table(&reader, true);
	lua_pushinteger(L, found ? found : line);
}

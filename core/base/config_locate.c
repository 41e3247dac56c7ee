/* config_locate.c: a reader of Lua's tokens that pairs table constructors with the tree they became. */
#include "base/config_locate.h"

enum token_kind { TOKEN_END, TOKEN_NAME, TOKEN_STRING, TOKEN_NUMBER, TOKEN_SIGN };

struct token {
	enum token_kind kind;
	struct cl_str text; /* of a string: what stands between its quotes, escapes not resolved */
	size_t start; /* byte offset of the first character, quote included */
};

struct reader {
	struct cl_str text;
	size_t at;
	struct token now, next;
};

#define NESTING_MAXIMUM 200 /* Lua's own parser stops there */

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static char peek(const struct reader *reader, size_t ahead)
{
	size_t at = reader->at + ahead;
	return at < reader->text.n ? reader->text.p[at] : '\0';
}

/* At "[": the number of "=" of a long bracket, or -1 when it is none. */
static int long_bracket(const struct reader *reader)
{
	int level = 0;
	while (peek(reader, 1 + (size_t)level) == '=')
		level++;
	return peek(reader, 1 + (size_t)level) == '[' ? level : -1;
}

/* Moves behind a long string or comment; returns its contents. */
static struct cl_str skip_long(struct reader *reader, int level)
{
	reader->at += 2 + (size_t)level;
	size_t start = reader->at;
	for (; reader->at < reader->text.n; reader->at++) {
		if (peek(reader, 0) != ']')
			continue;
		int closing = 0;
		while (peek(reader, 1 + (size_t)closing) == '=')
			closing++;
		if (closing == level && peek(reader, 1 + (size_t)closing) == ']') {
			struct cl_str contents = {reader->text.p + start, reader->at - start};
			reader->at += 2 + (size_t)level;
			return contents;
		}
	}
	return (struct cl_str){reader->text.p + start, reader->text.n - start};
}

static void skip_space(struct reader *reader)
{
	for (;;) {
		char c = peek(reader, 0);
		if (c == ' ' || (c >= '\t' && c <= '\r')) {
			reader->at++;
		} else if (c == '-' && peek(reader, 1) == '-') {
			reader->at += 2;
			int level = peek(reader, 0) == '[' ? long_bracket(reader) : -1;
			if (level >= 0)
				skip_long(reader, level);
			else
				while (reader->at < reader->text.n && peek(reader, 0) != '\n')
					reader->at++;
		} else {
			return;
		}
	}
}

static struct cl_str skip_quoted(struct reader *reader, char quote)
{
	size_t start = ++reader->at;
	while (reader->at < reader->text.n && peek(reader, 0) != quote)
		reader->at += peek(reader, 0) == '\\' ? 2 : 1;
	if (reader->at > reader->text.n)
		reader->at = reader->text.n;
	struct cl_str contents = {reader->text.p + start, reader->at - start};
	if (reader->at < reader->text.n)
		reader->at++;
	return contents;
}

static struct token read_token(struct reader *reader)
{
	skip_space(reader);
	struct token token = {.kind = TOKEN_SIGN, .start = reader->at};
	char c = peek(reader, 0);
	if (reader->at >= reader->text.n) {
		token.kind = TOKEN_END;
		return token;
	}
	if (c == '"' || c == '\'') {
		token.kind = TOKEN_STRING;
		token.text = skip_quoted(reader, c);
		return token;
	}
	int level = c == '[' ? long_bracket(reader) : -1;
	if (level >= 0) {
		token.kind = TOKEN_STRING;
		token.text = skip_long(reader, level);
		return token;
	}
	size_t length = 1;
	if (is_letter(c)) {
		token.kind = TOKEN_NAME;
		while (is_letter(peek(reader, length)) || is_digit(peek(reader, length)))
			length++;
	} else if (is_digit(c)) {
		token.kind = TOKEN_NUMBER;
		while (is_letter(peek(reader, length)) || is_digit(peek(reader, length)) || peek(reader, length) == '.')
			length++;
	} else if (peek(reader, 1) == '=' && (c == '=' || c == '~' || c == '<' || c == '>')) {
		length = 2;
	}
	token.text = (struct cl_str){reader->text.p + reader->at, length};
	reader->at += length;
	return token;
}

static void advance(struct reader *reader)
{
	reader->now = reader->next;
	reader->next = read_token(reader);
}

static bool is_sign(const struct token *token, const char *sign)
{
	return token->kind == TOKEN_SIGN && cl_str_is(token->text, sign);
}

static bool is_word(const struct token *token, const char *word)
{
	return token->kind == TOKEN_NAME && cl_str_is(token->text, word);
}

/* How a token changes the nesting: brackets and the blocks of functions and statements. `do` of for and while counts
 * for them. */
static int nesting(const struct token *token)
{
	if (is_sign(token, "{") || is_sign(token, "(") || is_sign(token, "["))
		return 1;
	if (is_sign(token, "}") || is_sign(token, ")") || is_sign(token, "]"))
		return -1;
	if (is_word(token, "function") || is_word(token, "if") || is_word(token, "do") || is_word(token, "repeat"))
		return 1;
	if (is_word(token, "end") || is_word(token, "until"))
		return -1;
	return 0;
}

/* Moves to the "," ";" or "}" that ends a field. */
static void skip_expression(struct reader *reader)
{
	int depth = 0;
	while (reader->now.kind != TOKEN_END) {
		if (depth == 0 &&
		    (is_sign(&reader->now, ",") || is_sign(&reader->now, ";") || is_sign(&reader->now, "}")))
			return;
		depth += nesting(&reader->now);
		advance(reader);
	}
}

/* Reads "name =" or "[...] =" and says which member of `node` it names (NULL when unknown). False for a positional
 * field. */
static bool read_name(struct reader *reader, struct cl_json *node, struct cl_json **member, struct cl_str *name)
{
	*member = NULL;
	if (reader->now.kind == TOKEN_NAME && is_sign(&reader->next, "=")) {
		*name = reader->now.text;
		*member = cl_json_get_str(node, *name);
		advance(reader);
		advance(reader);
		return true;
	}
	if (!is_sign(&reader->now, "["))
		return false;
	advance(reader);
	if (reader->now.kind == TOKEN_STRING && is_sign(&reader->next, "]")) {
		*name = reader->now.text;
		*member = cl_json_get_str(node, *name);
	}
	for (int depth = 0; reader->now.kind != TOKEN_END; advance(reader)) {
		if (depth == 0 && is_sign(&reader->now, "]"))
			break;
		depth += nesting(&reader->now);
	}
	advance(reader);
	if (is_sign(&reader->now, "="))
		advance(reader);
	return true;
}

/* At "{": follows the constructor to behind its "}". */
static int read_table(struct reader *reader, struct cl_json *node, int depth, struct cl_err *e)
{
	uint32_t position = 0;
	advance(reader);
	while (reader->now.kind != TOKEN_END && !is_sign(&reader->now, "}")) {
		struct cl_json *value = NULL;
		struct cl_str name = CL_STR_NONE;
		if (!read_name(reader, node, &value, &name)) {
			if (node && node->kind == CL_JSON_ARRAY && position < node->count)
				value = &node->items[position];
			position++;
		} else if (value && value->offset) {
			int line, column, first;
			cl_json_place(reader->text, value->offset, &first, &column);
			cl_json_place(reader->text, (uint32_t)reader->now.start, &line, &column);
			cl_fail(e, CL_E_INVALID, "\"%.*s\" is given twice in one table; the first is on line %d",
			        CL_STR_ARGS(name), first);
			if (e) {
				e->line = line;
				e->column = column;
			}
			return CL_E_INVALID;
		}
		if (value)
			value->offset = (uint32_t)reader->now.start;
		if (is_sign(&reader->now, "{") && depth < NESTING_MAXIMUM) {
			int result = read_table(reader, value, depth + 1, e);
			if (result)
				return result;
		}
		skip_expression(reader);
		if (is_sign(&reader->now, ",") || is_sign(&reader->now, ";"))
			advance(reader);
	}
	advance(reader);
	return CL_OK;
}

int cl_config_locate(struct cl_str text, struct cl_json *root, struct cl_err *e)
{
	struct reader reader = {.text = text};
	int depth = 0;
	advance(&reader);
	for (advance(&reader); reader.now.kind != TOKEN_END; advance(&reader)) {
		if (depth == 0 && is_word(&reader.now, "return")) {
			if (!is_sign(&reader.next, "{"))
				return CL_OK;
			advance(&reader);
			root->offset = (uint32_t)reader.now.start;
			return read_table(&reader, root, 0, e);
		}
		depth += nesting(&reader.now);
	}
	return CL_OK;
}

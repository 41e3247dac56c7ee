/* symbol.c: texts that repeat in many rows are stored once and meant by a number. The numbers in one file never change.
 * */
#include "org/store/internal.h"
#include <stdlib.h>

#define CACHED_MOST 16384

static size_t place_of(struct cl_str text, size_t capacity)
{
	uint64_t hash = 14695981039346656037u;
	for (size_t i = 0; i < text.n; i++)
		hash = (hash ^ (unsigned char)text.p[i]) * 1099511628211u;
	return (size_t)(hash >> 20) & (capacity - 1);
}

static struct cl_str symbol_text(const struct cl_symbol *symbol)
{
	return (struct cl_str){symbol->text, symbol->n};
}

static void insert(struct cl_symbols *symbols, struct cl_symbol *symbol)
{
	size_t place = place_of(symbol_text(symbol), symbols->capacity);
	while (symbols->by_text[place])
		place = (place + 1) & (symbols->capacity - 1);
	symbols->by_text[place] = symbol;
}

static void rehash(struct cl_symbols *symbols, size_t capacity)
{
	free(symbols->by_text);
	symbols->capacity = capacity;
	symbols->by_text = calloc(capacity, sizeof(*symbols->by_text));
	if (!symbols->by_text)
		cl_die("no memory for symbols");
	for (size_t i = 0; i < symbols->by_number_capacity; i++)
		if (symbols->by_number[i])
			insert(symbols, symbols->by_number[i]);
}

static struct cl_symbol *find(const struct cl_symbols *symbols, struct cl_str text)
{
	for (size_t place = place_of(text, symbols->capacity); symbols->by_text[place];
	     place = (place + 1) & (symbols->capacity - 1))
		if (cl_str_equal(symbol_text(symbols->by_text[place]), text))
			return symbols->by_text[place];
	return NULL;
}

static void keep(struct cl_symbols *symbols, int64_t number, struct cl_str text)
{
	if (number < 0 || number >= symbols->most)
		return;
	size_t before = symbols->by_number_capacity;
	symbols->by_number = cl_grow(symbols->by_number, &symbols->by_number_capacity, (size_t)number + 1,
	                             sizeof(*symbols->by_number));
	memset(symbols->by_number + before, 0, (symbols->by_number_capacity - before) * sizeof(*symbols->by_number));
	if (symbols->by_number[number])
		return;
	struct cl_symbol *symbol = malloc(sizeof(*symbol) + text.n + 1);
	if (!symbol)
		cl_die("no memory for symbols");
	symbol->number = number;
	symbol->n = text.n;
	memcpy(symbol->text, text.n ? text.p : "", text.n);
	symbol->text[text.n] = 0;
	symbols->by_number[number] = symbol;
	if (++symbols->count * 2 > symbols->capacity)
		rehash(symbols, symbols->capacity * 2);
	else
		insert(symbols, symbol);
}

int cl_symbols_open(struct cl_store *store, struct cl_err *e)
{
	store->symbols.most = CACHED_MOST;
	rehash(&store->symbols, 64);
	keep(&store->symbols, 0, CL_STR_NONE);
	sqlite3_stmt *statement = cl_statement(store, "SELECT coalesce(max(number), 0) + 1 FROM symbol", e);
	int code = statement ? cl_step(store, statement, e) : cl_unprepared(e);
	if (code == 1) {
		store->symbols.next = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
		code = 0;
	}
	return code;
}

static int add_symbol(struct cl_store *store, struct cl_str text, int64_t *out, struct cl_err *e)
{
	sqlite3_stmt *statement = cl_statement(store, "INSERT INTO symbol(number, text) VALUES(?1, ?2)", e);
	if (statement) {
		sqlite3_bind_int64(statement, 1, store->symbols.next);
		cl_bind_text(statement, 2, text);
	}
	int code = cl_run(store, statement, e);
	if (!code) {
		*out = store->symbols.next++;
		keep(&store->symbols, *out, text);
	}
	return code;
}

int cl_symbol_number(struct cl_store *store, struct cl_str text, bool add, int64_t *out, struct cl_err *e)
{
	const struct cl_symbol *known = find(&store->symbols, text);
	if (known) {
		*out = known->number;
		return 0;
	}
	*out = -1;
	sqlite3_stmt *statement = cl_statement(store, "SELECT number FROM symbol WHERE text = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	cl_bind_text(statement, 1, text);
	int code = cl_step(store, statement, e);
	if (code == 1) {
		*out = sqlite3_column_int64(statement, 0);
		sqlite3_reset(statement);
		keep(&store->symbols, *out, text);
		return 0;
	}
	return code || !add ? code : add_symbol(store, text, out, e);
}

int cl_symbol_text(struct cl_store *store, int64_t number, struct cl_values *values, struct cl_str *out,
                   struct cl_err *e)
{
	if (number >= 0 && (size_t)number < store->symbols.by_number_capacity && store->symbols.by_number[number]) {
		*out = symbol_text(store->symbols.by_number[number]);
		return 0;
	}
	sqlite3_stmt *statement = cl_statement(store, "SELECT text FROM symbol WHERE number = ?1", e);
	if (!statement)
		return cl_unprepared(e);
	sqlite3_bind_int64(statement, 1, number);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code ? code : cl_fail(e, CL_E_CORRUPT, "symbol %lld is missing", (long long)number);
	struct cl_str text = cl_column_borrow(statement, 0);
	if (number < store->symbols.most) {
		keep(&store->symbols, number, text);
		*out = symbol_text(store->symbols.by_number[number]);
	} else {
		values->rare =
		        cl_grow(values->rare, &values->rare_capacity, values->rare_count + 1, sizeof(*values->rare));
		char *copy = malloc(text.n + 1);
		if (!copy)
			cl_die("no memory for a symbol");
		memcpy(copy, text.n ? text.p : "", text.n);
		values->rare[values->rare_count++] = copy;
		*out = (struct cl_str){copy, text.n};
	}
	sqlite3_reset(statement);
	return 0;
}

void cl_symbols_drop(struct cl_store *store, int64_t from)
{
	struct cl_symbols *symbols = &store->symbols;
	if (symbols->next <= from)
		return;
	for (size_t i = (size_t)from; i < symbols->by_number_capacity; i++)
		if (symbols->by_number[i]) {
			free(symbols->by_number[i]);
			symbols->by_number[i] = NULL;
			symbols->count--;
		}
	symbols->next = from;
	rehash(symbols, symbols->capacity);
}

void cl_symbols_free(struct cl_store *store)
{
	for (size_t i = 0; i < store->symbols.by_number_capacity; i++)
		free(store->symbols.by_number[i]);
	free(store->symbols.by_number);
	free(store->symbols.by_text);
}

/* seal.c: what a client is given to bring back unchanged (places in links): encrypted and authenticated with the file's
 * secret, because it may say health information and ends up in links and logs. */
#include "org/store/internal.h"
#include "base/hash.h"

#define TAG_SIZE 16

static void tag_of(const struct cl_store *store, struct cl_str plain, uint8_t tag[32])
{
	struct cl_buf text;
	cl_buf_init(&text, 0);
	cl_buf_add_cstring(&text, "page tag ");
	cl_buf_add_str(&text, plain);
	cl_hmac_sha256(store->secret, sizeof(store->secret), cl_buf_str(&text), tag);
	cl_buf_free(&text);
}

/* The tag is the nonce (as in SIV): equal places encrypt equally, which tells nobody anything. */
static void apply_stream(const struct cl_store *store, const uint8_t tag[TAG_SIZE], char *bytes, size_t n)
{
	for (size_t block = 0; block * 32 < n; block++) {
		char input[16 + TAG_SIZE];
		uint8_t stream[32];
		int64_t number = (int64_t)block;
		memcpy(input, "page key", 8);
		memcpy(input + 8, &number, 8);
		memcpy(input + 16, tag, TAG_SIZE);
		cl_hmac_sha256(store->secret, sizeof(store->secret), (struct cl_str){input, sizeof(input)}, stream);
		for (size_t i = 0; i < 32 && block * 32 + i < n; i++)
			bytes[block * 32 + i] = (char)(bytes[block * 32 + i] ^ (char)stream[i]);
	}
}

struct cl_str cl_store_seal(struct cl_store *store, struct cl_arena *arena, struct cl_str plain)
{
	uint8_t tag[32];
	char *sealed = cl_arena_alloc(arena, TAG_SIZE + plain.n);
	tag_of(store, plain, tag);
	memcpy(sealed, tag, TAG_SIZE);
	memcpy(sealed + TAG_SIZE, plain.n ? plain.p : "", plain.n);
	apply_stream(store, tag, sealed + TAG_SIZE, plain.n);
	return cl_base64url(arena, (struct cl_str){sealed, TAG_SIZE + plain.n});
}

bool cl_store_unseal(struct cl_store *store, struct cl_arena *arena, struct cl_str text, struct cl_str *plain)
{
	struct cl_str sealed;
	uint8_t tag[32];
	if (cl_base64_decode(arena, text, &sealed, NULL) != 0 || sealed.n <= TAG_SIZE)
		return false;
	size_t n = sealed.n - TAG_SIZE;
	char *bytes = cl_arena_alloc(arena, n);
	memcpy(bytes, sealed.p + TAG_SIZE, n);
	apply_stream(store, (const uint8_t *)sealed.p, bytes, n);
	*plain = (struct cl_str){bytes, n};
	tag_of(store, *plain, tag);
	return cl_equal_secret(tag, sealed.p, TAG_SIZE);
}

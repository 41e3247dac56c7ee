/* audit_tail.c: read leaves on their way into the log. The loop thread appends a record with one write() before it
 * replies, which survives the death of the process; the writer folds the records into the log with its next commit. A
 * power cut may lose the records that were not folded yet: the window that design §7 states.
 *
 * The file is a run of records: length (4 bytes), checksum (8), then 'S' and a nonce for the beginning of a session, or
 * 'R' and the fields. The place up to which was folded is (nonce of its session, offset) and is committed with the
 * leaves, so each record becomes one leaf whatever dies when. A session's record is synced when it is written; what a
 * power cut takes is therefore always the end of a session, and the next session begins where the file was cut. */
#include "org/store/audit.h"
#include "org/store/internal.h"
#include "base/id.h"
#include "base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define HEAD_SIZE 12
#define RECORD_MAXIMUM 65536
#define LARGE (1 << 20) /* bytes after which a wholly folded file is replaced */
#define PLACE "audit.tail"
#define FIELDS 6

struct session {
	uint64_t nonce;
	int64_t offset;
};

struct cl_audit_tail {
	char *path, *folder;
	pthread_mutex_t lock; /* appending, and replacing the file */
	int file; /* replaced only by the writer thread, under the lock */
	_Atomic int64_t size, folded;
	bool broken; /* a partly written record could not be taken back: nothing more is appended */
	struct session *sessions;
	size_t session_count, session_capacity;
};

static uint64_t checksum(const char *p, size_t n)
{
	uint64_t hash = 14695981039346656037u;
	for (size_t i = 0; i < n; i++)
		hash = (hash ^ (unsigned char)p[i]) * 1099511628211u;
	return hash;
}

static void seal(char *record, size_t n)
{
	uint32_t length = (uint32_t)(n - HEAD_SIZE);
	uint64_t sum = checksum(record + HEAD_SIZE, length);
	memcpy(record, &length, 4);
	memcpy(record + 4, &sum, 8);
}

/* The size of the whole record at `p`, 0 when it is not one. */
static size_t record_size(const char *p, size_t left)
{
	uint32_t length;
	uint64_t sum;

	if (left < HEAD_SIZE)
		return 0;
	memcpy(&length, p, 4);
	memcpy(&sum, p + 4, 8);
	if (length == 0 || length > RECORD_MAXIMUM || length > left - HEAD_SIZE ||
	    checksum(p + HEAD_SIZE, length) != sum)
		return 0;
	return HEAD_SIZE + length;
}

static int file_error(struct cl_err *e, const char *doing, const char *path)
{
	int code = errno == ENOSPC || errno == EDQUOT ? CL_E_FULL : CL_E_IO;
	return cl_fail(e, code, "%s %s: %s", doing, path, strerror(errno));
}

static int sync_folder(const char *folder)
{
	int file = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (file < 0)
		return -1;
	int result = fsync(file);
	close(file);
	return result;
}

static void add_session(struct cl_audit_tail *tail, uint64_t nonce, int64_t offset)
{
	tail->sessions =
	        cl_grow(tail->sessions, &tail->session_capacity, tail->session_count + 1, sizeof(*tail->sessions));
	tail->sessions[tail->session_count++] = (struct session){nonce, offset};
}

/* One write() at the end of the file; a part that was written is taken back. */
static int write_record(struct cl_audit_tail *tail, const char *record, size_t n, struct cl_err *e)
{
	if (tail->broken)
		return cl_fail(e, CL_E_IO, "%s ends in half a record", tail->path);
	ssize_t written = write(tail->file, record, n);
	if (written == (ssize_t)n) {
		atomic_fetch_add_explicit(&tail->size, (int64_t)n, memory_order_release);
		return 0;
	}
	if (written >= 0)
		errno = ENOSPC;
	int code = file_error(e, "cannot append to", tail->path);
	if (written > 0 && ftruncate(tail->file, atomic_load(&tail->size)) != 0)
		tail->broken = true;
	return code;
}

/* Everything before it is synced with it. */
static int begin_session(struct cl_audit_tail *tail, struct cl_err *e)
{
	char record[HEAD_SIZE + 9];
	uint64_t nonce;

	cl_random(&nonce, sizeof(nonce));
	record[HEAD_SIZE] = 'S';
	memcpy(record + HEAD_SIZE + 1, &nonce, 8);
	seal(record, sizeof(record));
	int64_t offset = atomic_load(&tail->size);
	int code = write_record(tail, record, sizeof(record), e);
	if (!code && fdatasync(tail->file) != 0)
		code = file_error(e, "cannot sync", tail->path);
	if (!code)
		add_session(tail, nonce, offset);
	return code;
}

static char *read_part(int file, int64_t from, size_t n)
{
	char *bytes = malloc(n + 1);
	size_t have = 0;
	if (!bytes)
		cl_die("no memory for the audit tail");
	while (have < n) {
		ssize_t got = pread(file, bytes + have, n - have, from + (int64_t)have);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			free(bytes);
			return NULL;
		}
		have += (size_t)got;
	}
	return bytes;
}

/* Finds the sessions, and cuts off what a crash left half-written. */
static int scan(struct cl_audit_tail *tail, struct cl_err *e)
{
	struct stat status;
	size_t place = 0, n;

	if (fstat(tail->file, &status) != 0)
		return file_error(e, "cannot read", tail->path);
	char *bytes = read_part(tail->file, 0, (size_t)status.st_size);
	if (!bytes)
		return file_error(e, "cannot read", tail->path);
	while ((n = record_size(bytes + place, (size_t)status.st_size - place)) != 0) {
		if (bytes[place + HEAD_SIZE] == 'S' && n == HEAD_SIZE + 9) {
			uint64_t nonce;
			memcpy(&nonce, bytes + place + HEAD_SIZE + 1, 8);
			add_session(tail, nonce, (int64_t)place);
		}
		place += n;
	}
	free(bytes);
	if (place < (size_t)status.st_size) {
		cl_log(CL_LOG_WARNING, "audit-tail-cut", "file=%s bytes=%lld", tail->path,
		       (long long)status.st_size - (long long)place);
		if (ftruncate(tail->file, (off_t)place) != 0)
			return file_error(e, "cannot cut", tail->path);
	}
	atomic_store(&tail->size, (int64_t)place);
	return 0;
}

int cl_audit_tail_open(const char *folder, const char *name, struct cl_audit_tail **out, struct cl_err *e)
{
	struct cl_audit_tail *tail = calloc(1, sizeof(*tail));
	*out = NULL;
	if (!tail)
		cl_die("no memory for the audit tail");
	pthread_mutex_init(&tail->lock, NULL);
	tail->folder = strdup(folder);
	if (asprintf(&tail->path, "%s/%s.reads", folder, name) < 0)
		cl_die("no memory for the audit tail");
	tail->file = open(tail->path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	int code = tail->file < 0 ? file_error(e, "cannot open", tail->path) : scan(tail, e);
	if (!code)
		code = begin_session(tail, e);
	if (!code && sync_folder(folder) != 0)
		code = file_error(e, "cannot sync", folder);
	if (code) {
		cl_audit_tail_close(tail);
		return code;
	}
	*out = tail;
	return 0;
}

void cl_audit_tail_close(struct cl_audit_tail *tail)
{
	if (!tail)
		return;
	if (tail->file >= 0)
		close(tail->file);
	pthread_mutex_destroy(&tail->lock);
	free(tail->sessions);
	free(tail->path);
	free(tail->folder);
	free(tail);
}

/* ---- records ---- */

static size_t encoded_size(const struct cl_str *fields)
{
	size_t n = HEAD_SIZE + 1 + 8;
	for (size_t i = 0; i < FIELDS; i++)
		n += 4 + fields[i].n;
	return n;
}

static void encode(char *out, cl_instant at, const struct cl_str *fields)
{
	char *p = out + HEAD_SIZE;
	*p++ = 'R';
	memcpy(p, &at, 8);
	p += 8;
	for (size_t i = 0; i < FIELDS; i++) {
		uint32_t n = (uint32_t)fields[i].n;
		memcpy(p, &n, 4);
		if (n)
			memcpy(p + 4, fields[i].p, n);
		p += 4 + n;
	}
	seal(out, (size_t)(p - out));
}

static bool decode(const char *p, size_t n, struct cl_audit_record *out)
{
	struct cl_str *const fields[FIELDS] = {&out->principal, &out->action,  &out->target,
	                                       &out->rule,      &out->outcome, &out->request};
	const char *end = p + n;

	p += HEAD_SIZE + 1;
	if (end - p < 8)
		return false;
	memcpy(&out->at, p, 8);
	p += 8;
	for (size_t i = 0; i < FIELDS; i++) {
		uint32_t length;
		if (end - p < 4)
			return false;
		memcpy(&length, p, 4);
		p += 4;
		if (length > (size_t)(end - p))
			return false;
		*fields[i] = (struct cl_str){p, length};
		p += length;
	}
	return p == end;
}

int cl_audit_tail_append(struct cl_audit_tail *tail, const struct cl_audit_record *record, struct cl_err *e)
{
	const struct cl_str fields[FIELDS] = {record->principal, record->action,  record->target,
	                                      record->rule,      record->outcome, record->request};
	char small[1024];
	size_t n = encoded_size(fields);

	if (n > RECORD_MAXIMUM)
		return cl_fail(e, CL_E_TOO_LARGE, "an audit record of %zu bytes", n);
	char *bytes = n <= sizeof(small) ? small : malloc(n);
	if (!bytes)
		return cl_fail(e, CL_E_MEMORY, "no memory for an audit record");
	encode(bytes, record->at, fields);
	pthread_mutex_lock(&tail->lock);
	int code = write_record(tail, bytes, n, e);
	pthread_mutex_unlock(&tail->lock);
	if (bytes != small)
		free(bytes);
	return code;
}

int64_t cl_audit_tail_pending(const struct cl_audit_tail *tail)
{
	/* `folded` first: it never passes a size that was read later. */
	struct cl_audit_tail *own = (struct cl_audit_tail *)tail;
	int64_t folded = atomic_load(&own->folded);
	return atomic_load(&own->size) - folded;
}

/* ---- folding ---- */

struct place {
	uint64_t nonce;
	int64_t offset;
};

static int read_place(struct cl_audit_tail *tail, struct cl_store *store, struct place *out, struct cl_err *e)
{
	*out = (struct place){0};
	sqlite3_stmt *statement = cl_statement(store, "SELECT value FROM meta WHERE name = '" PLACE "'", e);
	if (!statement)
		return cl_unprepared(e);
	int code = cl_step(store, statement, e);
	if (code != 1)
		return code;
	struct cl_str value = cl_column_borrow(statement, 0);
	struct place kept = {0};
	if (value.n == 16) {
		memcpy(&kept.nonce, value.p, 8);
		memcpy(&kept.offset, value.p + 8, 8);
	}
	sqlite3_reset(statement);
	/* Another file since: all of it is new. Cut by a power cut below the place: the next session is where it goes
	 * on. */
	for (size_t i = 0; i < tail->session_count; i++)
		if (tail->sessions[i].nonce == kept.nonce) {
			*out = kept;
			if (i + 1 < tail->session_count && tail->sessions[i + 1].offset < kept.offset)
				out->offset = tail->sessions[i + 1].offset;
		}
	return 0;
}

static int fold_records(struct cl_store *store, const char *bytes, size_t n, uint32_t limit, struct place *place,
                        struct cl_err *e)
{
	size_t at = 0, size;
	int code = 0;

	while (!code && limit && at < n) {
		struct cl_audit_record record = {0};
		size = record_size(bytes + at, n - at);
		if (!size)
			break;
		if (bytes[at + HEAD_SIZE] == 'S') {
			memcpy(&place->nonce, bytes + at + HEAD_SIZE + 1, 8);
		} else {
			if (!decode(bytes + at, size, &record))
				return cl_fail(e, CL_E_CORRUPT, "a read leaf cannot be decoded");
			code = cl_audit_append(store, &record, e);
			limit--;
		}
		at += size;
	}
	place->offset += (int64_t)at;
	return code;
}

int cl_audit_tail_fold(struct cl_audit_tail *tail, struct cl_store *store, uint32_t limit, struct cl_err *e)
{
	struct place place;
	char value[16];

	int code = cl_need_transaction(store, e);
	if (!code)
		code = read_place(tail, store, &place, e);
	if (code)
		return code;
	int64_t size = atomic_load_explicit(&tail->size, memory_order_acquire), before = place.offset;
	if (place.offset >= size || !limit)
		return 0;
	int64_t wanted = (int64_t)limit * 512 + RECORD_MAXIMUM + HEAD_SIZE;
	size_t n = (size_t)(size - before < wanted ? size - before : wanted);
	char *bytes = read_part(tail->file, before, n);
	if (!bytes)
		return file_error(e, "cannot read", tail->path);
	code = fold_records(store, bytes, n, limit, &place, e);
	free(bytes);
	if (!code && place.offset == before)
		code = cl_fail(e, CL_E_CORRUPT, "%s is damaged at byte %lld", tail->path, (long long)before);
	if (code)
		return code;
	memcpy(value, &place.nonce, 8);
	memcpy(value + 8, &place.offset, 8);
	return cl_store_meta_set(store, PLACE, (struct cl_str){value, sizeof(value)}, e);
}

/* A new file takes the name of the old one at once; until then nothing has happened. */
static int replace_file(struct cl_audit_tail *tail, struct cl_err *e)
{
	struct cl_audit_tail fresh = {.folder = tail->folder};
	if (asprintf(&fresh.path, "%s.new", tail->path) < 0)
		cl_die("no memory for the audit tail");
	fresh.file = open(fresh.path, O_RDWR | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
	int code = fresh.file < 0 ? file_error(e, "cannot open", fresh.path) : begin_session(&fresh, e);
	if (!code && (rename(fresh.path, tail->path) != 0 || sync_folder(tail->folder) != 0))
		code = file_error(e, "cannot rename", fresh.path);
	free(fresh.path);
	if (code) {
		if (fresh.file >= 0)
			close(fresh.file);
		free(fresh.sessions);
		return code;
	}
	close(tail->file);
	free(tail->sessions);
	tail->file = fresh.file;
	tail->sessions = fresh.sessions;
	tail->session_count = fresh.session_count;
	tail->session_capacity = fresh.session_capacity;
	tail->broken = false;
	atomic_store(&tail->folded, 0);
	atomic_store(&tail->size, atomic_load(&fresh.size));
	return 0;
}

int cl_audit_tail_folded(struct cl_audit_tail *tail, struct cl_store *store, struct cl_err *e)
{
	struct place place;
	int code = read_place(tail, store, &place, e);
	if (code)
		return code;
	atomic_store(&tail->folded, place.offset);
	if (place.offset < LARGE)
		return 0;
	pthread_mutex_lock(&tail->lock);
	if (atomic_load(&tail->size) == place.offset)
		code = replace_file(tail, e);
	pthread_mutex_unlock(&tail->lock);
	return code;
}

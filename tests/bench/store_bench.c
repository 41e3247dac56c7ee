/* store_bench.c: how fast the store creates, next to bare SQLite inserting the same rows, and how long searches take over
 * many Observations. Use: store_bench [create|search|all] [folder] [observations in thousands]. Prints figures, asserts
 * nothing: read the ratios, not the absolute numbers.
 *   store_bench rows FILE GROUP COUNT FOLDER [all]
 * inserts the rows of FILE's first COUNT resources (its versions and index values; `all`: also their events, answers and audit
 * leaves) into an empty file in FOLDER by bare SQLite, GROUP resources a transaction; prints resources a second and the CPU
 * time of one in microseconds. */
#include "base/clock.h"
#include "org/store/audit.h"
#include "org/store/internal.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { T_PATIENT = 1, T_OBSERVATION, T_CARE_TEAM, T_TASK, T_END };
enum {
	P_FAMILY = 1,
	P_GIVEN,
	P_NAME,
	P_BIRTH,
	P_IDENTIFIER,
	P_GENDER,
	P_ADDRESS,
	P_PHONE,
	P_ACTIVE,
	P_ORGANIZATION,
	P_TAG,
	P_SUBJECT = 20,
	P_PATIENT,
	P_CODE,
	P_DATE,
	P_VALUE,
	P_STATUS,
	P_CATEGORY,
	P_ENCOUNTER,
	P_COMBO,
	P_PARTICIPANT = 40,
	P_TEAM_PATIENT,
	P_TEAM_STATUS
};

#define GROUP 32
#define VALUES 40

static struct cl_err failure;

static void must(int code, const char *what)
{
	if (code) {
		fprintf(stderr, "%s: %d %s\n", what, code, failure.message);
		exit(1);
	}
}

static uint64_t dice_state = 1;
static uint32_t dice(uint32_t n)
{
	uint64_t z = (dice_state += 0x9E3779B97F4A7C15u);
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
	z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
	return (uint32_t)(((z ^ (z >> 31)) >> 32) * n >> 32);
}

/* ---- resources ---- */

struct made {
	struct cl_version version;
	struct cl_index index;
	struct cl_index_value values[VALUES];
	char texts[VALUES][64];
	char id[32];
	char body[1700];
};

static struct cl_index_value *value(struct made *m, uint8_t kind, uint16_t parameter)
{
	struct cl_index_value *v = &m->values[m->index.count++];
	*v = (struct cl_index_value){.kind = kind, .parameter = parameter};
	return v;
}

static struct cl_str text(struct made *m, const char *format, unsigned number)
{
	char *place = m->texts[m->index.count - 1];
	int n = snprintf(place, sizeof(m->texts[0]), format, number);
	return (struct cl_str){place, (size_t)n};
}

static void token(struct made *m, uint16_t parameter, const char *system, const char *format, unsigned number)
{
	struct cl_index_value *v = value(m, CL_INDEX_TOKEN, parameter);
	v->a = cl_str_of(system);
	v->b = text(m, format, number);
}

static void string(struct made *m, uint16_t parameter, const char *format, unsigned number)
{
	struct cl_index_value *v = value(m, CL_INDEX_STRING, parameter);
	v->a = text(m, format, number);
}

static void reference(struct made *m, uint16_t parameter, const char *type, const char *format, unsigned number)
{
	struct cl_index_value *v = value(m, CL_INDEX_REFERENCE, parameter);
	v->a = cl_str_of(type);
	v->b = text(m, format, number);
}

static void date(struct made *m, uint16_t parameter, int64_t lower, int64_t length)
{
	struct cl_index_value *v = value(m, CL_INDEX_DATE, parameter);
	v->lower = lower;
	v->upper = lower + length;
}

static void compartment(struct made *m, unsigned patient)
{
	struct cl_index_value *v = value(m, CL_INDEX_COMPARTMENT, 0);
	v->b = text(m, "01hz000000000000000p%06u", patient);
}

static void begin(struct made *m, uint16_t type, const char *format, unsigned number, size_t body)
{
	m->index = (struct cl_index){m->values, 0};
	snprintf(m->id, sizeof(m->id), format, number);
	memset(m->body, 'b', body);
	m->version = (struct cl_version){.type = type,
	                                 .id = cl_str_of(m->id),
	                                 .operation = CL_OP_CREATE,
	                                 .updated = (cl_instant)number * CL_SECOND,
	                                 .sequence = number + 1,
	                                 .body = {m->body, body}};
}

/* As a Patient of 1,676 bytes is indexed: 20 values. */
static void make_patient(struct made *m, unsigned number)
{
	begin(m, T_PATIENT, "01hz000000000000000p%06u", number, 1676);
	string(m, P_FAMILY, "family%u", dice(20000));
	for (unsigned i = 0; i < 2; i++)
		string(m, P_GIVEN, "given%u", dice(2000));
	for (unsigned i = 0; i < 3; i++)
		string(m, P_NAME, "name%u", dice(20000));
	for (unsigned i = 0; i < 4; i++)
		string(m, P_ADDRESS, "some street %u", dice(100000));
	date(m, P_BIRTH, (int64_t)dice(36000) * CL_DAY, CL_DAY);
	token(m, P_IDENTIFIER, "http://hospital.example/mrn", "mrn-%08u", number);
	token(m, P_IDENTIFIER, "http://hl7.org/fhir/sid/us-ssn", "%09u", dice(999999999));
	token(m, P_GENDER, "http://hl7.org/fhir/administrative-gender", dice(2) ? "female%.0u" : "male%.0u", 0);
	token(m, P_PHONE, "phone", "555-%07u", dice(9999999));
	token(m, P_PHONE, "email", "p%u@example.org", dice(9999999));
	token(m, P_ACTIVE, "http://hl7.org/fhir/special-values", "true%.0u", 0);
	reference(m, P_ORGANIZATION, "Organization", "org%u", dice(50));
	compartment(m, number);
	cl_index_normalize(&m->index);
}

/* As an Observation of 420 bytes is indexed: 13 values. */
static void make_observation(struct made *m, unsigned number, unsigned patients)
{
	unsigned patient = dice(patients), code = dice(30);
	begin(m, T_OBSERVATION, "01hz00000000000000%08u", number, 420);
	reference(m, P_SUBJECT, "Patient", "01hz000000000000000p%06u", patient);
	reference(m, P_PATIENT, "Patient", "01hz000000000000000p%06u", patient);
	reference(m, P_ENCOUNTER, "Encounter", "01hz000000000000000e%06u", dice(patients * 4));
	token(m, P_CODE, "http://loinc.org", "%u-1", 8000 + code);
	token(m, P_COMBO, "http://loinc.org", "%u-1", 8000 + code);
	token(m, P_STATUS, "http://hl7.org/fhir/observation-status", "final%.0u", 0);
	token(m, P_CATEGORY, "http://terminology.hl7.org/CodeSystem/observation-category", "vital-signs%.0u", 0);
	date(m, P_DATE, (int64_t)dice(3650u * 86400u) * CL_SECOND, CL_SECOND);
	struct cl_index_value *v = value(m, CL_INDEX_QUANTITY, P_VALUE);
	v->a = CL_STR("http://unitsofmeasure.org");
	v->b = CL_STR("mm[Hg]");
	v->low = dice(2000) / 10.0;
	v->high = v->low + 0.1;
	compartment(m, patient);
	cl_index_normalize(&m->index);
}

/* ---- files ---- */

static struct cl_store *open_store(const char *folder, const char *name)
{
	static const struct cl_str names[T_END] = {[T_PATIENT] = {"Patient", 7},
	                                           [T_OBSERVATION] = {"Observation", 11},
	                                           [T_CARE_TEAM] = {"CareTeam", 8},
	                                           [T_TASK] = {"Task", 4}};
	struct cl_store *store;
	must(cl_store_open(folder, name, CL_STORE_WRITER, &store, &failure), "open");
	must(cl_store_name_types(store, names, T_END, &failure), "types");
	return store;
}

static void remove_store(const char *folder, const char *name)
{
	static const char *const suffixes[] = {".db", ".db-wal", ".db-shm", ".lock", ".ballast"};
	char path[400];
	for (size_t i = 0; i < 5; i++) {
		snprintf(path, sizeof(path), "%s/%s%s", folder, name, suffixes[i]);
		unlink(path);
	}
}

/* ---- creating ---- */

typedef void (*maker)(struct made *m, unsigned number);
static unsigned bench_patients = 10000;
static void observation_maker(struct made *m, unsigned number)
{
	make_observation(m, number, bench_patients);
}

static double create_by_store(const char *folder, maker make, unsigned count, unsigned group, bool whole)
{
	static const struct cl_index none;
	struct cl_store *store = open_store(folder, "bench");
	struct made *made = malloc(sizeof(*made));
	int64_t spent = 0;

	dice_state = 1;
	for (unsigned i = 0; i < count;) {
		/* Making the resource is not the store's work. */
		int64_t start = cl_monotonic();
		must(cl_store_begin(store, &failure), "begin");
		spent += cl_monotonic() - start;
		for (unsigned end = i + group; i < end; i++) {
			make(made, i);
			start = cl_monotonic();
			must(cl_store_savepoint(store, &failure), "savepoint");
			must(cl_store_put(store, &made->version, &none, &made->index, &failure), "put");
			if (whole) {
				struct cl_stored_event input = {
				        .kind = CL_STR("request"),
				        .actor = CL_STR("Practitioner/x"),
				        .key = CL_STR("0123456789abcdef"),
				        .detail = CL_STR("{\"method\":\"POST\",\"target\":\"/fhir/Patient\"}"),
				        .plugins = CL_STR("0123456789abcdef0123456789abcdef"),
				        .zone_data = CL_STR("2024a")};
				must(cl_store_event_append(store, &input, &failure), "event");
				struct cl_stored_event change = input;
				change.kind = CL_STR("create");
				change.cause = input.sequence;
				change.type = made->version.type;
				change.id = made->version.id;
				change.detail = CL_STR_NONE;
				must(cl_store_event_append(store, &change, &failure), "event");
				char key[16] = {0};
				memcpy(key, &i, 4);
				struct cl_stored_answer answer = {.key = {key, 16},
				                                  .status = 201,
				                                  .headers = CL_STR("location: x\n"),
				                                  .type = made->version.type,
				                                  .id = made->version.id,
				                                  .version = 1};
				must(cl_store_answer_put(store, &answer, &failure), "answer");
				struct cl_audit_record record = {.principal = CL_STR("Practitioner/x"),
				                                 .action = CL_STR("create"),
				                                 .target = made->version.id,
				                                 .rule = CL_STR("clinician#1"),
				                                 .outcome = CL_STR("ok"),
				                                 .request = CL_STR("0123456789abcdef")};
				must(cl_audit_append(store, &record, &failure), "audit");
			}
			must(cl_store_release(store, &failure), "release");
			spent += cl_monotonic() - start;
		}
		start = cl_monotonic();
		must(cl_store_commit(store, &failure), "commit");
		if (cl_store_wal_size(store) > 16 << 20)
			must(cl_store_checkpoint(store, true, &failure), "checkpoint");
		spent += cl_monotonic() - start;
	}
	free(made);
	cl_store_close(store);
	remove_store(folder, "bench");
	return count * 1e6 / (double)spent;
}

enum { RAW_RESOURCE, RAW_LIVE, RAW_TOKEN, RAW_STRING, RAW_DATE, RAW_REFERENCE, RAW_QUANTITY, RAW_COMPARTMENT, RAW_END };

static void raw_value(sqlite3_stmt **raw, const struct cl_index_value *v, int64_t row)
{
	static const int place[] = {[CL_INDEX_TOKEN] = RAW_TOKEN,       [CL_INDEX_STRING] = RAW_STRING,
	                            [CL_INDEX_DATE] = RAW_DATE,         [CL_INDEX_REFERENCE] = RAW_REFERENCE,
	                            [CL_INDEX_QUANTITY] = RAW_QUANTITY, [CL_INDEX_COMPARTMENT] = RAW_COMPARTMENT};
	sqlite3_stmt *s = raw[place[v->kind]];
	if (v->kind == CL_INDEX_COMPARTMENT) {
		sqlite3_bind_text(s, 1, v->b.p, (int)v->b.n, SQLITE_STATIC);
		sqlite3_bind_int64(s, 2, row);
	} else {
		sqlite3_bind_int(s, 1, v->parameter);
		if (v->kind == CL_INDEX_STRING) {
			sqlite3_bind_text(s, 2, v->a.p, (int)v->a.n, SQLITE_STATIC);
			sqlite3_bind_int64(s, 3, row);
		} else if (v->kind == CL_INDEX_DATE) {
			sqlite3_bind_int64(s, 2, v->lower);
			sqlite3_bind_int64(s, 3, v->upper);
			sqlite3_bind_int64(s, 4, row);
		} else if (v->kind == CL_INDEX_QUANTITY) {
			sqlite3_bind_double(s, 2, v->low);
			sqlite3_bind_double(s, 3, v->high);
			sqlite3_bind_text(s, 4, v->b.p, (int)v->b.n, SQLITE_STATIC);
			sqlite3_bind_int64(s, 5, 1);
			sqlite3_bind_int64(s, 6, row);
		} else {
			sqlite3_bind_text(s, 2, v->b.p, (int)v->b.n, SQLITE_STATIC);
			sqlite3_bind_int64(s, 3, v->kind == CL_INDEX_TOKEN ? 2 : 3);
			sqlite3_bind_int64(s, 4, row);
		}
	}
	sqlite3_step(s);
	must(sqlite3_reset(s), "raw value");
}

/* The same rows by prepared statements and nothing else. */
static double create_by_sqlite(const char *folder, maker make, unsigned count, unsigned group)
{
	static const char *const texts[RAW_END] = {"INSERT INTO resource VALUES(?1, ?2, ?3, 1, 1, ?4, ?5, ?6)",
	                                           "INSERT INTO live VALUES(?1, ?2, ?3, 0, ?4)",
	                                           "INSERT INTO index_token VALUES(?1, ?2, ?3, ?4)",
	                                           "INSERT INTO index_string VALUES(?1, ?2, ?3)",
	                                           "INSERT INTO index_date VALUES(?1, ?2, ?3, ?4)",
	                                           "INSERT INTO index_reference VALUES(?1, ?2, ?3, ?4)",
	                                           "INSERT INTO index_quantity VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
	                                           "INSERT INTO compartment VALUES(?1, ?2)"};
	sqlite3_stmt *raw[RAW_END], *begin_group, *end_group;
	sqlite3 *db;
	char path[400];
	struct made *made = malloc(sizeof(*made));
	int64_t spent = 0;

	cl_store_close(open_store(folder, "raw"));
	snprintf(path, sizeof(path), "%s/raw.db", folder);
	must(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL), "raw open");
	sqlite3_exec(db, "PRAGMA synchronous=FULL; PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=0", NULL, NULL,
	             NULL);
	for (int i = 0; i < RAW_END; i++)
		must(sqlite3_prepare_v3(db, texts[i], -1, SQLITE_PREPARE_PERSISTENT, &raw[i], NULL), texts[i]);
	must(sqlite3_prepare_v3(db, "BEGIN IMMEDIATE", -1, SQLITE_PREPARE_PERSISTENT, &begin_group, NULL), "begin");
	must(sqlite3_prepare_v3(db, "COMMIT", -1, SQLITE_PREPARE_PERSISTENT, &end_group, NULL), "commit");
	/* The encoded values, near enough in length. */
	static char content[600];
	dice_state = 1;
	for (unsigned i = 0; i < count;) {
		int64_t start = cl_monotonic();
		sqlite3_step(begin_group);
		must(sqlite3_reset(begin_group), "raw begin");
		spent += cl_monotonic() - start;
		for (unsigned end = i + group; i < end; i++) {
			make(made, i);
			size_t n = 0;
			for (size_t v = 0; v < made->index.count; v++)
				n += made->values[v].kind == CL_INDEX_DATE ? 18
				     : made->values[v].kind == CL_INDEX_QUANTITY
				             ? 26
				             : 5 + (made->values[v].kind == CL_INDEX_STRING ? made->values[v].a.n
				                                                            : made->values[v].b.n);
			start = cl_monotonic();
			int64_t row = cl_row_first(made->version.type) + i + 1;
			sqlite3_stmt *s = raw[RAW_RESOURCE];
			sqlite3_bind_int64(s, 1, row);
			sqlite3_bind_int(s, 2, made->version.type);
			sqlite3_bind_text(s, 3, made->version.id.p, (int)made->version.id.n, SQLITE_STATIC);
			sqlite3_bind_int64(s, 4, made->version.updated);
			sqlite3_bind_int64(s, 5, (int64_t)made->version.sequence);
			sqlite3_bind_text(s, 6, made->version.body.p, (int)made->version.body.n, SQLITE_STATIC);
			sqlite3_step(s);
			must(sqlite3_reset(s), "raw resource");
			s = raw[RAW_LIVE];
			sqlite3_bind_int64(s, 1, row);
			sqlite3_bind_int(s, 2, made->version.type);
			sqlite3_bind_int64(s, 3, made->version.updated);
			sqlite3_bind_blob(s, 4, content, (int)n, SQLITE_STATIC);
			sqlite3_step(s);
			must(sqlite3_reset(s), "raw live");
			for (size_t v = 0; v < made->index.count; v++)
				raw_value(raw, &made->values[v], row);
			spent += cl_monotonic() - start;
		}
		start = cl_monotonic();
		sqlite3_step(end_group);
		must(sqlite3_reset(end_group), "raw commit");
		int frames, copied;
		snprintf(path, sizeof(path), "%s/raw.db-wal", folder);
		if (i % (64 * group) == 0) {
			/* As often as the store does: look at how large the log is. */
			struct stat status;
			if (stat(path, &status) == 0 && status.st_size > 16 << 20)
				sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, &frames, &copied);
		}
		spent += cl_monotonic() - start;
	}
	free(made);
	for (int i = 0; i < RAW_END; i++)
		sqlite3_finalize(raw[i]);
	sqlite3_finalize(begin_group);
	sqlite3_finalize(end_group);
	sqlite3_close(db);
	remove_store(folder, "raw");
	return count * 1e6 / (double)spent;
}

/* ---- the rows of a file that a server made, by bare SQLite ---- */

/* One row of one table: its columns' kinds and bytes lie in `bytes` from `at`. */
struct raw_row {
	size_t at;
	int64_t resource; /* the how manieth resource it belongs to */
	int table;
};

static const struct {
	const char *name, *order;
	bool by_row; /* belongs to the resource with its number `row`; others are spread evenly */
	int columns;
} raw_tables[] = {
        {"resource", "row", true, 8},     {"live", "row", true, 5},           {"index_token", "row", true, 4},
        {"index_string", "row", true, 3}, {"index_date", "row", true, 4},     {"index_reference", "row", true, 4},
        {"index_number", "row", true, 4}, {"index_quantity", "row", true, 6}, {"index_uri", "row", true, 3},
        {"compartment", "row", true, 2},  {"event", "sequence", false, 14},   {"request", "number", false, 10},
        {"audit", "leaf", false, 9}};
#define RAW_TABLES ((int)(sizeof(raw_tables) / sizeof(raw_tables[0])))
#define RAW_OWN 10 /* those before `event` */

static struct cl_buf raw_bytes;

static void raw_keep(sqlite3_stmt *s, int column)
{
	int64_t number = sqlite3_column_int64(s, column);
	double real = sqlite3_column_double(s, column);
	char kind = (char)sqlite3_column_type(s, column);
	cl_buf_add_byte(&raw_bytes, kind);
	if (kind == SQLITE_INTEGER) {
		cl_buf_add(&raw_bytes, &number, 8);
	} else if (kind == SQLITE_FLOAT) {
		cl_buf_add(&raw_bytes, &real, 8);
	} else {
		const void *p = sqlite3_column_blob(s, column);
		number = sqlite3_column_bytes(s, column);
		cl_buf_add(&raw_bytes, &number, 8);
		cl_buf_add(&raw_bytes, p, (size_t)number);
	}
}

static void raw_bind(sqlite3_stmt *s, const char *p, int columns)
{
	for (int c = 1; c <= columns; c++) {
		char kind = *p;
		int64_t number;
		double real;
		memcpy(&number, p + 1, 8);
		memcpy(&real, p + 1, 8);
		p += 9;
		if (kind == SQLITE_INTEGER) {
			sqlite3_bind_int64(s, c, number);
		} else if (kind == SQLITE_FLOAT) {
			sqlite3_bind_double(s, c, real);
		} else {
			if (kind == SQLITE_TEXT)
				sqlite3_bind_text(s, c, p, (int)number, SQLITE_STATIC);
			else
				sqlite3_bind_blob(s, c, number ? p : "", (int)number, SQLITE_STATIC);
			p += number;
		}
	}
}

static int by_resource(const void *x, const void *y)
{
	const struct raw_row *a = x, *b = y;
	if (a->resource != b->resource)
		return a->resource < b->resource ? -1 : 1;
	return a->at < b->at ? -1 : a->at > b->at;
}

static struct raw_row *raw_load(const char *file, int tables, unsigned count, size_t *row_count)
{
	sqlite3 *db;
	sqlite3_stmt *s;
	char text[200];
	size_t rows = 0, room = 1024;
	struct raw_row *all = malloc(room * sizeof(*all));
	must(sqlite3_open_v2(file, &db, SQLITE_OPEN_READONLY, NULL), file);
	cl_buf_init(&raw_bytes, 0);
	for (int t = 0; t < tables; t++) {
		snprintf(text, sizeof(text),
		         raw_tables[t].by_row ? "SELECT *, row FROM %s ORDER BY row"
		                              : "SELECT *, 0 FROM %s ORDER BY %s LIMIT %u",
		         raw_tables[t].name, raw_tables[t].order, t == RAW_OWN ? 2 * count : count);
		must(sqlite3_prepare_v2(db, text, -1, &s, NULL), text);
		for (int64_t n = 0; sqlite3_step(s) == SQLITE_ROW; n++) {
			int64_t row = sqlite3_column_int64(s, raw_tables[t].columns) & 0xffffffff;
			if (raw_tables[t].by_row && row > count)
				break;
			if (rows == room)
				all = realloc(all, (room *= 2) * sizeof(*all));
			/* A request's input and its change are two events. */
			all[rows++] = (struct raw_row){raw_bytes.n,
			                               raw_tables[t].by_row ? row
			                               : t == RAW_OWN       ? n / 2 + 1
			                                                    : n + 1,
			                               t};
			for (int c = 0; c < raw_tables[t].columns; c++)
				raw_keep(s, c);
		}
		sqlite3_finalize(s);
	}
	sqlite3_close(db);
	qsort(all, rows, sizeof(*all), by_resource);
	*row_count = rows;
	return all;
}

static int64_t cpu_time(void)
{
	struct timespec time;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
	return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static double insert_rows(const char *file, unsigned group, unsigned count, const char *folder, bool whole,
                          double *cost)
{
	int tables = whole ? RAW_TABLES : RAW_OWN;
	size_t rows;
	struct raw_row *all = raw_load(file, tables, count, &rows);
	sqlite3 *db;
	sqlite3_stmt *raw[RAW_TABLES];
	char path[400], log[400], text[100];

	remove_store(folder, "raw");
	cl_store_close(open_store(folder, "raw"));
	snprintf(path, sizeof(path), "%s/raw.db", folder);
	snprintf(log, sizeof(log), "%s/raw.db-wal", folder);
	must(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL), "raw open");
	sqlite3_exec(db, "PRAGMA synchronous=FULL; PRAGMA cache_size=-65536; PRAGMA wal_autocheckpoint=0", NULL, NULL,
	             NULL);
	for (int t = 0; t < tables; t++) {
		int n = snprintf(text, sizeof(text), "INSERT INTO %s VALUES(?", raw_tables[t].name);
		for (int c = 1; c < raw_tables[t].columns; c++)
			n += snprintf(text + n, sizeof(text) - (size_t)n, ",?");
		snprintf(text + n, sizeof(text) - (size_t)n, ")");
		must(sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &raw[t], NULL), text);
	}
	int64_t begun = cl_monotonic(), cpu_begun = cpu_time(), done = 0;
	for (size_t i = 0; i < rows;) {
		sqlite3_exec(db, "BEGIN IMMEDIATE", NULL, NULL, NULL);
		for (done += group; i < rows && all[i].resource <= done; i++) {
			sqlite3_stmt *s = raw[all[i].table];
			raw_bind(s, raw_bytes.p + all[i].at, raw_tables[all[i].table].columns);
			sqlite3_step(s);
			must(sqlite3_reset(s), raw_tables[all[i].table].name);
		}
		must(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), "raw commit");
		struct stat status;
		if (stat(log, &status) == 0 && status.st_size > 16 << 20)
			sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	}
	int64_t resources = rows ? all[rows - 1].resource : 0;
	double rate = (double)resources * 1e6 / (double)(cl_monotonic() - begun);
	*cost = (double)(cpu_time() - cpu_begun) / (double)resources;
	for (int t = 0; t < tables; t++)
		sqlite3_finalize(raw[t]);
	sqlite3_close(db);
	remove_store(folder, "raw");
	free(all);
	cl_buf_free(&raw_bytes);
	return rate;
}

static int by_size(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;
	return (a > b) - (a < b);
}

static void bench_create(const char *folder)
{
	static const struct {
		const char *name;
		maker make;
		unsigned count, group;
	} runs[] = {{"Patient, groups of 32", make_patient, 16000, 32},
	            {"Observation, groups of 32", observation_maker, 24000, 32},
	            {"Patient, alone", make_patient, 3000, 1},
	            {"Observation, groups of 512", observation_maker, 40960, 512}};
	for (size_t i = 0; i < sizeof(runs) / sizeof(runs[0]); i++) {
		double store[3], raw[3], whole[3], ratio[3];
		for (int repeat = 0; repeat < 3; repeat++) {
			raw[repeat] = create_by_sqlite(folder, runs[i].make, runs[i].count, runs[i].group);
			store[repeat] = create_by_store(folder, runs[i].make, runs[i].count, runs[i].group, false);
			whole[repeat] = create_by_store(folder, runs[i].make, runs[i].count, runs[i].group, true);
			ratio[repeat] = store[repeat] / raw[repeat];
		}
		qsort(store, 3, sizeof(double), by_size);
		qsort(raw, 3, sizeof(double), by_size);
		qsort(whole, 3, sizeof(double), by_size);
		qsort(ratio, 3, sizeof(double), by_size);
		printf("create %-28s sqlite %7.0f/s  store %7.0f/s  ratio %.2f (%.2f-%.2f)  with events, audit, answer "
		       "%7.0f/s\n",
		       runs[i].name, raw[1], store[1], ratio[1], ratio[0], ratio[2], whole[1]);
		fflush(stdout);
	}
}

/* ---- searching ---- */

/* The median of the last search, in ms of CPU time, for compare_raw: both read a file that is in memory. */
static double last_median;

static void time_search(struct cl_store *store, const char *name, struct cl_query *query)
{
	double times[9], cpu[9];
	struct cl_search_result result = {0};
	struct cl_arena *arena = cl_arena_new(0);
	for (int i = 0; i < 9; i++) {
		cl_arena_reset(arena);
		int64_t start = cl_monotonic(), cpu_start = cpu_time();
		must(cl_store_search(store, arena, query, &result, &failure), name);
		times[i] = (double)(cl_monotonic() - start) / 1000;
		cpu[i] = (double)(cpu_time() - cpu_start) / 1000;
	}
	double first = times[0];
	qsort(times, 9, sizeof(double), by_size);
	qsort(cpu, 9, sizeof(double), by_size);
	last_median = cpu[4];
	printf("search %-66s %9.3f ms (first %9.3f, max %9.3f)  %zu rows, total %lld%s\n", name, times[4], first,
	       times[8], result.count, (long long)result.total, result.after.n ? ", more" : "");
	fflush(stdout);
	cl_arena_free(arena);
}

/* Practitioner d0 is in the care teams of 100 patients, d1 in those of a tenth of all. */
static void fill_teams(struct cl_store *store, unsigned patients)
{
	static const struct cl_index none;
	struct made *made = malloc(sizeof(*made));
	must(cl_store_begin(store, &failure), "begin");
	for (unsigned i = 0; i < patients / 10; i++) {
		begin(made, T_CARE_TEAM, "team%u", i, 300);
		reference(made, P_TEAM_PATIENT, "Patient", "01hz000000000000000p%06u", i * 10);
		reference(made, P_PARTICIPANT, "Practitioner", "d%u", 1);
		if (i < 100)
			reference(made, P_PARTICIPANT, "Practitioner", "d%u", 0);
		token(made, P_TEAM_STATUS, "http://hl7.org/fhir/care-team-status", "active%.0u", 0);
		compartment(made, i * 10);
		cl_index_normalize(&made->index);
		must(cl_store_put(store, &made->version, &none, &made->index, &failure), "put");
	}
	must(cl_store_commit(store, &failure), "commit");
	free(made);
}

static void time_reads(struct cl_store *store, const struct cl_criterion *access, unsigned patients)
{
	struct cl_arena *arena = cl_arena_new(0);
	unsigned count = 200000, allowed = 0;
	int64_t start = cl_monotonic();
	for (unsigned i = 0; i < count; i++) {
		char id[32];
		struct cl_version version;
		snprintf(id, sizeof(id), "01hz000000000000000p%06u", dice(patients));
		must(cl_store_get(store, arena, T_PATIENT, cl_str_of(id), &version, &failure), "get");
		cl_arena_reset(arena);
	}
	double get = (double)(cl_monotonic() - start) / count;
	start = cl_monotonic();
	for (unsigned i = 0; i < count; i++) {
		bool may;
		must(cl_store_matches(store, cl_row_first(T_PATIENT) + 1 + dice(patients), access, &may, &failure),
		     "matches");
		allowed += may;
	}
	printf("read by id %.2f us; access by care team %.2f us (%u of %u allowed)\n", get,
	       (double)(cl_monotonic() - start) / count, allowed, count);
	cl_arena_free(arena);
}

static void fill(struct cl_store *store, unsigned patients, unsigned observations)
{
	static const struct cl_index none;
	struct made *made = malloc(sizeof(*made));
	unsigned total = patients + observations;
	dice_state = 1;
	for (unsigned i = 0; i < total;) {
		must(cl_store_begin(store, &failure), "begin");
		for (unsigned end = i + 1000 < total ? i + 1000 : total; i < end; i++) {
			if (i < patients)
				make_patient(made, i);
			else
				make_observation(made, i - patients, patients);
			must(cl_store_put(store, &made->version, &none, &made->index, &failure), "put");
		}
		must(cl_store_commit(store, &failure), "commit");
		if (cl_store_wal_size(store) > 64 << 20)
			must(cl_store_checkpoint(store, true, &failure), "checkpoint");
	}
	must(cl_store_checkpoint(store, true, &failure), "checkpoint");
	free(made);
}

/* The same page by one statement over the same tables, written by hand: what the last search is compared with. */
static void compare_raw(const char *folder, const char *name, const char *text)
{
	sqlite3 *db;
	sqlite3_stmt *statement;
	double times[9];
	size_t rows = 0;
	char path[512];
	snprintf(path, sizeof(path), "%s/search.db", folder);
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL) != SQLITE_OK ||
	    sqlite3_exec(db, "PRAGMA mmap_size=0; PRAGMA cache_size=-16384", NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK) {
		printf("raw    %s: %s\n", name, sqlite3_errmsg(db));
		sqlite3_close(db);
		return;
	}
	for (int i = 0; i < 9; i++) {
		int64_t start = cpu_time();
		for (rows = 0; sqlite3_step(statement) == SQLITE_ROW; rows++)
			sqlite3_column_bytes(statement, 1);
		sqlite3_reset(statement);
		times[i] = (double)(cpu_time() - start) / 1000;
	}
	qsort(times, 9, sizeof(double), by_size);
	printf("raw    %-66s %9.3f ms of CPU, %zu rows; ours %.3f, over it: %.2f\n", name, times[4], rows, last_median,
	       last_median / times[4]);
	fflush(stdout);
	sqlite3_finalize(statement);
	sqlite3_close(db);
}

#define RAW_TOKEN(alias, p, system, code)                                                                              \
	alias ".parameter = " p " AND " alias ".code = '" code "' AND " alias                                          \
	      ".system = (SELECT number FROM symbol WHERE text = '" system "')"

#define TOKEN(p, system, code)                                                                                         \
	{                                                                                                              \
		.kind = CL_TOKEN, .match = CL_MATCH_SYSTEM_CODE, .parameter = p, .a = CL_STR(system),                  \
		.b = CL_STR(code)                                                                                      \
	}
#define CODE(p, code)                                                                                                  \
	{                                                                                                              \
		.kind = CL_TOKEN, .match = CL_MATCH_CODE, .parameter = p, .b = CL_STR(code)                            \
	}

static void bench_search(const char *folder, unsigned observations)
{
	unsigned patients = observations / 20;
	struct cl_store *store = open_store(folder, "search");
	int64_t start = cl_monotonic();
	int64_t have = 0;
	struct cl_query all = {.type = T_OBSERVATION, .want_total = true};
	struct cl_search_result result;
	struct cl_arena *arena = cl_arena_new(0);
	must(cl_store_search(store, arena, &all, &result, &failure), "count");
	have = result.total;
	if (have == 0)
		fill(store, patients, observations);
	all.type = T_CARE_TEAM;
	must(cl_store_search(store, arena, &all, &result, &failure), "count");
	if (result.total == 0)
		fill_teams(store, patients);
	printf("filled %u patients, %u observations in %.1f s\n", patients, observations,
	       (double)(cl_monotonic() - start) / 1e6);
	cl_store_close(store);
	/* Searches run on readers. */
	store = NULL;
	struct cl_store *writer = open_store(folder, "search");
	must(cl_store_open(folder, "search", CL_STORE_READER, &store, &failure), "reader");

	struct cl_sort by_date[] = {{.parameter = P_DATE, .kind = CL_INDEX_DATE, .descending = true}};
	struct cl_sort by_date_up[] = {{.parameter = P_DATE, .kind = CL_INDEX_DATE}};
	struct cl_sort by_updated[] = {{.descending = true}};
	struct cl_sort by_name[] = {{.parameter = P_FAMILY, .kind = CL_INDEX_STRING}};
	struct cl_criterion name_birth[] = {
	        {.kind = CL_STRING, .match = CL_MATCH_PREFIX, .parameter = P_NAME, .a = CL_STR("name12")},
	        {.kind = CL_DATE,
	         .relation = CL_EQ,
	         .parameter = P_BIRTH,
	         .lower = 9000 * CL_DAY,
	         .upper = 9001 * CL_DAY}};
	struct cl_criterion patient_code_date[] = {{.kind = CL_REFERENCE,
	                                            .parameter = P_PATIENT,
	                                            .a = CL_STR("Patient"),
	                                            .b = CL_STR("01hz000000000000000p000123")},
	                                           TOKEN(P_CODE, "http://loinc.org", "8005-1"),
	                                           {.kind = CL_DATE,
	                                            .relation = CL_GE,
	                                            .parameter = P_DATE,
	                                            .lower = 1000 * CL_DAY,
	                                            .upper = 1001 * CL_DAY}};
	struct cl_criterion code_date[] = {CODE(P_CODE, "8005-1"), patient_code_date[2]};
	struct cl_criterion common[] = {TOKEN(P_STATUS, "http://hl7.org/fhir/observation-status", "final"),
	                                TOKEN(P_CODE, "http://loinc.org", "8005-1")};
	struct cl_criterion last_week = {.kind = CL_DATE,
	                                 .relation = CL_GT,
	                                 .parameter = P_DATE,
	                                 .lower = 3643 * CL_DAY,
	                                 .upper = 3644 * CL_DAY};
	struct cl_criterion updated = {.kind = CL_UPDATED,
	                               .relation = CL_GE,
	                               .lower = (cl_instant)(observations - 500) * CL_SECOND,
	                               .upper = (cl_instant)(observations - 500) * CL_SECOND + 1};
	struct cl_criterion chained[] = {
	        {.kind = CL_TOKEN, .match = CL_MATCH_CODE, .parameter = P_IDENTIFIER, .b = CL_STR("mrn-00000123")}};
	struct cl_criterion chain = {
	        .kind = CL_CHAIN, .parameter = P_PATIENT, .type = T_PATIENT, .children = chained, .child_count = 1};
	struct cl_criterion has_child[] = {TOKEN(P_CODE, "http://loinc.org", "8005-1")};
	struct cl_criterion has_rare[] = {{.kind = CL_QUANTITY,
	                                   .relation = CL_GT,
	                                   .parameter = P_VALUE,
	                                   .low = 199.8,
	                                   .high = 199.8,
	                                   .b = CL_STR("mm[Hg]")}};
	struct cl_criterion has = {.kind = CL_REVERSE,
	                           .parameter = P_PATIENT,
	                           .type = T_OBSERVATION,
	                           .children = has_child,
	                           .child_count = 1};
	struct cl_criterion has_value = {.kind = CL_REVERSE,
	                                 .parameter = P_PATIENT,
	                                 .type = T_OBSERVATION,
	                                 .children = has_rare,
	                                 .child_count = 1};
	struct cl_criterion not_code = {.kind = CL_NOT, .children = has_child, .child_count = 1};
	struct cl_criterion contains = {
	        .kind = CL_STRING, .match = CL_MATCH_CONTAINS, .parameter = P_FAMILY, .a = CL_STR("y1234")};
	struct cl_criterion missing_children[] = {{.kind = CL_PRESENT, .parameter = P_VALUE}};
	struct cl_criterion missing = {.kind = CL_NOT, .children = missing_children, .child_count = 1};
	struct cl_criterion in_compartment = {.kind = CL_COMPARTMENT, .b = CL_STR("01hz000000000000000p000123")};
	struct cl_str few_member = CL_STR("Practitioner/d0"), many_member = CL_STR("Practitioner/d1");
	struct cl_criterion few_teams = {.kind = CL_CARE_TEAM,
	                                 .parameter = P_PARTICIPANT,
	                                 .other = P_TEAM_PATIENT,
	                                 .status = P_TEAM_STATUS,
	                                 .members = &few_member,
	                                 .member_count = 1};
	struct cl_criterion many_teams = few_teams;
	many_teams.members = &many_member;
	struct cl_criterion few_code[] = {few_teams, TOKEN(P_CODE, "http://loinc.org", "8005-1")};
	struct cl_criterion many_code[] = {many_teams, few_code[1]};
#define ALL(list)                                                                                                      \
	&(struct cl_criterion)                                                                                         \
	{                                                                                                              \
		.kind = CL_AND, .children = list, .child_count = sizeof(list) / sizeof(list[0])                        \
	}
#define TIME(label, t, w, s, total)                                                                                    \
	time_search(store, label,                                                                                      \
	            &(struct cl_query){.type = t,                                                                      \
	                               .where = w,                                                                     \
	                               .sorts = s,                                                                     \
	                               .sort_count = (s) != NULL,                                                      \
	                               .limit = 50,                                                                    \
	                               .want_total = total,                                                            \
	                               .bodies = true})
	struct cl_sort *const none = NULL;
	TIME("Patient?name=..&birthdate=..", T_PATIENT, ALL(name_birth), none, false);
	compare_raw(folder, "the same by hand",
	            "SELECT r.row, r.body FROM index_date d JOIN resource r ON r.row = d.row WHERE d.parameter = 4"
	            " AND d.lower >= 9000 * 86400000000 AND d.upper <= 9001 * 86400000000 AND EXISTS (SELECT 1 FROM"
	            " index_string s WHERE s.parameter = 3 AND s.folded >= 'name12' AND s.folded < 'name13' AND s.row ="
	            " d.row) ORDER BY r.row LIMIT 51");
	TIME("Patient?name=.. (prefix, 6 %), sorted by family", T_PATIENT, &name_birth[0], by_name, false);
	TIME("Patient?family:contains=..", T_PATIENT, &contains, none, false);
	TIME("Patient?_sort=family", T_PATIENT, NULL, by_name, false);
	TIME("Observation?patient&code&date=ge..&_sort=-date", T_OBSERVATION, ALL(patient_code_date), by_date, false);
	compare_raw(
	        folder, "the same by hand",
	        "SELECT r.row, r.body, d.lower FROM index_reference p CROSS JOIN index_token t CROSS JOIN index_date d"
	        " CROSS JOIN resource r WHERE p.parameter = 21 AND p.target = '01hz000000000000000p000123' AND"
	        " p.target_type = (SELECT number FROM symbol WHERE text = 'Patient') AND " RAW_TOKEN(
	                "t", "22", "http://loinc.org", "8005-1") " AND t.row = p.row AND d.parameter = 23 AND"
	                                                         " d.row = p.row AND d.upper > 1000 * 86400000000 AND"
	                                                         " r.row = p.row ORDER BY d.lower DESC LIMIT 51");
	TIME("Observation?patient&code&date=ge..&_sort=-date, total", T_OBSERVATION, ALL(patient_code_date), by_date,
	     true);
	TIME("Observation?code&date=ge..&_sort=-date", T_OBSERVATION, ALL(code_date), by_date, false);
	compare_raw(folder, "the same by hand",
	            "SELECT r.row, r.body FROM index_date d CROSS JOIN index_token t CROSS JOIN resource r WHERE"
	            " d.parameter = 23 AND d.lower >= 1000 * 86400000000 AND " RAW_TOKEN(
	                    "t", "22", "http://loinc.org",
	                    "8005-1") " AND t.row = d.row AND r.row = d.row ORDER BY d.lower DESC LIMIT 51");
	TIME("Observation?code&date=ge..&_sort=date", T_OBSERVATION, ALL(code_date), by_date_up, false);
	TIME("Observation?code&date=ge..&_sort=-date, total", T_OBSERVATION, ALL(code_date), by_date, true);
	TIME("Observation?status=final&code", T_OBSERVATION, ALL(common), none, false);
	compare_raw(folder, "the same by hand",
	            "SELECT r.row, r.body FROM index_token t CROSS JOIN index_token s CROSS JOIN resource r "
	            "WHERE " RAW_TOKEN("t", "22", "http://loinc.org",
	                               "8005-1") " AND " RAW_TOKEN("s", "25",
	                                                           "http://hl7.org/fhir/"
	                                                           "observation-status",
	                                                           "final") " AND s.row = t.row AND"
	                                                                    " r.row = t.row ORDER BY"
	                                                                    " r.row LIMIT 51");
	TIME("Observation?status=final&code, total", T_OBSERVATION, ALL(common), none, true);
	TIME("Observation?status=final, total", T_OBSERVATION, &common[0], none, true);
	TIME("Observation?date=gt(last week)", T_OBSERVATION, &last_week, none, false);
	TIME("Observation?date=gt(last week), total", T_OBSERVATION, &last_week, none, true);
	TIME("Observation?_sort=-_lastUpdated", T_OBSERVATION, NULL, by_updated, false);
	compare_raw(folder, "the same by hand",
	            "SELECT r.row, r.body FROM live l CROSS JOIN resource r WHERE l.type = 2 AND r.row = l.row ORDER BY"
	            " l.updated DESC, l.row DESC LIMIT 51");
	TIME("Observation?_lastUpdated=ge..&_sort=-_lastUpdated", T_OBSERVATION, &updated, by_updated, false);
	TIME("Observation (no criterion)", T_OBSERVATION, NULL, none, false);
	TIME("Observation (no criterion), total", T_OBSERVATION, NULL, none, true);
	TIME("Observation?patient.identifier=..", T_OBSERVATION, &chain, none, false);
	TIME("Observation?code:not=..", T_OBSERVATION, &not_code, none, false);
	TIME("Observation?value-quantity:missing=true (none)", T_OBSERVATION, &missing, none, false);
	TIME("Observation compartment", T_OBSERVATION, &in_compartment, none, true);
	TIME("Patient?_has:Observation:patient:code=..", T_PATIENT, &has, none, false);
	TIME("Patient?_has:Observation:patient:code=.., total", T_PATIENT, &has, none, true);
	TIME("Patient?_has:Observation:patient:value-quantity=gt.., total", T_PATIENT, &has_value, none, true);
	TIME("Observation, access by 100 care teams", T_OBSERVATION, &few_teams, none, true);
	TIME("Observation?code&_sort=-date, access by 100 care teams", T_OBSERVATION, ALL(few_code), by_date, true);
	TIME("Observation?_sort=-date, access by 5,000 care teams", T_OBSERVATION, &many_teams, by_date, false);
	TIME("Observation?code&_sort=-date, access by 5,000 care teams", T_OBSERVATION, ALL(many_code), by_date, false);
	TIME("Observation?code&_sort=-date, access by 5,000 care teams, total", T_OBSERVATION, ALL(many_code), by_date,
	     true);
	time_reads(store, &many_teams, patients);
	cl_store_close(store);
	cl_store_close(writer);
	cl_arena_free(arena);
}

int main(int count, char **arguments)
{
	const char *what = count > 1 ? arguments[1] : "all", *folder = count > 2 ? arguments[2] : "/tmp/store-bench";
	unsigned thousands = count > 3 ? (unsigned)atoi(arguments[3]) : 1000;
	if (!strcmp(what, "rows") && count > 5) {
		double cost, rate = insert_rows(arguments[2], (unsigned)atoi(arguments[3]),
		                                (unsigned)atoi(arguments[4]), arguments[5], count > 6, &cost);
		printf("%.1f %.1f\n", rate, cost);
		return 0;
	}
	mkdir(folder, 0700);
	if (strcmp(what, "search") != 0)
		bench_create(folder);
	if (strcmp(what, "create") != 0)
		bench_search(folder, thousands * 1000);
	return 0;
}

/* frame.h: what the processes of one server say to each other over unix sockets.
 *
 * A frame is a 16-byte head (length u32, type u8, flags u8, reserved u16, id u64; little endian) and a payload of at most
 * CL_FRAME_PAYLOAD_MAX bytes. Anything larger travels as a sealed memory file whose descriptor is passed with the frame
 * (pitfalls 7), so a large body never stalls the frames behind it. */
#pragma once
#include "base/arena.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/error.h"

#define CL_WIRE_VERSION 1
#define CL_FRAME_HEAD 16
#define CL_FRAME_PAYLOAD_MAX (96 * 1024)
/* Bodies beyond this are passed as a descriptor. */
#define CL_BODY_INLINE_MAX (64 * 1024)
/* No body beyond this is accepted at all (conformance.md §4: body 16 MiB). */
#define CL_BODY_MAX (16 * 1024 * 1024)

enum cl_frame_type {
	CL_FRAME_HELLO = 1, /* payload: version u32, role u8 (enum cl_role). First frame of both sides */
	CL_FRAME_REQUEST, /* id chosen by the sender, unique on the channel; struct cl_request */
	CL_FRAME_RESPONSE, /* same id; struct cl_response */
	CL_FRAME_CANCEL, /* same id: the client went away; unrun work is dropped, a stream ends */
	CL_FRAME_EVENT, /* id of the REQUEST that opened the stream; struct cl_event */
	CL_FRAME_RESYNC, /* same id: the stream cannot be resumed from where the client was; payload as EVENT */
	CL_FRAME_GOAWAY, /* id = last request that will be answered; the rest is to be sent again on a new channel */
	CL_FRAME_PING, /* answered by PONG with the same id */
	CL_FRAME_PONG,
	CL_FRAME_CONTROL, /* supervisor to its children and back; payload: one JSON object with "do" */
};

enum cl_role { CL_ROLE_GATEWAY = 1, CL_ROLE_ORGANIZATION, CL_ROLE_SUPERVISOR, CL_ROLE_COURIER, CL_ROLE_TEST };

/* What the gateway proved about the caller; the organization decides who that is (pitfalls 16). */
enum cl_credential_kind {
	CL_CREDENTIAL_NONE = 0,
	CL_CREDENTIAL_CERTIFICATE, /* anchor + name */
	CL_CREDENTIAL_BEARER, /* token, unverified */
	CL_CREDENTIAL_SESSION, /* cookie value, unverified */
	CL_CREDENTIAL_CONSOLE, /* administrator on the admin socket; name is the unix user */
	CL_CREDENTIAL_COURIER, /* the courier reporting deliveries */
	CL_CREDENTIAL_BASIC, /* at the token endpoint only: token is "id:secret" in base64, unverified */
};

struct cl_credential {
	uint8_t kind;
	struct cl_str anchor; /* lower-case hex SHA-256 of the trust anchor's certificate (DER) */
	struct cl_str name; /* first SAN URI; else "dns:" + first SAN DNS name; else "cn:" + common name */
	struct cl_str fingerprint; /* hex SHA-256 of the client certificate (DER) */
	struct cl_str token;
	struct cl_str address; /* peer's IP address in text */
};

struct cl_header {
	struct cl_str name; /* lower case */
	struct cl_str value;
};

struct cl_request {
	uint8_t id[16]; /* given by the gateway, sortable by time, the same when resent */
	bool resent; /* this request was sent before to a process that died or went away */
	cl_instant deadline; /* wall clock; work not begun by then is dropped unrun. 0 = none */
	struct cl_credential credential;
	struct cl_str method; /* "GET"; "CONSOLE" for administrator commands */
	struct cl_str target; /* path and query below the organization's root: "/fhir/Patient/x?_format=json" */
	struct cl_str
	        base; /* "https://riverside.localhost:8443" or ".../riverside" for the path alias; no trailing slash */
	struct cl_header *headers; /* the ones an organization may see: see cl_request_header_known */
	size_t header_count;
	struct cl_str body; /* inline, or read from the passed descriptor into the arena on decode */
};

/* An open file that is the body: what is too large for memory, such as a file of an export. Sent as its descriptor. */
struct cl_body_file {
	int descriptor;
	uint64_t size; /* bytes from its beginning */
};

struct cl_response {
	int status;
	struct cl_header
	        *headers; /* content-type, etag, last-modified, location, retry-after, ...; never content-length */
	size_t header_count;
	struct cl_str body;
	/* Instead of `body`, or NULL. Encoding borrows the descriptor; decoding lends the one that came with the frame. */
	struct cl_body_file *file;
	bool stream; /* 200 text/event-stream that stays open: EVENT frames with this id follow */
};

struct cl_event {
	uint64_t sequence;
	uint64_t incarnation; /* of the organization's file (pitfalls 21) */
	struct cl_str kind; /* "create" "update" "delete" "transition" ... */
	struct cl_str type; /* resource type */
	struct cl_str id; /* ids only, never content (pitfalls 19) */
	struct cl_str detail; /* for transitions: "workflow:from>to"; else empty */
};

/* Headers that are forwarded to an organization: accept, content-type, prefer, if-match, if-none-match, if-none-exist,
 * if-modified-since, idempotency-key, last-event-id, x-request-id, origin, x-security-context. */
bool cl_request_header_known(struct cl_str lower_case_name);
/* Value of a header, or an empty cl_str. `name` in lower case. */
struct cl_str cl_request_header(const struct cl_request *request, const char *name);
struct cl_str cl_response_header(const struct cl_response *response, const char *name);
/* Appends a header; memory from the arena, name and value borrowed. */
void cl_response_add_header(struct cl_arena *arena, struct cl_response *response, const char *name,
                            struct cl_str value);

/* Encoding appends the payload to `out`. When the body is larger than CL_BODY_INLINE_MAX it is written to a sealed memory
 * file and *descriptor is set (caller closes it after sending); otherwise *descriptor is -1. A response's own file is passed as
 * a duplicate. */
int cl_request_encode(struct cl_buf *out, const struct cl_request *request, int *descriptor, struct cl_err *e);
int cl_response_encode(struct cl_buf *out, const struct cl_response *response, int *descriptor, struct cl_err *e);
void cl_event_encode(struct cl_buf *out, const struct cl_event *event);
/* Decoding copies into the arena. `descriptor` is the one that came with the frame or -1; it is checked to be a regular
 * (memory) file of acceptable size, read, and not closed. Hostile payloads give CL_E_INVALID. */
int cl_request_decode(struct cl_arena *arena, struct cl_str payload, int descriptor, struct cl_request *out,
                      struct cl_err *e);
int cl_response_decode(struct cl_arena *arena, struct cl_str payload, int descriptor, struct cl_response *out,
                       struct cl_err *e);
int cl_event_decode(struct cl_arena *arena, struct cl_str payload, struct cl_event *out, struct cl_err *e);

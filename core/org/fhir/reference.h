/* reference.h: what a reference's text says, and every place in a resource that holds one. */
#pragma once
#include "base/json.h"
#include "org/fhir/types.h"

enum cl_fhir_reference_form {
	CL_FHIR_REFERENCE_NONE = 0, /* no form that FHIR knows */
	CL_FHIR_REFERENCE_LOCAL, /* "#id": contained; id is empty for "#" alone */
	CL_FHIR_REFERENCE_RELATIVE, /* "Patient/1", "Patient/1/_history/2" */
	CL_FHIR_REFERENCE_CONDITIONAL, /* "Patient?identifier=x": in transactions; id is what follows ? */
	CL_FHIR_REFERENCE_ABSOLUTE, /* "https://there.example/fhir/Patient/1": type and id when its end looks so */
	CL_FHIR_REFERENCE_URN, /* "urn:uuid:..." and any other URI that is no address */
};

/* Parts borrow from the parsed text. */
struct cl_fhir_reference {
	uint8_t form; /* enum cl_fhir_reference_form */
	uint16_t type; /* 0 when the text does not tell */
	struct cl_str base; /* ABSOLUTE with a type: "https://there.example/fhir", without the slash */
	struct cl_str id;
	struct cl_str version; /* after /_history/; empty otherwise */
};

/* Never fails: what is unreadable has the form NONE. */
struct cl_fhir_reference cl_fhir_reference_parse(struct cl_str text);

enum cl_fhir_link {
	CL_FHIR_LINK_REFERENCE = 1, /* Reference.reference */
	CL_FHIR_LINK_CANONICAL,
	CL_FHIR_LINK_URI, /* uri, url, oid, uuid, Attachment.url; but not an extension's own name */
	CL_FHIR_LINK_NARRATIVE, /* the XHTML of a narrative */
};

/* Non-zero stops the walk and is returned by it. `text` is the string node; its text may be replaced by one in the
 * tree's arena (transactions turn urn:uuid: into Type/id so), its kind may not. */
typedef int (*cl_fhir_link_visitor)(void *context, enum cl_fhir_link kind, struct cl_json *text);

/* Visits every such string of a resource, contained resources and extensions included, narratives as a whole. Elements that
 * FHIR does not define are skipped, so the resource need not be valid. */
int cl_fhir_visit_links(struct cl_json *resource, cl_fhir_link_visitor visit, void *context);

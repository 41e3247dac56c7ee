/* validate_resources.c: invariants of resource types. */
#include "org/fhir/validate_rules.h"
#include "org/fhir/reference.h"

static void broken(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object, const char *text)
{
	cl_validate_report(v, place, object, CL_SEVERITY_ERROR, "invariant", "%s", text);
}

/* ---- Bundle ---- */

static void rule_bundle_entry(struct cl_validator *v, const struct cl_place *place, const struct cl_json *entry)
{
	struct cl_str url = cl_json_get_text(entry, "fullUrl");
	if (!cl_rule_has(entry, "resource") && !cl_rule_has(entry, "request") && !cl_rule_has(entry, "response"))
		broken(v, place, entry, "bdl-5: an entry needs a resource, a request or a response.");
	if (url.n && memmem(url.p, url.n, "/_history/", 10))
		broken(v, place, entry, "bdl-8: fullUrl must not be a version's address.");
}

/* bdl-7: the same fullUrl only with different versions. Sorted, because bundles have thousands of entries. */
static void check_unique(struct cl_validator *v, const struct cl_place *place, const struct cl_json *bundle)
{
	struct cl_rule_list entries = cl_rule_list(bundle, "entry");
	uint32_t count = entries.count;
	struct cl_str *keys = CL_NEW_ARRAY(v->arena, struct cl_str, count + 1);
	size_t used = 0;
	for (uint32_t i = 0; i < count; i++) {
		const struct cl_json *entry = &entries.items[i];
		struct cl_str url = cl_json_get_text(entry, "fullUrl");
		if (url.n == 0)
			continue;
		struct cl_str version = cl_json_get_text(cl_json_path(entry, "resource", "meta", NULL), "versionId");
		keys[used++] = version.n
		                       ? cl_arena_printf(v->arena, "%.*s %.*s", CL_STR_ARGS(url), CL_STR_ARGS(version))
		                       : url;
	}
	cl_rule_sort(keys, used);
	for (size_t i = 1; i < used; i++) {
		if (cl_str_equal(keys[i - 1], keys[i]) && (i < 2 || !cl_str_equal(keys[i - 2], keys[i])))
			cl_validate_report(v, place, bundle, CL_SEVERITY_ERROR, "invariant",
			                   "bdl-7: several entries have the fullUrl %.*s.",
			                   (int)(keys[i].n < 100 ? keys[i].n : 100), keys[i].p);
	}
}

static void rule_bundle(struct cl_validator *v, const struct cl_place *place, const struct cl_json *bundle)
{
	struct cl_str type = cl_json_get_text(bundle, "type");
	bool history = cl_str_is(type, "history"), search = cl_str_is(type, "searchset");
	bool request = history || cl_str_is(type, "batch") || cl_str_is(type, "transaction");
	bool response = history || cl_str_is(type, "batch-response") || cl_str_is(type, "transaction-response");
	if (cl_rule_has(bundle, "total") && !history && !search)
		broken(v, place, bundle, "bdl-1: total is only for search results and history.");
	struct cl_rule_list entries = cl_rule_list(bundle, "entry");
	uint32_t count = entries.count;
	for (uint32_t i = 0; i < count; i++) {
		const struct cl_json *entry = &entries.items[i];
		struct cl_place here = {place, CL_STR("entry"), (int)i, place->depth + 1};
		if (cl_rule_has(entry, "search") && !search)
			broken(v, &here, entry, "bdl-2: search is only for search results.");
		if (cl_rule_has(entry, "request") != request)
			broken(v, &here, entry,
			       request ? "bdl-3: each entry of a batch, transaction or history needs a request."
			               : "bdl-3: request is only for batch, transaction and history.");
		if (cl_rule_has(entry, "response") != response)
			broken(v, &here, entry,
			       response ? "bdl-4: each entry of a response or history needs a response."
			                : "bdl-4: response is only for batch-response, transaction-response and "
			                  "history.");
	}
	if (!history && count > 1)
		check_unique(v, place, bundle);
	struct cl_str head =
	        cl_json_get_text(cl_json_get(count ? &entries.items[0] : NULL, "resource"), "resourceType");
	if (cl_str_is(type, "document")) {
		const struct cl_json *identifier = cl_json_get(bundle, "identifier");
		if (!cl_rule_has(identifier, "system") || !cl_rule_has(identifier, "value"))
			broken(v, place, bundle, "bdl-9: a document needs an identifier with system and value.");
		if (!cl_json_get(bundle, "timestamp"))
			broken(v, place, bundle, "bdl-10: a document needs a timestamp.");
		if (!cl_str_is(head, "Composition"))
			broken(v, place, bundle, "bdl-11: a document's first resource must be a Composition.");
	}
	if (cl_str_is(type, "message") && !cl_str_is(head, "MessageHeader"))
		broken(v, place, bundle, "bdl-12: a message's first resource must be a MessageHeader.");
}

/* ---- clinical ---- */

static bool same_coding(const struct cl_json *a, const struct cl_json *b)
{
	static const char *const parts[] = {"system", "version", "code", "display"};
	for (size_t i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		if (!cl_str_equal(cl_json_get_text(a, parts[i]), cl_json_get_text(b, parts[i])))
			return false;
	}
	return cl_json_get(a, "code") != NULL;
}

static bool share_coding(const struct cl_json *a, const struct cl_json *b)
{
	struct cl_rule_list ours = cl_rule_list(a, "coding"), theirs = cl_rule_list(b, "coding");
	/* More codings than this for one concept mean nothing; the bound keeps hostile input from costing n times m. */
	for (uint32_t i = 0; i < ours.count && i < 16; i++) {
		for (uint32_t k = 0; k < theirs.count && k < 16; k++) {
			if (same_coding(&ours.items[i], &theirs.items[k]))
				return true;
		}
	}
	return false;
}

static void rule_observation(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	bool value = cl_rule_choice(object, "value") != NULL;
	if (!value)
		return;
	if (cl_rule_has(object, "dataAbsentReason"))
		broken(v, place, object, "obs-6: dataAbsentReason is only for an Observation without value[x].");
	struct cl_rule_list components = cl_rule_list(object, "component");
	const struct cl_json *code = cl_json_get(object, "code");
	for (uint32_t i = 0; i < components.count; i++) {
		const struct cl_json *component = &components.items[i];
		if (share_coding(code, cl_json_get(component, "code"))) {
			struct cl_place here = {place, CL_STR("component"), (int)i, place->depth + 1};
			broken(v, &here, component,
			       "obs-7: a component has the code of the Observation, which has a value itself.");
		}
	}
}

static void rule_condition(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	static const char clinical_system[] = "http://terminology.hl7.org/CodeSystem/condition-clinical";
	const struct cl_json *clinical = cl_json_get(object, "clinicalStatus");
	bool in_error = cl_rule_coded(cl_json_get(object, "verificationStatus"),
	                              "http://terminology.hl7.org/CodeSystem/condition-ver-status", "entered-in-error");
	bool problem = false;
	struct cl_rule_list categories = cl_rule_list(object, "category");
	for (uint32_t i = 0; i < categories.count; i++)
		problem |= cl_rule_coded(&categories.items[i], NULL, "problem-list-item");
	if (!clinical && !in_error && problem)
		cl_validate_report(v, place, object, CL_SEVERITY_WARNING, "invariant",
		                   "con-3: a problem list item should have clinicalStatus.");
	if (cl_rule_choice(object, "abatement") && !cl_rule_coded(clinical, clinical_system, "resolved") &&
	    !cl_rule_coded(clinical, clinical_system, "remission") &&
	    !cl_rule_coded(clinical, clinical_system, "inactive"))
		broken(v, place, object, "con-4: an abated condition must be inactive, resolved or in remission.");
	if (clinical && in_error)
		broken(v, place, object, "con-5: a condition entered in error must not have clinicalStatus.");
}

static void rule_allergy(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	bool in_error = cl_rule_coded(cl_json_get(object, "verificationStatus"),
	                              "http://terminology.hl7.org/CodeSystem/allergyintolerance-verification",
	                              "entered-in-error");
	bool clinical = cl_rule_has(object, "clinicalStatus");
	if (!clinical && !in_error)
		broken(v, place, object, "ait-1: clinicalStatus is required unless the allergy was entered in error.");
	if (clinical && in_error)
		broken(v, place, object, "ait-2: an allergy entered in error must not have clinicalStatus.");
}

static void rule_appointment(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	bool start = cl_rule_has(object, "start"), end = cl_rule_has(object, "end");
	struct cl_str status = cl_json_get_text(object, "status");
	bool open = cl_str_is(status, "proposed") || cl_str_is(status, "cancelled") || cl_str_is(status, "waitlist");
	if (start != end)
		broken(v, place, object, "app-2: start and end must both be present, or neither.");
	if (!(start && end) && !open)
		broken(v, place, object,
		       "app-3: only proposed, cancelled and waitlisted appointments can lack start and end.");
	if (cl_rule_has(object, "cancelationReason") && !cl_str_is(status, "cancelled") && !cl_str_is(status, "noshow"))
		broken(v, place, object, "app-4: cancelationReason is only for cancelled and missed appointments.");
}

static void rule_organization(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	if (!cl_rule_has(object, "identifier") && !cl_rule_has(object, "name"))
		broken(v, place, object, "org-1: an organization needs a name or an identifier.");
	struct cl_rule_list address = cl_rule_list(object, "address");
	for (uint32_t i = 0; i < address.count; i++) {
		struct cl_place here = {place, CL_STR("address"), (int)i, place->depth + 1};
		if (cl_str_is(cl_json_get_text(&address.items[i], "use"), "home"))
			broken(v, &here, &address.items[i], "org-2: an organization has no home address.");
	}
	struct cl_rule_list telecom = cl_rule_list(object, "telecom");
	for (uint32_t i = 0; i < telecom.count; i++) {
		struct cl_place here = {place, CL_STR("telecom"), (int)i, place->depth + 1};
		if (cl_str_is(cl_json_get_text(&telecom.items[i], "use"), "home"))
			broken(v, &here, &telecom.items[i], "org-3: an organization has no home telecom.");
	}
}

static void rule_participant(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	struct cl_str member = cl_json_get_text(cl_json_get(object, "member"), "reference");
	uint16_t type = cl_fhir_reference_parse(member).type;
	if (cl_rule_has(object, "onBehalfOf") && type && type != CL_TYPE_PRACTITIONER)
		broken(v, place, object, "ctm-1: onBehalfOf is only for a member who is a Practitioner.");
}

static void rule_list(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	struct cl_str mode = cl_json_get_text(object, "mode");
	bool deleted = false, dated = false;
	struct cl_rule_list entries = cl_rule_list(object, "entry");
	for (uint32_t i = 0; i < entries.count; i++) {
		deleted |= cl_rule_has(&entries.items[i], "deleted");
		dated |= cl_rule_has(&entries.items[i], "date");
	}
	if (cl_rule_has(object, "emptyReason") && cl_rule_has(object, "entry"))
		broken(v, place, object, "lst-1: emptyReason is only for an empty list.");
	if (deleted && !cl_str_is(mode, "changes"))
		broken(v, place, object, "lst-2: entry.deleted is only for mode \"changes\".");
	if (dated && !cl_str_is(mode, "working"))
		broken(v, place, object, "lst-3: entry.date is only for mode \"working\".");
}

/* ---- questionnaires ---- */

static size_t collect_links(const struct cl_json *items, struct cl_str *out, int depth)
{
	size_t count = 0;
	for (uint32_t i = 0; items && items->kind == CL_JSON_ARRAY && i < items->count; i++) {
		struct cl_str link = cl_json_get_text(&items->items[i], "linkId");
		if (link.n) {
			if (out)
				out[count] = link;
			count++;
		}
		if (depth < CL_VALIDATE_DEPTH)
			count += collect_links(cl_json_get(&items->items[i], "item"), out ? out + count : NULL,
			                       depth + 1);
	}
	return count;
}

static void rule_questionnaire(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	const struct cl_json *items = cl_json_get(object, "item");
	size_t count = collect_links(items, NULL, 0);
	struct cl_str *links = CL_NEW_ARRAY(v->arena, struct cl_str, count + 1);
	collect_links(items, links, 0);
	cl_rule_sort(links, count);
	for (size_t i = 1; i < count; i++) {
		if (cl_str_equal(links[i - 1], links[i]) && (i < 2 || !cl_str_equal(links[i - 2], links[i])))
			cl_validate_report(v, place, object, CL_SEVERITY_ERROR, "invariant",
			                   "que-2: several items have the linkId \"%.*s\".",
			                   (int)(links[i].n < 80 ? links[i].n : 80), links[i].p);
	}
}

static bool one_of(struct cl_str text, const char *const *words)
{
	for (; *words; words++) {
		if (cl_str_is(text, *words))
			return true;
	}
	return false;
}

static void rule_questionnaire_item(struct cl_validator *v, const struct cl_place *place, const struct cl_json *object)
{
	static const char *const listed[] = {"choice",   "open-choice", "decimal", "integer",  "date",
	                                     "dateTime", "time",        "string",  "quantity", NULL};
	static const char *const measured[] = {"boolean", "decimal", "integer",     "string",
	                                       "text",    "url",     "open-choice", NULL};
	struct cl_str type = cl_json_get_text(object, "type");
	if (type.n == 0)
		return;
	bool group = cl_str_is(type, "group"), display = cl_str_is(type, "display");
	bool options = cl_rule_has(object, "answerOption"), values = cl_rule_has(object, "answerValueSet");
	bool initial = cl_rule_has(object, "initial");
	if ((group && !cl_rule_has(object, "item")) || (display && cl_rule_has(object, "item")))
		broken(v, place, object, "que-1: a group needs items, a display cannot have any.");
	if (display && cl_rule_has(object, "code"))
		broken(v, place, object, "que-3: a display cannot have a code.");
	if (options && values)
		broken(v, place, object, "que-4: either answerOption or answerValueSet, not both.");
	if ((options || values) && !one_of(type, listed))
		broken(v, place, object, "que-5: this type of item cannot have answerOption or answerValueSet.");
	if (display && (cl_rule_has(object, "required") || cl_rule_has(object, "repeats")))
		broken(v, place, object, "que-6: a display cannot be required or repeat.");
	if ((group || display) && initial)
		broken(v, place, object, "que-8: a group or display cannot have initial values.");
	if (display && cl_rule_has(object, "readOnly"))
		broken(v, place, object, "que-9: a display cannot be readOnly.");
	if (cl_rule_has(object, "maxLength") && !one_of(type, measured))
		broken(v, place, object, "que-10: maxLength is only for simple question types.");
	if (options && initial)
		broken(v, place, object, "que-11: an item with answerOption must not have initial[x].");
	if (cl_rule_list(object, "initial").count > 1 && !cl_json_is_true(cl_json_get(object, "repeats")))
		broken(v, place, object, "que-13: several initial values need repeats.");
}

void cl_validate_resource_rules(struct cl_validator *v, const struct cl_place *place, unsigned rule,
                                const struct cl_json *object)
{
	/* What a rule needs in one line stands here. */
#define HAS(name) cl_rule_has(object, name)
#define CHOICE(base) (cl_rule_choice(object, base) != NULL)
	switch (rule) {
	case CL_RULE_BUNDLE:
		rule_bundle(v, place, object);
		break;
	case CL_RULE_BUNDLE_ENTRY:
		rule_bundle_entry(v, place, object);
		break;
	case CL_RULE_PATIENT_CONTACT:
		if (!HAS("name") && !HAS("telecom") && !HAS("address") && !HAS("organization"))
			broken(v, place, object, "pat-1: a contact needs a name, telecom, address or organization.");
		break;
	case CL_RULE_OBSERVATION:
		rule_observation(v, place, object);
		break;
	case CL_RULE_OBSERVATION_REFERENCE_RANGE:
		if (!HAS("low") && !HAS("high") && !HAS("text"))
			broken(v, place, object, "obs-3: a reference range needs low, high or text.");
		break;
	case CL_RULE_CONDITION:
		rule_condition(v, place, object);
		break;
	case CL_RULE_CONDITION_STAGE:
		if (!HAS("summary") && !HAS("assessment"))
			broken(v, place, object, "con-1: a stage needs summary or assessment.");
		break;
	case CL_RULE_CONDITION_EVIDENCE:
		if (!HAS("code") && !HAS("detail"))
			broken(v, place, object, "con-2: evidence needs code or detail.");
		break;
	case CL_RULE_ALLERGY_INTOLERANCE:
		rule_allergy(v, place, object);
		break;
	case CL_RULE_APPOINTMENT:
		rule_appointment(v, place, object);
		break;
	case CL_RULE_APPOINTMENT_PARTICIPANT:
		if (!HAS("type") && !HAS("actor"))
			broken(v, place, object, "app-1: a participant needs type or actor.");
		break;
	case CL_RULE_APPOINTMENT_RESPONSE:
		if (!HAS("participantType") && !HAS("actor"))
			broken(v, place, object, "apr-1: participantType or actor is required.");
		break;
	case CL_RULE_ORGANIZATION:
		rule_organization(v, place, object);
		break;
	case CL_RULE_CARE_PLAN_ACTIVITY:
		if (HAS("detail") && HAS("reference"))
			broken(v, place, object, "cpl-3: either reference or detail, not both.");
		break;
	case CL_RULE_CARE_TEAM_PARTICIPANT:
		rule_participant(v, place, object);
		break;
	case CL_RULE_GOAL_TARGET:
		if (CHOICE("detail") && !HAS("measure"))
			broken(v, place, object, "gol-1: detail[x] needs measure.");
		break;
	case CL_RULE_GROUP:
		if (HAS("member") && !cl_json_is_true(cl_json_get(object, "actual")))
			broken(v, place, object, "grp-1: only an actual group has members.");
		break;
	case CL_RULE_LIST:
		rule_list(v, place, object);
		break;
	case CL_RULE_COMPOSITION_SECTION:
		if (!HAS("text") && !HAS("entry") && !HAS("section"))
			broken(v, place, object, "cmp-1: a section needs text, entries or sections.");
		if (HAS("emptyReason") && HAS("entry"))
			broken(v, place, object, "cmp-2: emptyReason is only for an empty section.");
		break;
	case CL_RULE_PARAMETERS_PARAMETER:
		if (CHOICE("value") + HAS("resource") + HAS("part") != 1)
			broken(v, place, object,
			       "inv-1: a parameter needs one of value[x], resource and part, and only one.");
		break;
	case CL_RULE_QUESTIONNAIRE:
		rule_questionnaire(v, place, object);
		break;
	case CL_RULE_QUESTIONNAIRE_ITEM:
		rule_questionnaire_item(v, place, object);
		break;
	case CL_RULE_QUESTIONNAIRE_RESPONSE_ITEM:
		if (HAS("answer") && HAS("item"))
			broken(v, place, object, "qrs-1: items stand below the item or below its answer, not both.");
		break;
	case CL_RULE_SERVICE_REQUEST:
		if (HAS("orderDetail") && !HAS("code"))
			broken(v, place, object, "prr-1: orderDetail needs code.");
		break;
	case CL_RULE_IMMUNIZATION_EDUCATION:
		if (!HAS("documentType") && !HAS("reference"))
			broken(v, place, object, "imm-1: education needs documentType or reference.");
		break;
	case CL_RULE_MEDICATION_ADMINISTRATION_DOSAGE:
		if (!HAS("dose") && !CHOICE("rate"))
			broken(v, place, object, "mad-1: a dosage needs dose or rate[x].");
		break;
	case CL_RULE_RISK_ASSESSMENT_PREDICTION:
		if (cl_json_double(cl_json_get(object, "probabilityDecimal"), 0) > 100)
			broken(v, place, object, "ras-2: a probability must not be above 100.");
		break;
	default:
		break;
	}
#undef HAS
#undef CHOICE
}

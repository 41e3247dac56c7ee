/* narrative.c: which XHTML a narrative may hold: invariants txt-1 (basic formatting of HTML 4.0, chapters 7-11 and 15,
 * links, images, internal style) and txt-2 (some content). One pass, no tree, no allocation. */
#include "org/fhir/primitive.h"
#include <strings.h>

#define DEEPEST 64

/* Sorted, so that a tag's place in the list can be its number on the stack of open tags. */
static const char *const elements[] = {
        "a",    "abbr",  "acronym", "address",  "area",  "b",   "bdo",   "big",   "blockquote", "br",     "caption",
        "cite", "code",  "col",     "colgroup", "dd",    "del", "dfn",   "div",   "dl",         "dt",     "em",
        "h1",   "h2",    "h3",      "h4",       "h5",    "h6",  "hr",    "i",     "img",        "ins",    "kbd",
        "li",   "map",   "ol",      "p",        "pre",   "q",   "samp",  "small", "span",       "strong", "sub",
        "sup",  "table", "tbody",   "td",       "tfoot", "th",  "thead", "tr",    "tt",         "ul",     "var",
};

static const char *const attributes[] = {
        "abbr",    "accesskey", "align",    "alt",       "axis",     "border", "cellpadding", "cellspacing", "char",
        "charoff", "charset",   "cite",     "class",     "colspan",  "coords", "datetime",    "dir",         "frame",
        "headers", "height",    "href",     "hreflang",  "id",       "ismap",  "lang",        "longdesc",    "name",
        "nohref",  "nowrap",    "rel",      "rev",       "rowspan",  "rules",  "scope",       "shape",       "span",
        "src",     "start",     "style",    "summary",   "tabindex", "title",  "type",        "usemap",      "valign",
        "value",   "width",     "xml:lang", "xml:space", "xmlns",
};

static int find(const char *const *names, size_t count, struct cl_str name)
{
	size_t low = 0, high = count;
	while (low < high) {
		size_t middle = (low + high) / 2;
		int order = cl_str_compare(name, cl_str_of(names[middle]));
		if (order == 0)
			return (int)middle;
		if (order < 0)
			high = middle;
		else
			low = middle + 1;
	}
	return -1;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_name(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
	       c == ':';
}

/* An address that only leads somewhere, or shows a picture: relative, or of a passive scheme. */
static bool is_passive(struct cl_str address, bool picture)
{
	static const char *const schemes[] = {"http:", "https:", "mailto:", "tel:", "sms:", "urn:", "cid:", "ftp:"};
	size_t colon = 0;
	while (colon < address.n && address.p[colon] && !strchr(":/?#&", address.p[colon]))
		colon++;
	/* A reference before the scheme ends could spell one: java&#115;cript: */
	if (colon < address.n && (address.p[colon] == '&' || !address.p[colon]))
		return false;
	if (colon == address.n || address.p[colon] != ':')
		return address.n == 0 || (unsigned char)address.p[0] > 0x20;
	for (size_t i = 0; i < sizeof(schemes) / sizeof(*schemes); i++) {
		size_t n = strlen(schemes[i]);
		if (colon + 1 == n && strncasecmp(address.p, schemes[i], n) == 0)
			return true;
	}
	return picture && address.n > 11 && strncasecmp(address.p, "data:image/", 11) == 0 &&
	       strncasecmp(address.p, "data:image/svg", address.n < 14 ? address.n : 14) != 0;
}

static bool contains(struct cl_str text, const char *word)
{
	size_t n = strlen(word);
	for (size_t i = 0; i + n <= text.n; i++) {
		if (strncasecmp(text.p + i, word, n) == 0)
			return true;
	}
	return false;
}

/* Past a reference like &nbsp; or &#160;, or NULL. Which names exist is the browser's concern. */
static const char *entity(const char *p, const char *end)
{
	const char *start = ++p;
	if (p < end && *p == '#')
		start = ++p;
	while (p < end && is_name(*p) && p - start < 32)
		p++;
	return p < end && p > start && *p == ';' ? p + 1 : NULL;
}

/* Reads ` name="value"` pairs up to the closing > or />. */
static const char *read_attributes(const char **at, const char *end, bool *closed)
{
	const char *p = *at;
	for (;;) {
		const char *before = p;
		while (p < end && is_space(*p))
			p++;
		if (p < end && *p == '>') {
			*closed = false;
			*at = p + 1;
			return NULL;
		}
		if (end - p >= 2 && p[0] == '/' && p[1] == '>') {
			*closed = true;
			*at = p + 2;
			return NULL;
		}
		struct cl_str name = {p, 0};
		while (p < end && is_name(*p))
			p++;
		name.n = (size_t)(p - name.p);
		if (name.n == 0 || before == name.p)
			return "must be well-formed XHTML: a tag is not closed";
		while (p < end && is_space(*p))
			p++;
		if (p == end || *p != '=')
			return "must be well-formed XHTML: an attribute has no value";
		p++;
		while (p < end && is_space(*p))
			p++;
		if (p == end || (*p != '"' && *p != '\''))
			return "must be well-formed XHTML: an attribute's value is not quoted";
		char quote = *p++;
		struct cl_str value = {p, 0};
		while (p < end && *p != quote && *p != '<')
			p++;
		if (p == end || *p != quote)
			return "must be well-formed XHTML: an attribute's value is not closed";
		value.n = (size_t)(p - value.p);
		p++;
		if (find(attributes, sizeof(attributes) / sizeof(*attributes), name) < 0 &&
		    !cl_str_starts(name, "xmlns:"))
			return "must only have attributes of basic formatting (txt-1): no event handlers";
		bool picture = cl_str_is(name, "src");
		if ((picture || cl_str_is(name, "href") || cl_str_is(name, "cite") || cl_str_is(name, "longdesc")) &&
		    !is_passive(value, picture))
			return "must only have links that do not run anything (txt-1)";
		if (cl_str_is(name, "style") &&
		    (contains(value, "expression") || contains(value, "url(") || contains(value, "import") ||
		     contains(value, "\\") || contains(value, "&#")))
			return "must not load or run anything from a style (txt-1)";
	}
}

const char *cl_fhir_check_narrative(struct cl_str div, bool *empty)
{
	uint8_t open[DEEPEST];
	unsigned depth = 0;
	bool content = false, started = false;
	*empty = true;
	const char *p = div.p, *end = div.p + div.n;
	while (p < end && is_space(*p))
		p++;
	if (end - p < 5 || memcmp(p, "<div", 4) != 0 || is_name(p[4]))
		return "must be XHTML that starts with <div";
	while (p < end) {
		if (started && depth == 0) {
			if (!is_space(*p++))
				return "must be one div with nothing after it";
			continue;
		}
		if (*p == '&') {
			p = entity(p, end);
			if (!p)
				return "must be well-formed XHTML: write & as &amp;";
			content = true;
			continue;
		}
		if (*p != '<') {
			for (; p < end && *p != '<' && *p != '&'; p++) {
				if ((unsigned char)*p > ' ')
					content = true;
				else if (!is_space(*p))
					return "must not contain control characters";
			}
			continue;
		}
		if (end - p >= 4 && memcmp(p, "<!--", 4) == 0) {
			const char *close = memmem(p + 4, (size_t)(end - p) - 4, "-->", 3);
			if (!close)
				return "must be well-formed XHTML: a comment is not closed";
			p = close + 3;
			continue;
		}
		bool closing = end - p >= 2 && p[1] == '/';
		p += closing ? 2 : 1;
		struct cl_str name = {p, 0};
		while (p < end && is_name(*p))
			p++;
		name.n = (size_t)(p - name.p);
		if (closing) {
			while (p < end && is_space(*p))
				p++;
			if (p == end || *p != '>' || depth == 0 || !cl_str_is(name, elements[open[depth - 1]]))
				return "must be well-formed XHTML: a closing tag does not match";
			p++;
			depth--;
			continue;
		}
		int number = find(elements, sizeof(elements) / sizeof(*elements), name);
		if (number < 0)
			return name.n ? "must only have elements of basic formatting (txt-1): no scripts, forms or "
			                "frames"
			              : "must be well-formed XHTML: write < as &lt;";
		bool closed = false;
		const char *wrong = read_attributes(&p, end, &closed);
		if (wrong)
			return wrong;
		content |= cl_str_is(name, "img");
		started = true;
		if (!closed) {
			if (depth == DEEPEST)
				return "must not nest deeper than 64 elements";
			open[depth++] = (uint8_t)number;
		}
	}
	if (depth)
		return "must be well-formed XHTML: a tag is not closed";
	*empty = !content;
	return NULL;
}

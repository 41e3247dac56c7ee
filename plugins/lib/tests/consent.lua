-- The consent library alone: which consent covers which disclosure. The gate in a workflow is tested with "referral".
local here = string.match(debug.getinfo(1, "S").source, "^@(.*/)tests/") or "plugins/lib/"
package.path = here .. "../?.lua;" .. package.path
local consent = require "lib/consent"
local dates = require "lib/dates"

-- What of ctx the library uses, with a fixed day.
local ctx = {}

function ctx:now()
	return "2026-11-02T15:00:00Z"
end

function ctx:between(a, b)
	return (dates.days(b) - dates.days(a)) * 1440
end

function ctx:local_date(text)
	return string.sub(text, 1, 10)
end

local wanted = { recipient = "Organization/lakeside", purpose = "TREAT", label = "ETH", kind = "general" }

local function made(fields)
	fields = fields or {}
	fields.patient = "Patient/a"
	fields.recipients = fields.recipients or { "Organization/lakeside" }
	return consent.make(fields)
end

test("a consent covers whom, what for and when it says", function (t)
	t:ok(consent.covers(ctx, made(), wanted))
	t:ok(not consent.covers(ctx, made { status = "inactive" }, wanted))
	t:ok(not consent.covers(ctx, made { status = "proposed" }, wanted))
	t:ok(not consent.covers(ctx, made { recipients = { "Organization/other" } }, wanted))
	t:ok(not consent.covers(ctx, made { purposes = { "HMARKT" } }, wanted))
	t:ok(not consent.covers(ctx, made { period = { start = "2026-12-01" } }, wanted))
	t:ok(not consent.covers(ctx, made { period = { ["end"] = "2026-11-01" } }, wanted))
	local today = { start = "2026-11-02", ["end"] = "2026-11-02" }
	t:ok(consent.covers(ctx, made { period = today }, wanted), "the last day counts")
end)

test("one consent for treatment, payment and operations covers treatment", function (t)
	t:ok(consent.covers(ctx, made { purposes = { "TPO" } }, wanted))
	t:ok(not consent.covers(ctx, made { purposes = { "TPO" } }, {
		recipient = "Organization/lakeside", purpose = "HRESCH", label = "ETH", kind = "general",
	}))
end)

test("counselling and psychotherapy notes need a consent that names them", function (t)
	for _, label in ipairs { "SUDNOTE", "PSYTHPN" } do
		local separate = { recipient = "Organization/lakeside", purpose = "TREAT", label = label, kind = "separate" }
		t:ok(not consent.covers(ctx, made(), separate))
		t:ok(consent.covers(ctx, made { labels = { label } }, separate))
		t:ok(not consent.covers(ctx, made { labels = { label } }, wanted), "and that one covers nothing else")
	end
end)

test("a denial inside the consent takes back what it names", function (t)
	local document = made()
	document.provision.provision = { {
		type = "deny", actor = { { reference = { reference = "Organization/lakeside" } } },
	} }
	t:ok(not consent.covers(ctx, document, wanted))
	document.provision.provision = { {
		type = "deny", actor = { { reference = { reference = "Organization/other" } } },
	} }
	t:ok(consent.covers(ctx, document, wanted))
end)

test("plain records pass, labelled ones are told apart", function (t)
	t:equal(#consent.protections({ resourceType = "ServiceRequest", id = "a" }), 0)
	local function labelled(code)
		return { resourceType = "ServiceRequest", id = "a", meta = { security = { { code = code } } } }
	end
	t:equal(#consent.protections(labelled("R")), 0)
	local found = consent.protections(labelled("ETH"))
	t:equal(found[1].kind, "general")
	t:equal(found[1].resource, "ServiceRequest/a")
	local by_state = consent.protections(labelled("HIV"), { HIV = "a state's act" })
	t:equal(by_state[1].rule, "a state's act")
end)

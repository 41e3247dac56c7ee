-- What plugins/README.md says of one-time reply links.
local function clinic(t)
	t:organization {
		name = "Test Clinic", zone = "America/Chicago", plugins = { "living" }, url = "https://clinic.example",
		principals = { ana = { kind = "person", roles = { "coordinator" } } },
	}
	t:at("2026-11-02T09:00:00-06:00")
	t:as("ana")
	local patient = t:create { resourceType = "Patient", name = { { family = "Rivera" } } }
	local task = t:start("question", { focus = patient, patient = patient })
	local url = t:operation("$ask", nil, task).parameter[1].valueString
	t:ok(url:find("^https://clinic%.example/reply/%x+$"), url)
	return task, url:match("/reply/%x+$"), patient
end

local function post(t, path, body)
	return t:request("POST", path, body)
end

test("the page shows what the plugin says and nothing else, escaped, with a form for each event", function (t)
	local _, path = clinic(t)
	local page = t:request("GET", path)
	t:equal(page.status, 200)
	t:equal(page.headers["content-type"], "text/html; charset=utf-8")
	t:ok(page.body:find("A question of Test Clinic", 1, true))
	t:ok(page.body:find("&lt;b&gt;R.&lt;/b&gt;", 1, true), "what it shows cannot be markup")
	t:ok(not page.body:find("Rivera", 1, true))
	t:ok(not page.body:find("<b>", 1, true))
	t:ok(page.body:find('name="event" value="answer"', 1, true))
	t:ok(page.body:find('<option value="not now">', 1, true))
	t:ok(not page.body:find('value="drop"', 1, true), "an event that the link does not offer")
	t:ok(not page.body:find(path, 1, true), "the token is in no page")
end)

test("an answer fires the event on the partner's behalf, once", function (t)
	local task, path = clinic(t)
	local answer = post(t, path, "event=answer&text=Seen+on+Monday+%26+well&seen_at=2026-11-02T08%3A30&visits=2")
	t:equal(answer.status, 200)
	t:ok(answer.body:find("Your answer was recorded", 1, true))
	t:equal(t:state(task), "answered")
	local row = t:history(task)[2]
	t:equal(row.source, "reply link")
	t:equal(row.on_behalf_of, "Dr. Lee")
	t:equal(row.actor, "reply-link")
	t:equal(row.data.text, "Seen on Monday & well")
	t:equal(row.data.seen_at, "2026-11-02T08:30:00-06:00")
	t:equal(row.data.visits, 2)
	t:equal(post(t, path, "event=answer&text=again").status, 404)
	t:equal(t:request("GET", path).status, 404)
end)

test("what is wrong is said, changes nothing, and can be sent again", function (t)
	local task, path = clinic(t)
	local function refused(body, words)
		local answer = post(t, path, body)
		t:equal(answer.status, 422)
		t:ok(answer.body:find(words, 1, true), answer.body)
		t:equal(t:state(task), "asked")
	end
	refused("event=answer", "text")
	refused("event=answer&text=x&visits=many", "visits")
	refused("event=drop&reason=not+now", "cannot be answered here")
	refused("text=x", "cannot be answered here")
	refused("event=answer&text=%zz", "")
	refused(("a=b&"):rep(200), "at most 100 fields")
	refused("event=answer&text=" .. ("x"):rep(70000), "at most 65536 bytes")
	refused("event=refuse&reason=%3Cscript%3E", "one of")
	t:equal(post(t, path, "event=refuse&reason=not+now").status, 200)
	t:equal(t:state(task), "refused")
end)

test("a link ends: by its time, when it is revoked, when the instance has moved on", function (t)
	local task, path, patient = clinic(t)
	local function again()
		local one = t:start("question", { focus = patient, patient = patient })
		return one, t:operation("$ask", nil, one).parameter[1].valueString:match("/reply/%x+$")
	end
	t:operation("$revoke", nil, task)
	t:equal(t:request("GET", path).status, 404)
	local _, other = again()
	t:at("2026-11-11T08:00:00-06:00")
	t:equal(t:request("GET", other).status, 200)
	t:at("2026-11-11T10:00:00-06:00")
	t:equal(t:request("GET", other).status, 404)
	local third, moved = again()
	t:transition(third, "drop", { reason = "not now" })
	local page = t:request("GET", moved)
	t:equal(page.status, 200)
	t:ok(page.body:find("Nothing more is to be answered", 1, true))
	t:equal(post(t, moved, "event=answer&text=late").status, 422)
end)

test("who guesses finds nothing, and is soon not even heard", function (t)
	local _, path = clinic(t)
	for i = 1, 60 do
		t:equal(t:request("GET", ("/reply/%040x"):format(i)).status, 404)
	end
	t:equal(t:request("GET", ("/reply/%040x"):format(99)).status, 429)
	t:advance("1 minute")
	t:equal(t:request("GET", path).status, 200)
	t:equal(t:request("PUT", path).status, 405)
	t:equal(t:request("GET", "/reply/" .. ("x"):rep(3000)).status, 404)
	-- Nor is the token a credential.
	t:equal(t:request("GET", "/reply").status, 404)
end)

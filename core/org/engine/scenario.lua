-- The methods of `t` that plugins/README.md describes, over a few primitives of scenario.c (table `engine`).
local engine = ...
local methods = {}
methods.__index = methods

local function id_of(reference)
	return (reference:gsub("^.*/", ""))
end

local function words_of(body)
	if type(body) ~= "table" or not body.issue then
		return tostring(body)
	end
	local words = {}
	for _, issue in ipairs(body.issue) do
		local place = issue.expression and issue.expression[1]
		words[#words + 1] = (issue.diagnostics or issue.code or "?") .. (place and (" [" .. place .. "]") or "")
	end
	return table.concat(words, "; ")
end

local function handle(self)
	if not self.handle then
		self:organization(engine.standard())
	end
	return self.handle
end

local function query_text(query)
	if type(query) ~= "table" then
		return query or ""
	end
	local names, parts = {}, {}
	for name in pairs(query) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		parts[#parts + 1] = name .. "=" .. tostring(query[name]):gsub("[^%w%-_%.~,:/|$*]", function (c)
			return string.format("%%%02X", c:byte())
		end)
	end
	return table.concat(parts, "&")
end

function methods:organization(config)
	self.handle = engine.open(config, self.world.clock)
	self.id = engine.id(self.handle)
	self.world.all[#self.world.all + 1] = self
	return self
end

function methods:also(config)
	handle(self)
	local other = setmetatable({ world = self.world }, methods)
	return other:organization(config)
end

function methods:at(when)
	if #self.world.all > 0 then
		engine.advance_until(self.world.clock, when)
	else
		self.world.clock:set(when)
	end
end

function methods:advance(duration)
	handle(self)
	engine.advance_all(self.world.clock, self.handle, duration)
end

function methods:now()
	return self.world.clock:now()
end

function methods:as(principal)
	self.principal = principal
	return self
end

function methods:request(method, target, body, headers)
	if not self.principal then
		error("say t:as(\"principal\") first", 2)
	end
	local status, answer_headers, answer = engine.request(handle(self), self.principal, method, target, body,
		headers or {})
	return { status = status, headers = answer_headers, body = answer }
end

local function must(self, method, target, body, headers)
	local answer = self:request(method, target, body, headers)
	if answer.status >= 400 then
		error(string.format("%s %s: %d %s", method, target, answer.status, words_of(answer.body)), 3)
	end
	return answer
end

function methods:create(resource)
	local answer = must(self, "POST", "/fhir/" .. tostring(resource.resourceType), resource)
	return answer.body.resourceType .. "/" .. answer.body.id
end

function methods:update(resource)
	local answer = must(self, "PUT", "/fhir/" .. resource.resourceType .. "/" .. resource.id, resource)
	return answer.body.resourceType .. "/" .. answer.body.id
end

function methods:delete(reference)
	must(self, "DELETE", "/fhir/" .. reference)
end

function methods:read(reference)
	local answer = self:request("GET", "/fhir/" .. reference)
	if answer.status == 404 or answer.status == 410 then
		return nil
	end
	if answer.status >= 400 then
		error(string.format("GET %s: %d %s", reference, answer.status, words_of(answer.body)), 2)
	end
	return answer.body
end

methods.data = methods.read

function methods:search(type, query)
	local text = query_text(query)
	local answer = must(self, "GET", "/fhir/" .. type .. (text ~= "" and ("?" .. text) or ""))
	local found = {}
	for _, entry in ipairs(answer.body.entry or {}) do
		if not entry.search or entry.search.mode == "match" then
			found[#found + 1] = entry.resource
		end
	end
	return found
end

local function reference(text)
	return text and { reference = text } or nil
end

function methods:start(workflow, fields)
	local task = {
		resourceType = "Task", status = "draft", intent = "order",
		code = { coding = { { system = "urn:careloop:workflow", code = workflow } } },
		focus = reference(fields.focus), ["for"] = reference(fields.patient),
		requester = reference(fields.requester), owner = reference(fields.owner),
	}
	local input = {}
	local function add(name, value)
		input[#input + 1] = { type = { text = name }, valueString = tostring(value) }
	end
	if fields.party then
		add("party", fields.party)
	end
	if fields.partner then
		add("partner", fields.partner)
	end
	local names = {}
	for name in pairs(fields.data or {}) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		add(name, fields.data[name])
	end
	if #input > 0 then
		task.input = input
	end
	return self:create(task)
end

local function parameter(name, value)
	if type(value) == "boolean" then
		return { name = name, valueBoolean = value }
	elseif math.type(value) == "integer" then
		return { name = name, valueInteger = value }
	elseif type(value) == "number" then
		return { name = name, valueDecimal = value }
	elseif type(value) == "table" and value.reference then
		return { name = name, valueReference = value }
	elseif type(value) == "table" then
		return { name = name, resource = value }
	end
	return { name = name, valueString = tostring(value) }
end

function methods:transition(task, event, data, options)
	local parameters = { parameter("event", event) }
	local names = {}
	for name in pairs(data or {}) do
		names[#names + 1] = name
	end
	table.sort(names)
	for _, name in ipairs(names) do
		parameters[#parameters + 1] = parameter(name, data[name])
	end
	if options and options.on_behalf_of then
		parameters[#parameters + 1] = parameter("on-behalf-of", options.on_behalf_of)
	end
	if options and options.source then
		parameters[#parameters + 1] = parameter("source", options.source)
	end
	must(self, "POST", "/fhir/Task/" .. id_of(task) .. "/$transition",
		{ resourceType = "Parameters", parameter = parameters })
	return self:state(task)
end

-- Takes back the last event; gives what could not be reversed, as a list of texts.
function methods:undo(task, reason, event)
	local parameters = { parameter("reason", reason) }
	if event then
		parameters[2] = parameter("event", event)
	end
	local answer = must(self, "POST", "/fhir/Task/" .. id_of(task) .. "/$undo",
		{ resourceType = "Parameters", parameter = parameters })
	local left = {}
	for _, each in ipairs(answer.body.parameter or {}) do
		if each.name == "not-reversed" then
			left[#left + 1] = each.valueString
		end
	end
	return left
end

function methods:operation(name, input, target)
	local path = "/fhir/" .. (target and (target .. "/") or "") .. name
	return must(self, "POST", path, input).body
end

function methods:instance(task)
	return engine.instance(handle(self), id_of(task))
end

function methods:state(task)
	local instance = self:instance(task)
	return instance and instance.state
end

function methods:history(task)
	return engine.history(handle(self), id_of(task))
end

function methods:metric(name, month)
	return engine.metric(handle(self), name, month)
end

function methods:view(name)
	local body = must(self, "GET", "/views/" .. name).body
	local rows = {}
	for r, row in ipairs(body.rows or {}) do
		rows[r] = {}
		for c, column in ipairs(body.columns) do
			rows[r][column] = row[c]
		end
	end
	return rows
end

function methods:outbox()
	return engine.outbox(handle(self))
end

-- As if the courier had delivered it, wherever its destination is.
function methods:delivered(message)
	engine.delivered(handle(self), message.number)
end

local function find(world, id)
	for _, each in ipairs(world.all) do
		if each.id == id then
			return each
		end
	end
end

-- Carries messages in the order they were sent; what a partner refuses is an error of the test.
function methods:deliver(limit)
	local count = 0
	repeat
		local moved = false
		for _, sender in ipairs(self.world.all) do
			for _, message in ipairs(engine.outbox(sender.handle)) do
				if limit and count >= limit then
					return count
				end
				local receiver = find(self.world, message.destination)
				if receiver then
					local status, _, answer = engine.request(receiver.handle, sender.id, "POST",
						"/fhir/$process-message", message.body, {})
					if status >= 400 then
						error(string.format("%s refused a message of %s: %d %s", receiver.id, sender.id,
							status, words_of(answer)), 2)
					end
					engine.delivered(sender.handle, message.number)
					count, moved = count + 1, true
				end
			end
		end
	until not moved
	return count
end

local received = 0
function methods:receive(partner, event, resources)
	received = received + 1
	local entries = { {
		fullUrl = "urn:uuid:00000000-0000-4000-8000-" .. string.format("%012d", received),
		resource = {
			resourceType = "MessageHeader",
			eventCoding = { system = "urn:careloop:event", code = event },
			source = { endpoint = "urn:careloop:organization:" .. partner },
		},
	} }
	for _, resource in ipairs(resources) do
		entries[#entries + 1] = { fullUrl = "urn:careloop:" .. tostring(resource.id or #entries), resource = resource }
	end
	local status, _, answer = engine.request(handle(self), partner, "POST", "/fhir/$process-message", {
		resourceType = "Bundle", type = "message", id = "test-message-" .. received, timestamp = self:now(), entry = entries,
	}, {})
	if status >= 400 then
		error(string.format("the message was refused: %d %s", status, words_of(answer)), 2)
	end
	return answer
end

-- For scenarios that are too long to be run twice.
function methods:without_replay()
	self.not_replayed = true
end

-- Timers of this test are meant to fail.
function methods:expect_failures()
	self.failures_expected = true
end

local function show(value)
	return type(value) == "string" and string.format("%q", value) or tostring(value)
end

function methods:equal(a, b, note)
	self.world.checks = self.world.checks + 1
	if a ~= b then
		error(string.format("%sexpected %s, got %s", note and (note .. ": ") or "", show(b), show(a)), 2)
	end
end

function methods:near(a, b, tolerance)
	self.world.checks = self.world.checks + 1
	if not a or math.abs(a - b) > (tolerance or 1e-6) then
		error(string.format("expected about %s, got %s", show(b), show(a)), 2)
	end
end

function methods:ok(value, note)
	self.world.checks = self.world.checks + 1
	if not value then
		error(note or "expected something true", 2)
	end
end

function methods:refused(run, words)
	self.world.checks = self.world.checks + 1
	local done, problem = pcall(run)
	if done then
		error("expected a refusal" .. (words and (" with '" .. words .. "'") or ""), 2)
	end
	if words and not tostring(problem):find(words, 1, true) then
		error(string.format("expected a refusal with '%s', got: %s", words, tostring(problem)), 2)
	end
	return tostring(problem)
end

local tests = {}
function test(name, run) -- luacheck: ignore
	tests[#tests + 1] = { name = name, run = run }
end

local function run_all()
	local failed = 0
	for _, each in ipairs(tests) do
		local world = { clock = engine.clock(), all = {}, checks = 0 }
		local t = setmetatable({ world = world }, methods)
		local done, problem = xpcall(each.run, function (what)
			return debug.traceback(tostring(what), 2)
		end, t)
		if done and world.checks == 0 then
			done, problem = false, "the test checks nothing"
		end
		for _, organization in ipairs(world.all) do
			local equal, difference, lapses = engine.close(organization.handle, done and not organization.not_replayed)
			if done and not equal then
				done, problem = false, difference
			elseif done and lapses > 0 and not organization.failures_expected then
				done, problem = false, lapses .. " timers failed; run with CL_LOG=1 to see them, or say t:expect_failures()"
			end
		end
		print((done and "ok      " or "FAILED  ") .. each.name)
		if not done then
			failed = failed + 1
			print("        " .. tostring(problem):gsub("\n", "\n        "))
		end
	end
	return #tests - failed, failed
end

-- The demonstration: organizations on their real files; time runs from `engine.start` to now.
if engine.start then
	local world = { clock = engine.clock(engine.start), all = {}, checks = 0 }
	demo = { clock = world.clock } -- luacheck: ignore
	function demo:organization(id) -- luacheck: ignore
		return setmetatable({ world = world }, methods):organization(id)
	end
	function demo:now() -- luacheck: ignore
		return world.clock:now()
	end
	function demo:advance(duration) -- luacheck: ignore
		world.all[1]:advance(duration)
	end
	-- Carries messages between the organizations, then goes on to the present; `last` is called there.
	function demo:finish(last) -- luacheck: ignore
		if #world.all > 0 then
			world.all[1]:deliver()
			engine.advance_until(world.clock, engine.finish)
		end
		if last then
			last()
		end
		for _, organization in ipairs(world.all) do
			engine.close(organization.handle, false)
		end
	end
end

return run_all

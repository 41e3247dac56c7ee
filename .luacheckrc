-- luacheck for plugins, their tests and the organizations' files: `luacheck plugins config`.
std = "lua54"
max_line_length = 120

-- What a plugin sees (plugins/README.md, "What plugins cannot do"): plain Lua without the outside world.
local removed = { "os", "io", "debug", "load", "loadfile", "dofile", "loadstring", "coroutine", "collectgarbage", "package" }
local declarations = {
	"plugin", "workflow", "metric", "view", "on", "every", "timer", "receive", "operation", "setting", "escalate", "fire",
	"tier", "due_from", "rule",
	"measure", "codes", "started", "entered", "reached", "elapsed", "instances", "list", "plain", "null",
}

files["plugins/**/*.lua"] = { read_globals = declarations, not_globals = removed }
files["config/orgs/**/*.lua"] = { read_globals = declarations, not_globals = removed }
-- Tests are driven from outside the sandbox: ordinary Lua and `test`.
files["config/orgs/**/tests/*.lua"] = { read_globals = { "test" }, ignore = { "212/self" } }
files["plugins/**/tests/*.lua"] = {
	read_globals = { "test", "debug", "io" }, globals = { "package.path" }, ignore = { "212/self" },
}

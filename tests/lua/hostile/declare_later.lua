-- expect: cannot declare
-- Declarations stand in plugin.lua.
workflow "late" { start = "x" }

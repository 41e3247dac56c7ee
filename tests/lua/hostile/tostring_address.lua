-- expect: ok
-- No addresses anywhere.
assert(tostring({}) == "table" and tostring(print) == "function" and tostring(ctx) == "ctx")
assert(string.format("%s", function () end) == "function")
assert(not pcall(string.format, "%d", {}))

-- expect: ok
-- What strings see stays as it is, whatever stands in a local _ENV.
do
	local _ENV = { evil = true }
	evil = false
end
assert(("x"):upper() == "X")
assert(type(string.find) == "function")

-- expect: cannot be changed
-- Nor through _ENV.
rawset(_ENV, "pairs", function () return "evil" end)

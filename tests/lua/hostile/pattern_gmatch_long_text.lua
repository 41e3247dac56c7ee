-- expect: KiB
-- Text for patterns is bounded.
for _ in string.gmatch(("a"):rep(70000), "a") do end

-- expect: no conversion
-- Addresses would differ on replay.
return string.format("%p", {})

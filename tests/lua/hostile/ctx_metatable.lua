-- expect: boolean
-- The methods of ctx cannot be had.
getmetatable(ctx).__index = nil

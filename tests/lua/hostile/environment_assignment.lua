-- expect: cannot be assigned
-- There are no globals to leave things in.
evil = 1

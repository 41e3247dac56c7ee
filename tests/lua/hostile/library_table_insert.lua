-- expect: cannot be changed
-- Nor by the table functions.
table.insert(string, "evil")

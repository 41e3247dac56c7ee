-- expect: UTF-8
-- No NUL in JSON.
ctx:create { resourceType = "Patient", id = "a\0b" }

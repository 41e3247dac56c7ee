-- expect: resource.name[1] is a function
-- A resource holds data only.
ctx:create { resourceType = "Patient", name = { print } }

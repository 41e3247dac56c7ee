-- expect: too deep
-- A resource that contains itself.
local resource = { resourceType = "Basic" }
resource.extension = { resource }
ctx:create(resource)

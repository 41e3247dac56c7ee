-- expect: finite
-- No NaN in JSON.
ctx:create { resourceType = "Observation", valueInteger = 0 / 0 }

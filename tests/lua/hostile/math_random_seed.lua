-- expect: seeded by the event
-- Random numbers belong to the event.
math.randomseed(1)

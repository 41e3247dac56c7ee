-- expect: ms of CPU
-- A loop without a loop statement.
::again::
goto again

-- expect: there is no 'debug'
-- Would turn the hook off.
debug.sethook()

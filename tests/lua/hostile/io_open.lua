-- expect: there is no 'io'
-- No files.
io.open("/etc/passwd")

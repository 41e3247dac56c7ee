-- expect: there is no 'os'
-- No processes.
os.execute("id")

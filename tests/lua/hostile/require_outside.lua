-- expect: no name of a file
-- Only files of the archive.
require("../../../etc/passwd")

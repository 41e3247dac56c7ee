-- expect: top of the file
-- Nothing is loaded while events are handled.
require "lib/anything"

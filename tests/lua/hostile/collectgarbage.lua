-- expect: there is no 'collectgarbage'
-- Would stop the collector.
collectgarbage("stop")

-- expect: there is no 'load'
-- Malformed bytecode crashes the virtual machine.
load(string.dump(function () end))()

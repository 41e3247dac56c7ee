-- Riverside's own rules. This file changes what the shipped plugin "referral" says, without touching it: settings,
-- states and events merge by name, what is not mentioned stays as it is. Change a value here, save, and reload:
--
--     careloop console -o riverside
--     > reload riverside
--     > settings
return plugin {
	name = "riverside.local", api = 1, extends = "referral", summary = "Riverside's own times",

	settings = {
		-- The one duration of the tour: how long a partner may take to accept or decline. Shipped: "2 business days".
		accept_within = { default = "1 business day" },
	},
}

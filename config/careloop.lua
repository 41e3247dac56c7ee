-- The server's configuration: a Lua table, no functions. Paths are relative to this file.
--   careloop config check config/careloop.lua     looks for mistakes
--   careloop config dump config/careloop.lua      prints what is in force, and where each value comes from
-- Values that are commented out are the defaults. SIGHUP or the console's `reload` reads this file again; data,
-- gateways, listen, limits and timeouts take effect at the next start.
return {
	-- Everything that the server keeps: one folder for each organization, admin.log, audit-heads.log, sockets under run/.
	-- Made when absent, readable by the server's user only, used by one server at a time.
	data = "../data",

	-- One organization a file: orgs/riverside.lua is served as https://riverside.<domain>. A new file is an organization
	-- after `reload`; a removed one stops being served, and its data stays.
	organizations_folder = "orgs",
	-- Instead of every file in the folder, and when one has host names of its own:
	-- organizations = { "riverside", { id = "lakeside", hosts = { "care.lakeside.example" } } },

	plugins = "../plugins",
	domain = "localhost",

	-- Nothing is served without TLS. client_certificates: "optional" asks for one, "none" does not (browsers).
	listen = {
		{ address = "127.0.0.1", port = 8443, client_certificates = "optional" },
	},
	-- For development: scripts/certificates data/certificates riverside lakeside hillside
	tls = {
		certificate = "../data/certificates/server.pem",
		key = "../data/certificates/server.key",
		-- Who may vouch for clients, people and partners. An organization's file says which of them it knows.
		client_authorities = { "../data/certificates/clients-ca.pem" },
		-- crl = "revoked.pem",
		-- certificates = { { certificate = "other.pem", key = "other.key" } },   -- chosen by the name that is asked for
	},

	-- The courier delivers messages to partners as their client: certificates/<organization>-partner.pem and .key.
	-- `authority` vouches for the partners' servers; without it the system's authorities do.
	courier = {
		certificates = "../data/certificates/clients",
		authority = "../data/certificates/ca.pem",
		-- The only addresses that anything is sent to, messages and notifications of subscriptions; without it, those that
		-- the organizations' own files allow. A "*." stands for any name below, a port "*" for any port.
		destinations = { "https://*.localhost:8443", "https://localhost:9443" },
	},

	-- The web board's files, served under /board/.
	-- board = "../build/board",

	-- Processes that talk to the network; by default one a core.
	-- gateways = 2,

	-- What is refused, or put off with "try again later".
	-- limits = {
	-- 	body = 16777216,                    -- bytes of one request
	-- 	connections = 10000,                -- of one gateway
	-- 	connections_per_address = 256,
	-- 	in_flight = 2048,                   -- requests of one gateway
	-- 	in_flight_per_organization = 1024,
	-- 	handshakes_per_second = 1000,
	-- 	held = 268435456,                   -- bytes of bodies in memory
	-- },
	-- timeouts = { handshake = 5, head = 10, idle = 75, body = 300, request = 30 },   -- seconds

	-- An organization that stays in one Lua call longer than this is killed and restarted. It is the last resort behind
	-- the budgets inside the organization, which count CPU time.
	-- watchdog = { lua_milliseconds = 2000 },

	-- Bulk exports: hours that their files stay, how many an organization makes at once, and how much of the disk they
	-- leave free; an export that would need it ends with an error.
	-- exports = { keep_hours = 24, running = 4, free_megabytes = 256 },

	-- debug, info, warning or error; the console's `log level` changes it while the server runs.
	-- log = "info",
}

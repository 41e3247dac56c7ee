-- Code systems and codes that several plugins share. Numbers and own paraphrases only; licensed texts are not kept
-- here.
local codes = {}

codes.system = {
	loinc = "http://loinc.org",
	snomed = "http://snomed.info/sct",
	workflow = "urn:careloop:workflow",
	role = "urn:careloop:role",
	flag = "urn:careloop:flag",
	episode = "urn:careloop:episode",
	plan = "urn:careloop:plan",
	list = "urn:careloop:list",
	list_empty = "http://terminology.hl7.org/CodeSystem/list-empty-reason",
	participation = "http://terminology.hl7.org/CodeSystem/v3-ParticipationType",
	encounter = "urn:careloop:encounter",
	slot = "urn:careloop:slot",
	document = "urn:careloop:document",
	referral = "urn:careloop:referral",
	score = "urn:careloop:score",
	bser = "http://hl7.org/fhir/us/bser/CodeSystem/TaskBusinessStatusCS", -- HL7/bser, TaskBusinessStatusCS.fsh
	act_code = "http://terminology.hl7.org/CodeSystem/v3-ActCode",
	act_reason = "http://terminology.hl7.org/CodeSystem/v3-ActReason",
	confidentiality = "http://terminology.hl7.org/CodeSystem/v3-Confidentiality",
	observation_category = "http://terminology.hl7.org/CodeSystem/observation-category",
	flag_category = "http://terminology.hl7.org/CodeSystem/flag-category",
}

-- LOINC, checked on loinc.org.
codes.loinc = {
	phq9_panel = "44249-1", phq9_total = "44261-6",
	phq2_panel = "55757-9", phq2_total = "55758-7",
	phq2_assessment_form = "58120-7", -- a variant of the PHQ-2 panel; accepted when it comes in
	phq9m_panel = "89206-7", phq9m_total = "89204-2", -- modified for teens
	gad7_panel = "69737-5", gad7_total = "70274-6", -- the GAD-2 has no code here that was checked: see scores.lua
	adult_screen_result = "73832-8", adolescent_screen_result = "73831-0", -- CMS2
}

-- Answer list LL358-3.
codes.answer_value = { ["LA6568-5"] = 0, ["LA6569-3"] = 1, ["LA6570-1"] = 2, ["LA6571-9"] = 3 }
codes.answer_code = { [0] = "LA6568-5", [1] = "LA6569-3", [2] = "LA6570-1", [3] = "LA6571-9" }

-- SNOMED CT results of a depression screen (CMS2).
codes.snomed = { screen_positive = "428181000124104", screen_negative = "428171000124102", declined = "720834000" }

return codes

-- Code lists that may be shipped: ICD-10-CM, LOINC and a few single SNOMED CT codes that the published logic names. The
-- value
-- sets of CMS (VSAC) and NCQA are licensed: an organization that has them loads them as ValueSet resources with the url
-- given here, or its own plugin replaces the list; what is loaded replaces what is shipped. A list without codes is one
-- that
-- cannot be shipped.
local icd10 = "http://hl7.org/fhir/sid/icd-10-cm"
local loinc = "http://loinc.org"
local snomed = "http://snomed.info/sct"

return {
	codes "qualifying_visits" {
		summary = "Types of visits that published measures count; without it the class of the encounter decides",
		source = "CMS: Contact or Office Visit and others (VSAC, licensed)",
	},

	codes "depression" {
		summary = "Major depression and dysthymia", source = "ICD-10-CM",
		{ icd10, "F32.0", "F32.1", "F32.2", "F32.3", "F32.4", "F32.5", "F32.9", "F33*", "F34.1" },
	},
	codes "bipolar_disorder" { summary = "Bipolar disorder", source = "ICD-10-CM", { icd10, "F30*", "F31*" } },
	codes "emotionally_labile_personality" {
		summary = "Emotionally labile personality disorder", source = "ICD-10-CM", { icd10, "F34.0", "F60.3", "F60.4",
			"F68.10" },
	},
	codes "schizophrenia_or_psychosis" {
		summary = "Schizophrenia and other psychoses", source = "ICD-10-CM",
		{ icd10, "F20*", "F22*", "F23*", "F24*", "F25*", "F28*", "F29*" },
	},
	codes "pervasive_developmental_disorder" {
		summary = "Pervasive developmental disorder", source = "ICD-10-CM", { icd10, "F84*" },
	},

	codes "hospice" {
		summary = "Hospice care, and discharge to it", source = "single SNOMED CT codes, LOINC 45755-6",
		{ snomed, "385763009", "385765002", "428361000124107", "428371000124100" }, { loinc, "45755-6" },
	},
	codes "palliative_care" {
		summary = "Palliative care", source = "ICD-10-CM, SNOMED CT 103735009", { icd10, "Z51.5" }, { snomed, "103735009" },
	},

	codes "screen_positive" { summary = "Depression screen positive", source = "CMS2v14", { snomed, "428181000124104" } },
	codes "screen_negative" { summary = "Depression screen negative", source = "CMS2v14", { snomed, "428171000124102" } },
	codes "screen_not_done_reasons" {
		summary = "Reasons for not screening", source = "SNOMED CT 720834000 (declined), 410534003 (not indicated)",
		{ snomed, "720834000", "410534003" },
	},
	codes "depression_follow_up" {
		summary = "Referral and follow-up for depression; add the services that you order", source = "own list",
		{ "urn:careloop:service", "behavioral_health", "collaborative_care", "depression_follow_up" },
		{ snomed, "306226009", "306227000" },
	},
	codes "depression_medications" {
		summary = "Antidepressants by RxNorm ingredient or product", source = "CMS2: VSAC, licensed; NLM RxNorm "
			.. "ingredients here",
		{ "http://www.nlm.nih.gov/research/umls/rxnorm", "36437", "2556", "321988", "4493", "32937", "42347", "39786",
			"72625",
			"15996", "704", "7531", "10737" },
	},

	codes "diabetes" { summary = "Diabetes", source = "ICD-10-CM", { icd10, "E08*", "E09*", "E10*", "E11*", "E13*" } },
	codes "a1c" { summary = "Hemoglobin A1c or glucose management indicator", source = "LOINC", {
		loinc, "4548-4", "17856-6", "4549-2", "97506-0" } },
	codes "essential_hypertension" { summary = "Essential hypertension", source = "ICD-10-CM", { icd10, "I10" } },
	codes "kidney_exclusions" {
		summary = "End stage renal disease, dialysis, kidney transplant, stage 5", source = "ICD-10-CM",
		{ icd10, "N18.5", "N18.6", "Z99.2", "Z94.0" },
	},
	codes "pregnancy" { summary = "Pregnancy and childbirth", source = "ICD-10-CM", {
		icd10, "O0*", "O1*", "O2*", "O3*", "O4*", "O6*", "O7*", "O8*", "O9*", "Z33.1", "Z34*" } },
	codes "frailty" { summary = "Frailty", source = "ICD-10-CM (part of the published set)", {
		icd10, "R54", "R26.2", "R26.89", "R41.81", "R53.1", "R53.81", "R62.7", "R63.4", "R64", "W01*", "W06*", "W07*", "W08*",
		"W10*", "W18*", "W19*", "Z59.3", "Z73.6", "Z74.0*", "Z74.1", "Z74.2", "Z74.3", "Z91.81", "Z99.1*", "Z99.3",
		"Z99.81", "Z99.89" } },
	codes "advanced_illness" { summary = "Advanced illness", source = "ICD-10-CM (part of the published set)", {
		icd10, "C25*", "C71*", "C77*", "C78*", "C79*", "F01*", "F02*", "F03*", "F10.27", "F10.96", "F10.97", "G10", "G12.21",
		"G20*", "G30*", "G31.01", "G31.09", "G35", "I09.81", "I11.0", "I12.0", "I13*", "I50*", "J43*", "J68.4", "J84.10",
		"J84.112", "J96.1*", "J96.2*", "J96.9*", "J98.2", "J98.3", "K70.1*", "K70.2", "K70.3*", "K70.40", "K70.41", "K74*",
		"N18.5", "N18.6" } },
	codes "long_term_nursing" {
		summary = "Living in a nursing home for long", source = "own code on an Encounter, a Condition or an Observation",
		{ "urn:careloop:housing", "long-term-nursing" }, { icd10, "Z59.3" },
	},

	codes "mental_illness" {
		summary = "Mental illness as the reason of a stay or visit", source = "ICD-10-CM F20 to F43, anxiety included from "
			.. "2025",
		{ icd10, "F20*", "F21*", "F22*", "F23*", "F24*", "F25*", "F28*", "F29*", "F30*", "F31*", "F32*", "F33*", "F34*",
			"F39*", "F40*", "F41*", "F42*", "F43*", "F44*", "F53*", "F60*", "F63*", "F68*", "F84*", "F90*", "F91*", "F93*",
			"F94*" },
	},
	codes "self_harm" {
		summary = "Intentional self-harm", source = "ICD-10-CM", { icd10, "T14.91*", "R45.851", "X71*", "X72*", "X73*",
			"X74*",
			"X75*", "X76*", "X77*", "X78*", "X79*", "X80*", "X81*", "X82*", "X83*" },
	},
	codes "planned_admission" {
		summary = "Planned admission: chemotherapy, radiation, rehabilitation, transplant status", source = "own list",
		{ icd10, "Z51.0", "Z51.1*", "Z51.89" }, { "urn:careloop:admission", "planned" },
		{ "http://terminology.hl7.org/CodeSystem/admission-type", "planned" },
	},

	codes "crisis" { summary = "A contact in a crisis", source = "own code", { "urn:careloop:contact", "crisis" } },
	codes "first_contact" { summary = "The first contact", source = "own code", { "urn:careloop:contact", "first" } },
	codes "initial_evaluation" {
		summary = "The initial evaluation", source = "own code", { "urn:careloop:encounter", "initial_evaluation" },
	},
	codes "initial_service" {
		summary = "A clinical service", source = "own code", { "urn:careloop:encounter", "clinical_service" },
	},
	codes "consultation_report" {
		summary = "Consultant report", source = "CMS50 (SNOMED CT 371530004, LOINC 11488-4)",
		{ snomed, "371530004" }, { loinc, "11488-4" },
	},
}

-- Short surveys of patients and of staff, as data like every instrument: `survey` says whom it asks, `top` from which
-- answer on counts as good. Own questions.
local agreement = {
	{ value = 1, en = "Strongly disagree", es = "Totalmente en desacuerdo" },
	{ value = 2, en = "Disagree", es = "En desacuerdo" },
	{ value = 3, en = "Neither", es = "Ni de acuerdo ni en desacuerdo" },
	{ value = 4, en = "Agree", es = "De acuerdo" },
	{ value = 5, en = "Strongly agree", es = "Totalmente de acuerdo" },
}

return {
	patient_experience = {
		name = "Patient survey", version = "1", survey = "patient", top = 4, may_miss = 0, answers = agreement,
		title = { en = "How was your care?", es = "¿Cómo fue su atención?" },
		items = {
			{ link = "knew-history", en = "The people I saw knew what others here had done for me",
				es = "Las personas que me atendieron sabían lo que otros aquí habían hecho por mí" },
			{ link = "soon-enough", en = "I was seen as soon as I needed", es = "Me atendieron tan pronto como lo necesitaba" },
			{ link = "my-say", en = "I had a say in what was decided", es = "Mi opinión contó en lo que se decidió" },
			{ link = "next-step", en = "I know what happens next", es = "Sé cuál es el siguiente paso" },
		},
	},
	staff_experience = {
		name = "Staff survey", version = "1", survey = "staff", about = "Practitioner", top = 4, may_miss = 0,
		answers = agreement, title = { en = "How do we work together?", es = "¿Cómo trabajamos juntos?" },
		items = {
			{ link = "reach", en = "I reach the colleague I need when I need them",
				es = "Encuentro al colega que necesito cuando lo necesito" },
			{ link = "hear-back", en = "I hear what became of the patients I passed on",
				es = "Me entero de qué pasó con los pacientes que derivé" },
			{ link = "worth-it", en = "The way we work together helps my patients",
				es = "Nuestra forma de trabajar juntos ayuda a mis pacientes" },
		},
	},
}

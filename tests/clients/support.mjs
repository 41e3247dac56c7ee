// What the clients' tests share: where the server is, a patient, an observation. The environment is set by clients_test.py.
export const base = process.env.CARELOOP_BASE; // https://localhost:port/riverside
export const fhir = base + '/fhir';
export const { CARELOOP_CLIENT: clientId, CARELOOP_SECRET: secret } = process.env;

export const patient = (family, more = {}) => ({
	resourceType: 'Patient', name: [{ family, given: ['Ana', 'María'] }], birthDate: '1980-02-29', gender: 'female', ...more,
});

export const observation = (subject, value, more = {}) => ({
	resourceType: 'Observation', status: 'final', subject: { reference: subject },
	code: { coding: [{ system: 'http://loinc.org', code: '44261-6' }] }, effectiveDateTime: '2026-11-02T09:30:00-06:00',
	valueQuantity: { value, unit: '{score}', system: 'http://unitsofmeasure.org', code: '{score}' }, ...more,
});

export const transaction = (family) => ({
	resourceType: 'Bundle', type: 'transaction', entry: [
		{ fullUrl: 'urn:uuid:6f0c8a3e-5c1f-4b51-9b0e-0d6a4c8f0001', resource: patient(family),
			request: { method: 'POST', url: 'Patient' } },
		{ fullUrl: 'urn:uuid:6f0c8a3e-5c1f-4b51-9b0e-0d6a4c8f0002',
			resource: observation('urn:uuid:6f0c8a3e-5c1f-4b51-9b0e-0d6a4c8f0001', 12),
			request: { method: 'POST', url: 'Observation' } },
	],
});

// A token by SMART Backend Services with a secret (RFC 6749 section 4.4), as the clients without a login of their own are given one.
export async function token(scope = 'system/*.cruds') {
	const answer = await fetch(base + '/oauth2/token', {
		method: 'POST',
		body: new URLSearchParams({ grant_type: 'client_credentials', client_id: clientId, client_secret: secret, scope }),
	});
	if (answer.status !== 200) throw new Error(`no token: ${answer.status} ${await answer.text()}`);
	return answer.json();
}

let count = 0;
export const unique = (word) => `${word}${process.pid}x${++count}`;

// fhirclient (SMART's JavaScript client) as a program on a server uses it: with a token that it was given.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import smart from 'fhirclient';
import { fhir, observation, patient, token, unique } from './support.mjs';

const nobody = { url: '/', headers: { host: 'localhost' } };
let client, mine;
const connect = (state) => smart(nobody, {}, { get: async () => null, set: async () => {}, unset: async () => {} }).client(state);

before(async () => {
	const granted = await token();
	mine = await connect({ serverUrl: fhir, tokenResponse: granted }).create(patient('Smart'));
	client = connect({ serverUrl: fhir, tokenResponse: { ...granted, patient: mine.id } });
});

test('creates, reads, changes, patches, deletes', async () => {
	const made = await client.create(observation('Patient/' + mine.id, 7));
	assert.equal((await client.request('Observation/' + made.id)).valueQuantity.value, 7);
	const changed = await client.update({ ...made, status: 'amended' });
	assert.equal(changed.meta.versionId, '2');
	const patched = await client.patch('Observation/' + made.id, [{ op: 'replace', path: '/status', value: 'corrected' }]);
	assert.equal(patched.status, 'corrected');
	await client.delete('Observation/' + made.id);
	await assert.rejects(client.request('Observation/' + made.id), /410|deleted/);
});

test('knows the patient in context', async () => {
	await client.create(observation('Patient/' + mine.id, 11));
	assert.equal((await client.patient.read()).id, mine.id);
	const found = await client.patient.request('Observation', { flat: true });
	assert.ok(found.length && found.every((each) => each.subject.reference === 'Patient/' + mine.id));
	assert.equal(await client.getFhirRelease(), 4);
});

test('walks pages and resolves references', async () => {
	const one = await client.create(patient(unique('Pages')));
	for (let value = 0; value < 5; value++) await client.create(observation('Patient/' + one.id, value));
	const found = await client.request(`Observation?subject=Patient/${one.id}&_count=2&_sort=_id`, {
		pageLimit: 0, flat: true, resolveReferences: ['subject'],
	});
	assert.equal(new Set(found.map((each) => each.id)).size, 5);
	assert.ok(found.every((each) => each.subject.id === one.id));
});

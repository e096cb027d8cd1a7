// Publishing, loading and verifying, on small bundles of random weights in temporary folders.

import assert from 'node:assert/strict';
import {
  cpSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { tinyBundleInput } from '../../test/support/tiny-bundle.ts';
import { describeManifest } from '../cli/inspect.ts';
import { describeReport } from '../cli/verify.ts';
import { TandemError, type ErrorCode } from '../errors.ts';
import { sha256Hex } from '../json.ts';
import { nativeAddon } from '../native/addon.ts';
import { Random } from '../random.ts';
import { headWeights } from './weights/head-weights.ts';
import { bundleId, encoderId, headId, itemTowerId } from './identity.ts';
import { activateBundle, resolveBundle } from './current.ts';
import { loadBundle } from './load.ts';
import {
  BUNDLE_FILES,
  manifestText,
  parseManifest,
  type BundleManifest,
  type GoldenRequest,
} from './manifest.ts';
import { publishBundle, type BundleInput, type PublishedBundle } from './publish.ts';
import type { Tensor } from './safetensors.ts';
import { verifyBundle } from './verify.ts';

let input: BundleInput;
let root: string;
let published: PublishedBundle;

before(async () => {
  input = await tinyBundleInput();
  root = mkdtempSync(join(tmpdir(), 'tandem-bundle-'));
  published = await publishBundle(input, join(root, 'bundles'));
});

after(() => {
  rmSync(root, { recursive: true, force: true });
});

/** A copy of the published bundle to damage. */
function copyBundle(): string {
  const directory = mkdtempSync(join(root, 'copy-'));
  cpSync(published.directory, directory, { recursive: true });
  return directory;
}

function readManifestOf(directory: string): BundleManifest {
  return JSON.parse(readFileSync(join(directory, 'manifest.json'), 'utf8')) as BundleManifest;
}

/**
 * Replaces a file and makes the manifest agree with it, as an attacker or a faulty publisher would.
 */
function forge(directory: string, name: string, bytes: Uint8Array, more: object = {}): void {
  writeFileSync(join(directory, name), bytes);
  const old = readManifestOf(directory);
  const files = { ...old.files, [name]: { bytes: bytes.length, sha256: sha256Hex(bytes) } };
  const rest = { ...old, ...more, files };
  const manifest = parseManifest({ ...rest, bundleId: bundleId(rest) });
  writeFileSync(join(directory, 'manifest.json'), manifestText(manifest));
}

async function assertRefused(path: string, code: ErrorCode, message: RegExp): Promise<void> {
  await assert.rejects(loadBundle(path), (error: unknown) => {
    assert.ok(error instanceof TandemError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}

describe('publishBundle', () => {
  it('names the directory after the id and points current at it', () => {
    const name = published.bundleId.slice(0, 16);
    assert.equal(published.directory, join(root, 'bundles', name));
    assert.equal(readFileSync(join(root, 'bundles', 'current'), 'utf8'), `${name}\n`);
    assert.equal(resolveBundle(join(root, 'bundles')), published.directory);
    assert.equal(resolveBundle(published.directory), published.directory);
    assert.deepEqual(
      readdirSync(published.directory).sort(),
      ['manifest.json', ...Object.values(BUNDLE_FILES)].sort(),
    );
  });

  it('writes no file for the same content again, but makes it current', async () => {
    const bundles = mkdtempSync(join(root, 'again-'));
    const first = await publishBundle(input, bundles);
    const { ino, mtimeMs } = statSync(join(first.directory, 'weights.safetensors'));
    const other = await publishBundle({ ...input, datasetName: 'other' }, bundles);
    assert.notEqual(other.bundleId, first.bundleId);
    assert.equal(resolveBundle(bundles), other.directory);
    const again = await publishBundle(await tinyBundleInput(), bundles);
    assert.deepEqual(again, first);
    assert.equal(resolveBundle(bundles), first.directory);
    assert.deepEqual(
      { ino, mtimeMs },
      (({ ino: i, mtimeMs: m }) => ({ ino: i, mtimeMs: m }))(
        statSync(join(first.directory, 'weights.safetensors')),
      ),
    );
    activateBundle(bundles, other.bundleId.slice(0, 16));
    assert.equal(resolveBundle(bundles), other.directory);
    assert.throws(
      () => {
        activateBundle(bundles, 'nobody');
      },
      { code: 'ERR_BUNDLE_NOT_FOUND' },
    );
  });

  it('gives two publishers of the same content the same bundle', async () => {
    const bundles = mkdtempSync(join(root, 'race-'));
    const both = await Promise.all([publishBundle(input, bundles), publishBundle(input, bundles)]);
    assert.deepEqual(both[0], both[1]);
    await loadBundle(bundles);
    assert.deepEqual(
      readdirSync(bundles).filter((name) => name.startsWith('.tmp-')),
      [],
    );
  });

  it('does not point at a damaged directory of the same name', async () => {
    const bundles = mkdtempSync(join(root, 'damaged-'));
    const { directory } = await publishBundle(input, bundles);
    writeFileSync(join(directory, 'goldens.json'), '[]');
    await assert.rejects(publishBundle(input, bundles), { code: 'ERR_BUNDLE_INVALID' });
  });

  for (const [what, code, change] of [
    [
      'a NaN vector',
      'ERR_NON_FINITE',
      (v: BundleInput) => ({ vectors: changed(v.vectors, 20, NaN) }),
    ],
    [
      'an infinite vector',
      'ERR_NON_FINITE',
      (v: BundleInput) => ({ vectors: changed(v.vectors, 0, Infinity) }),
    ],
    [
      'a zero vector',
      'ERR_NON_FINITE',
      (v: BundleInput) => ({ vectors: v.vectors.slice().fill(0, 16, 32) }),
    ],
    [
      'a vector that is not of unit norm',
      'ERR_NON_FINITE',
      (v: BundleInput) => ({ vectors: v.vectors.map((value) => 2 * value) }),
    ],
    [
      'too few vectors',
      'ERR_BUNDLE_INVALID',
      (v: BundleInput) => ({ vectors: v.vectors.slice(16) }),
    ],
    [
      'NaN weights',
      'ERR_NON_FINITE',
      (v: BundleInput) => ({
        tensors: new Map(v.tensors).set('head.hiddenBias', {
          shape: [16],
          data: new Float32Array(16).fill(NaN),
        }),
      }),
    ],
    [
      'a schema of another catalogue',
      'ERR_BUNDLE_INVALID',
      (v: BundleInput) => ({ schema: { ...v.schema, catalogueDigest: '0'.repeat(64) } }),
    ],
    [
      'weights without an encoder',
      'ERR_BUNDLE_INVALID',
      (v: BundleInput) => ({ tensors: withoutPart(v, 'encoder.') }),
    ],
    ['a dataset digest that is not a digest', 'ERR_BUNDLE_INVALID', () => ({ datasetDigest: 'x' })],
  ] as const)
    it(`refuses ${what}, and leaves nothing behind`, async () => {
      const bundles = mkdtempSync(join(root, 'refused-'));
      await assert.rejects(publishBundle({ ...input, ...change(input) }, bundles), { code });
      assert.deepEqual(readdirSync(bundles), []);
    });
});

describe('loadBundle', () => {
  it('returns what was published', async () => {
    const bundle = await loadBundle(join(root, 'bundles'));
    assert.equal(bundle.directory, published.directory);
    assert.equal(bundle.manifest.bundleId, published.bundleId);
    assert.deepEqual(bundle.schema, input.schema);
    assert.deepEqual(bundle.vectors, input.vectors);
    assert.deepEqual(bundle.goldens, input.goldens);
    assert.deepEqual(Buffer.from(bundle.indexBytes), Buffer.from(input.indexBytes));
    assert.deepEqual(bundle.catalogue.ids.all(), input.catalogue.ids.all());
    const { tensors: all, model, schema, catalogue } = input;
    assert.deepEqual(bundle.headWeights, headWeights(all, model, schema, catalogue));
    const tensors = bundle.tensors();
    assert.equal(tensors.size, input.tensors.size);
    for (const [name, { shape, data }] of input.tensors)
      assert.deepEqual(tensors.get(name), { shape, data });
  });

  it('refuses a single flipped bit anywhere in any file', async () => {
    const random = new Random(3);
    const directory = copyBundle();
    for (const name of ['manifest.json', ...Object.values(BUNDLE_FILES)]) {
      const path = join(directory, name);
      const whole = readFileSync(path);
      for (let round = 0; round < 12; round++) {
        const damaged = Buffer.from(whole);
        damaged[random.integer(damaged.length)]! ^= 1 << random.integer(8);
        writeFileSync(path, damaged);
        await assertRefused(directory, 'ERR_BUNDLE_INVALID', /./);
      }
      writeFileSync(path, whole);
    }
    await loadBundle(directory);
  });

  it('refuses a truncated, a longer, a missing and an unknown file, naming it', async () => {
    for (const name of Object.values(BUNDLE_FILES)) {
      const directory = copyBundle();
      const path = join(directory, name);
      const whole = readFileSync(path);
      writeFileSync(path, whole.subarray(0, whole.length - 1));
      await assertRefused(directory, 'ERR_BUNDLE_INVALID', new RegExp(name));
      writeFileSync(path, Buffer.concat([whole, Buffer.of(0)]));
      await assertRefused(directory, 'ERR_BUNDLE_INVALID', new RegExp(name));
      renameSync(path, join(root, 'aside'));
      await assertRefused(directory, 'ERR_BUNDLE_INVALID', /no such file/);
      renameSync(join(root, 'aside'), path);
    }
    const directory = copyBundle();
    writeFileSync(join(directory, 'notes.txt'), 'hello');
    await assertRefused(directory, 'ERR_BUNDLE_INVALID', /notes\.txt/);
  });

  it('refuses a manifest that was reformatted or edited', async () => {
    const directory = copyBundle();
    const manifest = readManifestOf(directory);
    writeFileSync(join(directory, 'manifest.json'), JSON.stringify(manifest));
    await assertRefused(directory, 'ERR_BUNDLE_INVALID', /written differently/);
    writeFileSync(
      join(directory, 'manifest.json'),
      JSON.stringify({ ...manifest, datasetName: 'better' }),
    );
    await assertRefused(directory, 'ERR_BUNDLE_INVALID', /bundleId of its content/);
    writeFileSync(join(directory, 'manifest.json'), '{');
    await assertRefused(directory, 'ERR_BUNDLE_INVALID', /JSON/);
  });

  it('refuses parts of another model, also with digests that agree', async () => {
    const other = await publishBundle(await tinyBundleInput({ seed: 2 }), join(root, 'others'));
    const take = (name: string): Buffer => readFileSync(join(other.directory, name));
    for (const [name, message] of [
      [BUNDLE_FILES.weights, /encoderId/],
      [BUNDLE_FILES.index, /indexId/],
    ] as const) {
      const directory = copyBundle();
      forge(directory, name, take(name));
      await assertRefused(directory, 'ERR_BUNDLE_INVALID', message);
    }
    const directory = copyBundle();
    const schema = { ...input.schema, countries: ['AT', ...input.schema.countries.slice(1)] };
    forge(directory, BUNDLE_FILES.schema, Buffer.from(JSON.stringify(schema)));
    await assertRefused(directory, 'ERR_BUNDLE_INVALID', /schemaHash/);
  });

  it('names the path when there is no bundle', async () => {
    await assertRefused(join(root, 'nowhere'), 'ERR_BUNDLE_NOT_FOUND', /nowhere/);
    const bundles = mkdtempSync(join(root, 'dangling-'));
    writeFileSync(join(bundles, 'current'), '0123456789abcdef\n');
    await assertRefused(bundles, 'ERR_BUNDLE_NOT_FOUND', /0123456789abcdef/);
    writeFileSync(join(bundles, 'current'), '../bundles\n');
    await assertRefused(bundles, 'ERR_BUNDLE_NOT_FOUND', /\.\.\/bundles/);
  });
});

describe('verifyBundle', () => {
  for (const fusion of ['concat', 'none'] as const)
    it(`passes a bundle of fusion ${fusion} at every ISA`, async () => {
      const bundles = mkdtempSync(join(root, 'verify-'));
      await publishBundle(await tinyBundleInput({ fusion }), bundles);
      const report = await verifyBundle(bundles);
      assert.equal(report.passed, true, describeReport(report));
      assert.deepEqual(
        report.isas.map(({ isa }) => isa),
        nativeAddon().availableIsas,
      );
      assert.ok(report.indexRecall >= 0.99);
      assert.match(describeReport(report), /passed\n$/);
    });

  it('reports goldens that differ', async () => {
    const [golden] = input.goldens.slice(1);
    const swapped = (items: GoldenRequest['candidates']): GoldenRequest['candidates'] => {
      const [first, second, ...rest] = items;
      return [second!, first!, ...rest];
    };
    const renamed = golden!.candidates.map((candidate) => ({ ...candidate, item: 'item-000000' }));
    const scored = golden!.candidates.map(({ item, score }) => ({ item, score: score + 0.001 }));
    for (const [expected, changedGolden] of [
      [/expected an embedding/, { ...golden!, embedding: changedNumbers(golden!.embedding) }],
      [/at position 0/, { ...golden!, candidates: swapped(golden!.candidates) }],
      [/expected score/, { ...golden!, candidates: renamed }],
      [/expected score/, { ...golden!, candidates: scored }],
      [/at position 0/, { ...golden!, candidates: golden!.candidates.slice(1) }],
    ] as const) {
      const bundles = mkdtempSync(join(root, 'differs-'));
      await publishBundle({ ...input, goldens: [changedGolden] }, bundles);
      const report = await verifyBundle(bundles);
      assert.equal(report.passed, false);
      assert.match(report.isas[0]!.failures[0]!, expected);
      assert.match(describeReport(report), /FAILED\n$/);
    }
  });

  it('lets native code refuse a damaged graph whose digest agrees', async () => {
    const random = new Random(5);
    for (let round = 0; round < 20; round++) {
      const bytes = Buffer.from(input.indexBytes);
      if (round === 0) bytes.fill(0);
      for (let flip = 0; flip < 8; flip++)
        bytes[random.integer(bytes.length)]! ^= 1 << random.integer(8);
      const directory = copyBundle();
      forge(directory, BUNDLE_FILES.index, bytes, { indexId: sha256Hex(bytes) });
      // A flipped bit of a vector in the graph is harmless. The process must not crash in any case.
      await verifyBundle(directory).catch((error: unknown) => {
        assert.equal((error as TandemError).code, 'ERR_INDEX_INVALID', String(error));
      });
      rmSync(directory, { recursive: true });
    }
  });
});

describe('ids', () => {
  it('change only with their own part', () => {
    const { tensors, model } = input;
    const hash = '0'.repeat(64);
    const ids = (weights: ReadonlyMap<string, Tensor>, schemaHash = hash): string[] => [
      encoderId(weights, model, schemaHash),
      headId(weights, model, schemaHash),
      itemTowerId(weights, model, schemaHash),
    ];
    const original = ids(tensors);
    assert.deepEqual(ids(new Map([...tensors].reverse())), original);
    const differs = (name: string): boolean[] => {
      const { shape, data } = tensors.get(name)!;
      const weights = new Map(tensors).set(name, {
        shape,
        data: changed(data as Float32Array, 0, 9),
      });
      return ids(weights).map((id, i) => id !== original[i]);
    };
    assert.deepEqual(differs('items.id'), [true, false, true]);
    assert.deepEqual(differs('encoder.gap'), [true, false, false]);
    assert.deepEqual(differs('head.coldStart'), [false, true, false]);
    assert.deepEqual(differs('context.ageTable'), [false, true, false]);
    assert.deepEqual(differs('tower.hiddenBias'), [false, false, true]);
    assert.ok(ids(tensors, '1'.repeat(64)).every((id, i) => id !== original[i]));
  });

  it('of a head that reads the item in view cover the items, too', async () => {
    const { tensors, model } = await tinyBundleInput({ items: 9, subjectItem: true });
    const { shape, data } = tensors.get('items.price')!;
    const weights = new Map(tensors).set('items.price', {
      shape,
      data: changed(data as Float32Array, 0, 9),
    });
    assert.notEqual(headId(weights, model, ''), headId(tensors, model, ''));
    const plain = { ...model, subjectItem: false };
    assert.equal(headId(weights, plain, ''), headId(tensors, plain, ''));
    assert.equal(encoderId(tensors, plain, ''), encoderId(tensors, model, ''));
    const mean = { ...model, historyMean: true };
    assert.notEqual(encoderId(tensors, mean, ''), encoderId(tensors, model, ''));
    assert.equal(headId(tensors, mean, ''), headId(tensors, model, ''));
    const frequency = { ...model, itemFrequency: true };
    assert.notEqual(encoderId(tensors, frequency, ''), encoderId(tensors, model, ''));
    assert.equal(headId(tensors, frequency, ''), headId(tensors, model, ''));
  });

  it('cover the shapes of tensors', () => {
    const { tensors, model } = input;
    const { data } = tensors.get('encoder.gap')!;
    const reshaped = new Map(tensors).set('encoder.gap', { shape: [data.length], data });
    assert.notEqual(encoderId(reshaped, model, ''), encoderId(tensors, model, ''));
  });
});

describe('headWeights', () => {
  it('covers every tensor of the model that a head reads', async () => {
    for (const options of [
      { fusion: 'none' },
      { fusion: 'concat' },
      { fusion: 'attention' },
      { fusion: 'concat', subjectItem: true },
    ] as const) {
      const { tensors, model, schema, catalogue } = await tinyBundleInput({ ...options, items: 9 });
      const weights = headWeights(tensors, model, schema, catalogue);
      const { itemTable, categories, advertisers, prices } = weights.context?.subjectItems ?? {};
      const taken = [weights, weights.context ?? {}, weights.attention ?? {}]
        .flatMap((part) => Object.values<unknown>(part))
        .concat(itemTable, categories?.table, advertisers?.table, prices?.table)
        .filter((value) => value instanceof Float32Array).length;
      const read = model.subjectItem ? /^(head|context|items)\./ : /^(head|context)\./;
      const named = [...tensors.keys()].filter((name) => read.test(name));
      assert.equal(taken, named.length, JSON.stringify(options));
    }
  });

  it('names a tensor of a wrong shape', () => {
    const tensors = new Map(input.tensors).set('context.genderTable', {
      shape: [9, 4],
      data: new Float32Array(36),
    });
    assert.throws(
      () => headWeights(tensors, input.model, input.schema, input.catalogue),
      /context\.genderTable/,
    );
  });
});

describe('describeManifest', () => {
  it('shows every id and file', () => {
    const manifest = readManifestOf(published.directory);
    const text = describeManifest(published.directory, manifest);
    for (const id of [manifest.bundleId, manifest.encoderId, manifest.indexId])
      assert.ok(text.includes(id));
    for (const name of Object.values(BUNDLE_FILES)) assert.ok(text.includes(name));
  });
});

function changed(values: Float32Array, position: number, value: number): Float32Array {
  const copy = values.slice();
  copy[position] = value;
  return copy;
}

function changedNumbers(values: readonly number[]): number[] {
  return values.map((value, i) => (i === 0 ? value + 0.01 : value));
}

function withoutPart(from: BundleInput, prefix: string): Map<string, Tensor> {
  return new Map([...from.tensors].filter(([name]) => !name.startsWith(prefix)));
}

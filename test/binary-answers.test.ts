// Compares answers in application/x-tandem with answers in JSON. The examples in TypeScript and
// Python read the binary answers.

import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it, test } from 'node:test';
import { promisify } from 'node:util';
import fc from 'fast-check';
import { readAnswer, type Answer } from '../examples/binary-candidates.ts';
import { resolveServerSettings } from '../src/config.ts';
import { packAnswer, type BinaryAnswer } from '../src/serve/answer/encode-binary.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { TextWriter } from '../src/serve/engine/text-writer.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { publishTinyBundle, tinyItem } from './support/tiny-bundle.ts';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'tandem-binary-'));
const withoutPython =
  spawnSync('python3', ['--version']).status === 0 ? false : 'python3 is not installed here';

before(() => publishTinyBundle(folder, { items: 60 }));
after(() => {
  rmSync(folder, { recursive: true });
});

const text = fc.string({ unit: 'grapheme', maxLength: 12 });
type Described = Omit<BinaryAnswer, 'texts' | 'ends'> & { readonly strings: readonly string[] };
const described: fc.Arbitrary<Described> = fc
  .record({
    state: fc.oneof(
      fc.record({
        status: fc.constantFrom('missing', 'version_mismatch'),
        ageSeconds: fc.constant(null),
      }),
      fc.record({ status: fc.constantFrom('fresh', 'stale'), ageSeconds: fc.nat() }),
    ),
    truncated: fc.boolean(),
    heads: fc.tuple(text, text, text, text, text, text),
    hits: fc.array(fc.tuple(text, fc.float({ noNaN: true, noDefaultInfinity: true })), {
      maxLength: 20,
    }),
  })
  .map(({ state, truncated, heads, hits }) => ({
    state,
    truncated,
    scores: Float32Array.from(hits, ([, score]) => score),
    strings: [...heads, ...hits.map(([item]) => item)],
  }));

function pack({ strings, ...answer }: Described): Uint8Array {
  const texts = new TextWriter();
  const ends = strings.map((string) => {
    texts.text(string);
    return texts.length;
  });
  return packAnswer({ ...answer, texts, ends });
}

function expected({ state, truncated, scores, strings }: Described): Answer {
  const [requestId, bundleId, plan, mode, reason, ignored, ...items] = strings;
  return {
    request_id: requestId!,
    bundle_id: bundleId!,
    state: { status: state.status, age_seconds: state.ageSeconds },
    degraded: mode === '' ? null : { mode: mode!, reason: reason! },
    plan: plan!,
    truncated,
    ignored: ignored === '' ? [] : ignored!.split(','),
    candidates: items.map((item, i) => ({ item, score: scores[i]! })),
  };
}

test('the TypeScript example reads any answer and rejects a part of one', () => {
  fc.assert(
    fc.property(described, fc.nat(), (answer, cut) => {
      const bytes = pack(answer);
      assert.deepEqual(readAnswer(bytes), expected(answer));
      assert.throws(() => readAnswer(bytes.subarray(0, cut % bytes.length)), RangeError);
    }),
  );
});

test('the Python example reads any answer', { skip: withoutPython }, () => {
  const answers = fc.sample(described, 100);
  const script = `
import json, sys
sys.path.insert(0, 'examples')
from binary_candidates import read_answer
for line in sys.stdin:
    print(json.dumps(read_answer(bytes.fromhex(line))))`;
  const input = answers.map((answer) => Buffer.from(pack(answer)).toString('hex')).join('\n');
  const { stdout, stderr } = spawnSync('python3', ['-B', '-c', script], {
    input,
    encoding: 'utf8',
  });
  assert.equal(stderr, '');
  const read = stdout.trimEnd().split('\n');
  // JSON writes -0 as 0 in JavaScript and as -0.0 in Python.
  assert.deepEqual(
    read.map((line) => JSON.stringify(JSON.parse(line))),
    answers.map((answer) => JSON.stringify(expected(answer))),
  );
});

for (const transport of ['uws', 'node'] as const)
  describe(`binary answers on ${transport}`, () => {
    let server: RunningServer;
    let base: string;

    before(async () => {
      const { settings } = resolveServerSettings({
        flags: { bundles: folder, store: join(folder, 'unused'), port: '0', transport },
      });
      server = await startServer(settings, new MemoryStore());
      base = `http://127.0.0.1:${server.port}`;
    });
    after(() => server.close());

    const post = (body: object, accept: string): Promise<Response> =>
      fetch(`${base}/v1/candidates`, {
        method: 'POST',
        headers: { accept, 'x-request-id': 'r' },
        body: JSON.stringify(body),
      });

    /**
     * Converts a JSON answer into the form of a binary one. Scores have six decimals in JSON and
     * all bits of an f32 in binary.
     */
    const asBinary = (json: Answer) => ({
      ...json,
      ignored: (json.ignored as Answer['ignored'] | undefined) ?? [],
    });
    const rounded = ({ candidates, ...answer }: Answer): Answer => ({
      ...answer,
      candidates: candidates.map(({ item, score }) => ({
        item,
        score: Math.round(score * 1e6) / 1e6,
      })),
    });

    it('equal the JSON answers to the same requests', async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.record({
            user: fc.constant('u'),
            surface: fc.constant('related'),
            subject: fc.oneof(
              fc.nat(59).map((i) => ({ item: tinyItem(i).id })),
              fc.constant({ query: 'zzz' }),
            ),
            k: fc.integer({ min: 1, max: 80 }),
          }),
          async (request) => {
            const json = await (await post(request, 'application/json')).json();
            const response = await post(request, 'application/json;q=0.5, application/x-tandem');
            assert.equal(response.headers.get('content-type'), 'application/x-tandem');
            const binary = readAnswer(new Uint8Array(await response.arrayBuffer()));
            assert.deepEqual(rounded(binary), asBinary(json as Answer));
          },
        ),
        { numRuns: 30 },
      );
    });

    it('return errors as JSON and reject explain', async () => {
      const request = { user: 'u', surface: 'related', explain: true };
      const response = await post(request, 'application/x-tandem');
      assert.equal(response.status, 400);
      const { error } = (await response.json()) as { error: { field: string } };
      assert.equal(error.field, 'explain');
      const other = await post({ user: 'u', surface: 'related' }, 'application/x-tandem-not');
      assert.equal(other.headers.get('content-type'), 'application/json');
    });

    it(
      'are printed equally by the examples in Python and TypeScript',
      { skip: withoutPython },
      async () => {
        const item = tinyItem(3).id;
        const python = await run('python3', [
          '-B',
          'examples/binary_candidates.py',
          base,
          'u',
          item,
        ]);
        const typescript = await run(process.execPath, [
          '--import',
          'tsx',
          'examples/binary-candidates.ts',
          base,
          'u',
          item,
        ]);
        const answers = [python, typescript].map(({ stdout }) => {
          return { ...(JSON.parse(stdout) as Answer), request_id: 'each its own' };
        });
        assert.equal(answers[0]!.candidates.length, 10);
        assert.deepEqual(answers[0], answers[1]);
      },
    );
  });

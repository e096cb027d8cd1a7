// Tests KServe v2 over the wire, on both transports: requests are the bytes that tritonclient 2.x
// sends, answers are in the form that it reads, and embeddings equal those of /v1/embeddings.

import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { promisify } from 'node:util';
import { resolveServerSettings } from '../src/config.ts';
import { newKey, writeKeyFile } from '../src/serve/admission/key-file.ts';
import { startServer, type RunningServer } from '../src/serve/process/server.ts';
import { MemoryStore } from '../src/store/memory-store.ts';
import { publishTinyBundle, tinyItem } from './support/tiny-bundle.ts';

const run = promisify(execFile);
const withoutTriton =
  spawnSync('python3', ['-c', 'import tritonclient.http']).status === 0
    ? false
    : 'tritonclient[http] is not installed for python3';
const WIDTH = 16;
const folder = mkdtempSync(join(tmpdir(), 'tandem-kserve-'));
const keyFile = join(folder, 'keys.json');
const asking = newKey({ name: 'asks', role: 'candidates' });
const reading = newKey({ name: 'reads', role: 'metrics' });
writeKeyFile(keyFile, [asking.record, reading.record]);
let bundleId = '';

before(async () => {
  ({ bundleId } = await publishTinyBundle(folder, { items: 60, width: WIDTH }));
});
after(() => {
  rmSync(folder, { recursive: true });
});

/**
 * The bytes that InferenceServerClient.infer('tandem', inputs, request_id='r-1') sent for the two
 * rows of ASKED.
 */
const SENT_JSON =
  '{"id":"r-1","inputs":[' +
  '{"name":"user","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":14}},' +
  '{"name":"item","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":19}},' +
  '{"name":"query","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":17}},' +
  '{"name":"age","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},' +
  '{"name":"country","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":10}},' +
  '{"name":"gender","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":9}}],' +
  '"parameters":{"binary_data_output":true}}';
const SENT_BYTES = Buffer.from(
  '03000000752d3103000000c3bc320b0000006974656d2d30303030303300000000' +
    '00000000090000007265642073686f6573000008420000c07f02000000444500000000000000000100000066',
  'hex',
);
const ASKED = [
  {
    user: 'u-1',
    surface: 'related',
    subject: { item: tinyItem(3).id },
    demographics: { age: 34, country: 'DE' },
  },
  {
    user: 'ü2',
    surface: 'search',
    subject: { query: 'red shoes' },
    demographics: { gender: 'f' },
  },
];

interface Tensor {
  readonly name: string;
  readonly datatype: string;
  readonly shape: readonly number[];
  readonly parameters?: { readonly binary_data_size: number };
  readonly data?: readonly (number | string)[];
}

interface Inferred {
  readonly model_name: string;
  readonly id?: string;
  readonly outputs: readonly Tensor[];
  readonly error?: string;
}

/** Compares with a tolerance, because micro-batches of other sizes may sum in another order. */
function assertNear(values: readonly number[], expected: readonly number[]): void {
  assert.equal(values.length, expected.length);
  for (const [i, value] of values.entries()) assert.ok(Math.abs(value - expected[i]!) < 1e-6);
}

for (const transport of ['uws', 'node'] as const)
  describe(`kserve on ${transport}`, () => {
    let server: RunningServer;
    let base: string;

    before(async () => {
      const { settings } = resolveServerSettings({
        flags: {
          bundles: folder,
          store: join(folder, 'unused'),
          port: '0',
          transport,
          keys: keyFile,
        },
      });
      server = await startServer(settings, new MemoryStore());
      base = `http://127.0.0.1:${server.port}`;
    });
    after(() => server.close());

    const authorization = (key: string): { authorization: string } => ({
      authorization: `Bearer ${key}`,
    });

    function post(path: string, body: string | Buffer, jsonBytes?: number): Promise<Response> {
      return fetch(`${base}${path}`, {
        method: 'POST',
        headers: {
          ...authorization(asking.key),
          ...(jsonBytes !== undefined && { 'Inference-Header-Content-Length': String(jsonBytes) }),
        },
        body: typeof body === 'string' ? body : new Uint8Array(body),
      });
    }

    const infer = (body: object): Promise<Response> =>
      post('/v2/models/tandem/infer', JSON.stringify(body));

    const expectedEmbeddings = (): Promise<number[][]> =>
      Promise.all(
        ASKED.map(async (request) => {
          const response = await post('/v1/embeddings', JSON.stringify(request));
          return ((await response.json()) as { embedding: number[] }).embedding;
        }),
      );

    it('answers an unmodified tritonclient', { skip: withoutTriton }, async () => {
      const [item, users] = [tinyItem(3).id, ['u-1', 'ü2']];
      const address = `127.0.0.1:${server.port}`;
      const args = ['-B', 'examples/kserve_embeddings.py', address, item, ...users];
      const env = { ...process.env, TANDEM_KEY: asking.key };
      const { stdout } = await run('python3', args, { env });
      const received = JSON.parse(stdout) as {
        user: string;
        bundle_id: string;
        embedding: number[];
      }[];
      assert.deepEqual(
        received.map(({ user, bundle_id: bundle }) => [user, bundle]),
        users.map((user) => [user, bundleId]),
      );
      for (const { user, embedding } of received) {
        const request = { user, surface: 'related', subject: { item } };
        const response = await post('/v1/embeddings', JSON.stringify(request));
        assertNear(embedding, ((await response.json()) as { embedding: number[] }).embedding);
      }
    });

    it('answers the bytes of tritonclient with the embeddings of /v1/embeddings', async () => {
      const body = Buffer.concat([Buffer.from(SENT_JSON), SENT_BYTES]);
      const response = await post('/v2/models/tandem/infer', body, SENT_JSON.length);
      assert.equal(response.status, 200);
      assert.equal(response.headers.get('content-type'), 'application/octet-stream');
      const bytes = Buffer.from(await response.arrayBuffer());
      const jsonBytes = Number(response.headers.get('inference-header-content-length'));
      const answer = JSON.parse(bytes.toString('utf8', 0, jsonBytes)) as Inferred;
      assert.deepEqual(answer, {
        model_name: 'tandem',
        id: 'r-1',
        outputs: [
          {
            name: 'embedding',
            datatype: 'FP32',
            shape: [2, WIDTH],
            parameters: { binary_data_size: 2 * WIDTH * 4 },
          },
          {
            name: 'bundle_id',
            datatype: 'BYTES',
            shape: [2],
            parameters: { binary_data_size: 2 * (4 + bundleId.length) },
          },
        ],
      });
      const idsAt = jsonBytes + 2 * WIDTH * 4;
      const values = Array.from({ length: 2 * WIDTH }, (_, i) =>
        bytes.readFloatLE(jsonBytes + 4 * i),
      );
      assertNear(values, (await expectedEmbeddings()).flat());
      const element = Buffer.alloc(4 + bundleId.length, bundleId);
      element.writeUInt32LE(bundleId.length);
      element.write(bundleId, 4);
      assert.deepEqual(bytes.subarray(idsAt), Buffer.concat([element, element]));
    });

    it('answers JSON with JSON, with the requested outputs only', async () => {
      const tensor = (name: string, datatype: string, data: unknown[]): object => {
        return { name, datatype, shape: [2], data };
      };
      const inputs = [
        tensor('user', 'BYTES', ['u-1', 'ü2']),
        tensor('item', 'BYTES', [tinyItem(3).id, '']),
        tensor('query', 'BYTES', ['', 'red shoes']),
        tensor('age', 'FP32', [34, null]),
        tensor('country', 'BYTES', ['DE', '']),
        tensor('gender', 'BYTES', ['', 'f']),
      ];
      const response = await infer({ inputs, outputs: [{ name: 'embedding' }] });
      assert.equal(response.status, 200);
      assert.equal(response.headers.get('inference-header-content-length'), null);
      const answer = (await response.json()) as Inferred;
      const [{ data, ...output }] = answer.outputs as [Tensor];
      assert.deepEqual(output, { name: 'embedding', datatype: 'FP32', shape: [2, WIDTH] });
      assert.deepEqual([answer.outputs.length, answer.id], [1, undefined]);
      assertNear(data as number[], (await expectedEmbeddings()).flat());
    });

    it('keeps the order of rows over several micro-batches', async () => {
      const items = Array.from({ length: 200 }, (_, i) => tinyItem(i % 60).id);
      const shape = [items.length];
      const inputs = [
        { name: 'user', datatype: 'BYTES', shape, data: items.map(() => 'u') },
        { name: 'item', datatype: 'BYTES', shape, data: items },
      ];
      const { outputs } = (await (await infer({ inputs })).json()) as Inferred;
      assert.deepEqual(outputs[0]!.shape, [200, WIDTH]);
      const { data } = outputs[0]!;
      const alone = await post(
        '/v1/embeddings',
        JSON.stringify({ user: 'u', surface: 'related', subject: { item: items[131] } }),
      );
      const { embedding } = (await alone.json()) as { embedding: number[] };
      assertNear(data!.slice(131 * WIDTH, 132 * WIDTH) as number[], embedding);
    });

    it('answers errors in the form of the protocol, with our statuses', async () => {
      const shape = [2];
      const user = { name: 'user', datatype: 'BYTES', shape, data: ['u', 'v'] };
      const item = { name: 'item', datatype: 'BYTES', shape, data: ['', '?'] };
      const cases: readonly (readonly [Promise<Response>, number, RegExp])[] = [
        [infer({ inputs: [{ ...user, datatype: 'INT64' }] }), 400, /^Expected BYTES/],
        [infer({ inputs: [user, item] }), 404, /^Row 1: Expected an item of bundle/],
        [post('/v2/models/tandem/infer', SENT_JSON), 400, /14 bytes of input user/],
        [post('/v2/models/tandem/infer', 'x'.repeat(2 ** 20 + 1)), 413, /maxBodyBytes/],
        [post('/v2/models/tandem', '{}'), 405, /^Expected GET/],
        [post('/v2/models/other/infer', '{}'), 404, /Did you mean \/v2\/models\/tandem\/infer/],
        [fetch(`${base}/v2/models/tandem`), 401, /API key/],
        [fetch(`${base}/v2`, { headers: authorization(reading.key) }), 403, /role "candidates"/],
      ];
      for (const [answer, status, message] of cases) {
        const response = await answer;
        const body = (await response.json()) as Inferred;
        assert.equal(response.status, status, body.error);
        assert.deepEqual(Object.keys(body), ['error']);
        assert.match(body.error!, message);
      }
    });

    it('describes server and model, and answers health checks without a key', async () => {
      for (const path of ['/v2/health/live', '/v2/health/ready', '/v2/models/tandem/ready'])
        assert.equal((await fetch(`${base}${path}`)).status, 200, path);
      const get = async (path: string): Promise<object> =>
        (await (
          await fetch(`${base}${path}`, { headers: authorization(asking.key) })
        ).json()) as object;
      const metadata = (await get('/v2')) as { name: string; extensions: string[] };
      assert.deepEqual([metadata.name, metadata.extensions], ['tandem', ['binary_tensor_data']]);
      const model = (await get('/v2/models/tandem')) as { inputs: Tensor[]; outputs: Tensor[] };
      const named = SENT_JSON.matchAll(/"name":"(\w+)","shape":\[2\],"datatype":"(\w+)"/g);
      assert.deepEqual(
        model.inputs,
        Array.from(named, ([, name, datatype]) => ({ name, datatype, shape: [-1] })),
      );
      assert.deepEqual(model.outputs[0]!.shape, [-1, WIDTH]);
    });
  });

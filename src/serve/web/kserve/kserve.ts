// KServe v2 (Open Inference Protocol) over HTTP for one model, the query tower. Each row of the
// input tensors becomes a request to the pipeline. Tensors are JSON or, with the binary tensor data
// extension that tritonclient uses, bytes.

import { littleEndianBytes } from '../../../bundle/safetensors.ts';
import { TandemError } from '../../../errors.ts';
import type { Client } from '../../admission/api-keys.ts';
import { nineDigits } from '../../answer/encode-answer.ts';
import { JSON_TYPE } from '../../answer/endpoints.ts';
import type { Engine } from '../../engine/engine.ts';
import { jsonOf, receivedBody } from '../json-body.ts';
import {
  INPUT_TYPES,
  OUTPUT_TYPES,
  inferRequest,
  type InferRequest,
  type InputName,
  type OutputName,
} from './kserve-schemas.ts';
import { JSON_LENGTH_HEADER, prefixedBytes, readInputs, type Columns } from './kserve-tensors.ts';
import type { Pipeline } from '../../pipeline.ts';
import { invalid, parseBody } from '../../request/parse-body.ts';
import { parseEmbeddings } from '../../request/query-requests.ts';
import type { HttpReply, HttpRequest } from '../transport.ts';
import type { Endpoint } from '../../answer/endpoint.ts';
import type { EmbeddingsRequest } from '../../request/request-types.ts';

export const KSERVE_PATH = '/v2';
const MODEL = 'tandem';
export const MODEL_PATH: string = `${KSERVE_PATH}/models/${MODEL}`;
export const OCTETS_TYPE = 'application/octet-stream';

export interface Inference {
  readonly id: string | undefined;
  readonly rows: readonly EmbeddingsRequest[];
  readonly outputs: readonly { readonly name: OutputName; readonly binary: boolean }[];
}

export interface EmbeddedRow {
  /**
   * The bundle that the embedding comes from. Rows of one answer may come from two bundles while
   * users are encoded for a new one.
   */
  readonly bundleId: string;
  /** [D] f32 query embedding. */
  readonly embedding: Float32Array;
}

const ROW: Endpoint<EmbeddingsRequest, EmbeddedRow> = {
  contentType: JSON_TYPE,
  parse: parseEmbeddings,
  encode: ({ bundle }, { embedding }) => ({
    bundleId: bundle.manifest.bundleId,
    embedding: embedding.slice(),
  }),
};

export function describeServer(version: string): object {
  return { name: MODEL, version, extensions: ['binary_tensor_data'] };
}

export function describeModel({ width }: Engine): object {
  const rows = Object.entries(INPUT_TYPES).map(([name, datatype]) => {
    return { name, datatype, shape: [-1] };
  });
  return {
    name: MODEL,
    platform: 'tandem_bundle',
    inputs: rows,
    outputs: [
      { name: 'embedding', datatype: OUTPUT_TYPES.embedding, shape: [-1, width] },
      { name: 'bundle_id', datatype: OUTPUT_TYPES.bundle_id, shape: [-1] },
    ],
  };
}

/**
 * Answers an inference request with all its rows, or with the error of the first row that fails.
 *
 * @throws TandemError as Admission.admit() and Pipeline.submit() do. The message of an error in a
 *   row starts with the number of the row.
 */
export async function infer(
  pipeline: Pipeline,
  request: HttpRequest,
  requestId: string,
  client: Client,
  timeoutMs: number | undefined,
): Promise<HttpReply> {
  pipeline.admission.refuse(1, client);
  const startedMs = performance.now();
  const inference = parseInference(request);
  const { rows } = inference;
  const parseMs = (performance.now() - startedMs) / rows.length;
  pipeline.admission.admit(rows.length, client);
  const embedded = await Promise.all(
    rows.map(async (row, i) => {
      try {
        const rowId = `${requestId}:${i}`;
        return (await pipeline.submit(ROW, row, rowId, request, parseMs, timeoutMs)).body;
      } catch (error) {
        throw rowError(i, error);
      }
    }),
  );
  return encodeInference(inference, embedded);
}

/** @throws TandemError ERR_PAYLOAD_TOO_LARGE, ERR_INVALID_REQUEST. */
export function parseInference(request: Pick<HttpRequest, 'headers' | 'body'>): Inference {
  const body = receivedBody(request);
  const jsonBytes = jsonLength(request.headers['inference-header-content-length'], body.length);
  const asked = parseBody<InferRequest>(inferRequest, jsonOf(body.subarray(0, jsonBytes)));
  const columns = readInputs(asked.inputs, body.subarray(jsonBytes));
  const rows = columns.get('user')!.map((_, i) => {
    try {
      return rowOf(columns, i);
    } catch (error) {
      throw rowError(i, error);
    }
  });
  return { id: asked.id, rows, outputs: outputsOf(asked) };
}

/** @param embedded - one embedding per row of the inference. */
export function encodeInference(
  { id, outputs }: Pick<Inference, 'id' | 'outputs'>,
  embedded: readonly EmbeddedRow[],
): HttpReply {
  const chunks: Uint8Array[] = [];
  const described = outputs.map(({ name, binary }) => {
    const { shape, values } = name === 'embedding' ? embeddings(embedded) : bundleIds(embedded);
    const tensor = { name, datatype: OUTPUT_TYPES[name], shape };
    if (!binary)
      return { ...tensor, data: values instanceof Float32Array ? nineDigits(values) : values };
    const bytes =
      values instanceof Float32Array ? littleEndianBytes(values) : prefixedBytes(values);
    chunks.push(bytes);
    return { ...tensor, parameters: { binary_data_size: bytes.byteLength } };
  });
  const json = JSON.stringify({ model_name: MODEL, id, outputs: described });
  if (chunks.length === 0) return { status: 200, contentType: JSON_TYPE, body: json };
  const head = Buffer.from(json);
  return {
    status: 200,
    contentType: OCTETS_TYPE,
    body: Buffer.concat([head, ...chunks]),
    headers: { [JSON_LENGTH_HEADER]: String(head.length) },
  };
}

/**
 * Returns how many bytes of the body are JSON: the value of the header, or all without a header.
 *
 * @throws TandemError ERR_INVALID_REQUEST.
 */
function jsonLength(header: string, bodyBytes: number): number {
  if (header === '') return bodyBytes;
  const jsonBytes = /^\d{1,9}$/.test(header) ? Number(header) : Infinity;
  if (jsonBytes <= bodyBytes) return jsonBytes;
  throw invalid(
    `Expected at most ${bodyBytes}, the bytes of the body, in the header ${JSON_LENGTH_HEADER}, ` +
      `received ${JSON.stringify(header.slice(0, 64))}.`,
    JSON_LENGTH_HEADER,
  );
}

/** Builds the request of row i. An empty text and NaN stand for an unknown value. */
function rowOf(columns: Columns, i: number): EmbeddingsRequest {
  const valueOf = (name: InputName): string | number | undefined => columns.get(name)?.[i];
  const item = valueOf('item') || undefined;
  const query = valueOf('query') || undefined;
  if (item !== undefined && query !== undefined)
    throw invalid('Expected item or query to be empty, received both.', 'inputs');
  const subject = item !== undefined ? { item } : { query };
  const age = valueOf('age');
  return ROW.parse({
    user: valueOf('user'),
    surface: query === undefined ? 'related' : 'search',
    ...((item ?? query) !== undefined && { subject }),
    demographics: {
      age: Number.isNaN(age) ? undefined : age,
      country: valueOf('country') || undefined,
      gender: valueOf('gender') || undefined,
    },
  });
}

function outputsOf({ outputs = [], parameters }: InferRequest): Inference['outputs'] {
  const names = new Set(outputs.map(({ name }) => name));
  if (names.size !== outputs.length) throw invalid('Expected each output once.', 'outputs');
  const binary = parameters?.binary_data_output ?? false;
  if (outputs.length === 0)
    return Object.keys(OUTPUT_TYPES).map((name) => ({ name: name as OutputName, binary }));
  return outputs.map((output) => ({
    name: output.name,
    binary: output.parameters?.binary_data ?? binary,
  }));
}

interface Output {
  readonly shape: readonly number[];
  /** The values in row-major order. */
  readonly values: Float32Array | readonly string[];
}

/** Returns the embeddings as [B, D] f32. */
function embeddings(embedded: readonly EmbeddedRow[]): Output {
  const width = embedded[0]!.embedding.length;
  const values = new Float32Array(embedded.length * width);
  for (const [i, { embedding }] of embedded.entries()) {
    if (embedding.length !== width)
      throw invalid(
        `Expected user states of one width, received rows of ${width} and ${embedding.length}. ` +
          'A bundle of another width has just replaced the one before. Send one user per request ' +
          'until all users are encoded for the new bundle.',
        'inputs',
      );
    values.set(embedding, i * width);
  }
  return { shape: [embedded.length, width], values };
}

function bundleIds(embedded: readonly EmbeddedRow[]): Output {
  return { shape: [embedded.length], values: embedded.map(({ bundleId }) => bundleId) };
}

/** Adds the number of the row to an error of the client. Other errors concern the whole request. */
function rowError(i: number, error: unknown): unknown {
  if (!(error instanceof TandemError) || error.retryable || error.status >= 500) return error;
  const { code, details } = error;
  return new TandemError(code, `Row ${i}: ${error.message}`, { details, cause: error });
}

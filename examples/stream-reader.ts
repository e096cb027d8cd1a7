// Reads the frames of one /v1/stream socket: JSON or binary, whole answers or deltas. Deltas are
// explained in docs/reference/http-api.md, binary frames in docs/reference/binary-protocol.md.

import { readAnswer, type Answer, type Base } from './binary-candidates.ts';

type Id = string | number;

export type StreamFrame =
  | { readonly type: 'ready'; readonly session_id: string }
  | {
      readonly type: 'error';
      readonly id: Id | null;
      readonly error: { readonly code: string; readonly message: string };
    }
  | { readonly type: 'candidates'; readonly id: Id; readonly answer: Answer };

type Received = Exclude<StreamFrame, { type: 'candidates' }> | WholeFrame | DeltaFrame;
interface WholeFrame extends Answer {
  readonly type: 'candidates';
  readonly id: Id;
}
interface DeltaFrame extends Omit<Answer, 'bundle_id' | 'candidates'> {
  readonly type: 'delta';
  readonly id: Id;
  readonly base: Id;
  /** For each candidate: its index in the base's candidates, or its id if the base lacks it. */
  readonly items: readonly (number | string)[];
  readonly scores: readonly number[];
}

/** Makes whole answers from the frames of one socket. Pass the frames in the order of arrival. */
export class StreamReader {
  #last: Base | undefined;

  /**
   * Reads one frame.
   *
   * @param data - the bytes of the frame.
   * @param isBinary - whether it is a binary frame; otherwise it is JSON text.
   * @returns the frame; an answer is always whole.
   * @throws RangeError when a binary frame is damaged, or a delta refers to another answer than the
   *   one before.
   */
  read(data: Uint8Array, isBinary: boolean): StreamFrame {
    if (isBinary) {
      const { id, body } = splitFrame(data);
      return this.#answered(id, readAnswer(body, this.#last));
    }
    const frame = JSON.parse(new TextDecoder().decode(data)) as Received;
    if (frame.type === 'candidates' || frame.type === 'delta')
      return this.#answered(frame.id, frame.type === 'delta' ? this.#apply(frame) : whole(frame));
    if (frame.type === 'ready') this.#last = undefined;
    return frame;
  }

  #answered(id: Id, answer: Answer): StreamFrame {
    this.#last = { id, answer };
    return { type: 'candidates', id, answer };
  }

  #apply({ base, items, scores, ...frame }: DeltaFrame): Answer {
    const last = this.#last;
    if (last?.id !== base)
      throw new RangeError(
        `Expected a delta against the answer before, received one against ${base}.`,
      );
    const { bundle_id, candidates } = last.answer;
    return whole({
      ...frame,
      type: 'candidates',
      bundle_id,
      candidates: items.map((item, i) => ({
        item: typeof item === 'string' ? item : candidates[item]!.item,
        score: scores[i]!,
      })),
    });
  }
}

/** The whole answer in a JSON frame, which has no `ignored` when nothing was ignored. */
function whole(frame: Omit<WholeFrame, 'ignored'> & Partial<Answer>): Answer {
  const { request_id, bundle_id, state, degraded, plan, truncated, candidates } = frame;
  const { ignored = [] } = frame;
  return { request_id, bundle_id, state, degraded, plan, truncated, ignored, candidates };
}

function splitFrame(data: Uint8Array): { id: Id; body: Uint8Array } {
  const bodyStart = 2 + new DataView(data.buffer, data.byteOffset, data.length).getUint16(0, true);
  const id = JSON.parse(new TextDecoder().decode(data.subarray(2, bodyStart))) as Id;
  return { id, body: data.subarray(bodyStart) };
}

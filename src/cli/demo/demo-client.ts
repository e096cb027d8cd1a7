// The demo's client, which runs in a process of its own. It sends the same requests to both servers
// over HTTP, and to the contextual one also over WebSocket. It prints candidates of both side by
// side, and as its last line a JSON object with the latency.
//
// Usage: node demo-client.js <history-only port> <contextual port> < requests.json

import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { build } from 'tandem-offline/histogram';
import { WebSocket } from 'ws';

interface Candidate {
  readonly item: string;
  readonly score: number;
  readonly title?: string;
}

interface Answer {
  readonly candidates: readonly Candidate[];
  readonly state: { readonly status: string };
  readonly plan: string;
}

type Question = Readonly<Record<string, unknown>> & { readonly user: string };

const K = 100;
const SHOWN_REQUESTS = 3;
const SHOWN_CANDIDATES = 5;
const INTERVAL_MS = 4;
const COLUMN = 44;
/** A server may refuse requests for this long, because the machine also has other work. */
const PATIENCE_MS = 30_000;

async function main(): Promise<void> {
  const [historyOnly, contextual] = process.argv.slice(2).map(Number);
  const questions = JSON.parse(await text(process.stdin)) as Question[];
  for (const question of questions.slice(0, SHOWN_REQUESTS))
    show(
      question,
      await ask(historyOnly!, { ...question, k: K, explain: true }),
      await ask(contextual!, { ...question, k: K, explain: true }),
    );

  const latency = build();
  // Open loop: requests leave on schedule, and latency counts from the time when a request was due.
  await onSchedule(questions, async (question, dueMs) => {
    await ask(contextual!, { ...question, k: K });
    latency.recordValue(Math.max(1, Math.round((performance.now() - dueMs) * 1000)));
  });
  await stream(contextual!, questions, (micros) => {
    latency.recordValue(micros);
  });
  const [p50, p99] = [50, 99].map((share) => latency.getValueAtPercentile(share) / 1000);
  const requests = latency.totalCount;
  process.stdout.write(
    `${requests} requests over HTTP and WebSocket, p50 ${p50!.toFixed(2)} ms\n` +
      `${JSON.stringify({ requests, p99_ms: p99 })}\n`,
  );
}

/** Sends a request, and sends it again when an overloaded server asks for that. */
async function ask(port: number, question: Readonly<Record<string, unknown>>): Promise<Answer> {
  const untilMs = performance.now() + PATIENCE_MS;
  for (;;) {
    const response = await fetch(`http://127.0.0.1:${port}/v1/candidates`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(question),
    });
    if (response.ok) return (await response.json()) as Answer;
    const body = await response.text();
    const retryAfter = Number(response.headers.get('retry-after') ?? Number.NaN);
    if (!(performance.now() + retryAfter * 1000 <= untilMs))
      throw new Error(`Expected candidates, received ${response.status}: ${body}`);
    await sleep(retryAfter * 1000);
  }
}

/** Starts `job` for a question every INTERVAL_MS, without waiting for the previous ones. */
async function onSchedule(
  questions: readonly Question[],
  job: (question: Question, dueMs: number) => Promise<void>,
): Promise<void> {
  const startedMs = performance.now();
  const jobs: Promise<void>[] = [];
  for (const [i, question] of questions.entries()) {
    const dueMs = startedMs + i * INTERVAL_MS;
    const waitMs = dueMs - performance.now();
    if (waitMs > 0) await sleep(waitMs);
    jobs.push(job(question, dueMs));
  }
  await Promise.all(jobs);
}

/**
 * Sends all questions as subjects of one WebSocket session. Answers carry the id of their subject.
 */
async function stream(
  port: number,
  questions: readonly Question[],
  record: (micros: number) => void,
): Promise<void> {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/v1/stream`);
  const waiting = new Map<string, { readonly send: () => void; readonly answered: () => void }>();
  const untilMs = performance.now() + PATIENCE_MS;
  let greeted: (() => void) | undefined;
  const failed = new Promise<never>((_resolve, reject) => {
    socket.on('error', reject);
    socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(data.toString()) as {
        readonly type: string;
        readonly id?: string;
        readonly error?: { readonly code: string };
      };
      const asked = frame.id === undefined ? undefined : waiting.get(frame.id);
      const isFull = frame.error?.code === 'ERR_OVERLOADED' && performance.now() < untilMs;
      if (frame.type === 'ready') greeted?.();
      else if (frame.type === 'candidates' && asked !== undefined) asked.answered();
      else if (isFull && asked !== undefined) setTimeout(asked.send, 1000);
      else reject(new Error(`Expected candidates, received ${data.toString()}`));
    });
  });
  await Promise.race([failed, new Promise((resolve) => socket.once('open', resolve))]);
  await Promise.race([
    failed,
    new Promise<void>((resolve) => {
      greeted = resolve;
      socket.send(JSON.stringify({ type: 'hello', user: questions[0]!.user, k: K }));
    }),
  ]);
  const answered = onSchedule(questions, (question, dueMs) => {
    const id = String(waiting.size);
    return new Promise<void>((resolve) => {
      const { surface, subject } = question;
      const send = (): void => {
        socket.send(JSON.stringify({ type: 'subject', id, surface, subject }));
      };
      const answered = (): void => {
        record(Math.max(1, Math.round((performance.now() - dueMs) * 1000)));
        resolve();
      };
      waiting.set(id, { send, answered });
      send();
    });
  });
  await Promise.race([failed, answered]);
  socket.close();
}

function show(question: Question, historyOnly: Answer, contextual: Answer): void {
  const subject = JSON.stringify(question['subject'] ?? 'nothing');
  const lines = [
    '',
    `user ${question.user} (state ${contextual.state.status}) looks at ${subject}`,
    `  ${'history only (none)'.padEnd(COLUMN)}contextual (concat)`,
  ];
  for (let i = 0; i < SHOWN_CANDIDATES; i++) {
    const [left, right] = [historyOnly, contextual].map(({ candidates }) =>
      describe(candidates[i]),
    );
    lines.push(`  ${left!.padEnd(COLUMN)}${right!}`);
  }
  process.stdout.write(`${lines.join('\n')}\n`);
}

function describe(candidate: Candidate | undefined): string {
  if (candidate === undefined) return '-';
  const name =
    candidate.title === undefined ? candidate.item : `${candidate.item} ${candidate.title}`;
  return `${candidate.score.toFixed(3)} ${name.slice(0, COLUMN - 10)}`;
}

main().catch((error: unknown) => {
  process.stderr.write(
    `${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
  process.exitCode = 1;
});

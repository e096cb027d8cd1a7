// The store of user states is damaged, and then removed, under a running server. The server goes on
// to answer, without history, and says so.

import {
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { mkdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { runCli } from '../support/cli.ts';
import { post } from './ask.ts';
import type { Figures, Row, Scale } from './row.ts';
import { ServerChild } from './server-child.ts';
import { candidatesOf, makeVersions, questionOf, type CandidatesBody } from './versions.ts';

const DAMAGES_AT = { quick: 20, long: 500 } as const;
const USERS = 200;
/** How a record begins (docs/reference/bundle-format.md), and a byte of its payload. */
const MAGIC = Buffer.from('TDS1');
const PAYLOAD_AT = 50;
const RECOVERY_MS = 10_000;

export const STORE_OUTAGE: Row = {
  name: 'store-outage',
  fault: 'The LMDB store has damaged records, is removed, or is missing at the start',
  method:
    'One byte of more and more records is changed under a running server; then the store ' +
    'directory is moved away. Other servers start without a store, or with files in its place ' +
    'that are not one.',
  targets: [
    'No request fails with 5xx; answers without history say that they are degraded.',
    'The server recovers within 5 s.',
    'A server that starts without a store says why and exits.',
  ],
  run: async (scale, figures) => {
    const folder = mkdtempSync(join(tmpdir(), 'tandem-store-'));
    const size = { versions: 1, items: 120, users: USERS };
    const { bundles, store, users } = await makeVersions(folder, size);
    const server = await ServerChild.start({ bundles, store });
    /**
     * Asks for all users: counts of degraded answers by reason, all candidates, and the number of
     * errors.
     */
    const askAll = async (): Promise<{
      reasons: Map<string, number>;
      answers: string;
      bad: number;
    }> => {
      const { status, body } = await post(server.port, '/v1/candidates:batch', {
        requests: users.map((user) => questionOf(user)),
      });
      if (status !== 200) throw new Error(`Expected answers, received ${status}.`);
      const { results } = body as { results: (CandidatesBody | { error: object })[] };
      const reasons = new Map<string, number>();
      let bad = 0;
      for (const result of results)
        if ('error' in result) bad++;
        else {
          const reason = result.degraded?.reason ?? 'none';
          reasons.set(reason, (reasons.get(reason) ?? 0) + 1);
        }
      const answers = results.map((result) => ('error' in result ? '' : candidatesOf(result)));
      return { reasons, answers: answers.join('\n'), bad };
    };
    try {
      const sound = await askAll();
      const corruptBefore = sound.reasons.get('store_corrupt') ?? 0;
      await damageRecords(join(store, 'data.mdb'), DAMAGES_AT[scale], figures, async () => {
        const { reasons, bad } = await askAll();
        return { bad, corrupt: (reasons.get('store_corrupt') ?? 0) - corruptBefore };
      });
      const recovery = await recoveryMs(async () => (await askAll()).answers === sound.answers);
      figures.atMost('recovery from damaged records', recovery / 1000, 5, 's');

      renameSync(store, `${store}-moved`);
      const { bad } = await askAll();
      figures.atMost('errors while the directory is missing', bad, 0);
      await atTheStart(bundles, store, figures, scale);
      rmSync(store, { recursive: true, force: true });
      renameSync(`${store}-moved`, store);
      const back = await recoveryMs(async () => (await askAll()).answers === sound.answers);
      figures.atMost('recovery from a missing directory', back / 1000, 5, 's');
      server.expectAlive();
    } finally {
      await server.end();
      rmSync(folder, { recursive: true });
    }
  },
};

/**
 * Changes one byte of more and more records under the running server, then restores all of them.
 */
async function damageRecords(
  path: string,
  count: number,
  figures: Figures,
  ask: () => Promise<{ bad: number; corrupt: number }>,
): Promise<void> {
  const content = readFileSync(path);
  const places: number[] = [];
  for (let at = content.indexOf(MAGIC); at >= 0; at = content.indexOf(MAGIC, at + 1))
    places.push(at + PAYLOAD_AT);
  const put = (place: number, value: number): void => {
    const file = openSync(path, 'r+');
    writeSync(file, Uint8Array.of(value), 0, 1, place);
    closeSync(file);
  };
  let bad = 0;
  let corrupt = 0;
  let fewerThanBefore = 0;
  const rounds = Math.min(count, places.length);
  for (let round = 0; round < rounds; round++) {
    // Each round damages its share of all records.
    for (let i = round; i < places.length; i += rounds)
      put(places[i]!, content[places[i]!]! ^ 0x10);
    const seen = await ask();
    bad += seen.bad;
    if (seen.corrupt < corrupt) fewerThanBefore++;
    corrupt = seen.corrupt;
  }
  for (const place of places) put(place, content[place]!);
  figures.report('records damaged', places.length);
  figures.report('steps in which they were damaged', rounds);
  figures.atMost('errors with damaged records', bad, 0);
  // A record may be an old copy that nobody reads, so a step may degrade no answer; but it must not
  // repair one.
  figures.atMost('steps after which fewer answers were degraded', fewerThanBefore, 0);
  figures.atLeast('answers degraded after the last step', corrupt, 1);
}

/**
 * A server with no store, or with files that are not one, must not start; it says why and does not
 * crash.
 */
async function atTheStart(
  bundles: string,
  store: string,
  figures: Figures,
  scale: Scale,
): Promise<void> {
  const kinds =
    scale === 'quick' ? ['nothing', 'garbage'] : ['nothing', 'garbage', 'an empty file'];
  for (const kind of kinds) {
    rmSync(store, { recursive: true, force: true });
    if (kind !== 'nothing') {
      mkdirSync(store);
      writeFileSync(join(store, 'data.mdb'), kind === 'garbage' ? Buffer.alloc(65_536, 'x') : '');
    }
    const { code, signal, stderr } = await runCli(
      ['serve', '--bundles', bundles, '--store', store, '--port', '0'],
      { killAfterMs: 60_000 },
    );
    const saysWhy = code !== null && code !== 0 && stderr.includes('ERR_STORE_UNAVAILABLE');
    figures.holds(`start refused with ERR_STORE_UNAVAILABLE: ${kind} at the store`, saysWhy);
    if (!saysWhy)
      figures.misses.push(`ended with ${String(signal ?? code)}: ${stderr.slice(0, 300)}`);
  }
}

async function recoveryMs(isWell: () => Promise<boolean>): Promise<number> {
  const startedMs = performance.now();
  while (!(await isWell())) {
    if (performance.now() - startedMs > RECOVERY_MS) break;
    await sleep(50);
  }
  return performance.now() - startedMs;
}

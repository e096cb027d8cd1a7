// Writes a synthetic world as raw files with a source manifest, and imports them like any other
// data: the import is the only writer of the normalised format.

import { randomUUID } from 'node:crypto';
import { mkdirSync, rmSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { TEMPORARY_PREFIX, writeFileSynced } from '../files.ts';
import { startProgress } from '../telemetry.ts';
import type { DatasetCounts } from '../data/dataset-file.ts';
import { importDataset } from '../data/import.ts';
import { Auction } from './auction.ts';
import { Catalogue } from './catalogue.ts';
import * as law from './law.ts';
import type { WorldSize } from './law.ts';
import { LineWriter } from './line-writer.ts';
import { Population, type UserLife } from './population.ts';
import { COUNTRIES, GENDERS } from './taxonomy.ts';

/** Shown wherever numbers of a synthetic world are shown. */
export const SIMULATION_NOTICE =
  'Simulation: a synthetic ads world with known ground truth, not real traffic.';

/** Size and place of a synthetic world. */
export interface WorldOptions extends WorldSize {
  /** Directory for the dataset. */
  readonly outputDirectory: string;
  /** Whether to keep the raw files in `<outputDirectory>-raw`. Default false. */
  readonly keepRaw?: boolean;
  /** Whether to replace another dataset at outputDirectory. Default false. */
  readonly force?: boolean;
}

/** What was generated. */
export interface WorldReport {
  /** Always true: no number here was observed. */
  readonly simulation: true;
  /** Directory of the dataset. */
  readonly directory: string;
  readonly name: string;
  readonly digest: string;
  readonly counts: DatasetCounts;
  /** Unix seconds: requests from this time on are for testing. */
  readonly testFrom: number;
  /** Undefined unless keepRaw. */
  readonly rawDirectory: string | undefined;
  readonly generateSeconds: number;
  readonly importSeconds: number;
}

/**
 * Generates a synthetic ads world and imports it to `outputDirectory`. The same numbers of users
 * and items and the same seed give the same digest.
 *
 * Memory: 29 bytes per item, and one user at a time. Disk: raw files of about 200 bytes per event,
 * which are removed afterwards.
 *
 * @throws TandemError ERR_INVALID_ARGUMENT for a size out of range; what importDataset throws.
 */
export async function generateWorld(options: WorldOptions): Promise<WorldReport> {
  law.checkWorldSize(options);
  const target = resolve(options.outputDirectory);
  const keepRaw = options.keepRaw ?? false;
  const raw = keepRaw
    ? `${target}-raw`
    : join(dirname(target), `${TEMPORARY_PREFIX}world-${randomUUID()}`);
  mkdirSync(raw, { recursive: true });
  try {
    const startedMs = performance.now();
    await writeRaw(raw, options);
    const generateSeconds = (performance.now() - startedMs) / 1000;
    const report = await importDataset({
      manifestPath: join(raw, 'dataset.json'),
      outputDirectory: target,
      force: options.force ?? false,
    });
    return {
      simulation: true,
      directory: report.directory,
      name: report.name,
      digest: report.digest,
      counts: report.counts,
      testFrom: law.TEST_FROM,
      rawDirectory: keepRaw ? raw : undefined,
      generateSeconds,
      importSeconds: report.seconds,
    };
  } finally {
    if (!keepRaw) rmSync(raw, { recursive: true, force: true });
  }
}

async function writeRaw(folder: string, size: WorldSize): Promise<void> {
  const catalogue = new Catalogue(size.seed, size.items);
  const population = new Population(catalogue);
  await writeItems(join(folder, 'items.ndjson'), catalogue);
  const events = await LineWriter.open(join(folder, 'events.csv'));
  const users = await LineWriter.open(join(folder, 'users.csv'));
  const requests = await LineWriter.open(join(folder, 'requests.ndjson'));
  const progress = startProgress('world users', size.users, 'users');
  const auction = new Auction(population);
  let eventCount = 0;
  try {
    events.add('user,item,time,action,value');
    users.add('user,age,gender,country');
    for (let user = 0; user < size.users; user++) {
      const life = population.simulate(user);
      users.add(userLine(population, user, life));
      eventCount += addSessions(population, auction, user, life, events, requests);
      // Back-pressure: waits while a full buffer is written to disk.
      for (const writer of [events, users, requests]) if (writer.full) await writer.flush();
      progress.update(user + 1, `${eventCount} events`);
    }
  } finally {
    progress.end(`${eventCount} events`);
    for (const writer of [events, users, requests]) await writer.close();
  }
  writeFileSynced(
    join(folder, 'dataset.json'),
    `${JSON.stringify(sourceManifest(size), null, 2)}\n`,
  );
}

async function writeItems(path: string, catalogue: Catalogue): Promise<void> {
  const writer = await LineWriter.open(path);
  const progress = startProgress('world items', catalogue.count, 'items');
  try {
    for (let item = 0; item < catalogue.count; item++) {
      writer.add(JSON.stringify(catalogue.describe(item)));
      if (writer.full) await writer.flush();
      if (item % 1024 === 0) progress.update(item);
    }
    progress.update(catalogue.count);
  } finally {
    progress.end();
    await writer.close();
  }
}

function userLine(population: Population, user: number, { profile }: UserLife): string {
  const age = profile.ageKnown ? String(profile.age) : '';
  const [gender, country] = [GENDERS[profile.gender]!, COUNTRIES[profile.country]!];
  return `${population.userId(user)},${age},${gender},${country}`;
}

/**
 * Adds the lines of a user's sessions. Their texts are letters, digits, '-' and ' ', so that
 * nothing needs quoting.
 *
 * @returns the number of events added.
 */
function addSessions(
  population: Population,
  auction: Auction,
  user: number,
  { profile, sessions }: UserLife,
  events: LineWriter,
  requests: LineWriter,
): number {
  const { catalogue } = population;
  const userId = population.userId(user);
  const demographics =
    (profile.ageKnown ? `,"age":${profile.age}` : '') +
    `,"gender":"${GENDERS[profile.gender]!}","country":"${COUNTRIES[profile.country]!}"`;
  let count = 0;
  for (const session of sessions) {
    const positives: string[] = [];
    for (const [i, item] of session.positives.entries()) {
      const id = catalogue.idOf(item);
      positives.push(id);
      const action = session.purchases[i]! ? 'purchase' : 'add_to_cart';
      const value = catalogue.prices[item]!.toFixed(2);
      events.add(`${userId},${id},${session.conversionTimes[i]!},${action},${value}`);
      count++;
    }
    const candidates = auction.loggedCandidates(user, profile, session);
    const { won } = auction.run(user, profile, session, candidates);
    const subject =
      session.subject < 0
        ? `"surface":"search","query":"${session.query}"`
        : `"surface":"related","subject":"${catalogue.idOf(session.subject)}"`;
    requests.add(
      `{"id":"${population.requestId(user, session.number)}","user":"${userId}"` +
        `,"time":${session.time},${subject}` +
        `,"positives":${JSON.stringify(positives)}` +
        `,"delivered":${JSON.stringify(won.map((item) => catalogue.idOf(item)))}${demographics}` +
        `,"slice":"${session.differs ? 'intent-differs' : 'intent-same'}"}`,
    );
  }
  return count;
}

function sourceManifest(size: WorldSize): Record<string, unknown> {
  return {
    name: law.worldName(size),
    testFrom: law.TEST_FROM,
    events: {
      file: 'events.csv',
      columns: {
        user: 'user',
        item: 'item',
        time: { column: 'time', unit: 's' },
        action: 'action',
        value: 'value',
      },
    },
    items: {
      file: 'items.ndjson',
      columns: {
        item: 'id',
        title: 'title',
        categories: 'categories',
        confidences: 'confidences',
        advertiser: 'advertiser',
        price: 'price',
        countries: 'countries',
      },
    },
    users: {
      file: 'users.csv',
      columns: { user: 'user', age: 'age', gender: 'gender', country: 'country' },
    },
    requests: {
      file: 'requests.ndjson',
      columns: {
        id: 'id',
        user: 'user',
        time: { column: 'time', unit: 's' },
        positives: 'positives',
        surface: 'surface',
        subjectItem: 'subject',
        query: 'query',
        delivered: 'delivered',
        age: 'age',
        gender: 'gender',
        country: 'country',
        slice: 'slice',
      },
    },
  };
}

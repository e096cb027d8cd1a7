// tandem demo: runs every job once, from raw events to candidates over HTTP and WebSocket, for a
// history-only and for a contextual model. It writes to .demo/ of the working folder, and skips
// jobs whose results exist there already.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { loadBundle } from '../../bundle/load.ts';
import { importDataset } from '../../data/import.ts';
import { readDataset } from '../../data/read-dataset.ts';
import type { Dataset } from '../../data/dataset.ts';
import { dayStart } from '../../data/splits.ts';
import { oneShard } from '../../data/shards.ts';
import { generateWorld, SIMULATION_NOTICE } from '../../world/generate.ts';
import { encodeUsers } from '../../encode/users.ts';
import { publish } from '../../encode/publish.ts';
import { TandemError } from '../../errors.ts';
import { evaluate, type EvaluatedModel, type EvaluationReport } from '../../evaluate/evaluate.ts';
import { formatReport, writeReport } from '../../evaluate/report/report.ts';
import { loadModel } from '../../model/training/checkpoint.ts';
import { LmdbStore } from '../../store/lmdb-store.ts';
import { ONLINE_RETAIL_DEMO, QUICK_DEMO, WORLD_DEMO, type DemoSettings } from './demo-settings.ts';
import { trainForProtocol } from '../../experiment/training-recipe.ts';

type DataName = 'world' | 'online-retail';

interface DemoFlags {
  readonly data: DataName;
  readonly quick?: true;
  readonly serve?: true;
  readonly port: string;
}

const FUSIONS = ['none', 'concat'] as const;
type Fusion = (typeof FUSIONS)[number];

/** The files as which the public data set may come. */
const ONLINE_RETAIL_FILES = ['online_retail.parquet', 'Online Retail.csv', 'online_retail.csv'];

export function demoCommand(): Command {
  return new Command('demo')
    .description(
      'run all jobs in one go: data, training, evaluation, publishing, serving, requests',
    )
    .addOption(
      new Option('--data <name>', 'the synthetic ads world, or the Online Retail data set')
        .choices(['world', 'online-retail'])
        .default('world'),
    )
    .addOption(
      new Option('--quick', 'a small world and little training, in less than a minute').conflicts(
        'data',
      ),
    )
    .option('--serve', 'keep the servers running afterwards')
    .option(
      '--port <number>',
      'port of the contextual server with --serve; the history-only server takes the next port',
      '8080',
    )
    .action(runDemo);
}

async function runDemo(flags: DemoFlags): Promise<void> {
  const folder = resolve('.demo', flags.quick === true ? 'quick' : flags.data);
  const settings =
    flags.quick === true ? QUICK_DEMO : flags.data === 'world' ? WORLD_DEMO : ONLINE_RETAIL_DEMO;

  say(1, flags.data === 'world' ? `data: ${SIMULATION_NOTICE}` : 'data: Online Retail');
  const dataset = await makeDataset(settings, join(folder, 'dataset'));
  say(2, 'training: history only (fusion none), then contextual (fusion concat)');
  for (const fusion of FUSIONS) await trainModel(dataset, settings, fusion, folder);

  say(3, 'evaluation: all items ranked by the models and by every baseline');
  const reports = await evaluateModels(dataset, flags.data, folder);

  say(4, 'encoding and publishing');
  let bundle = '';
  for (const fusion of FUSIONS) bundle = await publishModel(dataset, fusion, folder);

  say(5, 'serving: one server for each model, requests from a separate process');
  const ports = flags.serve === true ? [Number(flags.port) + 1, Number(flags.port)] : [0, 0];
  const servers: RunningChild[] = [];
  try {
    for (const [i, fusion] of FUSIONS.entries())
      servers.push(await startServer(folder, fusion, ports[i]!));
    const latency = await runClient(dataset, servers);
    const report = reports.at(-1)!;
    process.stdout.write(
      `${JSON.stringify({ ok: true, bundle, ...summary(report), p99_ms: latency })}\n`,
    );
    if (flags.serve === true) {
      const [historyOnly, contextual] = servers;
      process.stderr.write(
        `Serving at http://127.0.0.1:${contextual!.port}/v1/candidates ` +
          `(history only: port ${historyOnly!.port}). Stop with Ctrl-C.\n`,
      );
      await new Promise((resolve) => process.once('SIGINT', resolve));
    }
  } finally {
    for (const { child } of servers) await stopChild(child);
  }
}

function say(step: number, text: string): void {
  process.stderr.write(`\n[${step}/5] ${text}\n`);
}

async function makeDataset({ world }: DemoSettings, directory: string): Promise<Dataset> {
  if (world !== undefined) {
    if (!existsSync(directory)) await generateWorld({ ...world, outputDirectory: directory });
  } else
    await importDataset({
      adapter: { name: 'online-retail', source: findOnlineRetail() },
      outputDirectory: directory,
    });
  const dataset = await readDataset(directory);
  const { events, items, users, requests } = dataset;
  process.stderr.write(
    `${events.count} events, ${items.count} items, ${users.count} users, ` +
      `${requests.length} requests\n`,
  );
  return dataset;
}

/** Path of the public file, in online-retail/ of TANDEM_DATA_DIR or of data/. */
function findOnlineRetail(): string {
  const given = process.env['TANDEM_DATA_DIR'];
  const folders = [...(given === undefined ? [] : [given]), resolve('data')].map((root) =>
    join(root, 'online-retail'),
  );
  for (const folder of folders)
    for (const file of ONLINE_RETAIL_FILES)
      if (existsSync(join(folder, file))) return join(folder, file);
  throw new TandemError(
    'ERR_DATASET_NOT_FOUND',
    'Expected the Online Retail data set as one of ' +
      `${ONLINE_RETAIL_FILES.join(', ')} in ${folders.join(' or ')}, found none. ` +
      'It is data set 352 of the UCI Machine Learning Repository (file "Online Retail.xlsx"). ' +
      'Save the sheet as CSV or Parquet with its columns InvoiceNo, StockCode, Description, ' +
      'Quantity, InvoiceDate, UnitPrice, CustomerID and Country. Put the file there, or set ' +
      'TANDEM_DATA_DIR to the folder that holds online-retail/.',
  );
}

async function trainModel(
  dataset: Dataset,
  settings: DemoSettings,
  fusion: Fusion,
  folder: string,
): Promise<void> {
  const { training, form, refit } = settings;
  const { result } = await trainForProtocol({
    shards: oneShard(dataset),
    protocol: 'time',
    form,
    config: {
      ...training,
      model: {
        ...training.model,
        fusion,
        // A history-only model has no context, so it has no item in view.
        subjectItem: fusion !== 'none' && training.model.subjectItem,
      },
    },
    directory: join(folder, `run-${fusion}`),
    refit,
  });
  process.stderr.write(`${fusion}: the final weights are those of step ${result.bestStep}\n`);
}

async function evaluateModels(
  dataset: Dataset,
  name: DataName,
  folder: string,
): Promise<EvaluationReport[]> {
  const models: EvaluatedModel[] = [];
  for (const fusion of FUSIONS)
    models.push({ name: fusion, model: await loadModel(join(folder, `run-${fusion}`)) });
  const reports: EvaluationReport[] = [];
  for (const form of name === 'world' ? (['all'] as const) : (['all', 'discovery'] as const)) {
    const report = await evaluate({ dataset, protocol: 'time', form, models, oracle: true });
    await writeReport(join(folder, `report-${form}`), report);
    process.stdout.write(`\n${formatReport(report)}\n`);
    process.stderr.write(
      `report.json, report.md and charts are in ${join(folder, `report-${form}`)}\n`,
    );
    reports.push(report);
  }
  return reports;
}

/**
 * Publishes a model and encodes its users with the events before the test period's last day.
 *
 * @returns the id of the bundle.
 */
async function publishModel(dataset: Dataset, fusion: Fusion, folder: string): Promise<string> {
  const bundles = join(folder, `bundles-${fusion}`);
  const { bundleId } = await publish(join(folder, `run-${fusion}`), bundles);
  const bundle = await loadBundle(bundles);
  const store = LmdbStore.open(join(folder, `store-${fusion}`));
  try {
    const last = dataset.requests.at(-1)!;
    await encodeUsers({ bundle, dataset, store, untilSeconds: dayStart(last.time) });
  } finally {
    await store.close();
  }
  return bundleId;
}

interface RunningChild {
  readonly child: ChildProcess;
  readonly port: number;
}

/** Runs tandem serve in a process of its own. Resolves when that process logs its port. */
function startServer(folder: string, fusion: Fusion, port: number): Promise<RunningChild> {
  const child = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('../main.js', import.meta.url)),
      'serve',
      '--bundles',
      join(folder, `bundles-${fusion}`),
      '--store',
      join(folder, `store-${fusion}`),
      '--port',
      String(port),
    ],
    { stdio: ['ignore', 'inherit', 'pipe'], env: { ...process.env, TANDEM_LOG_LEVEL: 'info' } },
  );
  return new Promise((resolve, reject) => {
    const seen: string[] = [];
    createInterface({ input: child.stderr }).on('line', (line) => {
      seen.push(line);
      const record = line.startsWith('{') ? (JSON.parse(line) as Record<string, unknown>) : {};
      if (typeof record['port'] === 'number' && typeof record['startup_ms'] === 'number') {
        process.stderr.write(
          `${fusion}: serving on port ${record['port']} after ${record['startup_ms']} ms\n`,
        );
        resolve({ child, port: record['port'] });
      }
    });
    child.once('exit', (code) => {
      reject(
        new TandemError(
          'ERR_INTERNAL',
          `Expected the ${fusion} server to start, but it exited with code ${String(code)}:\n` +
            seen.join('\n'),
        ),
      );
    });
  });
}

/**
 * Sends real requests from a process of their own.
 *
 * @returns the 99th percentile of the latency over HTTP and WebSocket, in milliseconds.
 */
async function runClient(dataset: Dataset, servers: readonly RunningChild[]): Promise<number> {
  const [historyOnly, contextual] = servers;
  const requests = dataset.requests
    .filter(({ time }) => time >= dataset.testFrom)
    .slice(-400)
    .map(({ user, subject, surface, demographics }) => ({
      user: user < 0 ? 'unknown' : dataset.users.ids[user]!,
      surface,
      ...(subject.kind === 'item' && { subject: { item: dataset.items.ids[subject.item]! } }),
      ...(subject.kind === 'interests' && { subject: { interests: subject.interests } }),
      ...(subject.kind === 'query' && { subject: { query: subject.query } }),
      ...(Object.keys(demographics).length > 0 && { demographics }),
    }));
  const child = spawn(
    process.execPath,
    [
      fileURLToPath(new URL('demo-client.js', import.meta.url)),
      String(historyOnly!.port),
      String(contextual!.port),
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  child.stdin.end(JSON.stringify(requests));
  let last = '';
  for await (const line of createInterface({ input: child.stdout })) {
    if (last !== '') process.stdout.write(`${last}\n`);
    last = line;
  }
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
  if (child.exitCode !== 0)
    throw new Error(
      "Expected the demo's client to exit with code 0, " +
        `received ${child.exitCode ?? child.signalCode}. ` +
        'Its error is above. Run the demo again when the machine is less busy.',
    );
  const { p99_ms: p99 } = JSON.parse(last) as { p99_ms: number };
  return p99;
}

function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('exit', () => {
      resolve();
    });
    child.kill('SIGTERM');
  });
}

/**
 * Recall of the models and of every baseline. If the report has the slice in which the intent
 * differs from the history, also recall there.
 */
function summary(report: EvaluationReport): Record<string, unknown> {
  const recallOf = (name: string): Record<string, number> | undefined => {
    const row = report.rows.find((entry) => entry.name === name);
    return row && pick(row.metrics.recall);
  };
  const differs = (name: string): Record<string, number> | undefined => {
    const slice = report.rows.find((entry) => entry.name === name)?.metrics.slices[
      'slice intent-differs'
    ];
    return slice && pick(slice.recall);
  };
  const rows = { none: 'none: history only', concat: 'concat: context real' };
  const intentDiffers = { none: differs(rows.none), concat: differs(rows.concat) };
  return {
    recall: {
      none: recallOf(rows.none),
      concat: recallOf(rows.concat),
      baselines: Object.fromEntries(
        report.rows
          .filter(({ kind }) => kind === 'baseline')
          .map(({ name, metrics }) => [name, pick(metrics.recall)]),
      ),
    },
    ...(intentDiffers.none !== undefined && { recall_intent_differs: intentDiffers }),
  };
}

function pick(recall: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(['10', '50', '100'].map((k) => [k, Number(recall[k]!.toFixed(4))]));
}

// A program that uses every export of the public API. It is compiled, not run: as part of this
// repository, and by public-api.test.ts against the compiled package, as a user's program is.

import {
  activateBundle,
  CandidateGenerator,
  encodeItems,
  encodeUsers,
  evaluate,
  generateWorld,
  importDataset,
  loadBundle,
  MemoryStore,
  openStore,
  publish,
  resolveServerSettings,
  rollbackBundle,
  startServer,
  TandemError,
  train,
  verifyBundle,
  type AnswerDegradation,
  type AnswerError,
  type AnswerExplanation,
  type AnswerState,
  type BackendName,
  type Branded,
  type Bundle,
  type BundleId,
  type BundleManifest,
  type Candidate,
  type CandidateGeneratorOptions,
  type CandidateSampling,
  type CandidatesQuery,
  type CandidatesResponse,
  type Catalogue,
  type ColumnReference,
  type ConfidenceInterval,
  type CsvOptions,
  type DatasetCounts,
  type EmbeddingsResponse,
  type EncodeEngine,
  type EncodeItemsOptions,
  type EncoderId,
  type EncodeUsersOptions,
  type EncodeUsersReport,
  type ErrorCode,
  type EvaluateOptions,
  type EvaluationReport,
  type FeatureStore,
  type Filter,
  type FutureWindow,
  type GoldenReport,
  type HistoryBoosts,
  type HistoryChange,
  type HistoryEvent,
  type HistoryStore,
  type ImportOptions,
  type ImportReport,
  type IndexKind,
  type IndexSettings,
  type Isa,
  type ItemChange,
  type ItemChanges,
  type ItemChangeStore,
  type ItemRecord,
  type ItemScore,
  type JobOptions,
  type JobProgress,
  type LogQ,
  type LossConfig,
  type Metrics,
  type MixturePart,
  type MixtureWeights,
  type ModelConfig,
  type Objective,
  type OpenStoreOptions,
  type Precision,
  type ProgressListener,
  type PublishedBundle,
  type PublishOptions,
  type PublishReport,
  type QueryOptions,
  type QueryRequest,
  type QueryResponse,
  type RejectedCount,
  type RejectedRow,
  type Rejection,
  type ReportRow,
  type RequestDemographics,
  type RequestSubject,
  type ResolvedSettings,
  type RowKind,
  type RowLabel,
  type RunningServer,
  type ScoreQuery,
  type ScoreResponse,
  type ScorerMetrics,
  type ServerSettings,
  type SettingName,
  type SettingOrigin,
  type SettingsLayer,
  type SettingSources,
  type SourceFormat,
  type SourceManifest,
  type StateBatch,
  type StateStore,
  type StateSummary,
  type StateSummaryStore,
  type StateType,
  type SwapCheck,
  type TableManifest,
  type TableName,
  type TableRows,
  type TandemErrorOptions,
  type TimeUnit,
  type TrainConfig,
  type TrainingResult,
  type TrainOptions,
  type TrainReport,
  type UserHistory,
  type UserId,
  type UserState,
  type UserStateEntry,
  type ValidationResult,
  type VerifyReport,
  type Versions,
  type WarmStart,
  type WatermarkStore,
  type WorldOptions,
  type WorldReport,
  type WorldSize,
} from '../../src/index.ts';

/** What a function takes and what its promise resolves to. */
type Job<Options, Report> = (options: Options) => Promise<Report>;

/** The jobs have these types, no wider and no narrower ones. */
export const jobs: {
  readonly importDataset: Job<ImportOptions & JobOptions, ImportReport>;
  readonly generateWorld: Job<WorldOptions & JobOptions, WorldReport>;
  readonly train: Job<TrainOptions, TrainReport>;
  readonly evaluate: Job<EvaluateOptions, EvaluationReport>;
  readonly encodeItems: Job<EncodeItemsOptions, IndexSettings>;
  readonly encodeUsers: Job<EncodeUsersOptions, EncodeUsersReport>;
  readonly publish: Job<PublishOptions, PublishReport>;
} = { importDataset, generateWorld, train, evaluate, encodeItems, encodeUsers, publish };

/** Imports tables, trains, and publishes. */
export async function learn(folder: string): Promise<PublishedBundle> {
  const time: TimeUnit = 's';
  const column: ColumnReference = { column: 'time', unit: time };
  const csv: CsvOptions = { delimiter: ';' };
  const format: SourceFormat = 'csv';
  const columns = { user: { column: 'user' }, item: { column: 'item' }, time: column };
  const events: TableManifest = { files: ['events.csv'], format, csv, columns };
  const manifest: SourceManifest = { name: 'shop', events };
  const onProgress: ProgressListener = ({ job, done, total }: JobProgress) => {
    if (done === total) console.error(job);
  };
  const report = await importDataset({ manifest, outputDirectory: folder, onProgress });
  const counts: DatasetCounts = report.counts;
  const rejected: readonly Rejection[] = report.rejected;
  const [first] = rejected;
  const left: RejectedCount | undefined = first;
  const row: RejectedRow | undefined = first?.samples[0];
  const table: TableName | undefined = left?.table;
  const read: TableRows = report.sourceRows;
  console.error(counts.events, row?.line, table, read.events);

  const sampling: CandidateSampling = { negatives: 64, unigramShare: 0.5, hardNegatives: 0 };
  const logQ: LogQ = 'negativesOnly';
  const loss: LossConfig = { kind: 'sampled', ...sampling, inBatch: true, logQ };
  const futureWindow: FutureWindow = { windowDays: 7 };
  const objective: Objective = { kind: 'denseAll', ...futureWindow };
  const model: Partial<ModelConfig> = { fusion: 'attention' };
  const settings: SettingsLayer = { loss, objective, model };
  const steps: TrainConfig['steps'] = 100;
  const warmStart: WarmStart = { directory: 'run-1', headOnly: false };
  const backend: BackendName = 'native';
  const run: TrainingResult = await train({
    dataset: folder,
    checkpoint: 'run-2',
    settings: [settings, { steps }],
    warmStart,
    backend,
  });
  const last: ValidationResult | undefined = run.validations.at(-1);
  console.error(last?.metric);

  const index: IndexKind = 'hnsw';
  const stateType: StateType = 'bf16';
  return publish({ checkpoint: 'run-2', bundles: 'bundles', index, stateType, activate: false });
}

/** Reads an evaluation. */
export function bestRow({ rows, baselines, swapChecks }: EvaluationReport): number {
  const checks: readonly SwapCheck[] = swapChecks;
  const weights: MixtureWeights | undefined = baselines?.mixture;
  const part: MixturePart = 'history';
  const kind: RowKind = 'model';
  const row: ReportRow | undefined = rows.find((other) => other.kind === kind);
  const label: RowLabel | undefined = row;
  const versions: Versions | undefined = label?.versions;
  const scorer: ScorerMetrics | undefined = row?.metrics;
  const metrics: Metrics | undefined = scorer;
  const interval: ConfidenceInterval | undefined = metrics?.ndcgAt10Interval;
  console.error(checks.length, weights?.[part], versions?.head);
  return interval?.low ?? Number.NaN;
}

/** Checks and activates a bundle, and goes back. */
export async function rollOut(bundles: string, name: string): Promise<string> {
  const report: VerifyReport = await verifyBundle(bundles);
  const golden: GoldenReport | undefined = report.isas[0];
  const isa: Isa | undefined = golden?.isa;
  if (isa === 'scalar') return rollbackBundle(bundles);
  await activateBundle(bundles, name);
  const bundle: Bundle = await loadBundle(bundles);
  const manifest: BundleManifest = bundle.manifest;
  const items: Catalogue = bundle.catalogue;
  return `${manifest.bundleId} ${items.title(0)} ${bundle.vectors.length / items.count}`;
}

/** Asks in process. */
export async function ask(
  options: CandidateGeneratorOptions,
  user: string,
): Promise<readonly Candidate[]> {
  const generator = await CandidateGenerator.open(options);
  const limits: QueryOptions = { timeoutMs: 50 };
  const subject: RequestSubject = { query: 'red shoes' };
  const demographics: RequestDemographics = { age: 30, country: 'DE' };
  const filter: Filter = { countries: ['DE'], advertisers: { max_each: 3 } };
  const query: QueryRequest = { user, surface: 'search', subject, demographics };
  const asked: CandidatesQuery = { ...query, k: 10, filter, explain: true };
  const answer: CandidatesResponse = await generator.candidates(asked, limits);
  const scored: ScoreQuery = { ...query, items: ['i1'] };
  const scores: ScoreResponse = await generator.scores(scored);
  const score: ItemScore | undefined = scores.scores[0];
  const problem: AnswerError | undefined =
    score !== undefined && 'error' in score ? score.error : undefined;
  const embedded: EmbeddingsResponse = await generator.embedding(query);
  const whole: QueryResponse = embedded;
  const state: AnswerState = whole.state;
  const degraded: AnswerDegradation | null = whole.degraded;
  const explanation: AnswerExplanation | undefined = answer.explain;
  console.error(problem?.code, state.status, degraded?.mode, explanation?.batch_size);
  console.error(generator.bundleId, await generator.metrics());
  await generator.close();
  return answer.candidates;
}

/** Serves over HTTP. */
export async function serve(flags: SettingSources['flags']): Promise<number> {
  const resolved: ResolvedSettings = resolveServerSettings({ ...(flags && { flags }) });
  const settings: ServerSettings = resolved.settings;
  const name: SettingName = 'port';
  const origin: SettingOrigin = resolved.origins[name];
  const server: RunningServer = await startServer(settings, new MemoryStore());
  await server.close();
  return origin === 'default' ? settings.port : server.port;
}

/** Reads and writes a store. */
export async function remember(location: string, options: OpenStoreOptions): Promise<void> {
  const store: FeatureStore = await openStore(location, options);
  const parts: readonly [
    StateStore,
    HistoryStore,
    ItemChangeStore,
    WatermarkStore,
    StateSummaryStore,
  ] = [store, store, store, store, store];
  const user: Branded<string, 'UserId'> = 'u1' as UserId;
  const event: HistoryEvent = { item: 'i1', action: 'purchase', time: 0, id: '' };
  const change: HistoryChange = (_user, history): UserHistory => ({
    complete: history?.complete ?? true,
    events: [...(history?.events ?? []), event],
  });
  await parts[1].changeHistories([user], change);
  const summaries: readonly (StateSummary | undefined)[] = await parts[4].readSummaries(
    'encoder' as EncoderId,
    [user],
  );
  console.error(summaries[0]?.checksum);
  const changes: ItemChanges = await store.readItemChanges();
  const newest: ItemChange | undefined = changes.changes[0];
  const record: ItemRecord | undefined = newest?.record;
  console.error(record?.title);
  await store.close();
}

/** Writes a state. */
export async function write(store: StateStore, state: UserState, batch: StateBatch): Promise<void> {
  const entry: UserStateEntry = { user: 'u1' as UserId, state };
  const encoder = 'e1' as EncoderId;
  const boosts: HistoryBoosts | undefined = state.historyBoosts;
  await store.write(encoder, [entry]);
  await store.read(encoder, [entry.user], batch);
  console.error(boosts?.items.length);
}

/** Encodes users. */
export async function encode(engine: EncodeEngine, precision: Precision): Promise<number> {
  const options: EncodeUsersOptions = {
    dataset: 'data',
    bundles: 'bundles',
    store: new MemoryStore(),
    engine,
    precision,
  };
  const report: EncodeUsersReport = await encodeUsers(options);
  const size: WorldSize = { users: 10, items: 1000, seed: 1 };
  return report.encoded + size.users;
}

/** Tells a failure that may pass from one that stays. */
export function isTemporary(error: unknown): boolean {
  const code: ErrorCode = 'ERR_STORE_UNAVAILABLE';
  const options: TandemErrorOptions = { cause: error };
  const wrapped = error instanceof TandemError ? error : new TandemError(code, 'lost', options);
  return wrapped.retryable;
}

export type PublishedId = PublishedBundle['bundleId'] extends BundleId ? true : never;

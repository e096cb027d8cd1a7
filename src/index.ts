// The public API for programs that embed Tandem: re-exports only. Functions load the code of their
// job when they are called, so importing this file loads the server part alone. The headings are
// those of docs/reference/api.md; npm run docs reads them.

// Candidates in process
export {
  CandidateGenerator,
  type CandidateGeneratorOptions,
  type QueryOptions,
} from './serve/candidate-generator.ts';
export type {
  CandidatesQuery,
  Filter,
  QueryRequest,
  RequestDemographics,
  RequestSubject,
  ScoreQuery,
} from './serve/request/request-types.ts';
export type {
  AnswerDegradation,
  AnswerError,
  AnswerExplanation,
  AnswerState,
  Candidate,
  CandidatesResponse,
  EmbeddingsResponse,
  ItemScore,
  QueryResponse,
  ScoreResponse,
} from './serve/request/response-types.ts';

// Server
export { startServer, type RunningServer } from './serve/process/server.ts';
export {
  resolveServerSettings,
  type ResolvedSettings,
  type ServerSettings,
  type SettingName,
  type SettingOrigin,
  type SettingSources,
} from './config.ts';

// Data
export { importDataset } from './api/import-dataset.ts';
export type { ImportOptions, ImportReport } from './data/import.ts';
export type { TableRows } from './data/loss.ts';
export type { DatasetCounts, RejectedCount, RejectedRow, Rejection } from './data/dataset-file.ts';
export type {
  ColumnReference,
  CsvOptions,
  SourceFormat,
  SourceManifest,
  TableManifest,
  TableName,
  TimeUnit,
} from './data/manifest.ts';
export { generateWorld } from './api/generate-world.ts';
export type { WorldOptions, WorldReport } from './world/generate.ts';
export type { WorldSize } from './world/law.ts';

// Models
export { train, type TrainOptions, type TrainReport } from './api/train.ts';
export type { SettingsLayer } from './experiment/settings.ts';
export type {
  CandidateSampling,
  FutureWindow,
  LogQ,
  LossConfig,
  Objective,
  TrainConfig,
} from './model/train-config.ts';
export type { TrainingResult, ValidationResult, WarmStart } from './model/training/run.ts';
export type { BackendName } from './backend/backends.ts';
export { evaluate, type EvaluateOptions } from './api/evaluate.ts';
export type { EvaluationReport, SwapCheck } from './evaluate/evaluate.ts';
export type { ReportRow, RowKind, RowLabel } from './evaluate/rows.ts';
export type { Versions } from './evaluate/mixed-versions.ts';
export type { Metrics, ScorerMetrics } from './evaluate/metrics.ts';
export type { ConfidenceInterval } from './evaluate/report/bootstrap.ts';
export type { MixturePart, MixtureWeights } from './evaluate/baselines/baselines.ts';

// Bundles
export { encodeItems, type EncodeItemsOptions } from './api/encode-items.ts';
export { publish, type PublishOptions, type PublishReport } from './api/publish.ts';
export type { PublishedBundle } from './bundle/publish.ts';
export { activateBundle, rollbackBundle } from './api/activate.ts';
export { verifyBundle, type GoldenReport, type VerifyReport } from './bundle/verify.ts';
export { loadBundle, type Bundle, type Catalogue } from './api/load-bundle.ts';
export type { BundleManifest, ModelConfig } from './bundle/manifest.ts';
export type { IndexSettings } from './retrieval/approximate-index.ts';
export type { IndexKind } from './retrieval/search-plan.ts';
export type { StateType } from './features/user-state.ts';
export type { Isa, Precision } from './native/isa.ts';

// User states
export { encodeUsers, type EncodeUsersOptions } from './api/encode-users.ts';
export type { EncodeUsersReport } from './encode/users.ts';
export type { EncodeEngine } from './encode/open-encoder.ts';
export { openStore, type OpenStoreOptions } from './store/open-store.ts';
export { MemoryStore } from './store/memory-store.ts';
export type {
  FeatureStore,
  HistoryChange,
  HistoryStore,
  ItemChangeStore,
  StateStore,
  StateSummaryStore,
  UserStateEntry,
  WatermarkStore,
} from './store/store.ts';
export type { StateSummary } from './store/codec.ts';
export type { HistoryEvent, UserHistory } from './store/history.ts';
export type { ItemChange, ItemChanges, ItemRecord } from './store/item-changes.ts';
export type { StateBatch } from './store/state-batch.ts';
export type { UserState } from './features/user-state.ts';
export type { HistoryBoosts } from './features/item-frequency.ts';

// All jobs
export { TandemError, type ErrorCode, type TandemErrorOptions } from './errors.ts';
export type { JobOptions } from './api/job-options.ts';
export type { JobProgress, ProgressListener } from './telemetry.ts';
export type { Branded, BundleId, EncoderId, UserId } from './ids.ts';

// The public API for programs that embed Tandem: re-exports only. Jobs are commands of the CLI.

export { TandemError, type ErrorCode } from './errors.ts';
export type { BundleId, EncoderId, UserId } from './ids.ts';
export type { Bundle } from './bundle/load.ts';
export { loadBundle } from './bundle/load.ts';
export { verifyBundle, type VerifyReport } from './bundle/verify.ts';
export type { BundleManifest, ModelConfig } from './bundle/manifest.ts';
export type { Dataset } from './data/dataset.ts';
export { readDataset } from './data/read-dataset.ts';
export { importDataset, type ImportOptions, type ImportReport } from './data/import.ts';
export { LmdbStore } from './store/lmdb-store.ts';
export { MemoryStore } from './store/memory-store.ts';
export type { HistoryBoosts } from './features/item-frequency.ts';
export type { UserState } from './features/user-state.ts';
export type { StateBatch } from './store/state-batch.ts';
export type { FeatureStore } from './store/store.ts';
export { startServer, type RunningServer } from './serve/process/server.ts';
export { resolveServerSettings, type ServerSettings } from './config.ts';

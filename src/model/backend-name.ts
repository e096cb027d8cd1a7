// The names of tfjs backends again, for encode/, which does not import backend/. Loads nothing of
// tfjs, also not its types.

export type { BackendName } from '../backend/backends.ts';

// Settings of the server: one zod schema, and where each value comes from: flag > TANDEM_* environment > file > default.

import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { TandemError, nearestName } from './errors.ts';

export interface ServerSettings {
  readonly bundles: string;
  readonly store: string;
  readonly storeTimeoutMs: number;
  readonly host: string;
  readonly port: number;
  readonly transport: 'uws' | 'node';
  readonly eventLoops: number;
  readonly plan: 'auto' | 'exact' | 'approximate';
  readonly staleAfterHours: number;
  readonly maxBodyBytes: number;
  readonly maxFrameBytes: number;
  readonly maxMicroBatch: number;
  readonly maxQueue: number;
  readonly maxSocketInFlight: number;
  readonly socketIdleSeconds: number;
  readonly drainTimeoutSeconds: number;
  readonly bundlePollSeconds: number;
  readonly adminHost: string;
  readonly adminPort: number | 'off';
  readonly requestTimeoutMs: number;
  readonly canaryEvery: number;
  readonly freshEvents: 'on' | 'off';
  readonly freshItems: 'on' | 'off';
  readonly accessLog?: string | undefined;
  readonly keys?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
}

/** A request may not ask for more patience than this. */
export const MAX_REQUEST_TIMEOUT_MS = 600_000;

export type SettingOrigin = 'flag' | 'environment' | 'file' | 'default';

const serverSchema = z.strictObject({
  bundles: z.string().min(1).describe('directory of published bundles'),
  store: z.string().min(1).describe('feature store: a directory of LMDB, or redis://host:port/db'),
  storeTimeoutMs: z
    .int()
    .min(1)
    .default(10)
    .describe('time that a command of Redis may take before the user counts as a cold start'),
  host: z.string().min(1).default('127.0.0.1').describe('address to listen on'),
  port: z.int().min(0).max(65535).default(8080).describe('port to listen on, 0 = any free one'),
  transport: z.enum(['uws', 'node']).default('uws').describe('web server: uws or node'),
  eventLoops: z
    .int()
    .min(1)
    .max(256)
    .default(1)
    .describe('threads that answer requests on one port'),
  plan: z
    .enum(['auto', 'exact', 'approximate'])
    .default('auto')
    .describe('how to search: auto, exact or approximate'),
  staleAfterHours: z
    .number()
    .positive()
    .default(48)
    .describe('age from which a user state is reported as stale'),
  maxBodyBytes: z
    .int()
    .min(1024)
    .default(1024 * 1024)
    .describe('largest request body'),
  maxFrameBytes: z
    .int()
    .min(1024)
    .default(64 * 1024)
    .describe('largest WebSocket frame'),
  maxMicroBatch: z
    .int()
    .min(1)
    .max(1024)
    .default(64)
    .describe('requests answered together at most'),
  maxQueue: z
    .int()
    .min(1)
    .default(4096)
    .describe('requests that may wait before new ones are refused'),
  maxSocketInFlight: z.int().min(1).default(64).describe('unanswered subjects of one WebSocket'),
  socketIdleSeconds: z
    .int()
    .min(8)
    .max(960)
    .multipleOf(4)
    .default(120)
    .describe('silence after which a WebSocket is dropped'),
  drainTimeoutSeconds: z
    .number()
    .min(0)
    .default(30)
    .describe('time to finish requests when stopping'),
  bundlePollSeconds: z
    .number()
    .min(0.05)
    .default(1)
    .describe('how often to look whether another bundle is current'),
  adminHost: z.string().min(1).default('127.0.0.1').describe('address of the admin port'),
  adminPort: z
    .union([z.literal('off'), z.int().min(0).max(65535)])
    .default('off')
    .describe('port for bundles, drain and log level; off, or 0 = any free one'),
  requestTimeoutMs: z
    .int()
    .min(1)
    .max(MAX_REQUEST_TIMEOUT_MS)
    .default(10_000)
    .describe('time after which a request that still waits is dropped, unless it says another'),
  canaryEvery: z
    .int()
    .min(1)
    .default(1000)
    .describe('answers of the approximate index to one that is checked by an exact search'),
  freshEvents: z
    .enum(['on', 'off'])
    .default('off')
    .describe('take events over HTTP and encode their users at once: on or off'),
  freshItems: z
    .enum(['on', 'off'])
    .default('off')
    .describe('take items over HTTP and have them in the next answer: on or off'),
  accessLog: z
    .string()
    .min(1)
    .optional()
    .describe('file that gets a JSON line a request, "-" = standard output; none without it'),
  keys: z.string().min(1).optional().describe('file of API keys; without it everybody is served'),
  tlsCert: z.string().min(1).optional().describe('certificate chain (PEM), to serve over TLS'),
  tlsKey: z.string().min(1).optional().describe('private key (PEM) of the certificate'),
});

export type SettingName = keyof ServerSettings;
export const SETTING_NAMES: readonly SettingName[] = Object.keys(
  serverSchema.shape,
) as SettingName[];

/** TANDEM_* variables that other parts of the program read. */
const FOREIGN_VARIABLES = ['TANDEM_LOG_LEVEL', 'TANDEM_ISA', 'TANDEM_THREADS', 'TANDEM_CONFIG'];

export interface SettingSources {
  /** As parsed from the command line; undefined members were not given. */
  readonly flags?: Readonly<Partial<Record<string, string | number>>>;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Path of a JSON file with settings by name; TANDEM_CONFIG names it too. */
  readonly file?: string | undefined;
}

export interface ResolvedSettings {
  readonly settings: ServerSettings;
  readonly origins: Readonly<Record<SettingName, SettingOrigin>>;
  /** TANDEM_* variables that no setting reads, for a warning: an orchestrator may have put them there. */
  readonly unknownVariables: readonly string[];
}

/**
 * Resolves every setting of the server.
 *
 * @throws TandemError ERR_CONFIG_INVALID naming the setting, where its value came from, and the nearest known name.
 */
export function resolveServerSettings(sources: SettingSources): ResolvedSettings {
  const { flags = {}, environment = {} } = sources;
  const filePath = sources.file ?? environment['TANDEM_CONFIG'];
  const file = filePath === undefined ? {} : readSettingsFile(filePath);
  for (const [source, names] of [
    ['flags', Object.keys(flags)],
    [filePath ?? 'file', Object.keys(file)],
  ] as const)
    for (const name of names) refuseUnknown(name, source);

  const values: Record<string, unknown> = {};
  const origins = {} as Record<SettingName, SettingOrigin>;
  for (const name of SETTING_NAMES) {
    const candidates: [SettingOrigin, unknown][] = [
      ['flag', flags[name]],
      ['environment', environment[variableOf(name)]],
      ['file', file[name]],
    ];
    const [origin, value] = candidates.find(([, given]) => given !== undefined) ?? [
      'default',
      undefined,
    ];
    origins[name] = origin;
    if (value !== undefined) values[name] = origin === 'file' ? value : fromText(name, value);
  }
  const parsed = serverSchema.safeParse(values);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    const name = String(issue.path[0]) as SettingName;
    const where = origins[name] === 'environment' ? variableOf(name) : origins[name];
    const missing = values[name] === undefined;
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      missing
        ? `Expected a value for ${name} (${describeSetting(name)}), received none. Give ${flagOf(name)}, ${variableOf(name)} or "${name}" in the settings file.`
        : `Expected a valid ${name} (${describeSetting(name)}), received ${JSON.stringify(values[name])} from ${where}: ${issue.message}.`,
      { details: { setting: name } },
    );
  }
  const known = new Set([...SETTING_NAMES.map(variableOf), ...FOREIGN_VARIABLES]);
  return {
    settings: parsed.data,
    origins,
    unknownVariables: Object.keys(environment).filter(
      (name) => name.startsWith('TANDEM_') && !known.has(name),
    ),
  };
}

/** --stale-after-hours */
export function flagOf(name: SettingName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** TANDEM_STALE_AFTER_HOURS */
export function variableOf(name: SettingName): string {
  return `TANDEM_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** What a setting does, with its default. */
export function describeSetting(name: SettingName): string {
  const field = serverSchema.shape[name];
  const text = field.description ?? '';
  return field instanceof z.ZodDefault
    ? `${text}; default ${String(field.def.defaultValue)}`
    : text;
}

/** The setting nearest to a misspelled environment variable, for its warning. */
export function nearestVariable(name: string): string | undefined {
  return nearestName(name, SETTING_NAMES.map(variableOf));
}

function refuseUnknown(name: string, source: string): void {
  if ((SETTING_NAMES as readonly string[]).includes(name)) return;
  const near = nearestName(name, SETTING_NAMES);
  throw new TandemError(
    'ERR_CONFIG_INVALID',
    `Expected known settings in ${source}, received "${name}".${near === undefined ? '' : ` Did you mean "${near}"?`}`,
    { details: { setting: name } },
  );
}

/** Flags and variables are text; a setting that is a number gets one when the text is one. */
function fromText(name: SettingName, value: unknown): unknown {
  const field = serverSchema.shape[name];
  const inner = field instanceof z.ZodDefault ? field.unwrap() : field;
  const numeric = inner instanceof z.ZodNumber || inner instanceof z.ZodUnion;
  if (!numeric || typeof value !== 'string' || value.trim() === '') return value;
  const number = Number(value);
  return Number.isFinite(number) ? number : value;
}

function readSettingsFile(path: string): Record<string, unknown> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'));
  } catch (cause) {
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected a JSON object of settings in ${path}, but: ${cause instanceof Error ? cause.message : String(cause)}.`,
      { cause, details: { path } },
    );
  }
  if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed))
    throw new TandemError('ERR_CONFIG_INVALID', `Expected a JSON object of settings in ${path}.`, {
      details: { path },
    });
  return parsed as Record<string, unknown>;
}

// Settings of the server: one zod schema that holds every setting, and where each value comes from:
// a flag, then a TANDEM_* variable, then the settings file, then the default. --help and
// docs/reference/settings.md are made from the same schema.

import { z } from 'zod';
import { TandemError, nearestName } from './errors.ts';
import { describeIssue, readJsonFile, reasonOf } from './foreign-errors.ts';

/** All settings of a server. docs/reference/settings.md explains each one. */
export interface ServerSettings {
  readonly bundles: string;
  readonly store: string;
  readonly storeTimeoutMs: number;
  readonly host: string;
  readonly port: number;
  readonly transport: 'auto' | 'uws' | 'node';
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
  /** Origins separated by commas, or "*". */
  readonly corsOrigins?: string | undefined;
  readonly tlsCert?: string | undefined;
  readonly tlsKey?: string | undefined;
}

/** The longest timeout that a request may set for itself. */
export const MAX_REQUEST_TIMEOUT_MS = 600_000;

/** Where the value of a setting comes from. */
export type SettingOrigin = 'flag' | 'environment' | 'file' | 'default';

const port = z.int().min(0).max(65535);
const text = z.string().min(1);
const onOff = z.enum(['on', 'off']).default('off');

/** Whether a text is "*" or a list of origins as browsers write them, separated by commas. */
function areOrigins(list: string): boolean {
  if (list === '*') return true;
  return list.split(',').every((part) => {
    const origin = part.trim();
    return URL.canParse(origin) && new URL(origin).origin === origin;
  });
}

const serverSchema = z.strictObject({
  bundles: text.describe('directory of published bundles, or one bundle'),
  store: text.describe('feature store: an LMDB directory, or redis://host:port/db'),
  storeTimeoutMs: z
    .int()
    .min(1)
    .default(10)
    .describe('time limit of a Redis command in milliseconds; later, the state is not used'),
  host: text.default('127.0.0.1').describe('address to listen on'),
  port: port.default(8080).describe('port to listen on; 0 = any free port'),
  transport: z
    .enum(['auto', 'uws', 'node'])
    .default('auto')
    .describe('web server: uWebSockets, or node:http with ws; auto = uWebSockets where it loads'),
  eventLoops: z
    .int()
    .min(1)
    .max(256)
    .default(1)
    .describe('number of threads that answer requests on the port'),
  plan: z
    .enum(['auto', 'exact', 'approximate'])
    .default('auto')
    .describe('use the exact scan, the index, or decide for each search'),
  staleAfterHours: z
    .number()
    .positive()
    .default(48)
    .describe('age in hours above which a user state is reported as stale'),
  maxBodyBytes: z
    .int()
    .min(1024)
    .default(1024 * 1024)
    .describe('largest request body in bytes'),
  maxFrameBytes: z
    .int()
    .min(1024)
    .default(64 * 1024)
    .describe('largest WebSocket frame in bytes'),
  maxMicroBatch: z
    .int()
    .min(1)
    .max(1024)
    .default(64)
    .describe('maximum number of requests in a micro-batch'),
  maxQueue: z
    .int()
    .min(1)
    .default(4096)
    .describe('maximum number of waiting requests of an event loop'),
  maxSocketInFlight: z
    .int()
    .min(1)
    .default(64)
    .describe('maximum number of unanswered subjects of a WebSocket'),
  socketIdleSeconds: z
    .int()
    .min(8)
    .max(960)
    .multipleOf(4)
    .default(120)
    .describe('silence in seconds after which a WebSocket is closed'),
  drainTimeoutSeconds: z
    .number()
    .min(0)
    .default(30)
    .describe('time to finish open requests when the server stops, in seconds'),
  bundlePollSeconds: z
    .number()
    .min(0.05)
    .default(1)
    .describe('interval of the checks for another current bundle, in seconds'),
  adminHost: text.default('127.0.0.1').describe('address of the admin port'),
  adminPort: z
    .union([z.literal('off'), port])
    .default('off')
    .describe('port for bundles, drain and log level; 0 = any free port'),
  requestTimeoutMs: z
    .int()
    .min(1)
    .max(MAX_REQUEST_TIMEOUT_MS)
    .default(10_000)
    .describe('time limit of waiting requests that set none, in milliseconds'),
  canaryEvery: z
    .int()
    .min(1)
    .default(1000)
    .describe('one of this many approximate answers is checked by an exact search'),
  freshEvents: onOff.describe('accept events over HTTP and encode their users at once'),
  freshItems: onOff.describe('accept items over HTTP and serve them at once'),
  accessLog: text.optional().describe('file for one JSON line per request; - = standard output'),
  keys: text.optional().describe('file of API keys; without it, the server answers everybody'),
  corsOrigins: text
    .refine(areOrigins, 'each must be an origin such as https://shop.example, without a path')
    .optional()
    .describe('origins whose pages may read answers (CORS), separated by commas; * is all'),
  tlsCert: text.optional().describe('certificate chain (PEM); with tlsKey, turns TLS on'),
  tlsKey: text.optional().describe('private key (PEM) of the certificate'),
});

/** Name of a setting. */
export type SettingName = keyof ServerSettings;
export const SETTING_NAMES: readonly SettingName[] = Object.keys(
  serverSchema.shape,
) as SettingName[];

/** TANDEM_* variables that other parts of the program read. */
const FOREIGN_VARIABLES = ['TANDEM_LOG_LEVEL', 'TANDEM_ISA', 'TANDEM_THREADS', 'TANDEM_CONFIG'];

/** Where resolveServerSettings() looks for values, the first one first. */
export interface SettingSources {
  /** The values of the command line; undefined members were not given. */
  readonly flags?: Readonly<Partial<Record<string, string | number>>>;
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Path of a JSON file with settings by name. Without it, TANDEM_CONFIG names the file. */
  readonly file?: string | undefined;
}

/** Settings with their origins. */
export interface ResolvedSettings {
  readonly settings: ServerSettings;
  readonly origins: Readonly<Record<SettingName, SettingOrigin>>;
  /**
   * TANDEM_* variables that no setting reads. They are no error, because an orchestrator may set
   * them.
   */
  readonly unknownVariables: readonly string[];
}

/**
 * Resolves every setting of the server.
 *
 * @throws TandemError ERR_CONFIG_INVALID with the setting, the origin of its value, and the nearest
 *   known name.
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
        ? `Expected a value for ${name} (${descriptionOf(name)}), received none. ` +
            `Give ${flagOf(name)}, ${variableOf(name)} or "${name}" in the settings file.`
        : `Expected a valid ${name} (${valuesOf(name)}), ` +
            `received ${JSON.stringify(values[name])} from ${where}. ` +
            `${describeIssue(issue)}.`,
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

/** The flag of a setting, e.g. `--stale-after-hours`. */
export function flagOf(name: SettingName): string {
  return `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
}

/** The environment variable of a setting, e.g. `TANDEM_STALE_AFTER_HOURS`. */
export function variableOf(name: SettingName): string {
  return `TANDEM_${name.replace(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`;
}

/** What a setting does, in a few words. */
export function descriptionOf(name: SettingName): string {
  return serverSchema.shape[name].description ?? '';
}

/** The default of a setting as text; undefined when it has none. */
export function defaultOf(name: SettingName): string | undefined {
  const field = serverSchema.shape[name];
  return field instanceof z.ZodDefault ? String(field.def.defaultValue) : undefined;
}

/** The values that a setting accepts, e.g. `integer, 1 to 256`. */
export function valuesOf(name: SettingName): string {
  return describeValues(z.toJSONSchema(serverSchema.shape[name], { io: 'input' }));
}

/** What a setting does, which values it accepts, and its default. */
export function describeSetting(name: SettingName): string {
  const [values, fallback] = [valuesOf(name), defaultOf(name)];
  const facts = [
    ...(values === 'text' ? [] : [values]),
    ...(fallback === undefined ? [] : [`default ${fallback}`]),
  ];
  return `${descriptionOf(name)}${facts.length === 0 ? '' : ` (${facts.join(', ')})`}`;
}

function describeValues(schema: z.core.JSONSchema.BaseSchema): string {
  const { anyOf, const: only, enum: names, type, minimum, exclusiveMinimum, multipleOf } = schema;
  if (anyOf !== undefined) return anyOf.map(describeValues).join('; or ');
  if (only !== undefined) return String(only);
  if (names !== undefined) return names.join(' | ');
  if (type === 'string') return 'text';
  // The largest safe integer stands for "no maximum".
  const maximum = schema.maximum === Number.MAX_SAFE_INTEGER ? undefined : schema.maximum;
  const from = exclusiveMinimum === undefined ? `from ${minimum}` : `above ${exclusiveMinimum}`;
  const range = maximum === undefined ? from : `${minimum} to ${maximum}`;
  const kind = type === 'integer' ? 'integer' : 'number';
  return `${kind}, ${range}${multipleOf === undefined ? '' : `, multiple of ${multipleOf}`}`;
}

/** The environment variable that a misspelled one most likely means. */
export function nearestVariable(name: string): string | undefined {
  return nearestName(name, SETTING_NAMES.map(variableOf));
}

function refuseUnknown(name: string, source: string): void {
  if ((SETTING_NAMES as readonly string[]).includes(name)) return;
  const near = nearestName(name, SETTING_NAMES);
  throw new TandemError(
    'ERR_CONFIG_INVALID',
    `Expected known settings in ${source}, received "${name}".` +
      (near === undefined ? '' : ` Did you mean "${near}"?`),
    { details: { setting: name } },
  );
}

/** The value of a flag or variable. For a numeric setting, a text that is a number becomes one. */
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
    parsed = readJsonFile(path);
  } catch (cause) {
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected a JSON object of settings in ${path}, but reading it failed: ` +
        `${reasonOf(cause)}. Name the file with --config or TANDEM_CONFIG.`,
      { cause, details: { path } },
    );
  }
  if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed))
    throw new TandemError(
      'ERR_CONFIG_INVALID',
      `Expected a JSON object of settings in ${path}, such as {"port": 8080}, received ` +
        `${Array.isArray(parsed) ? 'an array' : JSON.stringify(parsed).slice(0, 40)}.`,
      { details: { path } },
    );
  return parsed as Record<string, unknown>;
}

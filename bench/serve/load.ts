// The messages between the benchmark and its load generator.

export const K = 100;

/** A request body without k. */
export interface Question {
  readonly user: string;
  readonly surface: 'related' | 'search';
  readonly subject: Readonly<Record<string, unknown>>;
}

/**
 * HTTP with JSON answers, HTTP with binary answers (application/x-tandem), or WebSocket with JSON.
 */
export type Protocol = 'http' | 'http-binary' | 'ws';

export interface LoadOrder {
  readonly protocol: Protocol;
  readonly port: number;
  /** Mean requests a second; they are sent at random (Poisson) times. */
  readonly rate: number;
  /** Length of the measured time, which begins after the warm-up. */
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** Seed of the times at which requests are sent. */
  readonly seed: number;
}

/** A load of clients that send their next request as soon as they have an answer. */
export interface SaturationOrder {
  readonly port: number;
  /** How many requests are open at any time. */
  readonly connections: number;
  /** Length of the measured time, which begins after the warm-up. */
  readonly seconds: number;
  readonly warmUpSeconds: number;
}

/**
 * The outcome of one load. Latencies count from the time a request was due, also when no connection
 * was free.
 */
export interface LoadOutcome {
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** Successful answers a second within the measured time. */
  readonly achievedRate: number;
  /** Requests due a second within the measured time. */
  readonly sentRate: number;
  /** Requests answered with an error other than 503 or ERR_OVERLOADED, or not at all. */
  readonly failed: number;
  readonly refused: number;
  /** p99 of the refused requests; 0 when none was refused. */
  readonly refusedP99Ms: number;
}

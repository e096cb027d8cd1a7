// What the benchmark and its load generator say to each other.

export const K = 100;

/** A request body without k. */
export interface Question {
  readonly user: string;
  readonly surface: 'related' | 'search';
  readonly subject: Readonly<Record<string, unknown>>;
}

/** How to ask: HTTP for JSON, HTTP for bytes (application/x-tandem), WebSocket for JSON. */
export type Protocol = 'http' | 'http-binary' | 'ws';

export interface LoadOrder {
  readonly protocol: Protocol;
  readonly port: number;
  /** Requests a second, at random (Poisson) times. */
  readonly rate: number;
  /** Measured, after the warm-up. */
  readonly seconds: number;
  readonly warmUpSeconds: number;
  /** Of the times at which requests leave. */
  readonly seed: number;
}

/** Latencies count from when a request was due, whether or not a connection was free then. */
export interface LoadOutcome {
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  /** Good answers a second within the measured time. */
  readonly achievedRate: number;
  /** Requests due a second within the measured time. */
  readonly sentRate: number;
  /** Requests answered with an error other than 503 or ERR_OVERLOADED, or not at all. */
  readonly failed: number;
  readonly refused: number;
  /** Of the refused; 0 without any. */
  readonly refusedP99Ms: number;
}

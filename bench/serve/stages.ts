// Where a server's time goes, from the differences of its metrics around a load.

/** Sums and counts of /metrics that a difference is made of. */
export interface StageSums {
  /** Seconds by stage. */
  readonly seconds: ReadonlyMap<string, number>;
  readonly cpuSeconds: number;
  readonly requests: number;
}

export interface StageCosts {
  /** Microseconds of one request by stage; what micro-batches share is divided among them. */
  readonly micros: ReadonlyMap<string, number>;
  /** CPU time of one request in the whole process: what the stages leave of it is sockets, HTTP, the event loop and garbage. */
  readonly cpuMicros: number;
}

/** Waiting is no work: it is in the latencies. */
const WORK = ['parse', 'state', 'head', 'retrieve', 'encode'];

export async function readStages(port: number): Promise<StageSums> {
  const response = await fetch(`http://127.0.0.1:${port}/metrics`);
  const text = await response.text();
  const valueOf = (line: RegExp): number => Number(line.exec(text)?.[1] ?? 0);
  const stage = (name: string, part: string): number =>
    valueOf(new RegExp(`^tandem_stage_duration_seconds_${part}\\{stage="${name}"\\} (\\S+)$`, 'm'));
  return {
    seconds: new Map(WORK.map((name) => [name, stage(name, 'sum')])),
    cpuSeconds: valueOf(/^process_cpu_seconds_total (\S+)$/m),
    // Over HTTP and WebSocket alike, each request is parsed once.
    requests: stage('parse', 'count'),
  };
}

/** @returns undefined when nothing was asked in between. */
export function stageCosts(before: StageSums, after: StageSums): StageCosts | undefined {
  const requests = after.requests - before.requests;
  if (requests <= 0) return undefined;
  const micros = new Map(
    WORK.map((name) => [
      name,
      ((after.seconds.get(name)! - before.seconds.get(name)!) / requests) * 1e6,
    ]),
  );
  const cpuMicros = ((after.cpuSeconds - before.cpuSeconds) / requests) * 1e6;
  return { micros, cpuMicros };
}

// The benchmarks that exist: name, what the page says about them, and where their code is.

import type { BenchOptions, Recorder } from './harness.ts';

export interface Bench {
  readonly about: string;
  readonly load: () => Promise<{
    run: (recorder: Recorder, options: BenchOptions) => Promise<void>;
  }>;
}

export const BENCHES: Readonly<Record<string, Bench>> = {
  kernels: {
    about:
      'Leaf kernels on random data against a plain JavaScript loop over typed arrays and the same operation of the tfjs `cpu` backend, and each instruction set against `scalar`.',
    load: () => import('./kernels.ts'),
  },
  head: {
    about:
      'Context layer and head of the default model: one call for one request and for a micro-batch of 64, time a call. onnxruntime-node runs on one thread, as the head does for batches of this size; it gets padded bags and cold starts made beforehand, which are not in its time. Attention is over 100 states a user; the peer computes the keys and values of all of them, as a graph written from the formula does. The roofline is the rate of a 1024 x 1024 x 1024 matrix product on one thread in a process of its own; the share counts the multiplications that are left after folding.',
    load: () => import('./head.ts'),
  },
  encoder: {
    about:
      'The history encoder: two blocks of width 64, two heads, feed-forward 256, up to 100 events, random weights. Peers compute every position of padded histories in chunks of 32 users, as an exported model does; "last row only" is the graph without the positions of the last block that nobody reads. Peers run on as many threads as ours. "ours, bf16" is the same encoder over bf16 operands.',
    load: () => import('./encoder.ts'),
  },
  retrieval: {
    about:
      'The best 100 of clustered unit vectors of width 64, one query a call unless the case says otherwise, one thread. Recall is the share of the true top 100. Graphs have connectivity 16 and expansionAdd 128.',
    load: () => import('./retrieval.ts'),
  },
  filters: {
    about:
      'The best 100 of 100,000 x 64 among the items that a filter leaves, as the request path searches (plan `auto`).',
    load: () => import('./filters.ts'),
  },
  training: {
    about:
      'One training step (sampling, forward, gradient, Adam) with the settings of the demo on a synthetic world, then a smaller one that tfjs cpu can finish. The peer is tfjs cpu with its scatter-add replaced by a plain loop: its own goes over all of the data once for every row of an embedding table, which took minutes a step.',
    load: () => import('./training.ts'),
  },
  serve: {
    about:
      'Open loop: requests leave at random (Poisson) times at the rate of the case and latency counts from when each was due. k = 100, 1,000 different requests, LMDB states. Server and load generator are processes of their own, pinned to one core each where `taskset` is there. A column reads ours / peer. A side is left out after the rate at which it answers late (p99 over 100 ms), not at all, or under 97 % of what was sent. The peer is what one writes first: node:http, the same head and an exact scan as plain JavaScript loops, one request at a time, same bundle, same store.',
    load: () => import('./serve.ts'),
  },
};

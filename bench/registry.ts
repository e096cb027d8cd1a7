// The benchmarks that exist: name, what the page says about them, and where their code is.

import type { BenchOptions, Recorder } from './harness.ts';

export interface Bench {
  readonly about: string;
  /** The page shows its times as bars, too: see charts.ts. */
  readonly charts?: true;
  readonly load: () => Promise<{
    run: (recorder: Recorder, options: BenchOptions) => Promise<void>;
  }>;
}

export const BENCHES: Readonly<Record<string, Bench>> = {
  roofline: {
    about:
      'What the machine can do at best, measured by bench/native/roofline.cpp: chains of multiply-adds that stay in registers, in f32 and what else the CPU multiplies, and a sum over 256 MiB a thread, which is past every cache. The fastest of 60 short rounds; runs before whatever else is asked for.',
    load: () => import('./roofline.ts'),
  },
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
  encode: {
    about:
      'What the batch encoding job can run on: the native encoder, and tfjs on every backend that is there (`--backend NAME` for one), on as many threads or whatever device each has. Full histories, states read back. Two encoders: that of `encoder`, 24.8 MFLOP a user (ours leaves out what nobody reads), and one of eight blocks of width 256 over 512 events, 7.5 GFLOP a user. The product of two matrices says what a backend can do at best. Where there is a GPU more users are encoded at once.',
    load: () => import('./encode.ts'),
  },
  retrieval: {
    about:
      'The best 100 of a million items of width 64 by inner product, time a query. Two data sets: random centres with Gaussian noise (queries near items), and the item tower of a model trained on a synthetic world with the query embeddings of its held-out requests. Every contestant searches as little as gives recall@100 >= .99 on 400 queries; its name has the recall on the 1,600 others that are timed. FAISS IVF is the fastest of 1,024 to 8,192 lists of 8-bit codes, refined with f32 vectors or not. Each contestant runs in a process of its own, called as its users call it (FAISS from Python). Memory is the size of the saved index, and for ours the 256 B of f32 vectors that it refers to. Indexes are built once and kept in bench/cache: the time is that of the run that built them.',
    charts: true,
    load: () => import('./retrieval.ts'),
  },
  graphs: {
    about:
      'The same over 200,000 clustered vectors, with HNSW graphs of connectivity 16 and expansionAdd 128: our build of usearch, usearch JS, hnswlib-node (one thread is all its binding has) and FAISS. hnswlib-node and usearch JS build their results as JavaScript objects.',
    charts: true,
    load: () => import('./graphs.ts'),
  },
  filters: {
    about:
      'The best 100 among the items that a filter leaves of a million x 64 (the two data sets of `retrieval`), one query a call, one thread, as the request path searches (plan `auto`). Peers start with the effort that gives them recall@100 >= .99 without a filter, doubled until they reach it with the filter or can look no harder. FAISS reads a bitmap (IDSelectorBitmap); the JavaScript binding of usearch has no filter, and hnswlib-node calls a JavaScript function for every item it meets.',
    load: () => import('./filters.ts'),
  },
  training: {
    about:
      'The reference step: history encoder of `encoder` over 128 full histories, softmax at every position over its own positive and 512 shared negatives, Adam, against the same in PyTorch on as many threads: with torch.optim.Adam over everything, and with sparse gradients and SparseAdam for the item table, which takes the steps that ours takes (losses are compared before the race). Then a reference step and one of the large encoder of `encode` on every tfjs backend that is there (`--backend NAME` for one). Then a step (sampling, forward, gradient, Adam) with the settings of the demo on a synthetic world, and a smaller one that tfjs cpu can finish. Its scatter-add is replaced by a plain loop: its own goes over all of the data once for every row of an embedding table, which took minutes a step.',
    load: () => import('./training.ts'),
  },
  serve: {
    about:
      'Open loop: requests leave at random (Poisson) times at the rate of the case and latency counts from when each was due. k = 100, 1,000 different requests, LMDB states, clustered items of width 64 and a head that lets states through, so that queries fall near items. Server and load generator are processes of their own, pinned to one core each where `taskset` is there. A column reads ours / peer. The peer is built from the best known packages: fastify, the head in onnxruntime-node, the items in hnswlib-node (connectivity 16, expansionAdd 128), one request at a time, same bundle, same store; its searches look as far as it takes to find as much as we do, or recall .99 (`recall@100`, against an exact scan, of answers over HTTP). Rates double until a side answers late (p99 over 100 ms), not at all, or under 97 % of what was sent; then the highest rate within p99 <= 10 ms is narrowed down. The quietest of four rounds decides, since what else runs on a shared machine only adds to latencies; the rows of a rate show medians. At 70 % of it: server time a request by stage (by the clock: on a busy machine they sum up to more than the CPU time), and the same load while two bundles of one encoder take turns in `current` (columns then read with swaps / without). Bundles and graph are made once and kept in bench/cache.',
    load: () => import('./serve.ts'),
  },
};

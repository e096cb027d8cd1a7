// The benchmarks: the name of each, its description on the page, and the file of its code.

import type { BenchOptions, Recorder } from './harness.ts';

export interface Bench {
  /** Markdown; the page shows it above the table. */
  readonly about: string;
  /** The page also shows the times as bars; see charts.ts. */
  readonly charts?: true;
  readonly load: () => Promise<{
    run: (recorder: Recorder, options: BenchOptions) => Promise<void>;
  }>;
}

export const BENCHES: Readonly<Record<string, Bench>> = {
  roofline: {
    about: `\
The speed of the machine at best, measured by bench/native/roofline.cpp:

- Multiply-add: chains of multiply-adds that stay in registers, in f32 and in the other types that
  the CPU multiplies.
- Read: a sum over 256 MiB for each thread, which is larger than every cache.

A value is the fastest of 60 short rounds. This benchmark runs before every other one.`,
    load: () => import('./roofline.ts'),
  },
  kernels: {
    about: `\
Leaf kernels on random data, compared with a plain JavaScript loop over typed arrays and with the
same operation of the tfjs backend \`cpu\`; and each instruction set compared with \`scalar\`.`,
    load: () => import('./kernels.ts'),
  },
  head: {
    about: `\
Context layer and head of the default model. The time is that of one call, for one request and for a
micro-batch of 64.

- onnxruntime-node runs on one thread, as the head does for batches of this size. Its padded bags
  and cold starts are made beforehand and are not in its time.
- Attention is over 100 event states for each user. The peer computes keys and values of all of
  them, as a graph does that is written from the formula.
- "The crossing alone" is a call without requests: the cost of a call from JavaScript to C++.
- The roofline is the rate of a 1024 x 1024 x 1024 matrix product on one thread in a process of its
  own. The share of it counts the multiplications that are left after folding.`,
    load: () => import('./head.ts'),
  },
  encoder: {
    about: `\
The history encoder: two blocks of width 64, two heads, feed-forward width 256, up to 100 events,
random weights.

- Peers run on as many threads as ours. They compute every position of padded histories in chunks
  of 32 users, as an exported model does.
- "last row only" is the graph without the positions of the last block that no output depends on.
- "ours, bf16" is our encoder with bf16 operands.`,
    load: () => import('./encoder.ts'),
  },
  encode: {
    about: `\
The engines of the batch encoding job: the native encoder, and tfjs on every backend of the machine
(\`--backend NAME\` for one of them), on the same number of threads or on the backend's device. All
histories are full, and the states are read back.

- "reference" is the encoder of \`encoder\`: 24.8 MFLOP for each user. Ours leaves out the positions
  that no output depends on.
- "large" has eight blocks of width 256 over 512 events: 7.5 GFLOP for each user.
- The product of two matrices shows how fast a backend is at best.

On a machine with a GPU, more users are encoded at once.`,
    load: () => import('./encode.ts'),
  },
  retrieval: {
    about: `\
The best 100 of a million items of width 64 by inner product; the time is that of one query.

- Gaussian clusters: random centres with Gaussian noise; queries are near items.
- Item tower: item vectors of a model trained on a synthetic world, and the query embeddings of its
  held-out requests.
- Every contestant searches with the smallest effort that gives recall@100 >= .99 on 400 queries.
  The recall in its name is that on the 1,600 other queries, which are timed.
- FAISS IVF is the fastest of 1,024 to 8,192 lists of 8-bit codes, refined with f32 vectors or not.
- Each contestant runs in a process of its own and is called as its users call it: FAISS from
  Python, the others from JavaScript.
- Memory is the size of the saved index. Ours includes the 256 B of f32 vectors that it refers to.
- Indexes are built once and kept in bench/cache. The build time is that of the run that built
  them.`,
    charts: true,
    load: () => import('./retrieval.ts'),
  },
  graphs: {
    about: `\
The same as \`retrieval\` over 200,000 clustered vectors, for HNSW graphs of connectivity 16 and
expansionAdd 128: our build of usearch, usearch JS, hnswlib-node and FAISS. The binding of
hnswlib-node has one thread only. hnswlib-node and usearch JS return their results as JavaScript
objects.`,
    charts: true,
    load: () => import('./graphs.ts'),
  },
  filters: {
    about: `\
The best 100 of the items that a filter leaves of a million items of width 64, on the two data sets
of \`retrieval\`. One query in each call, one thread. Ours searches as the request path does (plan
\`auto\`).

- A peer starts with the effort that gives recall@100 >= .99 without a filter. The effort is doubled
  until the peer reaches this recall with the filter or has its largest effort.
- FAISS reads a bitmap (IDSelectorBitmap).
- The JavaScript binding of usearch has no filter, and hnswlib-node calls a JavaScript function for
  every item that it visits, so these two are left out.`,
    load: () => import('./filters.ts'),
  },
  training: {
    about: `\
Three comparisons of one training step:

1. The reference step against PyTorch on the same number of threads: the history encoder of
   \`encoder\` over 128 full histories, a softmax at every position over its positive and 512 shared
   negatives, and Adam. PyTorch runs with torch.optim.Adam for all weights, and with sparse
   gradients and SparseAdam for the item table, which takes the same steps as ours. The losses are
   compared before the race.
2. The reference step and a step of the large encoder of \`encode\`, on every tfjs backend of the
   machine (\`--backend NAME\` for one of them).
3. A step (sampling, forward, gradient, Adam) with the settings of the demo on a synthetic world,
   and a smaller one against tfjs cpu. The scatter-add of tfjs cpu is replaced by a plain loop: its
   own reads all of the data once for every row of an embedding table, which took minutes a step.

Lines that begin with "of it" are parts of a reference step.`,
    load: () => import('./training.ts'),
  },
  serve: {
    about: `\
Our server and a peer under an open loop: requests are sent at random (Poisson) times with the rate
of the case, and a latency counts from the time at which the request was due. A cell reads
"ours / peer".

The load:

- k = 100, 1,000 different requests, states in LMDB, and clustered items of width 64. The head
  passes states through, so that queries are near items.
- Server and load generator are processes of their own. Where \`taskset\` is installed, each is
  pinned to a core.
- Bundles and the peer's graph are made once and kept in bench/cache.

The peer is made of well-known packages: fastify, the head in onnxruntime-node, and the items in
hnswlib-node (connectivity 16, expansionAdd 128). It handles one request at a time and uses the same
bundle and store. Its searches are widened until it finds as much as ours or reaches recall .99.
\`recall@100\` compares answers over HTTP with an exact scan.

The rates:

- They double until a server answers late (p99 over 100 ms), does not answer, or answers less than
  97 % of the requests. Then the highest rate with p99 <= 10 ms is narrowed down.
- The quietest of four rounds decides, because other work on a shared machine only adds to
  latencies. The rows of a rate show medians.

At 70 % of the highest rate two more things are measured:

- The server time of a request by stage. It is read from the clock: on a busy machine the stages add
  up to more than the CPU time.
- The same load while two bundles of one encoder are swapped. Cells of these rows read
  "with swaps / without".`,
    load: () => import('./serve.ts'),
  },
};

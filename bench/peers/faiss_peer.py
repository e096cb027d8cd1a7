"""Runs FAISS over a data set of the retrieval benchmarks.

bench/retrieval/engine.ts defines the protocol, bench/retrieval/data-set.ts the data.

Indexes:
- "hnsw": IndexHNSWFlat. Its effort is efSearch.
- "ivf-sq8-<nlist>": lists of 8-bit codes. Its effort is nprobe.
- "ivf-sq8-<nlist>-refined": the same, and 2 k candidates are scored again with the f32 vectors.
"""

import json
import os
import time

import faiss
import numpy as np
from json_lines import serve

DATA = {}
INDEXES = {}
# Parts that an index only points to; Python must not free them.
KEPT = []
# Selectors by bitset file, with the bits, which FAISS only points to.
SELECTORS = {}
# FAISS recommends 39 to 256 training vectors a list.
TRAINING_PER_LIST = 64
REFINE_FACTOR = 2


def open_data(folder, width, k):
    def read(name, kind):
        return np.fromfile(os.path.join(folder, name), dtype=kind)

    DATA.update(folder=folder, k=k, vectors=read("vectors.f32", "<f4").reshape(-1, width))
    for split in ("calibration", "test"):
        DATA[split] = read(f"{split}-queries.f32", "<f4").reshape(-1, width)
        DATA[f"{split} truth"] = read(f"{split}-truth.i32", "<i4").reshape(-1, k)
    return {"version": faiss.__version__, "compiled": faiss.get_compile_options().strip()}


def build(index, threads, connectivity, expansionAdd):
    """Loads an index of an earlier run, or builds it. Returns the build time of that run."""
    name = index.removesuffix("-refined")
    path = os.path.join(DATA["folder"], f"faiss-{name}-{connectivity}-{expansionAdd}.index")
    if not os.path.exists(path):
        built, seconds = construct(name, threads, connectivity, expansionAdd)
        faiss.write_index(built, path + ".part")
        about = {"seconds": seconds, "threads": threads}
        with open(path + ".json", "w") as file:
            json.dump(about, file)
        os.replace(path + ".part", path)
    else:
        built = INDEXES.get(name, None) or faiss.read_index(path)
        with open(path + ".json") as file:
            about = json.load(file)
    INDEXES[name] = built
    count, width = DATA["vectors"].shape
    size = os.path.getsize(path)
    if index != name:
        if "flat" not in DATA:
            DATA["flat"] = faiss.IndexFlatIP(width)
            DATA["flat"].add(DATA["vectors"])
        refined = faiss.IndexRefine(built, DATA["flat"])
        refined.k_factor = REFINE_FACTOR
        KEPT.append(built)
        INDEXES[index] = refined
        size += 4 * count * width
    return {**about, "bytesPerItem": size / count}


def construct(name, threads, connectivity, expansion_add):
    vectors = DATA["vectors"]
    count, width = vectors.shape
    faiss.omp_set_num_threads(threads)
    start = time.perf_counter()
    if name == "hnsw":
        made = faiss.IndexHNSWFlat(width, connectivity, faiss.METRIC_INNER_PRODUCT)
        made.hnsw.efConstruction = expansion_add
    else:
        lists = int(name.removeprefix("ivf-sq8-"))
        coarse = faiss.IndexFlatIP(width)
        made = faiss.IndexIVFScalarQuantizer(
            coarse, width, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        KEPT.append(coarse)
        sample = min(count, TRAINING_PER_LIST * lists)
        made.train(vectors[np.random.default_rng(1).permutation(count)[:sample]])
    made.add(vectors)
    return made, time.perf_counter() - start


def parameters(index, effort, allow=None):
    """Makes the search parameters of an index. `allow` is a bitset file or None."""
    selector = None
    if allow is not None:
        if allow not in SELECTORS:
            bits = np.fromfile(os.path.join(DATA["folder"], allow), dtype=np.uint8)
            SELECTORS[allow] = (faiss.IDSelectorBitmap(bits), bits)
        selector = SELECTORS[allow][0]
    named = {} if selector is None else {"sel": selector}
    if index == "hnsw":
        return faiss.SearchParametersHNSW(efSearch=effort, **named)
    lists = faiss.SearchParametersIVF(nprobe=effort, **named)
    if not index.endswith("-refined"):
        return lists
    return faiss.IndexRefineSearchParameters(
        k_factor=REFINE_FACTOR, base_index_params=lists
    )


def recall(index, effort, split, threads):
    faiss.omp_set_num_threads(threads)
    _, found = INDEXES[index].search(DATA[split], DATA["k"], params=parameters(index, effort))
    truth = DATA[f"{split} truth"]
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(found, truth))
    return {"recall": hits / truth.size}


def filtered(index, effort, allow, truth, count, threads):
    """Searches the first `count` test queries with a filter.

    Returns recall against the true best of the allowed items, and the smallest number of hits.
    """
    faiss.omp_set_num_threads(threads)
    expected = np.fromfile(os.path.join(DATA["folder"], truth), dtype="<i4").reshape(count, -1)
    _, found = INDEXES[index].search(
        DATA["test"][:count], DATA["k"], params=parameters(index, effort, allow)
    )
    hits = sum(len(np.intersect1d(a[a >= 0], b[b >= 0])) for a, b in zip(found, expected))
    return {
        "recall": hits / int((expected >= 0).sum()),
        "returned": int((found >= 0).sum(axis=1).min()),
    }


def measure(index, effort, batch, threads, seconds, allow=None):
    """Measures the mean seconds of a query, `batch` queries a call, for about `seconds`."""
    faiss.omp_set_num_threads(threads)
    searched, k, queries = INDEXES[index], DATA["k"], DATA["test"]
    params = parameters(index, effort, allow)
    blocks = [queries[i : i + batch] for i in range(0, len(queries) - batch + 1, batch)]
    searched.search(blocks[0], k, params=params)
    calls, elapsed = 0, 0.0
    start = time.perf_counter()
    while elapsed < seconds:
        at = DATA["next"] = (DATA.get("next", 0) + 1) % len(blocks)
        searched.search(blocks[at], k, params=params)
        calls += 1
        elapsed = time.perf_counter() - start
    return {"secondsPerQuery": elapsed / calls / batch}


serve(
    {
        "open": open_data,
        "build": build,
        "recall": recall,
        "filtered": filtered,
        "measure": measure,
    }
)

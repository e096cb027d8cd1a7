"""The reference step of the training benchmark in PyTorch.

bench/training-reference.ts writes its inputs. There are two optimisers: "dense" is torch.optim.Adam
for all weights. "sparse" has sparse gradients of the item table and torch.optim.SparseAdam for it,
which updates only the rows of a step, as ours does.
"""

import json
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from json_lines import serve

STATE = {}


class Trainer:
    def __init__(self, config, weights, sparse):
        self.config = config
        self.sparse = sparse
        encoder = {k: v for k, v in weights.items() if k.startswith("encoder.")}
        self.w = {k: v.clone().requires_grad_() for k, v in encoder.items()}
        self.items = weights["items.id"].clone().requires_grad_()
        options = {"lr": config["learningRate"], "betas": (0.9, 0.98), "eps": 1e-8}
        if sparse:
            dense = torch.optim.Adam(self.w.values(), **options)
            self.optimisers = [dense, torch.optim.SparseAdam([self.items], **options)]
        else:
            self.optimisers = [torch.optim.Adam([*self.w.values(), self.items], **options)]

    def norm(self, x, name):
        scale, offset = self.w[name + ".scale"], self.w[name + ".offset"]
        return F.layer_norm(x, x.shape[-1:], scale, offset, 1e-5)

    def dense(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def look_up(self, rows):
        return F.embedding(rows, self.items, sparse=self.sparse)

    def encode(self, items, actions, gaps):
        c, w = self.config, self.w
        n, t, d, h = c["users"], c["maxHistory"], c["embeddingWidth"], c["heads"]
        events = torch.cat([self.look_up(items), F.embedding(actions, w["encoder.action"])], -1)
        x = self.dense(events, "encoder.input")
        x = x + F.embedding(gaps, w["encoder.gap"]) + w["encoder.position"]
        for b in range(c["blocks"]):
            block = f"encoder.blocks.{b}."
            normed = self.norm(x, block + "attentionNorm")
            q, k, v = (
                self.dense(normed, block + part).view(n, t, h, d // h).transpose(1, 2)
                for part in ("query", "key", "value")
            )
            mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.dense(mixed.transpose(1, 2).reshape(n, t, d), block + "attentionOutput")
            normed = self.norm(x, block + "feedForwardNorm")
            hidden = F.relu(self.dense(normed, block + "feedForward"))
            x = x + self.dense(hidden, block + "feedForwardOutput")
        return self.norm(x, "encoder.norm").view(n * t, d)

    def step(self, batch):
        hidden = self.encode(batch["items"], batch["actions"], batch["gaps"])
        positive = (hidden * self.look_up(batch["positives"])).sum(-1, keepdim=True)
        logits = torch.cat([positive, hidden @ self.look_up(batch["negatives"]).T], 1)
        loss = F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        for optimiser in self.optimisers:
            optimiser.zero_grad()
        loss.backward()
        for optimiser in self.optimisers:
            optimiser.step()
        return loss.item()


def open_data(folder, threads):
    torch.set_num_threads(threads)
    with open(os.path.join(folder, "config.json")) as file:
        config = json.load(file)
    raw = np.fromfile(os.path.join(folder, "weights.f32"), dtype="<f4")
    weights = {}
    for entry in config["tensors"]:
        size = int(np.prod(entry["shape"]))
        values = raw[entry["offset"] : entry["offset"] + size].reshape(entry["shape"])
        weights[entry["name"]] = torch.from_numpy(values.copy())
    users, length = config["users"], config["maxHistory"]
    positions = users * length
    columns = np.fromfile(os.path.join(folder, "batches.i32"), dtype="<i4")
    batches = []
    for row in torch.from_numpy(columns.reshape(config["batches"], -1)):
        sizes = [positions] * 4 + [len(row) - 4 * positions]
        items, actions, gaps, positives, negatives = row.split(sizes)
        histories = [column.reshape(users, length) for column in (items, actions, gaps)]
        batches.append(
            {
                **dict(zip(("items", "actions", "gaps"), histories)),
                "positives": positives,
                "negatives": negatives,
            }
        )
    trainers = {name: Trainer(config, weights, name == "sparse") for name in ("dense", "sparse")}
    STATE.update(batches=batches, trainers=trainers, at=dict.fromkeys(trainers, 0))
    return {"version": torch.__version__}


def step(optimiser):
    """Takes one step on the optimiser's next batch."""
    at = STATE["at"][optimiser]
    STATE["at"][optimiser] = at + 1
    return {"loss": STATE["trainers"][optimiser].step(STATE["batches"][at % len(STATE["batches"])])}


def measure(optimiser, seconds):
    """Measures the mean seconds of a step for about `seconds`."""
    start = time.perf_counter()
    steps = 0
    while True:
        step(optimiser)
        steps += 1
        elapsed = time.perf_counter() - start
        if elapsed >= seconds:
            return {"seconds": elapsed / steps}


serve({"open": open_data, "step": step, "measure": measure})

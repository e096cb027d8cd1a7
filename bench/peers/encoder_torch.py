"""Runs the reference encoder of bench/encoder.ts in PyTorch, and its ONNX file in ONNX Runtime.

A request is a line of JSON on stdin: {"engine", "case", "repeat", "states"}. The case is encoded
`repeat` times; with "states" the result is written next to the inputs. A process has one number of
threads.
"""

import json
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F

try:
    import onnxruntime
except ImportError:
    onnxruntime = None

folder, threads = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(threads)
with open(os.path.join(folder, "config.json")) as file:
    config = json.load(file)
D, H, T = config["embeddingWidth"], config["heads"], config["maxHistory"]


def load_weights():
    raw = np.fromfile(os.path.join(folder, "weights.bin"), dtype=np.float32)
    weights = {}
    for entry in config["tensors"]:
        size = int(np.prod(entry["shape"]))
        values = raw[entry["offset"] : entry["offset"] + size].reshape(entry["shape"])
        weights[entry["name"]] = torch.from_numpy(values.copy())
    return weights


def load_case(name):
    def column(kind):
        path = os.path.join(folder, f"{name}.{kind}.bin")
        return np.fromfile(path, dtype=np.int32).reshape(-1, T)

    return {kind: column(kind) for kind in ("items", "actions", "gaps", "valid")}


class Encoder(torch.nn.Module):
    def __init__(self, weights, dtype):
        super().__init__()
        self.w = {name: value.to(dtype) for name, value in weights.items()}
        self.blocks = config["blocks"]
        for b in range(self.blocks):
            for kind in ("weight", "bias"):
                parts = [self.w[f"{b}.{part}.{kind}"] for part in ("query", "key", "value")]
                self.w[f"{b}.projection.{kind}"] = torch.cat(parts)

    def norm(self, x, name):
        return F.layer_norm(x, (D,), self.w[name + ".scale"], self.w[name + ".offset"], 1e-5)

    def dense(self, x, name):
        return F.linear(x, self.w[name + ".weight"], self.w[name + ".bias"])

    def forward(self, items, actions, gaps, mask):
        w = self.w
        events = torch.cat([F.embedding(items, w["item"]), F.embedding(actions, w["action"])], -1)
        x = self.dense(events, "input") + F.embedding(gaps, w["gap"]) + w["position"]
        n = x.shape[0]
        for b in range(self.blocks):
            projected = self.dense(self.norm(x, f"{b}.norm1"), f"{b}.projection")
            q, k, v = projected.view(n, T, 3, H, D // H).permute(2, 0, 3, 1, 4)
            mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None)
            x = x + self.dense(mixed.transpose(1, 2).reshape(n, T, D), f"{b}.output")
            hidden = F.relu(self.dense(self.norm(x, f"{b}.norm2"), f"{b}.hidden"))
            x = x + self.dense(hidden, f"{b}.update")
        return self.norm(x, "norm")[:, -1]


def chunks(case, size):
    count = case["items"].shape[0]
    return [{k: v[i : i + size] for k, v in case.items()} for i in range(0, count, size)]


def torch_engine(dtype):
    model = Encoder(load_weights(), dtype)
    causal = torch.ones(T, T, dtype=torch.bool).tril()

    def prepare(case):
        inputs = []
        for part in chunks(case, config["chunk"]):
            tensors = [torch.from_numpy(part[k]) for k in ("items", "actions", "gaps")]
            valid = torch.from_numpy(part["valid"]).bool()
            # A row of padding attends to itself, so that no softmax is empty.
            itself = torch.eye(T, dtype=torch.bool)
            mask = None if valid.all() else (causal & valid[:, None]) | itself
            inputs.append((*tensors, None if mask is None else mask[:, None]))
        return inputs

    def run(inputs):
        with torch.inference_mode():
            return np.concatenate([model(*part).float().numpy() for part in inputs])

    return prepare, run


def onnx_engine():
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    path = os.path.join(folder, "encoder.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def prepare(case):
        parts = chunks(case, config["chunk"])
        return [{**part, "valid": part["valid"].astype(np.float32)} for part in parts]

    def run(inputs):
        return np.concatenate([session.run(["states"], part)[0] for part in inputs])

    return prepare, run


engines = {
    f"torch {torch.__version__} f32": lambda: torch_engine(torch.float32),
    f"torch {torch.__version__} bf16": lambda: torch_engine(torch.bfloat16),
}
if onnxruntime is not None:
    engines[f"onnxruntime (Python) {onnxruntime.__version__}"] = onnx_engine
print(json.dumps({"engines": list(engines)}), flush=True)
made, prepared = {}, {}
for line in sys.stdin:
    order = json.loads(line)
    engine = order["engine"]
    if engine not in made:
        made[engine] = engines[engine]()
    prepare, run = made[engine]
    key = (engine, order["case"])
    if key not in prepared:
        prepared[key] = prepare(load_case(order["case"]))
    for _ in range(order["repeat"]):
        states = run(prepared[key])
    if order["states"]:
        states.astype(np.float32).tofile(os.path.join(folder, "states.bin"))
    print("{}", flush=True)

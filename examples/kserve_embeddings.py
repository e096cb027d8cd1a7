"""Asks a server for query embeddings over KServe v2 and prints them as JSON.

It uses an unmodified tritonclient: pip install "tritonclient[http]".

Usage: python3 examples/kserve_embeddings.py 127.0.0.1:8080 ITEM USER...
Set TANDEM_KEY to an API key if the server needs one.
"""

import json
import os
import sys

import numpy
import tritonclient.http
from tritonclient.utils import InferenceServerException


def texts(name: str, values: list) -> tritonclient.http.InferInput:
    tensor = tritonclient.http.InferInput(name, [len(values)], "BYTES")
    tensor.set_data_from_numpy(numpy.array(values, dtype=object))
    return tensor


def main() -> None:
    address, item, *users = sys.argv[1:]
    key = os.environ.get("TANDEM_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    client = tritonclient.http.InferenceServerClient(address)
    if not client.is_model_ready("tandem"):
        raise SystemExit(f"Expected a server that is ready at {address}. See its /v2/health/ready.")
    try:
        inputs = [texts("user", users), texts("item", [item] * len(users))]
        answer = client.infer("tandem", inputs, headers=headers)
    except InferenceServerException as error:
        raise SystemExit(str(error)) from error
    embeddings = answer.as_numpy("embedding")  # [B, D] f32
    bundles = answer.as_numpy("bundle_id")  # [B] bytes
    print(
        json.dumps(
            [
                {"user": user, "bundle_id": bundle.decode(), "embedding": row.tolist()}
                for user, bundle, row in zip(users, bundles, embeddings)
            ]
        )
    )


if __name__ == "__main__":
    main()

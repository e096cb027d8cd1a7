"""Asks a server for candidates in application/x-tandem and prints them as JSON.

The layout of the bytes is in docs/reference/binary-protocol.md.

Usage: python3 examples/binary_candidates.py http://127.0.0.1:8080 USER ITEM
"""

import json
import math
import struct
import sys
import urllib.error
import urllib.request

HEADER = struct.Struct("<4sHBBIId")


def read_answer(body: bytes) -> dict:
    magic, version, state, flags, count, text_bytes, age = HEADER.unpack_from(body)
    if magic != b"TNDM" or version != 1:
        raise ValueError("Expected an application/x-tandem body of version 1.")
    scores = struct.unpack_from(f"<{count}f", body, HEADER.size)
    ends = struct.unpack_from(f"<{6 + count}I", body, HEADER.size + 4 * count)
    text = body[HEADER.size + 4 * count + 4 * (6 + count) :]
    if len(text) != text_bytes:
        raise ValueError(f"Expected a whole body, received {len(body)} bytes.")
    strings = [text[a:b].decode() for a, b in zip((0, *ends), ends)]
    request_id, bundle_id, plan, mode, reason, ignored, *items = strings
    return {
        "request_id": request_id,
        "bundle_id": bundle_id,
        "state": {
            "status": ("missing", "fresh", "stale", "version_mismatch")[state],
            "age_seconds": None if math.isnan(age) else age,
        },
        "degraded": {"mode": mode, "reason": reason} if mode else None,
        "plan": plan,
        "truncated": bool(flags & 1),
        "ignored": ignored.split(",") if ignored else [],
        "candidates": [{"item": i, "score": s} for i, s in zip(items, scores)],
    }


def main() -> None:
    base, user, item = sys.argv[1:]
    request = {"user": user, "surface": "related", "subject": {"item": item}, "k": 10}
    headers = {"content-type": "application/json", "accept": "application/x-tandem"}
    data = json.dumps(request).encode()
    try:
        with urllib.request.urlopen(
            urllib.request.Request(f"{base}/v1/candidates", data, headers)
        ) as response:
            print(json.dumps(read_answer(response.read())))
    except urllib.error.HTTPError as error:
        raise SystemExit(error.read().decode()) from error


if __name__ == "__main__":
    main()

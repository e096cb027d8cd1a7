"""The loop of a peer written in Python: one JSON request a line on stdin, one JSON answer a line on stdout."""

import json
import os
import sys
import traceback


def serve(operations):
    """Answers until stdin ends. operations: name -> function of the request's other fields, returning a dict."""
    # What a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = operations[request.pop("operation")](**request)
        except Exception as error:  # reported to the benchmark, which decides
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer or {}) + "\n")
        answers.flush()

"""The main loop of a peer in Python.

A request is a line of JSON on stdin, its answer a line of JSON on stdout.
"""

import json
import os
import sys
import traceback


def serve(operations):
    """Answers requests until stdin ends.

    operations: functions by name. Their parameters are the request's other fields; they return a
    dict.
    """
    # Text that a library prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            answer = operations[request.pop("operation")](**request)
        except Exception as error:  # the benchmark gets the error and decides
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer or {}) + "\n")
        answers.flush()

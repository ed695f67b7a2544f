"""What the Python clients are made to store, and how they compare it. The runner of clients sets the environment."""

import json
import os
import pathlib

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
ACCESS = os.environ["AWS_ACCESS_KEY_ID"]
SECRET = os.environ["AWS_SECRET_ACCESS_KEY"]
REGION = os.environ["AWS_DEFAULT_REGION"]
BUCKET = os.environ["BUCKET"]
WORK = pathlib.Path(os.environ["WORK"])

_corpus = pathlib.Path(os.environ["CORPUS"])
KEYS = json.loads((_corpus / "keys.json").read_text())
FILES = {int(p.name): p for p in (_corpus / "sizes").iterdir()}  # By length; the largest is sent in parts.
LARGE = max(FILES)
TREE = _corpus / "tree"


def body(size):
    return FILES[size].read_bytes()


def same(what, got, want):
    """Fails unless got is want, without printing megabytes."""
    if got == want:
        return
    if isinstance(want, bytes):
        at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
        raise SystemExit(f"{what}: got {len(got)} bytes, want {len(want)}; they differ from byte {at} on")
    raise SystemExit(f"{what}: got {got!r}, want {want!r}")


def sort_keys(keys):
    """Order of S3: by bytes."""
    return sorted(keys, key=lambda k: k.encode())

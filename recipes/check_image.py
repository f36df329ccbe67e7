"""Checks an image that buildah has: its size, that no layer holds a secret, history or data, and
that its service answers where only data/, .cache/ and /tmp can be written.

    python -m recipes.check_image localhost/xraygen     # prints JSON; exit status 1: a check failed

Needs root, buildah and, in this folder, what `dvc repro` made. The service runs in namespaces with
a separate network.
"""

import base64
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from PIL import Image

BUILDAH = ("buildah", "--storage-driver", "vfs")
FORBIDDEN = re.compile(
    r"(^|/)(\.git|\.env[^/]*|\.api-keys|id_rsa|[^/]*\.(jsonl|pem|key|sqlite))(/|$)"
    r"|^(app|opt/shipped)/(data/.*(?<!/README\.md)$|models/(?!tiny-qwen2-vl)|\.cache/.|reports/.)"
)
ALLOWED = re.compile(r"^(etc/ssl|usr/share/ca-certificates|app/\.venv)/")  # certificates, packages
MOUNTS = (
    "models",
    "metrics",
    "reports/comparison.json",
    "data/prepared/source.json",
    "dvc.lock",
    "params.yaml",
    "plugins",
)
WRITABLE = ("/tmp", "/app/.cache", "/app/data", "/dev/shm")
KEY = "of-the-check-alone"
KEYS = f"XRAYGEN_API_KEYS=check:{hashlib.sha256(KEY.encode()).hexdigest()}"
URL = "http://127.0.0.1:8000"
START = 30  # seconds until it is ready, at most

# The image, read-only, with what compose.yaml mounts; as its user, without any capability.
ENTER = r"""
set -eu
root=$1 uid=$2 gid=$3
shift 3
mount --bind "$root" "$root"
for path in $WRITABLE; do
  mkdir -p "$root$path"
  mount -t tmpfs -o mode=1777 tmpfs "$root$path"
done
for path in $MOUNTS; do
  mkdir -p "$root/app/$(dirname "$path")"
  if test -d "$path"; then mkdir -p "$root/app/$path"; else touch "$root/app/$path"; fi
  mount --bind "$path" "$root/app/$path"
  mount -o remount,bind,ro "$root/app/$path"
done
for path in /dev/null /dev/zero /dev/urandom; do
  touch "$root$path"
  mount --bind "$path" "$root$path"
done
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
# brings the loopback interface up
python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14s", b"lo", 0x41, b""))'
exec chroot "$root" /usr/bin/setpriv --reuid "$uid" --regid "$gid" --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all env -i "$@"
"""
PROBE = r"""
echo uid=$(id -u)
for place in / /app /app/xraygen /app/models /app/.venv /etc /usr/bin /app/.cache /app/data /tmp; do
  if (: >$place/probe) 2>/dev/null; then echo "$place=writable"; else echo "$place=closed"; fi
done
"""


def main() -> None:
    if sys.argv[1] == "--ask":
        return ask()
    image = sys.argv[1]
    found = layers(image)
    container = _run(*BUILDAH, "from", "--pull-never", image).strip()
    try:
        root = _run(*BUILDAH, "mount", container).strip()
        inspected = json.loads(_run(*BUILDAH, "inspect", "--type", "image", image))
        found |= serving(root, inspected["OCIv1"]["config"])
    finally:
        _run(*BUILDAH, "rm", container)
    print(json.dumps(found, indent=1))
    closed = {place for place, state in found["places"].items() if state == "closed"}
    good = (
        not found["forbidden"]
        and found["places"]["uid"] != "0"
        and closed.isdisjoint(WRITABLE)
        and {"/", "/app", "/app/xraygen", "/app/models", "/app/.venv"} <= closed
        and all(answer["status"] == answer["expected"] for answer in found["answers"])
    )
    sys.exit(not good)


def layers(image: str) -> dict:
    """The size of all layers, and the files in any of them that have no place in an image."""
    with tempfile.TemporaryDirectory() as folder:
        _run(*BUILDAH, "push", "-q", "--disable-compression", image, f"dir:{folder}")
        manifest = json.loads(Path(folder, "manifest.json").read_text())
        sizes = []
        forbidden = []
        for layer in manifest["layers"]:
            path = Path(folder, layer["digest"].removeprefix("sha256:"))
            sizes.append(path.stat().st_size)
            with tarfile.open(path) as archive:
                names = [member.name.removeprefix("./") for member in archive if member.isfile()]
            forbidden += [
                name for name in names if FORBIDDEN.search(name) and not ALLOWED.search(name)
            ]
    megabytes = [round(size / 1e6) for size in sizes]
    return {"image_mb": sum(megabytes), "layers_mb": megabytes, "forbidden": forbidden}


def serving(root: str, config: dict) -> dict:
    """What the image does when it is run: where it can write, and what its service answers."""
    uid, gid = config["User"].split(":")
    environment = {"MOUNTS": " ".join(MOUNTS), "WRITABLE": " ".join(WRITABLE)}
    enter = ("unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", ENTER)
    start = (*enter, "enter", root, uid, gid, *config["Env"], KEYS, "sh", "-c")
    places = subprocess.run(
        (*start, PROBE), check=True, capture_output=True, text=True, env=os.environ | environment
    ).stdout
    command = [*(config.get("Entrypoint") or []), "xraygen", "serve", "--host", "0.0.0.0"]
    begun = time.monotonic()
    service = subprocess.Popen(
        (*start, f"cd /app && exec {' '.join(command)}"),
        env=os.environ | environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        inside = _child(service.pid)
        answers = json.loads(
            _run("nsenter", "-t", inside, "-n", sys.executable, "-m", __spec__.name, "--ask")
        )
        ready = answers.pop()
        stopping = time.monotonic()
        subprocess.run(("kill", "-TERM", inside), stderr=subprocess.DEVNULL)  # it may have ended
        _, log = service.communicate(timeout=60)
    finally:
        service.kill()
    return {
        "places": dict(line.split("=") for line in places.split()),
        "seconds_to_readiness": round(ready - begun, 1),
        "answers": answers,
        "exit": service.returncode,
        "seconds_to_stop": round(time.monotonic() - stopping, 1),
        "log_lines": len(log.splitlines()),
        "log_tail": log.splitlines()[-3:],
    }


def ask() -> None:
    """In the service's network: prints its answers, and last when it was ready."""
    until = time.monotonic() + START
    while _get("/readyz")["status"] != 200 and time.monotonic() < until:
        time.sleep(0.1)
    ready = time.monotonic()
    case = {"id": "a", "report": "The lungs are clear. The heart is enlarged."}
    picture = io.BytesIO()
    Image.linear_gradient("L").save(picture, "png")
    image = {"data": base64.b64encode(picture.getvalue()).decode(), "projection": "frontal"}
    pair = {"reference": "The lungs are clear.", "candidate": "Clear lungs."}
    answers = [
        _get("/healthz"),
        _get("/readyz"),
        _get("/"),
        _get("/metrics"),
        _get("/v1/approaches"),
        _get("/v1/annotations", {"cases": [case]}),
        _get("/v1/annotations", {"cases": [case | {"images": [image]}]}),
        _get("/v1/judgements", {"pairs": [pair]}),
        _get("/v1/annotations", {"cases": [case]}, key="another", expected=401),
    ]
    print(json.dumps([*answers, ready]))


def _get(path: str, body: dict | None = None, key: str = KEY, expected: int = 200) -> dict:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(URL + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            status, content = response.status, response.read()
    except urllib.error.HTTPError as error:
        status, content = error.code, error.read()
    except OSError:
        status, content = 0, b""
    start = content[:120].decode(errors="replace")
    return {"path": path, "status": status, "expected": expected, "body": start}


def _child(parent: int) -> str:
    while not (found := Path(f"/proc/{parent}/task/{parent}/children").read_text().split()):
        time.sleep(0.05)
    return found[0]


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


if __name__ == "__main__":
    main()

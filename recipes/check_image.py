"""Checks an image that buildah has: its size, that no layer holds a secret, history or data, and
that its service answers where only `.cache`, `data` and `/tmp` can be written. Needs root, buildah
and what `dvc repro` made; runs in namespaces without a network.

    docker build / buildah bud --target router ...
    python -m recipes.check_image localhost/xraygen     # prints one line of JSON; 1: a check failed
"""

import base64
import hashlib
import io
import json
import re
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BUILDAH = ("buildah", "--storage-driver", "vfs")
FORBIDDEN = re.compile(
    r"(^|/)(\.git|\.env[^/]*|\.api-keys|id_rsa|[^/]*\.(jsonl|pem|key|sqlite))(/|$)"
    r"|^(app|opt/shipped)/(data/.*[^/](?<!README\.md)$|models/(?!tiny-qwen2-vl)|\.cache/.|reports/.)"
)
# What others publish: certificates, and package data that only looks like a key.
PUBLISHED = re.compile(r"^(etc/ssl|usr/share/ca-certificates|app/\.venv)/")
MOUNTS = ("models", "metrics", "reports/comparison.json", "params.yaml", "plugins")
KEY = "check-image-key"
URL = "http://127.0.0.1:8000"
START = 90  # seconds, at most

# In namespaces of its own: the image read-only, with what compose.yaml mounts.
ENTER = r"""
set -eu
root=$1; shift
mount --bind "$root" "$root"
for path in $MOUNTS; do
  if test -d "$path"; then mkdir -p "$root/app/$path"; else touch "$root/app/$path"; fi
  mount --bind "$path" "$root/app/$path"
  mount -o remount,bind,ro "$root/app/$path"
done
for path in /tmp /app/.cache /app/data /dev/shm; do
  mkdir -p "$root$path"
  mount -t tmpfs -o mode=1777 tmpfs "$root$path"
done
for path in /dev/null /dev/zero /dev/urandom; do touch "$root$path"; mount --bind $path "$root$path"; done
mount -t proc proc "$root/proc"
mount -o remount,bind,ro "$root"
python3 -c 'import fcntl, socket, struct
fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sH14s", b"lo", 0x41, b""))'  # lo up
exec chroot "$root" /usr/bin/setpriv --reuid "$UID_" --regid "$GID_" --clear-groups --no-new-privs \
  --bounding-set=-all --inh-caps=-all env -i "$@"
"""

"""What the images are built from: the Dockerfile, compose.yaml and the locks."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = ROOT / "requirements"
# Not in constraints.txt: no environment of the project's own has them, or pip leaves them out.
ELSEWHERE = re.compile(r"(nvidia|cuda)-.+|triton|setuptools|green-score")
BLOCK = re.compile(r"^([A-Za-z0-9_.-]+)==(\S+)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.M)


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(name: str) -> dict[str, str]:
    """Versions by name. Every line of the file belongs to one that has hashes."""
    text = (REQUIREMENTS / f"{name}.txt").read_text(encoding="utf-8")
    rest = re.sub(r"^#.*\n", "", BLOCK.sub("", text), flags=re.M)
    assert not rest.strip(), f"requirements/{name}.txt: {rest.strip()[:200]}"
    return {normal(found[1]): found[2] for found in BLOCK.finditer(text)}


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    return {normal(name): version for name, version in pairs}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def names(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[<>=!~\[; ]", line)[0]) for line in requirements}


@pytest.mark.parametrize("name", ["build", "router", "torch-cpu", "cpu", "cuda"])
def test_a_lock_has_hashes_and_the_versions_of_constraints_txt(name):
    pinned = constraints()
    for package, version in locked(name).items():
        if package in pinned:
            assert version.removesuffix("+cpu") == pinned[package], package
        else:
            assert ELSEWHERE.fullmatch(package), f"{package} is not in constraints.txt"


def test_locks_have_what_the_extras_ask_for():
    extras = project()["optional-dependencies"]
    wanted = set(project()["dependencies"])
    for extra in extras.keys() - {"cluster", "test", "qlora"}:  # no image holds Ray
        wanted.update(extras[extra])
    cpu = locked("cpu") | locked("torch-cpu")
    assert names(list(wanted)) | {"green-score"} <= cpu.keys()
    assert names([*wanted, *extras["qlora"]]) | {"green-score"} <= locked("cuda").keys()


def test_the_router_has_a_part_of_that():
    lines = (REQUIREMENTS / "router.in").read_text(encoding="utf-8").splitlines()
    chosen = {normal(line) for line in lines if line and not line.startswith("#")}
    extras = project()["optional-dependencies"]
    known = [*project()["dependencies"], *(line for extra in extras.values() for line in extra)]
    assert chosen <= names(known)
    for extra in ("serve", "dicom", "llm"):
        assert names(extras[extra]) <= chosen, extra
    router = locked("router")
    assert chosen <= router.keys()
    assert router.items() <= locked("cpu").items()
    assert not router.keys() & {"torch", "transformers", "pandas", "scikit-learn", "matplotlib"}


def test_hadolint_finds_nothing():
    command = shutil.which("hadolint")
    if command is None:
        pytest.skip("hadolint is not installed")
    done = subprocess.run((command, "Dockerfile"), cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def stages() -> dict[str, str]:
    """The stages of the Dockerfile, each with those that it starts from."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    found: dict[str, str] = {}
    for part in re.split(r"^(?=FROM )", text, flags=re.M)[1:]:
        start, name = re.match(r"FROM (\S+) AS (\S+)", part).groups()
        found[name] = found.get(start, "") + part
    return found


def test_every_image_runs_as_a_user_without_rights_and_the_last_is_the_pipelines():
    found = stages()
    assert list(found)[-1] == "cpu"
    for name in ("router", "cpu", "cuda"):
        assert re.findall(r"^USER (\S+)", found[name], re.M)[-1] == "1000:1000", name
        assert "--chown" not in found[name] and "STOPSIGNAL SIGTERM" in found[name]
    installs = re.findall(r"pip install .* -r \S+", (ROOT / "Dockerfile").read_text())
    assert len(installs) == 5
    assert all("--require-hashes" in line for line in installs)


def test_compose_closes_the_service():
    file = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    service, vllm = file["services"]["xraygen"], file["services"]["vllm"]
    assert service["read_only"] is True
    assert all(volume.endswith(":ro") for volume in service["volumes"] + vllm["volumes"])
    assert {place.split(":")[0] for place in service["tmpfs"]} == {"/tmp", "/app/.cache"}
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "ports" not in vllm and vllm["profiles"] == ["vllm"]
    for one in (service, vllm):
        assert one["cap_drop"] == ["ALL"]
        assert one["security_opt"] == ["no-new-privileges:true"]
    assert re.fullmatch(r".+:v\d+\.\d+\.\d+", vllm["image"])
    assert not {"mem_limit", "pids_limit", "healthcheck", "secrets"} - service.keys()
    assert service["build"]["target"] == "${XRAYGEN_TARGET:-router}"


# Packages that are not in the lock of `router` cannot be imported; then what its service does.
CLOSED = """
import importlib, importlib.metadata, pkgutil, re, sys
from pathlib import Path

class Closed:
    allowed = {*sys.argv[1:], "xraygen"}
    owners = importlib.metadata.packages_distributions()

    def find_spec(self, name, path=None, target=None):
        owners = self.owners.get(name.partition(".")[0], ())
        if owners and not {re.sub("[-_.]+", "-", one).lower() for one in owners} & self.allowed:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Closed())
# What is only imported with a model, an image or a server:
import dotenv, json_repair, libjpeg, openai, openjpeg, PIL.Image, pydicom.pixels, scipy.sparse
import xraygen.cli, xraygen.service
from xraygen import judges, params
from xraygen.annotators import load
from xraygen.annotators.base import Project
from xraygen.annotators.router import router
from xraygen.core import dicom

for module in pkgutil.iter_modules(xraygen.service.__path__, "xraygen.service."):
    importlib.import_module(module.name)
for name in ("serve", "service"):
    xraygen.cli.main.get_command(None, name)
settings = params.load()
judge = judges.load(settings.evaluate.judge, settings.evaluate.settings)
print(judges.opinions([("The lungs are clear.", "Clear lungs.")], judge)[0].score)
llm = settings.llm.model_copy(update={"provider": "openai"})
project = Project(Path.cwd(), Path.cwd(), settings.regions, llm)
load.load(settings.approaches, "brief", project)
"""


def test_the_service_imports_only_what_the_router_has(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    command = (sys.executable, "-c", CLOSED, *locked("router"))
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) <= 1

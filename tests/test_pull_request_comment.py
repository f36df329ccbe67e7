"""The comment on a pull request, against a server that speaks the endpoints of GitHub's it uses;
and the workflow itself.
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from conftest import ROOT

WORKFLOWS = ROOT / ".github" / "workflows"
SCRIPT = ROOT / ".github" / "compare.py"
MARKER = "<!-- xraygen: comparison -->"
OWN = "github-actions[bot]"
TOKEN = "ghs_invented"


class GitHub(ThreadingHTTPServer):
    """The comments of pull request 7 of the repository lab/chest."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Endpoints)
        self.comments: list[dict] = []
        self.status_of_writes: int | None = None

    def add(self, login: str, body: str) -> dict:
        comment = {"id": 1000 + len(self.comments), "user": {"login": login}, "body": body}
        self.comments.append(comment)
        return comment


class Endpoints(BaseHTTPRequestHandler):
    server: GitHub

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        assert url.path == "/repos/lab/chest/issues/7/comments"
        query = {name: int(values[0]) for name, values in parse_qs(url.query).items()}
        size = min(query.get("per_page", 30), 100)
        start = (query.get("page", 1) - 1) * size
        self.answer(200, self.server.comments[start : start + size])

    def do_POST(self) -> None:
        body = self.body()
        if self.allowed():
            assert self.path == "/repos/lab/chest/issues/7/comments"
            self.answer(201, self.server.add(OWN, body))

    def do_PATCH(self) -> None:
        body = self.body()
        if self.allowed():
            number = re.fullmatch(r"/repos/lab/chest/issues/comments/(\d+)", self.path)[1]
            (comment,) = (c for c in self.server.comments if c["id"] == int(number))
            comment["body"] = body
            self.answer(200, comment)

    def body(self) -> str:
        assert self.headers["Content-Type"] == "application/json"
        return json.loads(self.rfile.read(int(self.headers["Content-Length"])))["body"]

    def allowed(self) -> bool:
        assert self.headers["Authorization"] == f"Bearer {TOKEN}"
        if self.server.status_of_writes:
            self.answer(self.server.status_of_writes, {"message": "no"})
        return not self.server.status_of_writes

    def answer(self, status: int, content: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def github() -> Iterator[GitHub]:
    with GitHub() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def post(github: GitHub, folder: Path, text: str | None) -> subprocess.CompletedProcess:
    """Run as on the base branch: by a Python that has nothing installed. None: no comparison."""
    path = folder / "comment.md"
    path.unlink(missing_ok=True)
    if text is not None:
        path.write_text(text, encoding="utf-8")
    env = {
        "GITHUB_API_URL": f"http://127.0.0.1:{github.server_port}",
        "GITHUB_REPOSITORY": "lab/chest",
        "GITHUB_RUN_ID": "77",
        "GITHUB_SERVER_URL": "https://github.example.org",
        "HEAD_SHA": "0123456789" * 4,
        "GITHUB_TOKEN": TOKEN,
        "PULL_REQUEST": "7",
    }
    command = [sys.executable, "-I", "-S", str(SCRIPT), "post", str(path)]
    return subprocess.run(command, env=env, capture_output=True, text=True)


def test_the_first_run_creates_a_comment_and_the_second_updates_it(github, tmp_path):
    github.add("reader", "looks good")
    assert post(github, tmp_path, "router got better: 0.91 → 0.93").returncode == 0
    assert post(github, tmp_path, "nothing changed").returncode == 0
    assert [comment["user"]["login"] for comment in github.comments] == ["reader", OWN]
    assert github.comments[1]["body"] == f"{MARKER}\nnothing changed"


def test_a_comparison_that_failed_leaves_no_older_verdict(github, tmp_path):
    assert post(github, tmp_path, "nothing changed").returncode == 0
    assert post(github, tmp_path, None).returncode == 0
    (comment,) = github.comments
    assert comment["body"] == (
        f"{MARKER}\n**`0123456` could not be compared with the base:** see "
        "[the run](https://github.example.org/lab/chest/actions/runs/77).\n"
    )


def test_the_comment_is_found_on_a_later_page(github, tmp_path):
    for number in range(150):
        github.add("reader", f"remark {number}")
    own = github.add(OWN, f"{MARKER}\nof yesterday")
    github.add("reader", "thanks")
    assert post(github, tmp_path, "of today").returncode == 0
    assert len(github.comments) == 152
    assert own["body"] == f"{MARKER}\nof today"


@pytest.mark.parametrize("number", [2, 100])
def test_comments_of_others_are_left_alone(github, tmp_path, number):
    """Also where they fill a page."""
    copied = github.add("reader", f"{MARKER}\ncopied from the comment")
    quoting = github.add(OWN, f"of another workflow, which quotes {MARKER}")
    for _ in range(number - 2):
        github.add("reader", "a remark")
    assert post(github, tmp_path, "of today").returncode == 0
    assert copied["body"].endswith("copied from the comment")
    assert quoting["body"].startswith("of another workflow")
    assert [c["body"] for c in github.comments[number:]] == [f"{MARKER}\nof today"]


def test_a_token_that_may_not_write_is_no_failure(github, tmp_path):
    """As on a pull request from a fork."""
    github.status_of_writes = 403
    done = post(github, tmp_path, "of today")
    assert done.returncode == 0
    assert "summary" in done.stdout
    assert github.comments == []


def test_another_refusal_is_one_line_without_the_token(github, tmp_path):
    github.status_of_writes = 500
    done = post(github, tmp_path, "of today")
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and "500" in done.stderr
    assert done.stderr.count("\n") == 1
    assert TOKEN not in done.stdout + done.stderr


def test_a_comment_has_at_most_60000_characters(github, tmp_path):
    assert post(github, tmp_path, "α" * 59_000).returncode == 0
    assert github.comments[0]["body"] == f"{MARKER}\n{'α' * 59_000}"
    assert post(github, tmp_path, "α" * 100_000).returncode == 0
    (comment,) = github.comments
    assert len(comment["body"]) == 60_000
    assert comment["body"].startswith(f"{MARKER}\nαα") and "summary" in comment["body"][-100:]


# The workflow


def zizmor(folder: Path) -> subprocess.CompletedProcess:
    command = [Path(sys.executable).parent / "zizmor", "--offline", "--no-config", "--no-ignores"]
    command += ["--persona", "pedantic", folder]
    return subprocess.run(command, capture_output=True, text=True)


def test_zizmor_reports_nothing():
    done = zizmor(WORKFLOWS)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("safe", "unsafe", "finding"),
    [
        ("pull_request:", "pull_request_target:", "dangerous-triggers"),
        ('"$BASE"', '"${{ github.head_ref }}"', "template-injection"),
    ],
)
def test_zizmor_would_find_a_mistake_in_the_workflow(tmp_path, safe, unsafe, finding):
    text = (WORKFLOWS / "compare.yml").read_text(encoding="utf-8")
    folder = tmp_path / ".github" / "workflows"
    folder.mkdir(parents=True)
    (folder / "compare.yml").write_text(text.replace(safe, unsafe), encoding="utf-8")
    done = zizmor(tmp_path)
    assert done.returncode != 0 and finding in done.stdout


@pytest.fixture(scope="module")
def jobs() -> dict[str, dict]:
    return yaml.safe_load((WORKFLOWS / "compare.yml").read_text(encoding="utf-8"))["jobs"]


def test_a_job_that_may_write_runs_nothing_of_the_pull_request(jobs):
    writing = [name for name, job in jobs.items() if "write" in job["permissions"].values()]
    assert writing == ["comment"]
    steps = jobs["comment"]["steps"]
    (checkout,) = (step for step in steps if "actions/checkout@" in step.get("uses", ""))
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    runs = [step["run"] for step in steps if "run" in step]
    assert [run for run in runs if not run.startswith(("python3 .github/compare.py", "echo"))] == []


def test_no_job_has_both_a_secret_and_a_token_that_may_write(jobs):
    with_secret = [name for name, job in jobs.items() if "secrets." in json.dumps(job)]
    assert with_secret == ["compare"]
    assert jobs["compare"]["permissions"] == {"contents": "read"}


def test_a_comment_is_posted_also_where_the_comparison_failed(jobs):
    """But not where a newer run cancelled this one."""
    assert jobs["comment"]["if"] == "${{ !cancelled() }}"
    (download,) = (step for step in jobs["comment"]["steps"] if "download" in step.get("uses", ""))
    assert download["if"] == "needs.compare.result == 'success'"
    (posted,) = (step for step in jobs["comment"]["steps"] if "post" in step.get("run", ""))
    assert posted["env"]["HEAD_SHA"] == "${{ github.event.pull_request.head.sha }}"
    assert "needs.compare" not in posted["if"]


def test_the_gate_fails_only_after_the_comment_was_posted(jobs):
    *_, posted, gate = jobs["comment"]["steps"]
    assert "compare.py post" in posted["run"]
    assert gate["if"] == "needs.compare.outputs.gate == 'failed'" and "exit 1" in gate["run"]
    assert all("exit" not in step.get("run", "") for step in jobs["compare"]["steps"])

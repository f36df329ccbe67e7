"""The steps of workflows/compare.yml: what a pull request changes in the comparison, as one
comment.

    python .github/compare.py pull BASE     judgements and the report, from the DVC remote
    python .github/compare.py write BASE    comparison/comment.md, by `xraygen diff`
    python .github/compare.py post FILE     creates the pull request's comment, or updates it; says
                                            that there is no comparison where there is no FILE

BASE is a commit of the base branch; HEAD is compared with their merge base. No stage of the graph
is run. `post` needs nothing but Python, because it runs where the token may write and the code of
the pull request must not. See docs/pull-requests.md.
"""

import json
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

COMPARED = ["evaluate", "compare"]  # the stages whose outs `xraygen diff` reads
COMMENT = Path("comparison/comment.md")
# By these, `xraygen diff` sees whether `prepare` ran with them. Where no reader settled any, none.
REFERENCES = Path("data/references")
REMOTE = Path("comparison/remote.txt")  # a sentence on what the DVC remote had
REPORT = Path("reports/index.html")
SECRET_CONFIG = Path(".dvc/config.local")
MARKER = "<!-- xraygen: comparison -->"
AUTHOR = "github-actions[bot]"
MOST_CHARACTERS = 60_000  # GitHub refuses a comment of more than 65,536
PER_PAGE = 100


class Failure(Exception):
    """Ends a step with one line."""


def pull(base: str) -> None:
    """A remote that cannot be read ends nothing: the metrics in git are compared then. A secret
    config is there only meanwhile.
    """
    commit = merge_base(base)
    secret = os.environ.get("DVC_CONFIG_LOCAL", "")
    if secret:
        SECRET_CONFIG.write_text(f"{secret}\n", encoding="utf-8")
    try:
        sentence = pulled(commit)
    except Exception as error:  # each kind of remote raises its own
        message = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"::warning::Pulling from the DVC remote failed: {without_values(message, secret)}")
        sentence = "Pulling from the DVC remote failed."
    finally:
        if secret:
            SECRET_CONFIG.unlink()
    REMOTE.parent.mkdir(exist_ok=True)
    REMOTE.write_text(f"{sentence}\n", encoding="utf-8")


def pulled(commit: str) -> str:
    """Pull what there is to compare HEAD with the commit, and say what the remote had of it."""
    from dvc.repo import Repo

    with Repo() as repo:
        name = repo.config["core"].get("remote")
        if not name:
            return "No DVC remote is configured."
        references = sorted(map(str, REFERENCES.glob("*.dvc")))
        repo.pull([*COMPARED, "report", *references], allow_missing=True)
        # With today's remote: that commit may have had none, and git has no credentials.
        config = {section: dict(repo.config[section]) for section in ("core", "remote")}
        repo.fetch(COMPARED, revs=[commit], workspace=False, config=config)
        known = {value for _ in repo.brancher(revs=[commit]) for value in judgement_hashes(repo)}
        here = sum(repo.cache.local.exists(value) for value in known)
    return f"The DVC remote{shown(name)} had {here} of {len(known)} files of judgements."


def shown(name: str) -> str:
    """The name of a remote, unless something in it could be markup, a link or a mention."""
    return f" `{name}`" if re.fullmatch(r"[A-Za-z0-9._-]{1,40}", name) else ""


def judgement_hashes(repo: Any) -> list[str]:
    outs = [out for stage in repo.stage.collect("evaluate") for out in stage.outs if out.use_cache]
    return [out.hash_info.value for out in outs if out.hash_info]


def without_values(text: str, secret: str) -> str:
    """The text without any value of a secret config."""
    for line in secret.splitlines():
        value = line.partition("=")[2].strip()
        text = text.replace(value, "***") if value else text
    return text


def write(base: str) -> None:
    """Also to the job's summary, and whether `compare.gate` holds to the job's outputs."""
    command = [sys.executable, "-m", "xraygen", "diff", merge_base(base), "--md", "--gate"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    if not done.stdout:
        sys.exit(done.returncode or 1)  # its message is on stderr
    remote = "Pulling from the DVC remote did not end."
    if REMOTE.exists():
        remote = REMOTE.read_text(encoding="utf-8").strip()
    verdict, _, rest = done.stdout.partition("\n\n")
    head = f"The working tree is that of `{git('rev-parse', '--short=7', 'HEAD')}`."
    text = f"{verdict}\n\n{head} {remote} {report_sentence()}\n\n{rest}"
    COMMENT.parent.mkdir(exist_ok=True)
    COMMENT.write_text(text, encoding="utf-8")
    append_to("GITHUB_STEP_SUMMARY", text)
    append_to("GITHUB_OUTPUT", f"gate={'failed' if done.returncode else 'passed'}\n")


def report_sentence() -> str:
    url = os.environ.get("REPORT_URL")
    if url:
        return f"[HTML report]({url}): unpack it and open index.html."
    if REPORT.exists():
        return "The HTML report is not attached, because this repository is public."
    return "There is no HTML report to attach."


def append_to(variable: str, text: str) -> None:
    """Append to a file of GitHub's that an environment variable names; outside of GitHub, none."""
    if path := os.environ.get(variable):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


def merge_base(base: str) -> str:
    try:
        return git("merge-base", base, "HEAD")
    except subprocess.CalledProcessError:
        message = f"git finds no merge base of {base} and HEAD; is the history complete?"
        raise Failure(message) from None


def git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def post(path: str) -> None:
    """A token that may not write, as on a pull request from a fork, is no failure: the text is in
    the job's summary.
    """
    file = Path(path)
    text = file.read_text(encoding="utf-8") if file.exists() else not_compared()
    body = {"body": bounded(f"{MARKER}\n{text}")}
    issues = f"repos/{os.environ['GITHUB_REPOSITORY']}/issues"
    comments = f"{issues}/{os.environ['PULL_REQUEST']}/comments"
    try:
        former = own_comment(comments)
        if former is None:
            request("POST", comments, body)
        else:
            request("PATCH", f"{issues}/comments/{former}", body)
    except urllib.error.HTTPError as error:
        if error.code != 403:
            raise Failure(f"GitHub answered {error.code} to {error.url}") from None
        print("::notice::The token may not comment; the comparison is in the job's summary.")


def not_compared() -> str:
    """In place of what an earlier commit's comment says."""
    given = os.environ
    head = given["HEAD_SHA"][:7]
    run = f"{given['GITHUB_REPOSITORY']}/actions/runs/{given['GITHUB_RUN_ID']}"
    url = f"{given['GITHUB_SERVER_URL']}/{run}"
    return f"**`{head}` could not be compared with the base:** see [the run]({url}).\n"


def bounded(text: str) -> str:
    if len(text) <= MOST_CHARACTERS:
        return text
    note = "\n\n*Cut here; the job's summary has the whole text.*\n"
    return text[: MOST_CHARACTERS - len(note)] + note


def own_comment(comments: str) -> int | None:
    """The id of the comment of an earlier run."""
    page = 1
    while True:
        found = request("GET", f"{comments}?per_page={PER_PAGE}&page={page}")
        for comment in found:
            if comment["user"]["login"] == AUTHOR and comment["body"].startswith(MARKER):
                return comment["id"]
        if len(found) < PER_PAGE:
            return None
        page += 1


def request(method: str, path: str, data: dict | None = None) -> Any:
    headers = {
        "Accept": "application/vnd.github+json",
        "Authorization": f"Bearer {os.environ['GITHUB_TOKEN']}",
        "Content-Type": "application/json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    body = None if data is None else json.dumps(data).encode()
    url = f"{os.environ['GITHUB_API_URL']}/{path}"
    made = urllib.request.Request(url, body, headers, method=method)
    with urllib.request.urlopen(made, timeout=30) as answer:
        return json.load(answer)


def main() -> None:
    steps = {"pull": pull, "write": write, "post": post}
    if len(sys.argv) != 3 or sys.argv[1] not in steps:
        sys.exit("usage: compare.py pull BASE | write BASE | post FILE")
    try:
        steps[sys.argv[1]](sys.argv[2])
    except (Failure, OSError) as error:  # urllib's errors are OSErrors
        sys.exit(f"error: compare.py {sys.argv[1]}: {error}")


if __name__ == "__main__":
    main()

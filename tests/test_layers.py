"""The shape of the code: layers that import downwards only, small files, and stages that depend on
no more than they say.
"""

import ast
from pathlib import Path

import yaml
from conftest import ROOT

# From the bottom up; a module imports from its own layer and those before it, never after it. The
# four seams are side by side: none imports another.
FLOORS = (
    ("core",),
    ("language", "engines"),
    ("prompting",),
    ("sources", "annotators", "judges", "training"),
    ("evaluation",),
    ("pages",),
    ("revisions", "readers", "service"),
    ("renamed",),
    ("params",),
    ("commands",),
    ("cli",),
    ("__main__",),
)
FLOOR = {layer: floor for floor, layers in enumerate(FLOORS) for layer in layers}


def modules() -> dict[str, Path]:
    return {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((ROOT / "xraygen").rglob("*.py"))
    }


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules that a file of the package imports, also in functions and for type checkers."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            named = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name for name in named if name in known} or {node.module}
            found |= {node.module} if named - set(known) else set()
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & set(known)


def layer(module: str) -> str:
    return module.split(".")[1] if "." in module else module


def test_no_module_imports_one_that_imports_it():
    """Lazy imports and those for type checkers too."""
    known = modules()
    uses = {name: imports(path, known) for name, path in known.items()}

    def reached(start: str) -> set[str]:
        seen, waiting = set(), list(uses[start])
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += uses[module]
        return seen

    assert [name for name in known if name in reached(name)] == []


def test_imports_go_down_and_seams_do_not_meet():
    """Lazy imports too. A layer that is new has to be given its floor here."""
    known, wrong = modules(), []
    for name, path in known.items():
        if name == "xraygen":
            continue
        for used in imports(path, known) - {"xraygen"}:
            above, below = layer(name), layer(used)
            if above != below and FLOOR[below] >= FLOOR[above]:
                wrong.append(f"{name} -> {used}")
    assert wrong == []


def test_the_package_does_not_import_what_is_around_it():
    around = {"recipes", "stages", "bench", "tests", "plugins"}
    for name, path in modules().items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom | ast.Import):
                first = getattr(node, "module", None) or node.names[0].name
                assert first.split(".")[0] not in around, f"{name} imports {first}"


def test_a_stage_names_at_most_seven_code_paths():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name, stage in stages.items():
        deps = stage.get("do", stage)["deps"]
        code = [dep for dep in deps if dep.split("/")[0] in ("stages", "xraygen", "plugins")]
        assert f"stages/{name}.py" in code and len(code) <= 7, f"{name}: {code}"


def test_files_are_small():
    limits = {"stages": 60, "xraygen": 400}
    for folder, limit in limits.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= limit, f"{path.relative_to(ROOT)} has {lines} lines"


def test_stages_that_run_a_class_of_the_users_depend_on_plugins():
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    depends = {
        name for name, stage in stages.items() if "plugins" in stage.get("do", stage)["deps"]
    }
    assert depends == {"prepare", "fit_constant", "annotate", "evaluate", "release"}


def test_the_container_gets_what_the_graph_depends_on():
    """.dockerignore lets in every dependency that is not itself made by a stage."""
    allowed = [
        line[1:]
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    for name, stage in yaml.safe_load(text)["stages"].items():
        for dep in stage.get("do", stage)["deps"]:
            made = dep.startswith(("data/", "metrics", "reports", "$")) or dep == "models"
            inside = any(dep == path or dep.startswith(f"{path}/") for path in allowed)
            assert made or inside, f"{name}: {dep} is not in .dockerignore"

"""Documentation and messages: links resolve; commands, flags, files and names in them exist."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "sat_tf"
PAGES = sorted(
    [
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / name for name in ("README.md", "BUILD.md", "CONTRIBUTING.md", "CHANGELOG.md")),
        ROOT / "experiments" / "RESULTS.md",
    ]
)
# The changelog names flags, files and scores that are gone.
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
COMMANDS = (
    "train",
    "evaluate",
    "caption",
    "export",
    "extract_features",
    "check_captions",
    "import_arctic",
    "launch",
    "doctor",
    "beam.caption",
    "beam.extract_features",
)
# Flags in running text that belong to other programs, Apache Beam in the second set.
FOREIGN_FLAGS = {"flagfile", "help", "helpfull", "helpshort", "inputs", "logdir"} | {
    *("runner", "direct_num_workers", "direct_running_mode", "flink_master", "environment_type"),
    *("environment_config", "project", "region", "temp_location", "sdk_container_image"),
}
# In messages also those of saved_model_cli and TensorBoard, and the pattern --name=value.
FOREIGN_IN_MESSAGES = {"all", "dir", "distribution", "samples_per_plugin", "name"}

FENCE = re.compile(r"^```\w*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    .+$", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--(?:\[no\])?([a-z][a-z0-9_]*)(?:=([\w.]+))?")

# A command with its arguments; `launch` has another one behind `--`.
CALL = re.compile(r"(?:python -m|--) sat_tf\.([\w.]*\w)((?:(?! -- sat_tf\.).)*)")


def by_name(page):
    return str(page.relative_to(ROOT))


@functools.cache
def text_of(page):
    return page.read_text(encoding="utf-8")


@functools.cache
def help_of(command):
    """What a command prints for --help."""
    done = subprocess.run(
        [sys.executable, "-m", f"sat_tf.{command}", "--help"],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    return done.stdout


@functools.cache
def flags_of(command):
    """A command's flags from its help, each with its choices (None if it takes any value)."""
    found = {}
    for block in re.split(r"\n(?=  --)", help_of(command))[1:]:
        negatable, name = re.match(r"  --(\[no\])?(\w+)", block).groups()
        choices = re.match(r"  --\w+:\s+<([\w|]+)>:", block)
        found[name] = choices.group(1).split("|") if choices else None
        if negatable:
            found[f"no{name}"] = None
    return found


def problems_of_flags(text, known):
    """Flags of `text` that no entry of `known` has, or values that are not among the choices."""
    problems = []
    for name, value in FLAG.findall(text):
        if name in FOREIGN_FLAGS:
            continue
        if name not in known:
            problems.append(f"--{name}: no such flag")
        elif known[name] and value and re.search("[a-z]", value) and value not in known[name]:
            problems.append(f"--{name}={value}: not one of {known[name]}")
    return problems


def problems_of_calls(calls):
    """Commands that do not exist, and flags that these commands do not have."""
    problems = []
    for command, arguments in calls:
        if command in COMMANDS:
            problems += problems_of_flags(arguments, flags_of(command))
        else:
            problems.append(f"sat_tf.{command}: no such command")
    return problems


def command_lines(page):
    """Lines of code blocks and pieces of inline code that call a program."""
    text = text_of(page)
    blocks = "\n".join([*FENCE.findall(text), *INDENTED.findall(FENCE.sub("", text))])
    inline = re.findall(r"`(python[^`\n]+)`", FENCE.sub("", text))
    return [*blocks.splitlines(), *inline]


@functools.cache
def slugs(page):
    """The anchors of a page's headings, as GitHub and common site generators make them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in headings)
    return {heading.replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=by_name)
def test_links_resolve(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(page))):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in slugs(file)):
            broken.append(target)
    assert not broken


@pytest.mark.parametrize("page", CURRENT, ids=by_name)
def test_commands_and_their_flags_exist(page):
    problems = []
    for line in command_lines(page):
        if calls := CALL.findall(line):
            problems += problems_of_calls(calls)
        elif called := re.search(r"python (experiments/[\w/]+\.py)(.*)", line):
            script, arguments = called.groups()
            source = (ROOT / script).read_text(encoding="utf-8") if (ROOT / script).exists() else ""
            problems += [
                f"{script} --{name}"
                for name, _ in FLAG.findall(arguments)
                if f'"--{name}"' not in source
            ]
            if not source:
                problems.append(f"{script}: no such file")
    assert not problems


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "cluster").iterdir()), ids=by_name)
def test_worked_files_give_flags_of_the_training(page):
    arguments = re.findall(r"^\s*(?:- )?(--\w+=\S+)$", text_of(page), re.MULTILINE)
    assert "sat_tf.train" in text_of(page) and len(arguments) > 3
    assert not problems_of_flags(" ".join(arguments), flags_of("train"))
    (flagfile,) = (each.partition("=")[2] for each in arguments if "flagfile" in each)
    assert (ROOT / flagfile).exists()


def flags_of_any_command():
    """All flags with their choices, as `flags_of`."""
    known = {}
    for command in COMMANDS:
        for name, choices in flags_of(command).items():
            # `--precision` has other choices in training than in the export.
            wider = None if known.get(name, choices) != choices else choices
            known[name] = wider
    return known


def literals(module):
    """The texts of a module: messages, help and docstrings, without what f-strings insert."""
    nodes = ast.walk(ast.parse(module.read_text(encoding="utf-8")))
    return [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]


@pytest.mark.parametrize("page", CURRENT, ids=by_name)
def test_flags_named_in_the_text_exist(page):
    known = flags_of_any_command()
    inline = re.findall(r"`([^`\n]+)`", FENCE.sub("", text_of(page)))
    # Whole command lines have their own test; scripts of experiments/ have flags of their own.
    named = " ".join(code for code in inline if not code.startswith("python "))
    assert not problems_of_flags(named, known)


def test_flags_named_in_messages_exist():
    known = {**flags_of_any_command(), **dict.fromkeys(FOREIGN_IN_MESSAGES)}
    found = {
        by_name(module): problems_of_flags("\n".join(literals(module)), known)
        for module in PACKAGE.rglob("*.py")
    }
    assert not {name: problems for name, problems in found.items() if problems}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "doctor"])
def test_a_command_names_its_own_flags(command):
    """But for whole command lines of another one, which it prints."""
    texts = literals(PACKAGE / f"{command.replace('.', '/')}.py")
    other = re.compile(rf"python -m sat_tf\.(?!{command})")
    own = "\n".join(text for text in texts if not other.search(text))
    known = {**flags_of(command), **dict.fromkeys(FOREIGN_IN_MESSAGES)}
    assert not problems_of_flags(own, known)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_flags_of_its_command(command):
    """But for conditions, which a run fulfils by its settings: "For --attention=hard."."""
    known, text = flags_of(command), " ".join(help_of(command).split())
    assert not problems_of_flags(re.sub(r"(?:Not for|For|Without) --\S+", "", text), known)


@pytest.mark.parametrize("page", CURRENT, ids=by_name)
def test_files_and_names_of_the_package_exist(page):
    """Paths as `sat_tf/data/images.py`, `data/images.py`; names as `sat_tf.Captioner`."""
    text = text_of(page)
    missing = [
        path
        for path in re.findall(r"`([\w./]+\.py)`", text)
        + re.findall(r"\bsat_tf/[\w/]+\.py\b", text)
        if not any((folder / path).exists() for folder in (ROOT, PACKAGE))
    ]
    for dotted in re.findall(r"\bsat_tf((?:\.[a-zA-Z_]\w*)+)", text):
        module, names = PACKAGE, dotted.strip(".").split(".")
        while names and (module / names[0]).is_dir():
            module /= names.pop(0)
        if names and (module / f"{names[0]}.py").exists():
            module /= f"{names.pop(0)}.py"
        source = module if module.suffix else module / "__init__.py"
        if names and not re.search(rf"\b{names[0]}\b", source.read_text(encoding="utf-8")):
            missing.append(f"sat_tf{dotted}")
    assert not missing


def test_every_page_is_listed():
    index = text_of(ROOT / "docs" / "index.md")
    pages = {page.name for page in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert pages == {name for name in re.findall(r"\]\((\w[\w-]*\.md)\)", index)}
    for name in pages:
        assert f"docs/{name}" in text_of(ROOT / "README.md")


def test_the_map_names_every_module():
    build = text_of(ROOT / "BUILD.md")
    modules = (str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))
    assert not [name for name in modules if "__init__" not in name and f"`{name}`" not in build]

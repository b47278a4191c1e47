"""The page on `mli_utils`: every public name, its signature and docstring, read from the source, unimported."""

import ast
import re
import textwrap
from pathlib import Path

import mli_utils
from mli_utils import contents

# Fixed names that `mli_utils` itself does not give.
BESIDE = {"data": ["load"], "interpolation": ["interpolate_parameters"], "models": ["build"]}
HEADINGS = ("Parameters", "Returns", "Raises")
ENTRY = re.compile(r"^(\*{0,2}\w+(?:, \*{0,2}\w+)*)(?: : (.*))?$")


def page() -> str:
    """The page in MyST Markdown, a section a module."""
    parts = [
        "(api)=\n# The package `mli_utils`\n",
        "What notebooks use, by module. `import mli_utils as mli` gives the names; those with a module before them are "
        "imported from it. This page is made from the docstrings whenever the book is rendered.\n",
    ]
    homes = {**{home: [(name, f"mli.{name}") for name in names] for home, names in mli_utils.HOMES.items()}}
    for home, names in BESIDE.items():
        homes.setdefault(home, []).extend((name, f"mli_utils.{home}.{name}") for name in names)
    used = {name: Path(contents.source(name)).read_text(encoding="utf-8") for name in contents.sections()}
    for home, names in sorted(homes.items()):
        source = (Path(__file__).parent / f"{home}.py").read_text(encoding="utf-8")
        tree = ast.parse(source)
        found = {node.name: node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        parts.append(f"## {home}\n\n{_prose(ast.get_docstring(tree))}\n")
        for name, said in names:
            parts.append(_entry(found[name], source, said))
            pages = [section for section, text in used.items() if re.search(rf"\b{name}\(", text)]
            if pages:
                parts.append("Used in " + ", ".join(f"{{doc}}`/notebooks/{section}`" for section in pages) + ".\n")
    return "\n".join(parts)


def _entry(node: ast.FunctionDef | ast.ClassDef, source: str, said: str) -> str:
    if isinstance(node, ast.FunctionDef):
        call = f"{said}({_arguments(node.args)})"
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        shown = call + returns
        if len(shown) > 88:
            shown = f"{said}(\n    {_arguments(node.args, broken=True)}\n){returns}"
    else:
        fields = [part for part in node.body if isinstance(part, ast.AnnAssign)]
        lines = source.splitlines()[fields[0].lineno - 1 : fields[-1].end_lineno] if fields else []
        bases = ", ".join(ast.unparse(base) for base in node.bases)
        shown = "\n".join([f"class {said}" + (f"({bases})" if bases else "") + (":" if lines else ""), *lines])
    return (
        f"(api-{said.replace('.', '-').replace('_', '-').lower()})=\n### {node.name}\n\n"
        f"```python\n{shown}\n```\n\n{_documented(ast.get_docstring(node) or '')}\n"
    )


def _arguments(arguments: ast.arguments, broken: bool = False) -> str:
    """A signature's parameters, one a line where it is `broken`."""
    text = ast.unparse(arguments)
    if not broken:
        return text
    parts, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth:
            parts.append(text[start:place].strip())
            start = place + 1
    return ",\n    ".join([*parts, text[start:].strip()])


def _documented(docstring: str) -> str:
    """A docstring in the house's form: prose, then headings underlined with hyphens."""
    marks = "|".join(HEADINGS)
    parts = re.split(rf"^({marks})\n-+\n", docstring, flags=re.M)
    made = [_prose(parts[0])]
    for heading, text in zip(parts[1::2], parts[2::2], strict=True):
        body = _prose(text) if heading == "Returns" else _definitions(text)
        made.append(f"**{heading}**\n\n{body}")
    return "\n".join(made)


def _definitions(text: str) -> str:
    """Entries, `name : what it is` or a name above indented lines, as a definition list; anything else as prose."""
    made, block = [], []

    def close():
        if block:
            term, *rest = block
            body = " ".join(textwrap.dedent("\n".join(rest)).split()) or "–"
            made.append(f"`{term}`\n: {body}\n")
            block.clear()

    for line in text.strip("\n").splitlines():
        entry = ENTRY.match(line)
        if entry:
            close()
            block.extend([entry[1], entry[2] or ""])
        elif line.startswith(" ") and block:
            block.append(line)
        elif line.strip():
            close()
            made.append(line)
    close()
    return "\n".join(made) + "\n"


def _prose(text: str | None) -> str:
    """Paragraphs as they are; examples at a prompt as code."""
    blocks = (text or "").strip().split("\n\n")
    return "\n\n".join(f"```pycon\n{block}\n```" if block.startswith(">>>") else block for block in blocks) + "\n"

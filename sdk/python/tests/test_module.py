"""The module as a whole: what it exports, and what its stub says of it."""

import ast
import copy
import pickle
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import kvferry
import kvferry._core
import pytest
from kvferry import errors
from support.blocks import small_group

STUB = Path(kvferry.__file__).with_name("_core.pyi")
# What Python itself gives a class, or the stub leaves to it.
OMITTED = {"__init__", "__reduce_ex__", "__repr__", "__hash__"}

NO_DEFAULT = object()
Parameters = list[tuple[str, str, object]]


def stub_classes() -> dict[str, ast.ClassDef]:
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    return {n.name: n for n in tree.body if isinstance(n, ast.ClassDef)}


def stub_functions(body: list[ast.stmt]) -> dict[str, ast.FunctionDef]:
    return {n.name: n for n in body if isinstance(n, ast.FunctionDef)}


def is_property(function: ast.FunctionDef) -> bool:
    return any(
        isinstance(d, ast.Name) and d.id == "property"
        for d in function.decorator_list
    )


def parameters_of(
    arguments: ast.arguments, value: Callable[[ast.expr | None], object]
) -> Parameters:
    """Name, kind and default of each parameter but self."""
    positional = arguments.posonlyargs + arguments.args
    missing = len(positional) - len(arguments.defaults)
    defaults = [None] * missing + list(arguments.defaults)
    result = [
        (a.arg, "positional", value(d))
        for a, d in zip(positional, defaults, strict=True)
        if a.arg != "self"
    ]
    result += [
        (a.arg, "keyword", value(d))
        for a, d in zip(
            arguments.kwonlyargs, arguments.kw_defaults, strict=True
        )
    ]
    return result


def stub_parameters(function: ast.FunctionDef) -> Parameters:

    def value(node: ast.expr | None) -> object:
        return NO_DEFAULT if node is None else ast.literal_eval(node)

    return parameters_of(function.args, value)


def module_parameters(function: object) -> Parameters:
    """The same, of a function as the module has it."""
    ((text, _, defaults),) = getattr(function, "__nb_signature__")  # noqa: B009
    # Defaults are written as \0, \1: places in `defaults`.
    text = re.sub(r"\\(\d+)", r"DEFAULT[\1]", text)
    (parsed,) = ast.parse(text + ": ...").body
    assert isinstance(parsed, ast.FunctionDef)

    def value(node: ast.expr | None) -> object:
        if node is None:
            return NO_DEFAULT
        assert isinstance(node, ast.Subscript)
        assert isinstance(node.slice, ast.Constant)
        return defaults[node.slice.value]

    return parameters_of(parsed.args, value)


def test_the_stub_has_every_class_and_function() -> None:
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    in_stub = {
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef)
        and not node.name.startswith("_")
    }
    in_module = {n for n in dir(kvferry._core) if not n.startswith("_")}
    assert in_stub == in_module
    assert in_stub <= set(kvferry.__all__)


@pytest.mark.parametrize("name", sorted(stub_classes()))
def test_the_stub_agrees_with_the_class(name: str) -> None:
    cls = getattr(kvferry._core, name)
    body = stub_classes()[name].body
    functions = stub_functions(body)
    fields = {
        n.target.id
        for n in body
        if isinstance(n, ast.AnnAssign) and isinstance(n.target, ast.Name)
    }
    properties = {n for n, f in functions.items() if is_property(f)}

    for field in fields | properties:
        assert isinstance(getattr(cls, field), property), field
    for function_name, function in functions.items():
        if function_name in properties or function_name == "__buffer__":
            continue
        found = getattr(cls, function_name)
        if function_name == "__eq__":
            continue  # its parameter has no name
        assert stub_parameters(function) == module_parameters(found), (
            function_name
        )

    public = {
        n
        for n, value in vars(cls).items()
        if not n.startswith("_") or (callable(value) and n not in OMITTED)
    }
    from_python = set(vars(type("Empty", (), {})))
    assert public - from_python <= fields | set(functions) | {
        "__eq__",
        "__new__",
        "__buffer__",
        "__release_buffer__",
    }


@pytest.mark.parametrize("name", ["version", "default_socket_path"])
def test_the_stub_agrees_with_the_function(name: str) -> None:
    tree = ast.parse(STUB.read_text(encoding="utf-8"))
    function = stub_functions(tree.body)[name]
    found = getattr(kvferry._core, name)
    assert stub_parameters(function) == module_parameters(found)


def test_the_package_is_typed() -> None:
    assert STUB.with_name("py.typed").exists()


def test_the_version_is_the_package_s() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", kvferry.version())
    assert kvferry.__version__ == kvferry.version()


def test_every_method_has_a_docstring_with_its_signature() -> None:
    assert "keys: collections.abc.Buffer" in kvferry.Client.match.__doc__
    assert kvferry.Client.__doc__
    assert kvferry._core.__doc__


# Goal    `import kvferry` needs nothing but the standard library, and does not
#         load what would be slow.
# Method  An interpreter in which these modules cannot be imported.
def test_import_needs_no_other_package() -> None:
    program = (
        "import sys\n"
        "for name in ('numpy', 'torch', 'transformers', 'vllm'):\n"
        "    sys.modules[name] = None\n"
        "import kvferry\n"
        "print(kvferry.version())\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.strip() == kvferry.version()


def output_of(*command: str) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"no {command[0]} here")
    return subprocess.run(
        command, capture_output=True, text=True, check=True
    ).stdout


def test_the_module_brings_its_libraries_along() -> None:
    text = output_of("objdump", "-p", kvferry._core.__file__)
    needed = set(re.findall(r"NEEDED +(\S+)", text))
    assert needed <= {
        "libcrypto.so.3",
        "libc.so.6",
        "libm.so.6",
        "libgcc_s.so.1",
        "ld-linux-x86-64.so.2",
    }
    assert not re.search(r"R(UN)?PATH", text)


def test_the_module_shows_nothing_else() -> None:
    text = output_of("nm", "-D", "--defined-only", kvferry._core.__file__)
    assert [line.split()[-1] for line in text.splitlines()] == [
        "PyInit__core"
    ]


def test_every_code_has_its_class() -> None:
    assert sorted(errors.CLASSES) == list(range(1, 17))
    codes = [cls.code for cls in errors.CLASSES.values()]
    assert len(set(codes)) == len(codes)
    for cls in errors.CLASSES.values():
        assert issubclass(cls, kvferry.Error)
        # As in NOT_FOUND: NotFound.
        assert cls.__name__ == cls.code.title().replace("_", "")


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (errors.InvalidArgument, ValueError),
        (errors.DeadlineExceeded, TimeoutError),
        (errors.NotFound, LookupError),
        (errors.PermissionDenied, PermissionError),
        (errors.FailedPrecondition, RuntimeError),
        (errors.OutOfRange, IndexError),
        (errors.Unimplemented, NotImplementedError),
        (errors.Unavailable, ConnectionError),
    ],
)
def test_errors_are_builtin_ones_too(
    cls: type[errors.Error], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin, match="the text"):
        raise cls("the text")


def test_objects_refuse_pickle_and_copy(client: kvferry.Client) -> None:
    keys = bytes(16)
    objects = [
        small_group(),
        client,
        client.hasher(),
        client.match(keys),
        client.open_publication(),
        client.stream(keys),
        kvferry.PagedLayer(1, block_stride=1, token_stride=1),
    ]
    for value in objects:
        with pytest.raises(TypeError, match=type(value).__name__):
            pickle.dumps(value)
        with pytest.raises(TypeError, match="cannot be pickled"):
            copy.copy(value)


def test_group_specs_compare_by_value() -> None:
    spec = small_group()
    assert spec == small_group()
    assert spec != small_group(head_bytes=64)
    assert spec.page_bytes == 2 * 2 * 16 * 2 * 32
    spec.slice_count = 3
    assert spec.block_bytes == 3 * spec.page_bytes
    spec.rule = "trailing"
    assert "trailing" in repr(spec)
    with pytest.raises(errors.InvalidArgument, match="'best'"):
        spec.rule = "best"
    with pytest.raises(errors.InvalidArgument, match="head_bytes: -1"):
        small_group(head_bytes=-1)
    with pytest.raises(TypeError):
        hash(spec)

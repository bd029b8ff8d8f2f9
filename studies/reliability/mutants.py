"""Mutants: a source file with one place changed, made by `ast`.

What changes: an operator, a comparison, a constant, an index by one, a term or factor that is left out, min for max, a
condition turned round, a statement that is dropped, the sign of a result. Docstrings, annotations, decorators, imports,
assertions, messages and `raise` statements stay as they are.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.Pow: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult,
}  # fmt: skip
AT_THE_BOUNDARY = {ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Lt: ast.LtE, ast.LtE: ast.Lt}
OPPOSITE = {
    ast.Gt: ast.LtE, ast.GtE: ast.Lt, ast.Lt: ast.GtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OTHER_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any", "minimum": "maximum", "maximum": "minimum"}
DROPPED_CALLS = ("abs", "reversed")
NUMERIC_RESULT = ("float", "Array", "NDArray")  # annotations of results whose sign may be changed
LEFT_ALONE = (ast.Import, ast.ImportFrom, ast.Raise, ast.Assert, ast.JoinedStr)
LEFT_ALONE_CALLS = ("shown", "errstate", "cast")


@dataclass(frozen=True)
class Mutant:
    """One change of one file. `position` and `variant` find it again; the other fields are for readers."""

    file: str
    position: int
    variant: int
    line: int
    function: str
    operator: str
    old: str
    new: str


def mutants(file: str, source: str) -> list[Mutant]:
    """Every mutant of a file, in the order of the text."""
    tree = ast.parse(source)
    places = _places(tree)
    found = []
    for position, node in enumerate(ast.walk(tree)):
        place = places.get(id(node))
        for variant, (operator, new) in enumerate(_changes(node, numeric=place.numeric) if place else ()):
            old_text, new_text = (" ".join(ast.unparse(one).split()) for one in (node, new))
            line = getattr(node, "lineno", 0)
            found.append(Mutant(file, position, variant, line, place.function, operator, old_text, new_text))
    return sorted(found, key=lambda mutant: (mutant.line, mutant.position, mutant.variant))


def mutated(source: str, mutant: Mutant) -> ast.Module:
    """The changed file, ready to be compiled."""
    tree = ast.parse(source)
    target = next(node for position, node in enumerate(ast.walk(tree)) if position == mutant.position)
    new = list(_changes(target, numeric=_places(tree)[id(target)].numeric))[mutant.variant][1]
    for parent in ast.walk(tree):
        for name, value in ast.iter_fields(parent):
            if value is target:
                setattr(parent, name, new)
            elif isinstance(value, list):
                value[:] = [new if item is target else item for item in value]
    return ast.fix_missing_locations(tree)


class _Place(NamedTuple):
    """Where a node stands: in which function, and whether that one returns one number or array."""

    function: str
    numeric: bool


def _places(tree: ast.Module) -> dict[int, _Place]:
    """The place of each node that may change, by the node's id."""
    places: dict[int, _Place] = {}

    def visit(node: ast.AST, place: _Place) -> None:
        if isinstance(node, LEFT_ALONE) or _is_text(node) or _called(node) in LEFT_ALONE_CALLS:
            return
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            returns = getattr(node, "returns", None)
            numeric = returns is not None and _is_number(ast.unparse(returns))
            place = _Place(f"{place.function}.{node.name}".lstrip("."), numeric)
        places[id(node)] = place
        aside = {id(part) for part in _aside(node)}
        for child in ast.iter_child_nodes(node):
            if id(child) not in aside:
                visit(child, place)

    visit(tree, _Place("", False))
    return places


def _aside(node: ast.AST) -> list[ast.AST]:
    """The parts of a node that are no code that computes: decorators and annotations."""
    parts = [*getattr(node, "decorator_list", []), getattr(node, "annotation", None), getattr(node, "returns", None)]
    return [part for part in parts if part is not None]


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _called(node: ast.AST) -> str:
    """The name of what a call calls, "" of anything else."""
    function = node.func if isinstance(node, ast.Call) else None
    return getattr(function, "id", getattr(function, "attr", ""))


def _changes(node: ast.AST, *, numeric: bool) -> Iterator[tuple[str, ast.AST]]:
    """(operator, what stands in the node's place) of every change of a node; `numeric` as in `_Place`."""
    match node:
        case ast.BinOp():
            yield from _of_product_or_sum(node)
        case ast.Compare(ops=[op]):
            for operator, table in (("boundary", AT_THE_BOUNDARY), ("comparison", OPPOSITE)):
                if type(op) in table:
                    yield operator, _with(node, ops=[table[type(op)]()])
        case ast.Constant(value=value):
            yield from (("constant", ast.Constant(new)) for new in _other_constants(value))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield "sign", operand
        case ast.BoolOp(op=op):
            yield "and, or", _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
        case ast.Call(func=function, args=arguments):
            if _called(node) in OTHER_NAMES:
                field = "id" if isinstance(function, ast.Name) else "attr"
                yield "min, max", _with(node, func=_with(function, **{field: OTHER_NAMES[_called(node)]}))
            if _called(node) in DROPPED_CALLS and arguments:
                yield "call", arguments[0]
        case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare):
            yield "condition", _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.AugAssign(op=op):
            yield "statement", ast.Pass()
            if type(op) in ARITHMETIC:
                yield "arithmetic", _with(node, op=ARITHMETIC[type(op)]())
        case ast.Assign(targets=[ast.Subscript()]) | ast.Expr(value=ast.Call()):
            yield "statement", ast.Pass()
        case ast.Return(value=value) if value is not None and numeric:
            yield "result", _with(node, value=ast.UnaryOp(ast.USub(), value))


def _of_product_or_sum(node: ast.BinOp) -> Iterator[tuple[str, ast.AST]]:
    """The other operator, and one of the two operands left out."""
    if type(node.op) in ARITHMETIC:
        yield "arithmetic", _with(node, op=ARITHMETIC[type(node.op)]())
        yield "term", node.left
    if isinstance(node.op, ast.Add | ast.Mult):
        yield "term", node.right
    if isinstance(node.op, ast.Sub):
        yield "term", ast.UnaryOp(ast.USub(), node.right)


def _is_number(annotation: str) -> bool:
    return not annotation.startswith(("tuple", "list", "dict")) and any(kind in annotation for kind in NUMERIC_RESULT)


def _other_constants(value: object) -> list[object]:
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1, value - 1]
    if isinstance(value, float):
        return [2.0 * value] if value else [1.0]
    return []


def _with(node: ast.AST, **fields: object) -> ast.AST:
    twin = copy.copy(node)
    for name, value in fields.items():
        setattr(twin, name, value)
    return twin

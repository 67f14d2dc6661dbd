"""Prints the JSON Schema of a function's parameters, from its text alone: nothing is imported or run. Python 3.8 or later.

Usage: describe.py FILE:FUNCTION CODE. Prints {"schema": …} or {"error": sentence} and exits with 0 either way.
"""
import ast
import difflib
import json
import os
import sys

PLAIN = {
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "str": {"type": "string"},
    "bool": {"type": "boolean"},
    "bytes": {"type": "string"},
    "None": {"type": "null"},
    "list": {"type": "array"},
    "List": {"type": "array"},
    "tuple": {"type": "array"},
    "Tuple": {"type": "array"},
    "set": {"type": "array"},
    "Set": {"type": "array"},
    "frozenset": {"type": "array"},
    "Sequence": {"type": "array"},
    "Iterable": {"type": "array"},
    "dict": {"type": "object"},
    "Dict": {"type": "object"},
    "Mapping": {"type": "object"},
    "datetime": {"type": "string", "format": "date-time"},
    "date": {"type": "string", "format": "date"},
    "time": {"type": "string", "format": "time"},
    "Path": {"type": "string"},
    "UUID": {"type": "string", "format": "uuid"},
    "Decimal": {"type": ["number", "string"]},
    "Any": {},
}


class Wrong(Exception):
    """A sentence for people."""


def describe(entrypoint, code):
    file, _, name = entrypoint.rpartition(":")
    path = os.path.join(code, file)
    try:
        with open(path, "rb") as f:
            tree = ast.parse(f.read(), path)
    except FileNotFoundError:
        raise Wrong("there is no file %s" % path)
    except OSError as err:
        raise Wrong("%s cannot be read: %s" % (path, err.strerror))
    except SyntaxError as err:
        raise Wrong("%s line %s does not parse: %s" % (path, err.lineno or "?", err.msg))
    except ValueError as err:
        raise Wrong("%s does not parse: %s" % (path, err))
    return schema_of(find(tree, name, path))


def find(tree, name, path):
    """The function's definition; a dotted name leads into classes. None: the name is there, but no definition to read."""
    scope, node = tree.body, None
    for part in name.split("."):
        named = {}
        other = set()
        for child in statements(scope):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
                named[child.name] = child
            elif isinstance(child, (ast.Import, ast.ImportFrom)):
                other.update((a.asname or a.name).split(".")[0] for a in child.names)
            elif isinstance(child, (ast.Assign, ast.AnnAssign)):
                targets = child.targets if isinstance(child, ast.Assign) else [child.target]
                other.update(t.id for t in targets if isinstance(t, ast.Name))
        if part not in named:
            if part in other or "*" in other:
                return None
            near = difflib.get_close_matches(part, list(named), 1)
            raise Wrong("%s has no function %s%s" % (path, name, " (did you mean %s?)" % near[0] if near else ""))
        node = named[part]
        scope = node.body
    if isinstance(node, ast.ClassDef):
        return None
    return node


def statements(body):
    """The statements of a scope, also those under if, try and with."""
    for child in body:
        yield child
        if isinstance(child, (ast.If, ast.Try, ast.With)):
            for field in ("body", "orelse", "finalbody"):
                for inner in statements(getattr(child, field, [])):
                    yield inner
            for handler in getattr(child, "handlers", []):
                for inner in statements(handler.body):
                    yield inner


def schema_of(node):
    schema = {"type": "object", "properties": {}, "additionalProperties": node is None}
    if node is None:
        return schema
    arguments, required = node.args, []
    positional = getattr(arguments, "posonlyargs", []) + arguments.args
    defaults = [None] * (len(positional) - len(arguments.defaults)) + arguments.defaults
    for arg, default in list(zip(positional, defaults)) + list(zip(arguments.kwonlyargs, arguments.kw_defaults)):
        found = type_of(arg.annotation)
        if default is None:
            required.append(arg.arg)
        else:
            try:
                value = ast.literal_eval(default)
                json.dumps(value, allow_nan=False)
                if value is None and found and not allows_null(found):
                    found = {"anyOf": [found, {"type": "null"}]}
                found = dict(found, default=value)
            except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                pass  # computed when the function is defined
        schema["properties"][arg.arg] = found
    schema["additionalProperties"] = arguments.kwarg is not None
    if required:
        schema["required"] = required
    return schema


def allows_null(schema):
    kinds = schema.get("type", [])
    return (
        "null" in (kinds if isinstance(kinds, list) else [kinds])
        or None in schema.get("enum", [])
        or any(not s or allows_null(s) for s in schema.get("anyOf", []))
    )


def type_of(node):
    """What an annotation says, as far as it can be said; {} is anything."""
    if isinstance(node, ast.Constant):
        if node.value is None:
            return dict(PLAIN["None"])
        if isinstance(node.value, str):  # quoted: "int"
            try:
                return type_of(ast.parse(node.value, mode="eval").body)
            except SyntaxError:
                return {}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):  # int | None
        return either([node.left, node.right])
    if isinstance(node, ast.Subscript):
        return generic(word(node.value), inside(node))
    return dict(PLAIN.get(word(node), {}))


def generic(name, of):
    if name == "Optional" and len(of) == 1:
        return either(of + [ast.Constant(value=None)])
    if name == "Union":
        return either(of)
    if name == "Annotated" and of:
        return type_of(of[0])
    if name == "Literal":
        try:
            return {"enum": [ast.literal_eval(v) for v in of]}
        except ValueError:
            return {}
    plain = dict(PLAIN.get(name, {}))
    if plain == {"type": "array"} and of:
        if name in ("tuple", "Tuple"):
            return plain
        items = type_of(of[0])
        return dict(plain, items=items) if items else plain
    if plain == {"type": "object"} and len(of) == 2:
        values = type_of(of[1])
        return dict(plain, additionalProperties=values) if values else plain
    return plain


def either(nodes):
    options = []
    for node in nodes:
        found = type_of(node)
        if not found:
            return {}
        for option in found.get("anyOf", [found]):
            if option not in options:
                options.append(option)
    return options[0] if len(options) == 1 else {"anyOf": options}


def word(node):
    """The last name of a dotted one."""
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def inside(node):
    """What stands between the brackets. Until Python 3.8 it is wrapped in an Index."""
    value = node.slice
    if type(value).__name__ == "Index":
        value = value.value
    return list(value.elts) if isinstance(value, ast.Tuple) else [value]


def main():
    try:
        print(json.dumps({"schema": describe(sys.argv[1], sys.argv[2])}))
    except Wrong as err:
        print(json.dumps({"error": str(err)}))


main()

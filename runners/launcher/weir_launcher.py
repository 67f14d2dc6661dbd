"""Runs file.py:function with the run's parameters, with nothing installed. Python 3.8 or later.

Usage: run.py FILE:FUNCTION CODE. Relative files are taken from the folder CODE. The parameters are the JSON object in WEIR_PARAMETERS,
or in the file that WEIR_PARAMETERS_FILE names; what the function returns goes, as JSON, to the file that WEIR_RESULT_FILE names.
"""
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def fail(message):
    """Ends the job with one line that says why."""
    sys.stdout.flush()
    sys.stderr.write("weir: %s\n" % message)
    sys.stderr.flush()
    sys.exit(1)


def main():
    entrypoint, code = sys.argv[1], sys.argv[2]
    if os.getpid() == 1:
        end_when_asked()
    path, _, name = entrypoint.rpartition(":")
    path = os.path.abspath(os.path.join(code, path))
    sys.path[:] = [p for p in sys.path if os.path.abspath(p or ".") != HERE]
    for folder in (os.path.abspath(code), os.path.dirname(path)):
        if folder in sys.path:
            sys.path.remove(folder)
        sys.path.insert(0, folder)
    sys.argv[:] = [path]
    sys.meta_path.append(Standin())
    parameters = read_parameters()
    function = resolve(load(path), name, path)
    check(function, name, parameters)
    write_result(call(function, parameters))


def end_when_asked():
    """Makes SIGTERM end the job, though the kernel keeps it from the first process of a container that does not ask for it."""
    import signal

    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def read_parameters():
    """The run's parameters: a dict."""
    source = os.environ.get("WEIR_PARAMETERS_FILE")
    if source:
        with open(source, encoding="utf-8") as f:
            return json.load(f)
    return json.loads(os.environ.get("WEIR_PARAMETERS") or "{}")


def load(path):
    """Imports the file as a module: of its package, if it is in one."""
    from importlib import import_module
    from importlib.util import module_from_spec, spec_from_file_location

    if not os.path.isfile(path):
        fail("entrypoint: there is no file %s" % path)
    stem = os.path.splitext(os.path.basename(path))[0]
    folder = os.path.dirname(path)
    if os.path.isfile(os.path.join(folder, "__init__.py")):
        parts = [stem]
        while os.path.isfile(os.path.join(folder, "__init__.py")):
            parts.insert(0, os.path.basename(folder))
            folder = os.path.dirname(folder)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        if all(p.isidentifier() for p in parts):
            return import_module(".".join(parts))
    spec = spec_from_file_location(stem, path)
    if spec is None:
        fail("entrypoint: %s is no Python file" % path)
    module = module_from_spec(spec)
    if stem not in sys.modules:  # a flow named like a module that is in use does not replace it
        sys.modules[stem] = module
    spec.loader.exec_module(module)
    return module


def resolve(module, name, path):
    """Finds the function; dots lead into classes and objects."""
    found = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            from difflib import get_close_matches

            near = get_close_matches(part, [n for n in dir(found) if callable(getattr(found, n, None))], 1)
            fail("entrypoint: %s has no function %s%s" % (path, name, " (did you mean %s?)" % near[0] if near else ""))
    if not callable(found):
        fail("entrypoint: %s in %s is no function" % (name, path))
    return found


def signature_of(function):
    """The names of the parameters, those that have no default, and whether others are taken. None: it does not tell."""
    function = getattr(function, "fn", function)
    if type(function).__name__ == "function" and not hasattr(function, "__wrapped__"):
        code = function.__code__  # inspect would say the same, and takes 10 ms to import
        first = getattr(code, "co_posonlyargcount", 0)
        plain = code.co_varnames[first : code.co_argcount]
        named = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        defaults = len(function.__defaults__ or ())
        needed = plain[: len(plain) - defaults] if defaults < len(plain) else ()
        return list(plain + named), [n for n in needed + named if n not in (function.__kwdefaults__ or {})], bool(code.co_flags & 0x08)
    from inspect import Parameter, signature

    try:
        known = signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin
        return None
    own = [p for p in known if p.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)]
    return (
        [p.name for p in own],
        [p.name for p in own if p.default is Parameter.empty],
        any(p.kind is Parameter.VAR_KEYWORD for p in known),
    )


def check(function, name, parameters):
    """Ends the job unless the parameters fit the function's signature."""
    found = signature_of(function)
    if found is None:
        return
    names, needed, others = found
    unknown = [] if others else sorted(set(parameters) - set(names))
    if unknown:
        fail("%s takes no parameter %s: it takes %s" % (name, ", ".join(unknown), ", ".join(names) or "none"))
    missing = [n for n in needed if n not in parameters]
    if missing:
        fail("%s needs the parameter %s, and the run has none of that name" % (name, ", ".join(missing)))


def call(function, parameters):
    """Calls the function, and waits for it where it is asynchronous."""
    result = function(**parameters)
    if hasattr(result, "__await__"):
        import asyncio

        async def wait():
            return await result

        result = asyncio.run(wait())
    return result


def write_result(value):
    path = os.environ.get("WEIR_RESULT_FILE")
    if value is None or not path:
        return
    try:
        text = json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as err:
        sys.stdout.flush()
        sys.stderr.write("weir: the result is not recorded, it is not JSON: %s\n" % err)
        return
    with open(path + ".part", "w", encoding="utf-8") as f:
        f.write(text)
    os.replace(path + ".part", path)


class Standin:
    """Offers a module named prefect where Prefect is not installed: it is asked last."""

    def find_spec(self, fullname, path=None, target=None):
        if fullname != "prefect":
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(fullname, os.path.join(HERE, "weir_prefect.py"))

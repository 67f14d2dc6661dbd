"""Stands in for Prefect where it is not installed: flows and tasks are the plain functions that they decorate.

It has what a flow file needs to be imported and run by itself. What needs Prefect's server or engine is not here, and says so.
"""
import logging
import sys
from contextlib import contextmanager
from functools import update_wrapper

__all__ = ["flow", "task", "get_run_logger", "Flow", "Task", "tags", "unmapped"]


class _Callable:
    def __init__(self, fn, **options):
        self.fn = fn
        self.options = options
        update_wrapper(self, fn)
        self.name = options.get("name") or fn.__name__.replace("_", "-")

    def __call__(self, *args, **kwargs):
        return self.fn(*args, **kwargs)

    def __get__(self, instance, owner):
        return self if instance is None else self.fn.__get__(instance, owner)

    def with_options(self, **options):
        return type(self)(self.fn, **dict(self.options, **options))


class _Future:
    def __init__(self, value):
        self._value = value

    def result(self, *args, **kwargs):
        return self._value

    def wait(self, *args, **kwargs):
        return self


class _Futures(list):
    def result(self, *args, **kwargs):
        return [f.result() for f in self]

    def wait(self, *args, **kwargs):
        return self


class Flow(_Callable):
    """A flow: the function under it."""

    def _needs_prefect(self, *args, **kwargs):
        raise RuntimeError("this needs Prefect, which is not installed here: pip install prefect")

    serve = deploy = from_source = _needs_prefect


class Task(_Callable):
    """A task: the function under it. Retries and caching are Prefect's own and do not happen here."""

    def submit(self, *args, **kwargs):
        for reserved in ("wait_for", "return_state"):
            kwargs.pop(reserved, None)
        return _Future(self.fn(*[_value(a) for a in args], **{k: _value(v) for k, v in kwargs.items()}))

    delay = submit

    def map(self, *args, **kwargs):
        size = max([len(a) for a in list(args) + list(kwargs.values()) if _mapped(a)] or [1])
        return _Futures(
            self.submit(*[a[i] if _mapped(a) else a for a in args], **{k: v[i] if _mapped(v) else v for k, v in kwargs.items()})
            for i in range(size)
        )


class unmapped:
    """A value that is the same for each call of map."""

    def __init__(self, value):
        self.value = value


def _mapped(value):
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes, dict))


def _value(value):
    return value.value if isinstance(value, unmapped) else value.result() if isinstance(value, _Future) else value


def _decorator(kind):
    def decorate(fn=None, **options):
        return kind(fn, **options) if fn is not None else lambda f: kind(f, **options)

    return decorate


flow = _decorator(Flow)
task = _decorator(Task)


def get_run_logger(*args, **kwargs):
    """A logger that writes to standard error."""
    logger = logging.getLogger("prefect.flow_runs")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        logger.propagate = False
    return logger


@contextmanager
def tags(*names):
    """Tags nothing."""
    yield set(names)


def __getattr__(name):
    raise AttributeError("prefect.%s needs Prefect, which is not installed here: pip install prefect" % name)

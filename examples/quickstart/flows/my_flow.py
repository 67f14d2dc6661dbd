"""The smallest flow that shows something: a few lines of output and a result."""

import time


def my_flow(name: str = "world") -> str:
    """Greets name. What it prints is the run's log, what it returns is the run's result."""
    print(f"Hello, {name}! This line is in the run's log.")
    for step in ("fetch", "think", "finish"):
        print(f"{step} …")
        time.sleep(0.1)  # so that there is something to watch
    print("Done.")
    return f"Hello, {name}!"

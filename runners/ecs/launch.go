package ecs

// launcherVariable carries the launcher of entrypoints into the container.
const launcherVariable = "WEIR_LAUNCHER"

package main

import (
	"log/slog"

	"github.com/lmittmann/tint"
)

// level is what long-running commands log unless they decide otherwise.
func (e *env) level() slog.Level {
	if e.global.verbose {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// logger writes what a long-running command does to the standard error.
func (e *env) logger(level slog.Leveler) *slog.Logger {
	return slog.New(tint.NewTextHandler(e.stderr, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: !e.colored(e.stderrTTY)}))
}

package main

import (
	"log/slog"

	"github.com/lmittmann/tint"
)

// logger writes what a long-running command does to the standard error.
func (e *env) logger() *slog.Logger {
	level := slog.LevelInfo
	if e.global.verbose {
		level = slog.LevelDebug
	}
	return slog.New(tint.NewHandler(e.stderr, &tint.Options{Level: level, TimeFormat: "15:04:05.000", NoColor: !e.colored(e.stderrTTY)}))
}

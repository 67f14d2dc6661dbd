package consumers

import (
	"errors"
	"time"
)

// Why a worker drains, beside being told to by the one who runs it.
var (
	errOnce      = errors.New("it has taken the one run that it was to take")
	errIdle      = errors.New("it has held no run for long enough")
	errRequested = errors.New("somebody asked for it")
)

// Drain makes the worker take no more runs and end when those it holds have ended.
func (w *Worker) Drain() { w.drain(errRequested) }

// watchIdle starts the time after which a worker that holds nothing drains.
func (w *Worker) watchIdle() {
	if w.IdleExit <= 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = time.AfterFunc(w.IdleExit, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.held) == 0 {
			w.drain(errIdle)
		}
	})
	if len(w.held) > 0 {
		w.idle.Stop()
	}
}

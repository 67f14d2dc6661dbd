package server

import (
	"fmt"
	"log/slog"
	"sync"

	natsserver "github.com/nats-io/nats-server/v2/server"
)

// natsLog passes what NATS logs on to slog: what it reports at debug, what worries it at warn. Its fatal lines do not end the
// process; the last is kept for Start's error.
type natsLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last string // under mu
}

var _ natsserver.Logger = (*natsLog)(nil)

func (l *natsLog) Noticef(format string, v ...any) { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLog) Debugf(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLog) Tracef(format string, v ...any)  { l.log.Debug(fmt.Sprintf(format, v...)) }
func (l *natsLog) Warnf(format string, v ...any)   { l.log.Warn(fmt.Sprintf(format, v...)) }
func (l *natsLog) Errorf(format string, v ...any)  { l.log.Warn(fmt.Sprintf(format, v...)) }

func (l *natsLog) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = fmt.Sprintf(format, v...)
	l.log.Debug(l.last)
}

func (l *natsLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

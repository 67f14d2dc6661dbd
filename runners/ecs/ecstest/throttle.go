package ecstest

import "time"

// Bucket is how many calls AWS takes: Burst at once, and Rate in a second after that.
type Bucket struct {
	Burst int
	Rate  float64
}

type bucket struct {
	left float64
	at   time.Time
}

// throttled takes a token for an action.
func (e *Endpoint) throttled(service, action string) bool {
	name := action
	limit, ok := e.knobs.Limits[name]
	if !ok {
		name = service + ":*"
		if limit, ok = e.knobs.Limits[name]; !ok {
			return false
		}
	}
	now := e.clock.now()
	b := e.buckets[name]
	if b == nil {
		b = &bucket{left: float64(limit.Burst), at: now}
		e.buckets[name] = b
	}
	b.left = min(float64(limit.Burst), b.left+now.Sub(b.at).Seconds()*limit.Rate)
	b.at = now
	if b.left < 1 {
		return true
	}
	b.left--
	return false
}

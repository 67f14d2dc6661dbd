package ecstest

import (
	"container/heap"
	"sync"
	"time"
)

// clock is the endpoint's time and all that is due at some of it: one timer, however many tasks there are.
type clock struct {
	lock  *sync.Mutex // the endpoint's, which is held whenever what is due is done
	shift time.Duration
	due   agenda
	count int64
	timer *time.Timer
	ended bool
}

type entry struct {
	at    int64 // nanoseconds of Unix time
	order int64
	do    func()
}

type agenda []entry

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	return a[i].at < a[j].at || a[i].at == a[j].at && a[i].order < a[j].order
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(entry)) }
func (a *agenda) Pop() any {
	old := *a
	last := old[len(old)-1]
	old[len(old)-1] = entry{}
	*a = old[:len(old)-1]
	return last
}

func (c *clock) now() time.Time { return time.Now().Add(c.shift) }

// ms is that time as AWS counts it.
func (c *clock) ms() stamp { return stamp(c.now().UnixMilli()) }

// after has something done when d has passed, never at once: its caller holds the lock.
func (c *clock) after(d time.Duration, do func()) {
	c.count++
	heap.Push(&c.due, entry{c.now().Add(max(d, 0)).UnixNano(), c.count, do})
	c.arm()
}

func (c *clock) arm() {
	if c.ended || len(c.due) == 0 {
		return
	}
	wait := time.Duration(c.due[0].at - c.now().UnixNano())
	if c.timer == nil {
		c.timer = time.AfterFunc(wait, c.fire)
		return
	}
	c.timer.Reset(wait)
}

func (c *clock) fire() {
	c.lock.Lock()
	defer c.lock.Unlock()
	c.run()
}

// run does all that is due, and what that makes due at once.
func (c *clock) run() {
	for !c.ended && len(c.due) > 0 && c.due[0].at <= c.now().UnixNano() {
		heap.Pop(&c.due).(entry).do()
	}
	c.arm()
}

func (c *clock) stop() {
	c.ended = true
	if c.timer != nil {
		c.timer.Stop()
	}
	c.due = nil
}

// Advance moves the endpoint's clock. What became due by that has happened when it returns.
func (e *Endpoint) Advance(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.clock.shift += d
	e.clock.run()
}

// Now is the endpoint's time.
func (e *Endpoint) Now() time.Time {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.clock.now()
}

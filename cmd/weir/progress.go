package main

import (
	"fmt"
	"sync"
	"time"
)

// progressAfter is how long something may take before people are told what is waited for.
const progressAfter = 2 * time.Second

// progress shows on a terminal's stderr that something is waited for. Nothing is shown elsewhere.
type progress struct {
	env  *env
	stop chan struct{}
	done sync.WaitGroup
	mu   sync.Mutex
	text string // under mu
	on   bool   // a line is on the screen; under mu
}

// startProgress begins to show text once progressAfter has passed. The caller calls end.
func (e *env) startProgress(text string) *progress {
	p := &progress{env: e, text: text, stop: make(chan struct{})}
	if e.stderrTTY {
		p.done.Go(p.spin)
	}
	return p
}

func (p *progress) spin() {
	start := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ; i++ {
		select {
		case <-p.stop:
			return
		case <-tick.C:
		}
		if time.Since(start) < progressAfter {
			continue
		}
		p.mu.Lock()
		if p.text != "" {
			fmt.Fprintf(p.env.stderr, "\r\x1b[K%c %s (%s)", []rune("⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[i%10], p.text, age(time.Since(start)))
			p.on = true
		}
		p.mu.Unlock()
	}
}

// say changes the text; an empty one shows nothing.
func (p *progress) say(text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.text = text
	p.clear()
}

// clear takes the line away, so that something else can be printed. mu is held.
func (p *progress) clear() {
	if p.on {
		fmt.Fprint(p.env.stderr, "\r\x1b[K")
		p.on = false
	}
}

// print writes with the line out of the way.
func (p *progress) print(write func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
	write()
}

func (p *progress) end() {
	close(p.stop)
	p.done.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.clear()
}

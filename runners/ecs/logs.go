package ecs

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/weir-run/weir/runners"
)

// logPace is how output is read.
type logPace struct {
	first   time.Duration // between reads of a stream in which something is new
	longest time.Duration // between reads of a quiet one
	gap     time.Duration // between two reads of one group, at least, while it has few streams
	young   time.Duration // events that are younger wait: others of an earlier time may be on their way
	lag     time.Duration // for how long before now a quiet stream is read again and again: its driver may send late, and its clock is another one
	active  time.Duration // a stream with a line of so lately is read together with its like
	settle  time.Duration // how long after the job's end lines may still come
	give    time.Duration // for how long after the job's end a log that CloudWatch refuses to show, or that breaks off in the result, is waited for
}

// readPace: the awslogs driver sends what it has every 5 s, and CloudWatch shows it some seconds later.
var readPace = logPace{
	first: 2 * time.Second, longest: 10 * time.Second, gap: time.Second, young: time.Second, lag: 6 * time.Minute, active: 15 * time.Second,
	settle: 10 * time.Second, give: time.Minute,
}

const (
	filtered   = 100   // streams that CloudWatch looks through in one call
	fewStreams = 3000  // are read with one call every gap, as far as they are due
	pageEvents = 10000 // as many as CloudWatch gives at once
	pageBytes  = 1 << 20
)

// between is the time from one read of many to the next in a group with n streams.
func (p *logPace) between(n int) time.Duration {
	if n <= fewStreams {
		return p.gap
	}
	return p.gap * fewStreams / time.Duration(n)
}

// readsAtOnce is how many reads are under way at once. Each may bring 1 MB.
const readsAtOnce = 4

// maxUnflushed is how many bytes of output may wait for NATS over all executions before no more are read.
const maxUnflushed = 32 << 20

// reader takes the output of all executions of a runner from CloudWatch.
type reader struct {
	runner    *runner
	pace      logPace
	slots     chan struct{}
	unflushed atomic.Int64

	mu     sync.Mutex
	groups map[string]*logGroup // by region and name; under mu
}

func newReader(r *runner) *reader {
	return &reader{runner: r, pace: readPace, slots: make(chan struct{}, readsAtOnce), groups: map[string]*logGroup{}}
}

// logGroup reads the streams of one log group. It has one goroutine while there are any.
type logGroup struct {
	reader       *reader
	region, name string
	wake         chan struct{}

	mu      sync.Mutex
	on      bool        // the goroutine is there; under mu
	streams int         // how many are read; under mu
	queue   streamQueue // those that are read together and not being read now; under mu
	alone   streamQueue // those that are read alone and not being read now; under mu
	failing bool        // CloudWatch refuses, and somebody was told so; under mu
}

// streamQueue orders streams by the time of their next read.
type streamQueue []*stream

func (q streamQueue) Len() int           { return len(q) }
func (q streamQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q streamQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}

// Push implements [heap.Interface].
func (q *streamQueue) Push(x any) {
	s := x.(*stream)
	s.index = len(*q)
	*q = append(*q, s)
}

// Pop implements [heap.Interface].
func (q *streamQueue) Pop() any {
	old := *q
	s := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	s.index = -1
	return s
}

// stream makes the one of an execution, from that position on. It is read when it is joined.
func (r *reader) stream(e *execution, out runners.Output, at *logTarget, position int64) *stream {
	key := at.region + " " + at.group
	r.mu.Lock()
	g := r.groups[key]
	if g == nil {
		g = &logGroup{reader: r, region: at.region, name: at.group, wake: make(chan struct{}, 1)}
		r.groups[key] = g
	}
	r.mu.Unlock()
	s := &stream{e: e, out: out, name: at.stream(e.container, e.arn), group: g, index: -1}
	s.resume(position, e.known().CreatedAt)
	s.behind = position > 0 || time.Since(time.UnixMilli(s.last)) > r.pace.lag // what was written until now may be much
	return s
}

// join has a stream read from now on: its job runs, or has run.
func (r *reader) join(s *stream) {
	g := s.group
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.index >= 0 || !s.due.IsZero() {
		return
	}
	g.streams++
	s.wait = r.pace.first
	s.due = time.Now()
	if !s.behind {
		s.due = s.due.Add(r.pace.first) // nothing is there before
	}
	g.put(s)
	g.start()
}

// resultTime is how long before its end a job may have written its result at most, where the rest of its output is not read.
const resultTime = 10 * time.Minute

// endFirst puts a stream whose job has ended before those that are only behind: its run waits for it. After a server was lost, thousands are.
const endFirst = time.Hour

// finish has a stream read to its end, now that the job's containers have ended, and its execution told then.
func (r *reader) finish(s *stream, end time.Time) {
	r.join(s)
	g := s.group
	g.mu.Lock()
	defer g.mu.Unlock()
	s.over = end
	if s.over.IsZero() || s.over.After(time.Now()) {
		s.over = time.Now() // ECS's clock is another one
	}
	s.quiet = time.Time{}
	if s.index >= 0 {
		if s.out == nil { // a result is the last that is written, and nothing was read before
			s.resume(0, s.over.Add(-resultTime))
		}
		s.due = time.Now().Add(-endFirst)
		heap.Fix(s.in, s.index)
	}
	g.start()
}

// put has a stream read when it is due. The caller has mu.
func (g *logGroup) put(s *stream) {
	s.in = &g.queue
	if s.behind {
		s.in = &g.alone
	}
	heap.Push(s.in, s)
}

// start starts the goroutine, or wakes it. The caller has mu.
func (g *logGroup) start() {
	if !g.on {
		g.on = true
		g.reader.runner.spawn(g.run)
		return
	}
	select {
	case g.wake <- struct{}{}:
	default:
	}
}

// run reads streams when they are due, as long as there are any.
func (g *logGroup) run(ctx context.Context) {
	var reads sync.WaitGroup
	defer reads.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var next time.Time // no read of many before that
	for {
		wait, n := g.wait(next)
		if n == 0 {
			return
		}
		timer.Reset(wait)
		select {
		case <-g.wake:
			continue
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		select {
		case g.reader.slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		batch, alone := g.take(time.Now(), next)
		if len(batch) == 0 {
			<-g.reader.slots
			continue
		}
		if !alone {
			next = time.Now().Add(g.reader.pace.between(n))
		}
		reads.Go(func() {
			defer func() { <-g.reader.slots }()
			if alone {
				g.readOne(ctx, batch[0])
			} else {
				g.readMany(ctx, batch)
			}
		})
	}
}

// wait is the time until the next read, and for how many streams. 0 streams: the goroutine is not needed any more, and counts as ended.
func (g *logGroup) wait(next time.Time) (time.Duration, int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.streams == 0 {
		g.on = false
		return 0, 0
	}
	if g.reader.unflushed.Load() >= maxUnflushed {
		return g.reader.pace.gap, g.streams
	}
	wait := time.Hour // all are being read, which wakes this when it is done
	if len(g.queue) > 0 {
		wait = max(time.Until(g.queue[0].due), time.Until(next))
	}
	if len(g.alone) > 0 {
		wait = min(wait, time.Until(g.alone[0].due))
	}
	return wait, g.streams
}

// take gives the streams of the next read: one that is read alone, or those of a kind with the one that is due first.
func (g *logGroup) take(now, next time.Time) (batch []*stream, alone bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.reader.unflushed.Load() >= maxUnflushed {
		return nil, false
	}
	if len(g.queue) == 0 || g.queue[0].due.After(now) || next.After(now) {
		if len(g.alone) == 0 || g.alone[0].due.After(now) {
			return nil, false
		}
		return []*stream{heap.Pop(&g.alone).(*stream)}, true
	}
	// A read begins at the earliest place of its streams. Those that write much must not be read from where a quiet one stands.
	p := &g.reader.pace
	active := now.Add(-p.active).UnixMilli()
	kind := g.queue[0].last >= active
	var others []*stream
	for soon := now.Add(p.longest / 2); len(g.queue) > 0 && len(batch) < filtered && len(others) < filtered && !g.queue[0].due.After(soon); {
		s := heap.Pop(&g.queue).(*stream)
		if s.last >= active != kind {
			others = append(others, s)
			continue
		}
		batch = append(batch, s)
	}
	for _, s := range others {
		g.put(s)
	}
	return batch, false
}

// readMany reads the news of several streams at once.
func (g *logGroup) readMany(ctx context.Context, batch []*stream) {
	p := &g.reader.pace
	began := time.Now()
	passes := make(map[string]*pass, len(batch))
	names := make([]string, len(batch))
	start := batch[0].from
	for i, s := range batch {
		passes[s.name], names[i] = &pass{s: s, young: g.young(s, began)}, s.name
		start = min(start, s.from)
	}
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String(g.name), LogStreamNames: names, StartTime: aws.Int64(start)}
	var woken []*stream
	flushes := map[*stream]chan struct{}{}
	for {
		bounded, cancel := context.WithTimeout(ctx, g.patience())
		out, err := ask(bounded, g.reader.runner.aws, readLogs, g.filter, in)
		cancel()
		if ctx.Err() != nil {
			return
		}
		if isLogMissing(err) && len(batch) > 1 && !isGroupMissing(err) {
			g.readMany(ctx, batch[:len(batch)/2]) // one of them is not there yet
			g.readMany(ctx, batch[len(batch)/2:])
			return
		}
		g.report(err)
		if err != nil {
			for _, s := range batch {
				g.failed(ctx, s, err, flushes[s])
			}
			return
		}
		for i := range out.Events {
			ev := &out.Events[i]
			w := passes[aws.ToString(ev.LogStreamName)]
			if w == nil || w.s.behind {
				continue
			}
			at := aws.ToInt64(ev.Timestamp)
			switch s := w.s; {
			case w.cut:
			case start > s.last:
				// It was quiet for long, and what lies between may have come since it was read: its driver sent late.
				w.cut = true
				woken = append(woken, s)
			default:
				w.take(at, aws.ToString(ev.Message))
			}
		}
		in.NextToken = out.NextToken
		g.flushPage(ctx, batch, flushes, out.NextToken != nil)
		if out.NextToken == nil {
			break
		}
	}
	for _, s := range batch {
		if slices.Contains(woken, s) {
			s.from = s.last
			continue
		}
		if w := passes[s.name]; !w.cut && !s.behind {
			s.from = max(s.last, began.Add(-p.lag).UnixMilli())
		}
		g.again(ctx, s, began, passes[s.name].cut, flushes[s])
	}
	if len(woken) > 0 {
		g.readMany(ctx, woken)
	}
}

// flushTime is how long a read of many waits for those who take its lines. Whoever takes longer is read alone, and holds nobody up.
const flushTime = time.Second

// flushPage has what a page brought stored. With more pages to come it waits for that.
func (g *logGroup) flushPage(ctx context.Context, batch []*stream, flushes map[*stream]chan struct{}, more bool) {
	for _, s := range batch {
		if s.size > 0 && !s.behind {
			flushes[s] = g.flush(ctx, s)
		}
	}
	if !more {
		return
	}
	limit, cancel := context.WithTimeout(ctx, flushTime)
	defer cancel()
	for s, done := range flushes {
		select {
		case <-done:
		case <-limit.Done():
			if !isClosed(done) {
				s.behind, s.token = true, nil
			}
		}
	}
}

// flush has the lines stored that s was given, in a goroutine that lasts as long as that takes. It closes the channel it returns.
func (g *logGroup) flush(ctx context.Context, s *stream) chan struct{} {
	done := make(chan struct{})
	size := int64(s.size)
	s.size = 0
	if s.out == nil {
		close(done)
		return done
	}
	g.reader.unflushed.Add(size)
	g.reader.runner.spawn(func(context.Context) {
		defer close(done)
		defer g.reader.unflushed.Add(-size)
		_ = s.out.Flush(ctx) // it tries until ctx ends
	})
	return done
}

// readOne reads one page of a stream that has much to read.
func (g *logGroup) readOne(ctx context.Context, s *stream) {
	began := time.Now()
	in := &cloudwatchlogs.GetLogEventsInput{LogGroupName: aws.String(g.name), LogStreamName: aws.String(s.name), StartFromHead: aws.Bool(true), StartTime: aws.Int64(s.last)}
	w := &pass{s: s, young: g.young(s, began)}
	if s.token != nil {
		in.NextToken, in.StartTime = s.token, nil
		w.met = s.numbered
	}
	bounded, cancel := context.WithTimeout(ctx, g.patience())
	out, err := ask(bounded, g.reader.runner.aws, readLog, g.get, in)
	cancel()
	if ctx.Err() != nil {
		return
	}
	g.report(err)
	if err != nil {
		s.token = nil
		g.failed(ctx, s, err, nil)
		return
	}
	size := 0
	for i := range out.Events {
		ev := &out.Events[i]
		size += len(aws.ToString(ev.Message))
		w.take(aws.ToInt64(ev.Timestamp), aws.ToString(ev.Message))
	}
	s.numbered = w.met
	// A page that is not full may still not be the last one, but then what follows is found by the next read, from the last line on.
	full := len(out.Events) >= pageEvents/2 || size >= pageBytes/2
	same := s.token != nil && aws.ToString(out.NextForwardToken) == *s.token
	s.token = out.NextForwardToken
	if w.cut || same || !full {
		s.behind, s.token = false, nil
	}
	s.from = s.last
	var done chan struct{}
	if s.size > 0 {
		done = g.flush(ctx, s)
	}
	g.again(ctx, s, began, w.cut, done)
}

// young is the time from which on events are left for a later read: see [pass]. Some time after the job's end there are none: what is said to
// be of later is so by a clock that is ahead of this one.
func (g *logGroup) young(s *stream, began time.Time) int64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	p := &g.reader.pace
	if !s.over.IsZero() && !began.Before(s.over.Add(p.settle)) {
		return math.MaxInt64
	}
	return began.Add(-p.young).UnixMilli()
}

// patience bounds a read. CloudWatch may be away for ever, as it is to a worker whose network reaches ECS alone, and ends are told all the
// same.
func (g *logGroup) patience() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.failing {
		return g.reader.pace.settle
	}
	return g.reader.pace.give
}

// again plans the next read of a stream that has been read, once what came is stored, or ends it. cut tells that events were left.
func (g *logGroup) again(ctx context.Context, s *stream, began time.Time, cut bool, flushed chan struct{}) {
	s.lacks, s.refused = time.Time{}, time.Time{}
	news := flushed != nil || cut || s.behind
	g.afterFlush(ctx, flushed, func() { g.plan(s, began, news) })
}

// afterFlush goes on when what s was given is stored. Waiting for that takes no slot of those who read.
func (g *logGroup) afterFlush(ctx context.Context, flushed chan struct{}, then func()) {
	if flushed == nil || isClosed(flushed) {
		then()
		return
	}
	g.reader.runner.spawn(func(context.Context) {
		select {
		case <-flushed:
			then()
		case <-ctx.Done():
		}
	})
}

// plan puts a stream into the queue again, unless all of it has been read: the job has ended, and so long after that as lines may take
// to come there was nothing new, twice.
func (g *logGroup) plan(s *stream, began time.Time, news bool) {
	p := &g.reader.pace
	g.mu.Lock()
	now := time.Now()
	again := !s.quiet.IsZero()
	switch {
	case news:
		s.quiet, s.wait = time.Time{}, p.first
	case again:
		s.wait = min(2*s.wait, p.longest)
	default:
		s.quiet = began
	}
	switch {
	case s.behind && !s.over.IsZero():
		s.due = now.Add(-endFirst)
	case s.behind:
		s.due = now
	case s.over.IsZero():
		s.due = now.Add(s.wait)
	case !news && again && !began.Before(s.over.Add(p.settle)) && (s.settled() || now.After(s.over.Add(p.give))):
		g.leave(s)
		return
	default:
		s.due = now.Add(p.first / 2)
	}
	g.put(s)
	g.start()
	g.mu.Unlock()
}

// settled tells whether a result that was begun has come whole.
func (s *stream) settled() bool { return s.result.read == s.result.parts }

// leave ends the reading of a stream. It gives mu back.
func (g *logGroup) leave(s *stream) {
	g.streams--
	g.start()
	g.mu.Unlock()
	s.e.delivered(&s.result)
}

// failed deals with a stream that could not be read.
func (g *logGroup) failed(ctx context.Context, s *stream, err error, flushed chan struct{}) {
	p := &g.reader.pace
	now := time.Now()
	var since *time.Time
	var patience time.Duration
	if isLogMissing(err) {
		since, patience = &s.lacks, p.settle
	} else {
		since, patience = &s.refused, p.give
	}
	if since.IsZero() {
		*since = now
	}
	g.mu.Lock()
	over := s.over
	g.mu.Unlock()
	gaveUp := !over.IsZero() && now.Sub(over) >= patience && now.Sub(*since) >= min(patience, p.settle) && faultOf(err) != busy
	if gaveUp && (!isLogMissing(err) || s.count > 0) {
		s.missing(g.worded(err).Error())
		flushed = g.flush(ctx, s)
	}
	g.afterFlush(ctx, flushed, func() {
		g.mu.Lock()
		if gaveUp {
			g.leave(s)
			return
		}
		s.behind = s.behind || isLogMissing(err) // a read of many fails for one that is not there
		s.wait = min(max(2*s.wait, p.first), p.longest)
		s.due = time.Now().Add(s.wait)
		if !s.over.IsZero() {
			s.due = time.Now().Add(min(s.wait, p.settle))
		}
		g.put(s)
		g.start()
		g.mu.Unlock()
	})
}

// report says once that CloudWatch refuses to show the group, and once that it does again.
func (g *logGroup) report(err error) {
	if isLogMissing(err) && !isGroupMissing(err) {
		err = nil // a stream is made by the first that is written to it
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	log := g.reader.runner.log
	switch {
	case err != nil && !g.failing:
		log.Warn("CloudWatch does not show the output of tasks; it is asked again", "log_group", g.name, "region", g.region, "err", g.worded(err))
	case err == nil && g.failing:
		log.Info("CloudWatch shows the output of tasks again", "log_group", g.name, "region", g.region)
	}
	g.failing = err != nil
}

// worded is err in a sentence.
func (g *logGroup) worded(err error) error {
	return g.reader.runner.aws.worded("read the output", "", err)
}

// isLogMissing tells whether err says that there is no such log stream or log group.
func isLogMissing(err error) bool {
	_, missing := errors.AsType[*types.ResourceNotFoundException](err)
	return missing
}

// isGroupMissing tells whether it is the group, which CloudWatch says by words alone.
func isGroupMissing(err error) bool {
	return isLogMissing(err) && strings.Contains(err.Error(), "log group")
}

// filter and get ask in the group's region, which a task definition may choose.
func (g *logGroup) filter(ctx context.Context, in *cloudwatchlogs.FilterLogEventsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error) {
	out, err := g.reader.runner.aws.logs.FilterLogEvents(ctx, in, g.options)
	if err != nil {
		return nil, fmt.Errorf("read log group %s: %w", g.name, err)
	}
	return out, nil
}

func (g *logGroup) get(ctx context.Context, in *cloudwatchlogs.GetLogEventsInput, _ ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error) {
	out, err := g.reader.runner.aws.logs.GetLogEvents(ctx, in, g.options)
	if err != nil {
		return nil, fmt.Errorf("read log group %s: %w", g.name, err)
	}
	return out, nil
}

func (g *logGroup) options(o *cloudwatchlogs.Options) {
	if g.region != "" {
		o.Region = g.region
	}
}

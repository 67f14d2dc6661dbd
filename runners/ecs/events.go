package ecs

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// event is what EventBridge says of ECS.
type event struct {
	Source string          `json:"source"`
	Type   string          `json:"detail-type"`
	Time   time.Time       `json:"time"`
	Detail json.RawMessage `json:"detail"` // the task
}

const (
	eventSource = "aws.ecs"
	eventType   = "ECS Task State Change"
)

// The queue is asked for so many messages at once, and waits so long for the first.
const (
	eventsAtOnce = 10
	eventsWait   = 20
)

// batchesAtOnce is how many answers of the queue are dealt with at once: other workers are asked about what is not this one's.
const batchesAtOnce = 8

// uselessAge is the age of an event that helps nobody any more: ECS itself does not know the task.
const uselessAge = time.Hour

// queuePause is the time until a queue that refuses is asked again.
const queuePause = 10 * time.Second

// listen reads the queue of events, if there is one, and hears what others have read that is this worker's.
func (r *runner) listen() error {
	if r.config.Peers != nil {
		stop, err := r.config.Peers.Hear(func(message []byte) bool {
			t := &task{}
			return json.Unmarshal(message, t) == nil && r.hear(t)
		})
		if err != nil {
			return fmt.Errorf("hear other workers: %w", err)
		}
		r.unhear = stop
	}
	if r.queue != "" {
		r.spawn(r.receive)
	}
	return nil
}

// receive reads the queue until the runner is closed. While it cannot be read, all tasks are looked at in turn.
func (r *runner) receive(ctx context.Context) {
	var batches sync.WaitGroup
	defer batches.Wait()
	slots := make(chan struct{}, batchesAtOnce)
	failing := false
	read := func(ctx context.Context, in *sqs.ReceiveMessageInput, options ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
		out, err := r.aws.sqs.ReceiveMessage(ctx, in, options...)
		if err != nil && ctx.Err() == nil {
			r.distrust()
		}
		return out, err
	}
	for ctx.Err() == nil {
		out, err := ask(ctx, r.aws, queue, read, &sqs.ReceiveMessageInput{
			QueueUrl: &r.queue, MaxNumberOfMessages: eventsAtOnce, WaitTimeSeconds: eventsWait,
		})
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			if !failing {
				r.log.Warn("the queue of ECS's events, which "+queueVariable+" names, cannot be read; tasks are looked at in turn until it can", "queue", r.queue,
					"err", r.aws.worded("read it", "", err))
			}
			failing = true
			_ = sleep(ctx, queuePause)
			continue
		}
		if failing {
			r.log.Info("the queue of ECS's events can be read again", "queue", r.queue)
			failing = false
		}
		if len(out.Messages) == 0 {
			continue
		}
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return
		}
		batches.Go(func() {
			defer func() { <-slots }()
			r.deal(ctx, out.Messages)
		})
	}
}

// deal takes the events that are this worker's, gives the others to whose they are, and deletes what somebody took or nobody needs. The
// rest becomes visible again in the queue.
func (r *runner) deal(ctx context.Context, messages []types.Message) {
	taken := make([]bool, len(messages))
	var asking sync.WaitGroup
	for i := range messages {
		m := &messages[i]
		t, ev := taskIn(aws.ToString(m.Body))
		switch {
		case t == nil: // no event of a task: not Weir's to delete
			r.strange.Do(func() {
				r.log.Warn("the queue of ECS's events has something else in it, which is left there", "queue", r.queue, "message", clip(aws.ToString(m.Body)))
			})
		case r.hear(t), r.isForgotten(t.ARN), !strings.HasPrefix(t.StartedBy, startedByWeir), time.Since(ev.Time) > uselessAge:
			taken[i] = true
		case r.config.Peers != nil:
			asking.Go(func() { taken[i] = r.config.Peers.Tell(ctx, ev.Detail) })
		}
	}
	asking.Wait()
	var done []types.DeleteMessageBatchRequestEntry
	for i, m := range messages {
		if taken[i] {
			done = append(done, types.DeleteMessageBatchRequestEntry{Id: aws.String(strconv.Itoa(i)), ReceiptHandle: m.ReceiptHandle})
		}
	}
	if len(done) == 0 {
		return
	}
	// What is not deleted comes again, and says nothing new then.
	_, err := ask(ctx, r.aws, queue, r.aws.sqs.DeleteMessageBatch, &sqs.DeleteMessageBatchInput{QueueUrl: &r.queue, Entries: done})
	if err != nil && ctx.Err() == nil {
		r.undeletable.Do(func() {
			r.log.Warn("events cannot be deleted from their queue; allow the role of this worker or server sqs:DeleteMessage", "queue", r.queue, "err", err)
		})
	}
}

// taskIn is the task of an event, or nil, and the event.
func taskIn(body string) (*task, event) {
	var e event
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.Source != eventSource || e.Type != eventType {
		return nil, e
	}
	t := &task{}
	if err := json.Unmarshal(e.Detail, t); err != nil || t.ARN == "" || t.Status == "" {
		return nil, e
	}
	return t, e
}

// hear takes what an event says of a task, and tells whether it is one that is held here.
func (r *runner) hear(t *task) bool {
	r.mu.Lock()
	watchers := make([]*watcher, 0, len(r.watchers))
	for _, w := range r.watchers {
		watchers = append(watchers, w)
	}
	r.mu.Unlock()
	for _, w := range watchers {
		if e := w.find(t.ARN); e != nil {
			if r.queue != "" {
				w.trust()
			}
			e.see(t)
			return true
		}
	}
	return false
}

// distrust has all tasks looked at in turn.
func (r *runner) distrust() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.watchers {
		w.distrust()
	}
}

package ecs

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/smithy-go"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/runners/ecs/ecstest"
)

// events gives the account a queue of ECS's events.
func (b *bench) events(tune func(e *ecstest.Events)) (url string) {
	url = b.AddQueue("weir", 30*time.Second)
	b.Tune(func(k *ecstest.Knobs) {
		k.Events.Queue = "weir"
		if tune != nil {
			tune(&k.Events)
		}
	})
	return url
}

func (b *bench) listener(name, queue string, peers runners.Peers) *runner {
	return b.workerWith(name, runners.Config{Peers: peers}, b.clients(), queue)
}

func TestEvents_tellInsteadOfLooks(t *testing.T) {
	for name, tune := range map[string]func(e *ecstest.Events){
		"at once":                  nil,
		"late, twice and shuffled": func(e *ecstest.Events) { e.Late, e.Jitter, e.Twice = time.Second, 8*time.Second, true },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, lives(30*time.Minute, 6), func(t *testing.T, b *bench) {
				r := b.listener("w", b.events(tune), nil)
				list := b.startAll(r, 30)
				<-list[29].Begun()
				time.Sleep(time.Minute)
				calls := b.Calls("ecs:DescribeTasks")
				for _, e := range list {
					if res := b.wait(e); res.ExitCode != 6 || res.NoCode {
						t.Errorf("got %+v, want exit code 6", res)
					}
				}
				if got := b.Calls("ecs:DescribeTasks") - calls; got > 0 {
					t.Errorf("got %d DescribeTasks calls although events tell", got)
				}
				time.Sleep(time.Minute)
				if left, _ := b.Queued("weir"); left > 0 {
					t.Errorf("%d events are left in the queue", left)
				}
			})
		})
	}
}

// Every task is looked at in time although events tell: ECS forgets what has stopped an hour later.
func TestEvents_lost(t *testing.T) {
	bubble(t, lives(80*time.Minute, 6), func(t *testing.T, b *bench) {
		r := b.listener("w", b.events(nil), nil)
		e := b.start(r, b.spec("r.1", nil, nil))
		<-e.Begun()
		time.Sleep(time.Minute)
		b.Tune(func(k *ecstest.Knobs) { k.Events.Queue = "" }) // the rule is taken away
		if res := b.wait(e); res.ExitCode != 6 || res.NoCode {
			t.Errorf("got %+v, want exit code 6", res)
		}
		if got := b.log.count("does not tell what happens to the tasks"); got != 1 {
			t.Errorf("warned %d times, want once", got)
		}
		next := b.start(r, b.spec("next.1", nil, nil)) // it is looked at as without a queue
		b.wait(next)
		ended := next.Started().Add(80 * time.Minute)
		if late := time.Since(ended); late > time.Minute {
			t.Errorf("the end was seen %s later, want it seen by a look in turn", late)
		}
	})
}

// A queue to which no rule leads is no reason to miss anything.
func TestEvents_none(t *testing.T) {
	bubble(t, lives(time.Hour, 6), func(t *testing.T, b *bench) {
		url := b.events(nil)
		b.Tune(func(k *ecstest.Knobs) { k.Events.Queue = "" })
		e := b.start(b.listener("w", url, nil), b.spec("r.1", nil, nil))
		<-e.Begun()
		b.wait(e)
		if late := time.Since(e.Started().Add(time.Hour)); late > time.Minute {
			t.Errorf("the end was seen %s later", late)
		}
	})
}

// brokenSQS is a queue that cannot be read while it says so.
type brokenSQS struct {
	receive operation[sqs.ReceiveMessageInput, sqs.ReceiveMessageOutput, sqs.Options]
	mu      sync.Mutex
	err     error
}

func (q *brokenSQS) set(err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.err = err
}

func (q *brokenSQS) ReceiveMessage(ctx context.Context, in *sqs.ReceiveMessageInput, options ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error) {
	q.mu.Lock()
	err := q.err
	q.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return q.receive(ctx, in, options...)
}

func TestEvents_queueCannotBeRead(t *testing.T) {
	for name, err := range map[string]error{
		"refused": &smithy.GenericAPIError{Code: "AccessDenied", Message: "no"}, "broken": &smithy.GenericAPIError{Code: "InternalError", Message: "oh"},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, lives(20*time.Minute, 6), func(t *testing.T, b *bench) {
				c := b.clients()
				q := &brokenSQS{receive: c.sqs.ReceiveMessage}
				c.sqs.ReceiveMessage = q.ReceiveMessage
				r := b.workerWith("w", runners.Config{}, c, b.events(nil))
				e := b.start(r, b.spec("r.1", nil, nil))
				<-e.Begun()
				time.Sleep(time.Minute)
				q.set(err)
				b.wait(e)
				if late := time.Since(e.Started().Add(20 * time.Minute)); late > time.Minute {
					t.Errorf("the end was seen %s later, want it seen by a look in turn", late)
				}
				q.set(nil)
				e = b.start(r, b.spec("next.1", nil, nil))
				<-e.Begun()
				time.Sleep(time.Minute)
				calls := b.Calls("ecs:DescribeTasks")
				b.wait(e)
				if got := b.Calls("ecs:DescribeTasks") - calls; got > 0 {
					t.Errorf("got %d DescribeTasks calls although the queue can be read again", got)
				}
			})
		})
	}
}

// hall is where workers speak to each other.
type hall struct {
	mu    sync.Mutex
	heard map[string]func([]byte) bool
	told  int
}

type guest struct {
	hall *hall
	name string
}

// Tell implements [runners.Peers].
func (g guest) Tell(_ context.Context, message []byte) bool {
	g.hall.mu.Lock()
	defer g.hall.mu.Unlock()
	g.hall.told++
	for name, heard := range g.hall.heard {
		if name != g.name && heard(message) {
			return true
		}
	}
	return false
}

// Hear implements [runners.Peers].
func (g guest) Hear(heard func([]byte) bool) (func(), error) {
	g.hall.mu.Lock()
	defer g.hall.mu.Unlock()
	g.hall.heard[g.name] = heard
	return func() {
		g.hall.mu.Lock()
		defer g.hall.mu.Unlock()
		delete(g.hall.heard, g.name)
	}, nil
}

func TestEvents_ofAnothersTasks(t *testing.T) {
	bubble(t, lives(30*time.Minute, 6), func(t *testing.T, b *bench) {
		url := b.events(nil)
		h := &hall{heard: map[string]func([]byte) bool{}}
		var all []*execution
		for _, name := range []string{"a", "b", "c"} {
			r := b.listener(name, url, guest{h, name})
			r.config.Pool = name
			for i := range 5 {
				spec := b.spec(name+string(rune('0'+i))+".1", nil, nil)
				spec.Pool = name
				all = append(all, b.start(r, spec))
			}
		}
		for _, e := range all {
			<-e.Begun()
		}
		time.Sleep(time.Minute)
		calls := b.Calls("ecs:DescribeTasks")
		for _, e := range all {
			b.wait(e)
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if got := b.Calls("ecs:DescribeTasks") - calls; got > 0 || h.told == 0 {
			t.Errorf("got %d DescribeTasks calls, %d events told to others", got, h.told)
		}
	})
}

// What nobody takes becomes visible again, for the worker that will: a message is not lost with the one who read it.
func TestEvents_ofNobodysTask(t *testing.T) {
	bubble(t, forever, func(t *testing.T, b *bench) {
		url := b.events(nil)
		r := b.worker("w") // without the queue
		e := b.start(r, b.spec("r.1", nil, nil))
		<-e.Begun()
		b.Send("weir", "no event at all")
		b.listener("other", url, guest{&hall{heard: map[string]func([]byte) bool{}}, "other"})
		time.Sleep(10 * time.Minute)
		if left, deleted := b.Queued("weir"); left == 0 || deleted > 0 {
			t.Errorf("%d events are left and %d deleted, want none deleted: the task's worker has not read them", left, deleted)
		}
		b.Tune(func(k *ecstest.Knobs) { k.Events.Queue = "" })
		time.Sleep(2 * time.Hour)
		if left, _ := b.Queued("weir"); left != 1 {
			t.Errorf("%d messages are left after two hours, want the one that is no event", left)
		}
		if got := b.log.count("has something else in it"); got != 1 {
			t.Errorf("warned %d times, want once", got)
		}
	})
}

func TestTaskIn(t *testing.T) {
	if t1, _ := taskIn(`{"source":"aws.ecs","detail-type":"ECS Deployment State Change","detail":{}}`); t1 != nil {
		t.Errorf("got %+v of another kind of event", t1)
	}
	told, ev := taskIn(`{"source":"aws.ecs","detail-type":"ECS Task State Change","time":"2026-01-02T03:04:06Z","detail":{"taskArn":"arn:aws:ecs:us-east-1:1:task/c/1","lastStatus":"STOPPED",
		"version":5,"startedBy":"weir-1","startedAt":"2026-01-02T03:04:05.678Z","stopCode":"EssentialContainerExited","containers":[{"name":"job","exitCode":3}]}}`)
	if told == nil || told.Version != 5 || told.StartedAt.UnixMilli()%1000 != 678 || *told.container(job).ExitCode != 3 || !strings.Contains(string(ev.Detail), "taskArn") || ev.Time.Second() != 6 {
		t.Errorf("got %+v", told)
	}
}

package schemas

import (
	"encoding/json"
	"strings"
	"time"
)

// DefaultQueue is the work queue of requests that name none.
const DefaultQueue = "default"

// DefaultAckWait is how long a lease lasts without renewal, unless the pool says otherwise.
const DefaultAckWait = 30 * time.Second

// Pool is a work pool's record, KV key pool.<name>: schemas/pool.schema.json.
type Pool struct {
	Name             string          `json:"name"`
	Type             string          `json:"type"` // process, docker, …
	Description      string          `json:"description,omitempty"`
	ConcurrencyLimit int             `json:"concurrency_limit,omitempty"` // runs at once over all workers; 0: no limit
	AckWait          Duration        `json:"ack_wait,omitempty"`          // 0: DefaultAckWait
	Replicas         int             `json:"replicas,omitempty"`          // of the pool's stream; 0: 1
	Paused           bool            `json:"paused,omitempty"`
	BaseJobTemplate  json.RawMessage `json:"base_job_template,omitempty"` // empty: the type's default
	WorkQueues       []WorkQueue     `json:"work_queues,omitempty"`       // default is always there
	Created          time.Time       `json:"created"`
	Updated          time.Time       `json:"updated"`
}

// Push tells whether servers execute the pool's runs themselves: the names of such types end so, and of no others.
func (p Pool) Push() bool { return strings.HasSuffix(p.Type, ":push") }

// WorkQueue is a lane in a pool.
type WorkQueue struct {
	Name             string `json:"name"`
	Priority         int    `json:"priority,omitempty"`          // 1 goes first; 0: after all that have one
	ConcurrencyLimit int    `json:"concurrency_limit,omitempty"` // 0: no limit
}

// Queues returns the pool's work queues with the default one among them.
func (p Pool) Queues() []WorkQueue {
	for _, q := range p.WorkQueues {
		if q.Name == DefaultQueue {
			return p.WorkQueues
		}
	}
	return append([]WorkQueue{{Name: DefaultQueue}}, p.WorkQueues...)
}

// Lease returns how long a lease lasts without renewal.
func (p Pool) Lease() time.Duration {
	if p.AckWait > 0 {
		return time.Duration(p.AckWait)
	}
	return DefaultAckWait
}

// Worker is a live worker's record, KV key <pool>.<name>, gone when its worker stops renewing it: schemas/worker.schema.json.
type Worker struct {
	Name     string       `json:"name"`
	Pool     string       `json:"pool"`
	Type     string       `json:"type"` // the pool's type
	Status   WorkerStatus `json:"status"`
	Queues   []string     `json:"queues"`
	Slots    int          `json:"slots"`          // runs it can hold at once
	Used     int          `json:"used"`           // runs it holds now
	Runs     []string     `json:"runs,omitempty"` // the runs it holds, at most 100 of them
	Version  string       `json:"version"`
	Host     string       `json:"host"`
	PID      int          `json:"pid"`
	Instance string       `json:"instance"`       // new at each start
	Home     string       `json:"home,omitempty"` // names its state folder: another worker of the name that has it knows this one's executions
	Started  time.Time    `json:"started"`
	Seen     time.Time    `json:"seen"` // when this record was written
}

// WorkerStatus is what a worker is doing.
type WorkerStatus string

// A worker's statuses. Offline is what a reader sees of one that has stopped renewing its record.
const (
	WorkerOnline   WorkerStatus = "online"
	WorkerDraining WorkerStatus = "draining"
	WorkerOffline  WorkerStatus = "offline"
)

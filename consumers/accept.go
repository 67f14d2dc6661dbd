package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
	"github.com/weir-run/weir/streams"
)

// defaultGrace is the time from the polite signal to the kill, unless the deployment says otherwise.
const defaultGrace = 30 * time.Second

// A job is what a request comes to: the deployment with the request's overrides, checked and rendered.
type job struct {
	configuration json.RawMessage
	parameters    json.RawMessage
	variables     json.RawMessage // the request's own job variables; nil: none
	entrypoint    string
	code          string
	timeout       time.Duration
	grace         time.Duration
	signal        string // the polite one; empty: the infrastructure's usual
	retries       *schemas.Retries
	exitCodes     schemas.ExitCodes
	expires       time.Time // zero: never
	parent        string
	tags          []string
}

func (j job) expired(now time.Time) bool { return !j.expires.IsZero() && now.After(j.expires) }

// size is about what the job adds to each of its events, in bytes.
func (j job) size() int {
	n := len(j.parameters) + len(j.variables) + len(j.parent)
	for _, t := range j.tags {
		n += len(t) + 3
	}
	return n
}

// A rejection says why a request can never be run. Its text is for the one who sent it.
type rejection struct{ why string }

func (r *rejection) Error() string { return r.why }

func rejectf(format string, args ...any) error { return &rejection{fmt.Sprintf(format, args...)} }

// accept checks a request against its deployment and the pool's template, before anything is claimed. What can never run is
// a [*rejection].
func (w *Worker) accept(ctx context.Context, d delivery) (*job, error) {
	for _, n := range [][2]string{{"deployment", d.Deployment}, {"run", d.Run}} {
		if err := schemas.CheckName(n[0], n[1]); err != nil {
			return nil, rejectf("%s", err)
		}
	}
	if d.Named && d.Attempt == 1 {
		if err := streams.CheckRunID(d.Pool, d.Run); err != nil {
			return nil, rejectf("%s", err)
		}
	}
	if size := d.HeaderSize(); size > streams.MaxHeaderSize {
		return nil, rejectf("the request's headers have %d bytes, the most is %d: give data as parameters, keep large data in a file or object store", size, streams.MaxHeaderSize)
	}
	request, err := schemas.ParseRunRequest(d.Body)
	if err != nil {
		return nil, rejectf("%s", err)
	}
	deployment, err := w.config.deployment(ctx, w.conn, d.Delivery)
	if errors.Is(err, streams.ErrNotFound) {
		return nil, rejectf("%s", err)
	} else if err != nil {
		return nil, err
	}
	j, err := deployment.job(w.config.renderer(), request)
	if err != nil {
		return nil, rejectf("%s", err)
	}
	if j.parent == "" {
		j.parent = d.Parent
	}
	if size, room := j.size(), int(w.conn.NC.MaxPayload())-4<<10; size > room {
		return nil, rejectf("the run's parameters and tags have %d bytes together, this NATS takes %d: keep large data in a file or object store", size, room)
	}
	if j.expires.IsZero() && deployment.record.ExpiresAfter > 0 {
		j.expires = d.Requested.Add(time.Duration(deployment.record.ExpiresAfter))
	}
	return &j, nil
}

// reject stores the request among the dead letters, records the run as failed where it can be named, and acknowledges it, in
// this order: whatever is killed in between, nothing is lost and nothing is tried for ever.
func (w *Worker) reject(ctx context.Context, d delivery, h *history, why *rejection) error {
	w.Logger.Warn("request is rejected; see it with: weir dead-letter ls", "run", d.Run, "deployment", d.Deployment, "err", why)
	if err := d.Bury(ctx, schemas.ReasonRejected, why.Error()); err != nil {
		return err
	}
	if !schemas.ValidName(d.Deployment) || !schemas.ValidName(d.Run) || d.Named && d.Attempt == 1 && streams.CheckRunID(d.Pool, d.Run) != nil {
		return w.ack(ctx, d) // the run cannot be named
	}
	return w.conclude(ctx, d, h, outcome{state: schemas.Failed, reason: schemas.ReasonRejected, message: why.Error()})
}

// A prepared deployment is a record with what all its runs share worked out once.
type prepared struct {
	record schemas.Deployment
	plain  *job  // the job of a request without a body
	err    error // why that one cannot run
}

// prepare works out the job of a request without a body.
func prepare(r *runners.Renderer, record schemas.Deployment) *prepared {
	p := &prepared{record: record}
	var j job
	if j, p.err = p.build(r, schemas.RunRequest{}); p.err == nil {
		p.plain = &j
	}
	return p
}

func (p *prepared) job(r *runners.Renderer, request schemas.RunRequest) (job, error) {
	plain := len(request.Parameters) == 0 && len(request.JobVariables) == 0
	if plain && p.err != nil {
		return job{}, p.err
	}
	var j job
	if plain {
		j = *p.plain
	} else {
		var err error
		if j, err = p.build(r, request); err != nil {
			return job{}, err
		}
	}
	j.parent = request.Parent
	if len(request.Tags) > 0 {
		j.tags = append(append([]string(nil), j.tags...), request.Tags...)
	}
	if request.Retries != nil {
		j.retries = request.Retries
	}
	if request.Timeout > 0 {
		j.timeout = time.Duration(request.Timeout)
	}
	if request.ExpiresAt != nil {
		j.expires = *request.ExpiresAt
	}
	return j, nil
}

// build renders the job and checks its parameters.
func (p *prepared) build(r *runners.Renderer, request schemas.RunRequest) (job, error) {
	d := p.record
	parameters := emptyObject
	if len(d.Parameters)+len(request.Parameters) > 0 {
		merged := maps.Clone(d.Parameters)
		if merged == nil {
			merged = map[string]json.RawMessage{}
		}
		maps.Copy(merged, request.Parameters)
		var err error
		if parameters, err = json.Marshal(merged); err != nil {
			return job{}, fmt.Errorf("write the parameters: %w", err)
		}
	}
	if err := schemas.CheckParameters(d.ParameterSchema, parameters); err != nil {
		return job{}, err
	}
	configuration, err := r.Job(d, request.JobVariables)
	if err != nil {
		return job{}, err
	}
	j := job{
		configuration: configuration, parameters: parameters, entrypoint: d.Entrypoint, code: d.Directory,
		timeout: time.Duration(d.Timeout), grace: time.Duration(d.Grace), signal: string(d.CancelSignal), retries: d.Retries, exitCodes: d.ExitCodes, tags: d.Tags,
	}
	if len(request.JobVariables) > 0 {
		if j.variables, err = json.Marshal(request.JobVariables); err != nil {
			return job{}, fmt.Errorf("write the job variables: %w", err)
		}
	}
	if j.grace == 0 {
		j.grace = defaultGrace
	}
	return j, nil
}

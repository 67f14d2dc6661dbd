package ecstest

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/api/types/container"
	mobyclient "github.com/moby/moby/client"
)

// Docker is tasks that are containers, one for each container definition, on the engine at Host. It pulls nothing: an image that is not
// on the engine is one that cannot be pulled.
type Docker struct {
	Host    string            // as DOCKER_HOST has it
	Network string            // the mode of a task's network, which its containers share; empty: none
	Binds   []string          // host:container, of every container: Fargate has no such thing, and EFS is not here
	Secrets map[string]string // by valueFrom; nil: none has to be there
}

// label has the ARN of a container's task.
const label = "com.amazonaws.ecs.task-arn"

// launchTime bounds the making of a task's containers, and goneTime their removal.
const (
	launchTime = 5 * time.Minute
	goneTime   = time.Minute
)

type engine struct {
	Docker
	endpoint *Endpoint
	api      *mobyclient.Client
	cpus     int64 // in billionths of one
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
}

func (d Docker) open(e *Endpoint) (host, error) {
	api, err := mobyclient.New(mobyclient.WithHost(d.Host))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	h := &engine{Docker: d, endpoint: e, api: api, ctx: ctx, cancel: cancel}
	info, err := api.Info(ctx, mobyclient.InfoOptions{})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("reach the engine at %s: %w", d.Host, err)
	}
	h.cpus = int64(info.Info.NCPU) * 1e9
	return h, nil
}

func (h *engine) close() error {
	h.cancel()
	h.running.Wait()
	return h.api.Close()
}

// pod is a task's containers.
type pod struct {
	ctx     context.Context //nolint:containedctx // it is the task's
	cancel  context.CancelFunc
	ids     []string        // of its containers
	written []chan struct{} // closed when their output is stored

	ran, over bool // all of them were started; not all could be. Under the endpoint's lock
}

func (h *engine) launch(t *task) {
	p := &pod{}
	p.ctx, p.cancel = context.WithCancel(h.ctx)
	t.body = p
	h.running.Go(func() {
		defer p.cancel()
		reason := h.start(t, p)
		if reason == "" {
			h.follow(t, p)
			h.remove(p.ids...)
			return
		}
		h.remove(p.ids...)
		h.endpoint.mu.Lock()
		defer h.endpoint.mu.Unlock()
		p.over = true
		h.endpoint.end(t, "TaskFailedToStart", reason)
		if t.status == stopping {
			h.endpoint.gone(t)
		}
	})
}

// start makes the task's containers and starts them. It returns AWS's words for why they could not be.
func (h *engine) start(t *task, p *pod) string {
	ctx, cancel := context.WithTimeout(p.ctx, launchTime)
	defer cancel()
	for i := range t.definition.containers {
		image := t.definition.containers[i].Image
		found, err := h.api.ImageInspect(ctx, image)
		if err != nil {
			return h.failed(t, i, "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref %s: %s: not found", image, image)
		}
		h.endpoint.mu.Lock()
		t.containers[i].digest = found.ID
		h.endpoint.mu.Unlock()
	}
	h.endpoint.mu.Lock()
	t.pullStopped = h.endpoint.clock.ms()
	h.endpoint.mu.Unlock()
	for i := range t.definition.containers {
		o, err := h.create(t, i)
		if err != nil {
			return h.failed(t, i, "ResourceInitializationError: %v", err)
		}
		o.HostConfig.NetworkMode = container.NetworkMode(cmp.Or(h.Network, "none"))
		if i > 0 && h.runs(ctx, p.ids[0]) {
			o.HostConfig.NetworkMode = container.NetworkMode("container:" + p.ids[0])
		}
		if reason := h.startOne(ctx, t, p, i, o); reason != "" {
			return reason
		}
	}
	h.endpoint.mu.Lock()
	defer h.endpoint.mu.Unlock()
	if t.status == stopping { // it was asked to stop while it was made
		return "Task stopped"
	}
	p.ran = true
	h.endpoint.launched(t)
	return ""
}

// runs tells whether a container has not ended yet.
func (h *engine) runs(ctx context.Context, id string) bool {
	found, err := h.api.ContainerInspect(ctx, id, mobyclient.ContainerInspectOptions{})
	return err == nil && found.Container.State.Running
}

// startOne makes one container and starts it.
func (h *engine) startOne(ctx context.Context, t *task, p *pod, i int, o mobyclient.ContainerCreateOptions) string {
	made, err := h.api.ContainerCreate(ctx, o)
	if err != nil {
		return h.failed(t, i, "CannotCreateContainerError: %v", err)
	}
	p.ids = append(p.ids, made.ID)
	h.endpoint.mu.Lock()
	t.containers[i].runtime = made.ID
	h.endpoint.mu.Unlock()
	if err := h.attach(t, p, i); err != nil {
		return h.failed(t, i, "CannotStartContainerError: %v", err)
	}
	if _, err := h.api.ContainerStart(ctx, made.ID, mobyclient.ContainerStartOptions{}); err != nil {
		if o.HostConfig.NetworkMode.IsContainer() && !h.runs(ctx, p.ids[0]) { // the first has ended just now, and its network with it: nobody is there to be spoken to
			o.HostConfig.NetworkMode = "none"
			p.ids, p.written = p.ids[:i], p.written[:i]
			h.remove(made.ID)
			return h.startOne(ctx, t, p, i, o)
		}
		return h.failed(t, i, "CannotStartContainerError: %v", err)
	}
	return ""
}

// failed notes why a container did not start.
func (h *engine) failed(t *task, i int, format string, args ...any) string {
	reason := fmt.Sprintf(format, args...)
	h.endpoint.mu.Lock()
	defer h.endpoint.mu.Unlock()
	if !t.ending {
		t.containers[i].reason = reason
	}
	return reason
}

// create is what the engine is asked for one of the task's containers.
func (h *engine) create(t *task, i int) (mobyclient.ContainerCreateOptions, error) {
	d := t.definition.containers[i]
	memory, cpu := units(t.memory), units(t.cpu)
	if d.Memory != nil {
		memory = *d.Memory
	}
	env := []string{"AWS_EXECUTION_ENV=AWS_ECS_FARGATE", "AWS_REGION=" + Region, "AWS_DEFAULT_REGION=" + Region}
	for _, s := range d.Secrets {
		value, ok := h.Secrets[s.ValueFrom]
		if !ok && h.Secrets != nil {
			return mobyclient.ContainerCreateOptions{}, fmt.Errorf("unable to pull secrets or registry auth: execution resource retrieval failed: "+
				"unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret %s: ResourceNotFoundException: "+
				"Secrets Manager can't find the specified secret", s.ValueFrom)
		}
		env = append(env, s.Name+"="+value)
	}
	for _, v := range d.Environment {
		env = append(env, v.Name+"="+v.Value)
	}
	command := d.Command
	for _, o := range t.overridden().ContainerOverrides {
		if o.Name != d.Name {
			continue
		}
		for _, v := range o.Environment {
			env = append(env, v.Name+"="+v.Value)
		}
		if len(o.Command) > 0 {
			command = o.Command
		}
		if o.Memory != nil {
			memory = *o.Memory
		}
	}
	init := d.LinuxParameters.InitProcessEnabled
	return mobyclient.ContainerCreateOptions{
		Config: &container.Config{
			Image: d.Image, Cmd: command, Entrypoint: d.EntryPoint, Env: env, WorkingDir: d.WorkingDirectory, User: d.User,
			Labels: map[string]string{label: t.arn()},
		},
		HostConfig: &container.HostConfig{
			Init: &init, Binds: h.Binds,
			Resources: container.Resources{
				Memory: int64(memory) << 20, MemorySwap: int64(memory) << 20, NanoCPUs: min(int64(cpu)*1e9/1024, h.cpus),
			},
		},
	}, nil
}

// attach sends what the container writes to its log stream, from its first byte on.
func (h *engine) attach(t *task, p *pod, i int) error {
	output, err := h.api.ContainerAttach(p.ctx, p.ids[i], mobyclient.ContainerAttachOptions{Stream: true, Stdout: true, Stderr: true})
	if err != nil {
		return err
	}
	stop := context.AfterFunc(h.ctx, output.Close)
	written := make(chan struct{})
	p.written = append(p.written, written)
	h.running.Go(func() {
		defer close(written)
		defer stop()
		defer output.Close()
		stdout, stderr := &liner{h: h, t: t, i: i}, &liner{h: h, t: t, i: i}
		_, _ = stdcopy.StdCopy(stdout, stderr, output.Reader) // until the container ends
		stdout.end()
		stderr.end()
	})
	return nil
}

// liner cuts one stream of a container's into lines, as the awslogs driver does.
type liner struct {
	h    *engine
	t    *task
	i    int
	rest []byte
}

// Write implements [io.Writer].
func (l *liner) Write(b []byte) (int, error) {
	l.rest = append(l.rest, b...)
	l.h.endpoint.mu.Lock()
	defer l.h.endpoint.mu.Unlock()
	for {
		line, rest, ok := bytes.Cut(l.rest, []byte("\n"))
		if !ok {
			return len(b), nil
		}
		l.h.endpoint.log(l.t, l.i, l.h.endpoint.clock.ms(), string(line))
		l.rest = rest
	}
}

// end gives the last line, which has no newline.
func (l *liner) end() {
	l.h.endpoint.mu.Lock()
	defer l.h.endpoint.mu.Unlock()
	l.h.endpoint.log(l.t, l.i, l.h.endpoint.clock.ms(), string(l.rest))
}

// follow waits for the end of the task's containers.
func (h *engine) follow(t *task, p *pod) {
	var ends sync.WaitGroup
	for i, id := range p.ids {
		ends.Go(func() {
			code, reason := h.wait(id)
			<-p.written[i]
			if h.ctx.Err() != nil {
				return // the endpoint is closed
			}
			h.remove(id) // before anybody is told: a task that has stopped has left nothing
			h.endpoint.mu.Lock()
			defer h.endpoint.mu.Unlock()
			h.endpoint.exited(t, i, code, reason)
		})
	}
	ends.Wait()
}

// wait returns how a container has ended.
func (h *engine) wait(id string) (code int, reason string) {
	end := h.api.ContainerWait(h.ctx, id, mobyclient.ContainerWaitOptions{Condition: container.WaitConditionNotRunning})
	select {
	case <-end.Result:
	case err := <-end.Error:
		if errdefs.IsNotFound(err) || errors.Is(err, context.Canceled) {
			return 137, ""
		}
	}
	found, err := h.api.ContainerInspect(h.ctx, id, mobyclient.ContainerInspectOptions{})
	if err != nil {
		return 137, "CannotInspectContainerError: " + err.Error()
	}
	if found.Container.State.OOMKilled && found.Container.State.ExitCode == 137 {
		reason = outOfMemory
	}
	return found.Container.State.ExitCode, reason
}

func (h *engine) stop(t *task) {
	p := t.body.(*pod)
	if p.over {
		h.endpoint.gone(t)
		return
	}
	if !p.ran {
		p.cancel() // then it is over soon
		return
	}
	for i, id := range p.ids {
		if t.containers[i].ended {
			continue
		}
		seconds := int(t.definition.containers[i].stopTimeout().Seconds())
		h.running.Go(func() {
			_, _ = h.api.ContainerStop(h.ctx, id, mobyclient.ContainerStopOptions{Timeout: &seconds})
		})
	}
}

// remove takes containers away.
func (h *engine) remove(ids ...string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), goneTime)
	defer cancel()
	for _, id := range ids {
		_, _ = h.api.ContainerRemove(ctx, id, mobyclient.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	}
}

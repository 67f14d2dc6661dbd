package ecstest

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// longestEvent is how many bytes of a line CloudWatch Logs takes at once: 256 KiB without the 26 that each event counts more.
const longestEvent = 262118

type logGroup struct {
	name      string
	created   stamp
	retention int
	streams   map[string]*logStream
}

type logStream struct {
	name    string
	created stamp
	events  []logEvent // by time, and those of one time as they came
}

type logEvent struct {
	at      stamp
	visible stamp
	id      int64
	message string
}

// stream is where a container's output goes; nil: nowhere.
func (e *Endpoint) stream(t *task, i int) *logStream {
	d := &t.definition.containers[i]
	if d.LogConfiguration == nil || d.LogConfiguration.LogDriver != "awslogs" {
		return nil
	}
	g := e.groups[d.LogConfiguration.Options["awslogs-group"]]
	if g == nil {
		return nil
	}
	name := t.id
	if prefix := d.LogConfiguration.Options["awslogs-stream-prefix"]; prefix != "" {
		name = prefix + "/" + d.Name + "/" + t.id
	}
	s := g.streams[name]
	if s == nil {
		s = &logStream{name: name, created: e.clock.ms()}
		g.streams[name] = s
	}
	return s
}

// openLogs makes the streams of a task's containers, or returns why they cannot be.
func (e *Endpoint) openLogs(t *task) string {
	for i := range t.definition.containers {
		d := &t.definition.containers[i]
		if d.LogConfiguration == nil || d.LogConfiguration.LogDriver != "awslogs" {
			continue
		}
		name := d.LogConfiguration.Options["awslogs-group"]
		if e.groups[name] == nil {
			if d.LogConfiguration.Options["awslogs-create-group"] != "true" {
				return "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: " +
					"ResourceNotFoundException: The specified log group does not exist. : exit status 1"
			}
			e.groups[name] = &logGroup{name: name, created: e.clock.ms(), streams: map[string]*logStream{}}
		}
		e.stream(t, i)
	}
	return ""
}

// log stores a line as the awslogs driver sends it: nothing of an empty one, and pieces of a long one. What is no text becomes some in JSON.
func (e *Endpoint) log(t *task, i int, at stamp, line string) {
	s := e.stream(t, i)
	if s == nil {
		return
	}
	for line != "" {
		piece := line
		if len(piece) > longestEvent {
			piece = piece[:longestEvent]
			for n := 0; n < utf8.UTFMax && !utf8.RuneStart(line[len(piece)]); n++ {
				piece = piece[:len(piece)-1]
			}
		}
		line = line[len(piece):]
		e.store(s, at, piece)
	}
}

func (e *Endpoint) store(s *logStream, at stamp, message string) {
	e.logged++
	event := logEvent{at: at, visible: e.clock.ms() + stamp(e.knobs.Ingestion.Milliseconds()), id: e.logged, message: message}
	i := len(s.events)
	for i > 0 && s.events[i-1].at > at {
		i--
	}
	s.events = slices.Insert(s.events, i, event)
}

// Write adds lines to the output of a task's first container.
func (e *Endpoint) Write(arn string, lines ...string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tasks.byID[idOf(arn)]; t != nil {
		for _, line := range lines {
			e.log(t, 0, e.clock.ms(), line)
		}
	}
}

// WriteAt adds a line that was written at another time.
func (e *Endpoint) WriteAt(arn string, at time.Time, line string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if t := e.tasks.byID[idOf(arn)]; t != nil {
		e.log(t, 0, stamp(at.UnixMilli()), line)
	}
}

// AddLogGroup makes a log group.
func (e *Endpoint) AddLogGroup(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.groups[name] = &logGroup{name: name, created: e.clock.ms(), streams: map[string]*logStream{}}
}

func missing(what string) *failure {
	return fault("ResourceNotFoundException", "The specified %s does not exist.", what)
}

func groupARN(name string) string { return arn("logs", "log-group:"+name) }

// group finds a group by its name or ARN.
func (c *call) group(name, id string) (*logGroup, error) {
	if name == "" {
		name = strings.TrimSuffix(strings.TrimPrefix(id, arn("logs", "log-group:")), ":*")
	}
	if err := c.may(groupARN(name)+":*", nil); err != nil {
		return nil, err
	}
	g := c.groups[name]
	if g == nil {
		return nil, missing("log group")
	}
	return g, nil
}

func createLogGroup(c *call, in *struct{ LogGroupName string }) (any, error) {
	if err := c.may(groupARN(in.LogGroupName)+":*", nil); err != nil {
		return nil, err
	}
	if c.groups[in.LogGroupName] != nil {
		return nil, fault("ResourceAlreadyExistsException", "The specified log group already exists")
	}
	c.groups[in.LogGroupName] = &logGroup{name: in.LogGroupName, created: c.clock.ms(), streams: map[string]*logStream{}}
	return struct{}{}, nil
}

func createLogStream(c *call, in *struct{ LogGroupName, LogStreamName string }) (any, error) {
	g, err := c.group(in.LogGroupName, "")
	if err != nil {
		return nil, err
	}
	if g.streams[in.LogStreamName] != nil {
		return nil, fault("ResourceAlreadyExistsException", "The specified log stream already exists")
	}
	g.streams[in.LogStreamName] = &logStream{name: in.LogStreamName, created: c.clock.ms()}
	return struct{}{}, nil
}

func describeLogGroups(c *call, in *struct{ LogGroupNamePrefix string }) (any, error) {
	if err := c.may(groupARN(in.LogGroupNamePrefix)+"*", nil); err != nil {
		return nil, err
	}
	groups := []map[string]any{}
	for name, g := range c.groups {
		if strings.HasPrefix(name, in.LogGroupNamePrefix) {
			view := map[string]any{"logGroupName": name, "arn": groupARN(name) + ":*", "logGroupArn": groupARN(name), "creationTime": int64(g.created)}
			if g.retention > 0 {
				view["retentionInDays"] = g.retention
			}
			groups = append(groups, view)
		}
	}
	slices.SortFunc(groups, func(a, b map[string]any) int {
		return strings.Compare(a["logGroupName"].(string), b["logGroupName"].(string))
	})
	return map[string]any{"logGroups": groups}, nil
}

func describeLogStreams(c *call, in *struct {
	LogGroupName, LogGroupIdentifier, LogStreamNamePrefix, NextToken string
	Limit                                                            int
},
) (any, error) {
	g, err := c.group(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	names := []string{}
	for name := range g.streams {
		if strings.HasPrefix(name, in.LogStreamNamePrefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	page, next, err := paged(names, in.Limit, in.NextToken)
	if err != nil {
		return nil, err
	}
	views := []map[string]any{}
	for _, name := range page {
		s := g.streams[name]
		view := map[string]any{"logStreamName": name, "creationTime": int64(s.created), "arn": groupARN(g.name) + ":log-stream:" + name}
		if n := len(s.events); n > 0 {
			view["firstEventTimestamp"], view["lastEventTimestamp"] = int64(s.events[0].at), int64(s.events[n-1].at)
		}
		views = append(views, view)
	}
	return map[string]any{"logStreams": views, "nextToken": next}, nil
}

func putRetentionPolicy(c *call, in *struct {
	LogGroupName    string
	RetentionInDays int
},
) (any, error) {
	g, err := c.group(in.LogGroupName, "")
	if err != nil {
		return nil, err
	}
	g.retention = in.RetentionInDays
	return struct{}{}, nil
}

func putLogEvents(c *call, in *struct {
	LogGroupName, LogStreamName string
	LogEvents                   []struct {
		Timestamp int64
		Message   string
	}
},
) (any, error) {
	g, err := c.group(in.LogGroupName, "")
	if err != nil {
		return nil, err
	}
	s := g.streams[in.LogStreamName]
	if s == nil {
		return nil, missing("log stream")
	}
	for _, event := range in.LogEvents {
		c.store(s, stamp(event.Timestamp), event.Message)
	}
	return map[string]any{"nextSequenceToken": "1"}, nil
}

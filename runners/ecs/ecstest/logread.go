package ecstest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// The most that one answer holds.
const (
	pageEvents = 10_000
	pageBytes  = 1 << 20
)

type eventView struct {
	Timestamp     stampMS `json:"timestamp"`
	IngestionTime stampMS `json:"ingestionTime"`
	Message       string  `json:"message"`
	Stream        string  `json:"logStreamName,omitempty"`
	ID            string  `json:"eventId,omitempty"`
}

// stampMS is a time in milliseconds that is written so, as CloudWatch Logs does.
type stampMS int64

// page is how many of the events one answer holds.
func page(events []logEvent, limit int) int {
	if limit <= 0 || limit > pageEvents {
		limit = pageEvents
	}
	n, bytes := 0, 0
	for n < len(events) && n < limit {
		if bytes += len(events[n].message) + 26; bytes > pageBytes && n > 0 {
			break
		}
		n++
	}
	return n
}

func getLogEvents(c *call, in *struct {
	LogGroupName, LogGroupIdentifier, LogStreamName, NextToken string
	StartTime, EndTime                                         *int64
	StartFromHead                                              bool
	Limit                                                      int
},
) (any, error) {
	g, err := c.group(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	s := g.streams[in.LogStreamName]
	if s == nil {
		return nil, missing("log stream")
	}
	events := c.between(s, in.StartTime, in.EndTime)
	limit := cmp.Or(in.Limit, pageEvents)
	from, after := 0, place{}
	switch {
	case strings.HasPrefix(in.NextToken, "f/"):
		if err := after.read(in.NextToken); err != nil {
			return nil, err
		}
		from = len(events) - len(after.rest(events))
	case strings.HasPrefix(in.NextToken, "b/"):
		if err := after.read(in.NextToken); err != nil {
			return nil, err
		}
		events = events[:len(events)-len(after.rest(events))]
		from = len(events) - min(len(events), limit)
	case in.NextToken != "":
		return nil, invalid("The specified nextToken is invalid.")
	case !in.StartFromHead:
		from = len(events) - min(len(events), limit)
	}
	views, n := []eventView{}, page(events[from:], in.Limit)
	back := after
	if from > 0 {
		back = place{events[from-1].at, events[from-1].id}
	}
	for _, event := range events[from : from+n] {
		views = append(views, eventView{Timestamp: stampMS(event.at), IngestionTime: stampMS(event.visible), Message: event.message})
		after = place{event.at, event.id}
	}
	return map[string]any{"events": views, "nextForwardToken": "f/" + after.String(), "nextBackwardToken": "b/" + back.String()}, nil
}

// place is one in a stream: behind the event of that time and ID. It stays where it is, whatever comes before it later.
type place struct {
	at stamp
	id int64
}

func (p place) String() string { return fmt.Sprintf("%d/%d", p.at, p.id) }

func (p *place) read(token string) error {
	if _, err := fmt.Sscanf(token[2:], "%d/%d", &p.at, &p.id); err != nil {
		return invalid("The specified nextToken is invalid.")
	}
	return nil
}

// rest is the events behind it.
func (p place) rest(events []logEvent) []logEvent {
	i, _ := slices.BinarySearchFunc(events, p, func(event logEvent, p place) int {
		return cmp.Or(cmp.Compare(event.at, p.at), cmp.Compare(event.id, p.id), -1)
	})
	return events[i:]
}

// between is what of a stream can be read by now, from a time to before another.
func (e *Endpoint) between(s *logStream, from, to *int64) []logEvent {
	now := e.clock.ms()
	start, _ := slices.BinarySearchFunc(s.events, from, func(event logEvent, from *int64) int {
		if from == nil {
			return 1
		}
		return cmp.Compare(int64(event.at), *from)
	})
	var list []logEvent
	for _, event := range s.events[start:] {
		if to != nil && int64(event.at) >= *to {
			break
		}
		if event.visible <= now {
			list = append(list, event)
		}
	}
	return list
}

func filterLogEvents(c *call, in *struct {
	LogGroupName, LogGroupIdentifier, LogStreamNamePrefix, FilterPattern, NextToken string
	LogStreamNames                                                                  []string
	StartTime, EndTime                                                              *int64
	Limit                                                                           int
},
) (any, error) {
	g, err := c.group(in.LogGroupName, in.LogGroupIdentifier)
	switch {
	case err != nil:
		return nil, err
	case len(in.LogStreamNames) > 100:
		return nil, invalid("1 validation error detected: Value at 'logStreamNames' failed to satisfy constraint: Member must have length less than or equal to 100")
	case len(in.LogStreamNames) > 0 && in.LogStreamNamePrefix != "":
		return nil, invalid("logStreamNames and logStreamNamePrefix cannot be used together.")
	case in.FilterPattern != "":
		return nil, invalid("this endpoint knows no filter patterns")
	}
	type found struct {
		logEvent
		stream string
	}
	var all []found
	for name := range g.streams {
		if !strings.HasPrefix(name, in.LogStreamNamePrefix) || len(in.LogStreamNames) > 0 && !slices.Contains(in.LogStreamNames, name) {
			continue
		}
		for _, event := range c.between(g.streams[name], in.StartTime, in.EndTime) {
			all = append(all, found{event, name})
		}
	}
	for _, name := range in.LogStreamNames {
		if g.streams[name] == nil {
			return nil, missing("log stream")
		}
	}
	slices.SortFunc(all, func(a, b found) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.id, b.id)) })
	from := 0
	if in.NextToken != "" {
		var after place
		if err := after.read("f/" + in.NextToken); err != nil {
			return nil, err
		}
		for from < len(all) && (all[from].at < after.at || all[from].at == after.at && all[from].id <= after.id) {
			from++
		}
	} else if c.knobs.EmptyPages {
		return map[string]any{"events": []any{}, "nextToken": "0/0", "searchedLogStreams": []any{}}, nil
	}
	events := make([]logEvent, 0, len(all)-from)
	for _, f := range all[from:] {
		events = append(events, f.logEvent)
	}
	n := page(events, in.Limit)
	views := make([]eventView, 0, n)
	for _, f := range all[from : from+n] {
		views = append(views, eventView{stampMS(f.at), stampMS(f.visible), f.message, f.stream, fmt.Sprintf("%056d", f.id)})
	}
	answer := map[string]any{"events": views, "searchedLogStreams": []any{}}
	if from+n < len(all) {
		answer["nextToken"] = place{all[from+n-1].at, all[from+n-1].id}.String()
	}
	return answer, nil
}

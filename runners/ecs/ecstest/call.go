package ecstest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// call is one request on its way.
type call struct {
	*Endpoint
	ctx     context.Context
	service string
	action  string // with its service: ecs:RunTask
	who     *principal
	body    []byte
	form    url.Values // of the services that have no JSON
}

// handler does a call under the endpoint's lock and returns what is answered.
type handler func(*call) (any, error)

// on makes a handler of a function that takes the call's JSON.
func on[In any](do func(*call, *In) (any, error)) handler {
	return func(c *call) (any, error) {
		in := new(In)
		if len(c.body) > 0 {
			if err := json.Unmarshal(c.body, in); err != nil {
				return nil, fault("SerializationException", "%v", err)
			}
		}
		return do(c, in)
	}
}

// services are the JSON services by the first part of the header X-Amz-Target.
var services = map[string]string{
	"AmazonEC2ContainerServiceV20141113": "ecs", "Logs_20140328": "logs", "AmazonSQS": "sqs",
}

// handlers are all actions there are.
var handlers = map[string]handler{
	"ecs:CreateCluster":               on(createCluster),
	"ecs:DeleteCluster":               on(deleteCluster),
	"ecs:DescribeClusters":            on(describeClusters),
	"ecs:ListClusters":                on(listClusters),
	"ecs:PutClusterCapacityProviders": on(putClusterCapacityProviders),
	"ecs:RegisterTaskDefinition":      on(registerTaskDefinition),
	"ecs:DescribeTaskDefinition":      on(describeTaskDefinition),
	"ecs:ListTaskDefinitions":         on(listTaskDefinitions),
	"ecs:DeregisterTaskDefinition":    on(deregisterTaskDefinition),
	"ecs:RunTask":                     on(runTask),
	"ecs:StopTask":                    on(stopTask),
	"ecs:DescribeTasks":               on(describeTasks),
	"ecs:ListTasks":                   on(listTasks),
	"ecs:TagResource":                 on(tagResource),
	"ecs:UntagResource":               on(untagResource),
	"ecs:ListTagsForResource":         on(listTagsForResource),

	"logs:CreateLogGroup":     on(createLogGroup),
	"logs:CreateLogStream":    on(createLogStream),
	"logs:DescribeLogGroups":  on(describeLogGroups),
	"logs:DescribeLogStreams": on(describeLogStreams),
	"logs:PutRetentionPolicy": on(putRetentionPolicy),
	"logs:PutLogEvents":       on(putLogEvents),
	"logs:GetLogEvents":       on(getLogEvents),
	"logs:FilterLogEvents":    on(filterLogEvents),

	"sqs:CreateQueue":             on(createQueue),
	"sqs:GetQueueUrl":             on(getQueueURL),
	"sqs:GetQueueAttributes":      on(getQueueAttributes),
	"sqs:SendMessage":             on(sendMessage),
	"sqs:ReceiveMessage":          on(receiveMessage),
	"sqs:DeleteMessage":           on(deleteMessage),
	"sqs:DeleteMessageBatch":      on(deleteMessageBatch),
	"sqs:ChangeMessageVisibility": on(changeMessageVisibility),

	"sts:GetCallerIdentity": getCallerIdentity,

	"ec2:DescribeVpcs":           describeVpcs,
	"ec2:DescribeSubnets":        describeSubnets,
	"ec2:DescribeSecurityGroups": describeSecurityGroups,
}

// ServeHTTP implements [http.Handler].
func (e *Endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	c, err := e.parse(r, body)
	if err != nil {
		c.refuse(w, err)
		return
	}
	e.mu.Lock()
	e.calls[c.action]++
	before, after := e.knobs.Before, e.knobs.After
	e.mu.Unlock()
	seen := Call{Action: c.action, Key: keyOf(r), Body: body}
	if before != nil {
		before(seen)
	}
	answer, err := c.do(r)
	if after != nil {
		after(seen)
	}
	e.mu.Lock()
	lose := e.lost[c.action] > 0
	if lose {
		e.lost[c.action]--
	}
	e.mu.Unlock()
	switch {
	case lose:
		panic(http.ErrAbortHandler)
	case err != nil:
		c.refuse(w, err)
	default:
		c.answer(w, answer)
	}
}

// parse finds out what is called.
func (e *Endpoint) parse(r *http.Request, body []byte) (*call, error) {
	c := &call{Endpoint: e, ctx: r.Context(), body: body}
	if target := r.Header.Get("X-Amz-Target"); target != "" {
		name, action, _ := strings.Cut(target, ".")
		c.service = services[name]
		c.action = c.service + ":" + action
	} else {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return c, fault("MalformedQueryString", "%v", err)
		}
		c.form, c.service = form, "sts"
		if strings.HasPrefix(form.Get("Action"), "Describe") {
			c.service = "ec2"
		}
		c.action = c.service + ":" + form.Get("Action")
	}
	if handlers[c.action] == nil {
		return c, fault("UnknownOperationException", "this endpoint does not know %s", c.action)
	}
	return c, nil
}

// do does the call, unless it may not be done.
func (c *call) do(r *http.Request) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	who, err := c.authenticate(r)
	if err != nil {
		return nil, err
	}
	c.who = who
	if c.throttled(c.service, c.action) {
		return nil, fault("ThrottlingException", "Rate exceeded")
	}
	return handlers[c.action](c)
}

func (c *call) answer(w http.ResponseWriter, answer any) {
	if c.form != nil {
		w.Header().Set("Content-Type", "text/xml")
		_, _ = io.WriteString(w, answer.(string))
		return
	}
	c.json(w, http.StatusOK, answer)
}

func (c *call) json(w http.ResponseWriter, status int, answer any) {
	contentType := "application/x-amz-json-1.1"
	if c.service == "sqs" {
		contentType = "application/x-amz-json-1.0"
	}
	w.Header().Set("Content-Type", contentType)
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		panic(err)
	}
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

func (c *call) refuse(w http.ResponseWriter, err error) {
	f, ok := errors.AsType[*failure](err)
	if !ok {
		f = &failure{kind: "ServerException", message: err.Error(), status: http.StatusInternalServerError}
	}
	if c.form != nil {
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(f.status)
		_, _ = io.WriteString(w, c.xmlFailure(f))
		return
	}
	answer := map[string]any{"__type": f.kind, "message": f.message}
	if f.resources != nil {
		answer["resourceIds"] = f.resources
	}
	c.json(w, f.status, answer)
}

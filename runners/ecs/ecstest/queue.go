package ecstest

import (
	"crypto/md5" //nolint:gosec // SQS has it
	"encoding/hex"
	"slices"
	"strconv"
	"strings"
	"time"
)

// queue is an SQS queue.
type queue struct {
	name       string
	visibility time.Duration // how long a message that was received is hidden
	messages   []*message
	more       chan struct{} // closed and replaced when a message can be received
	deleted    int
}

type message struct {
	id       string
	body     string
	receipt  string
	hidden   time.Time // until when
	received int
}

// wake lets those look again who wait for a message.
func (q *queue) wake() {
	close(q.more)
	q.more = make(chan struct{})
}

// AddQueue makes a queue and returns its URL. visibility is how long a message that was received is hidden from others.
func (e *Endpoint) AddQueue(name string, visibility time.Duration) string {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.queues[name] = &queue{name: name, visibility: visibility, more: make(chan struct{})}
	return e.queueURL(name)
}

func (e *Endpoint) queueURL(name string) string { return e.URL + "/" + Account + "/" + name }

// Send puts a message into a queue.
func (e *Endpoint) Send(queue, body string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if q := e.queues[queue]; q != nil {
		e.send(q, body)
	}
}

func (e *Endpoint) send(q *queue, body string) *message {
	m := &message{id: newID(), body: body}
	q.messages = append(q.messages, m)
	q.wake()
	return m
}

// Queued is how many messages a queue holds, hidden or not, and how many were deleted from it.
func (e *Endpoint) Queued(queue string) (left, deleted int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if q := e.queues[queue]; q != nil {
		return len(q.messages), q.deleted
	}
	return 0, 0
}

func (c *call) queueAt(url string) (*queue, error) {
	name := url[strings.LastIndexByte(url, '/')+1:]
	if err := c.may(arn("sqs", name), nil); err != nil {
		return nil, err
	}
	q := c.queues[name]
	if q == nil {
		return nil, fault("com.amazonaws.sqs#QueueDoesNotExist", "The specified queue does not exist.")
	}
	return q, nil
}

func createQueue(c *call, in *struct {
	QueueName  string
	Attributes map[string]string
},
) (any, error) {
	if err := c.may(arn("sqs", in.QueueName), nil); err != nil {
		return nil, err
	}
	if c.queues[in.QueueName] == nil {
		seconds, err := strconv.Atoi(in.Attributes["VisibilityTimeout"])
		if err != nil {
			seconds = 30
		}
		c.queues[in.QueueName] = &queue{name: in.QueueName, visibility: time.Duration(seconds) * time.Second, more: make(chan struct{})}
	}
	return map[string]any{"QueueUrl": c.queueURL(in.QueueName)}, nil
}

func getQueueURL(c *call, in *struct{ QueueName string }) (any, error) {
	q, err := c.queueAt(in.QueueName)
	if err != nil {
		return nil, err
	}
	return map[string]any{"QueueUrl": c.queueURL(q.name)}, nil
}

func getQueueAttributes(c *call, in *struct{ QueueURL string }) (any, error) {
	q, err := c.queueAt(in.QueueURL)
	if err != nil {
		return nil, err
	}
	hidden := 0
	for _, m := range q.messages {
		if m.hidden.After(c.clock.now()) {
			hidden++
		}
	}
	return map[string]any{"Attributes": map[string]string{
		"QueueArn": arn("sqs", q.name), "VisibilityTimeout": strconv.Itoa(int(q.visibility.Seconds())),
		"ApproximateNumberOfMessages": strconv.Itoa(len(q.messages) - hidden), "ApproximateNumberOfMessagesNotVisible": strconv.Itoa(hidden),
	}}, nil
}

func sendMessage(c *call, in *struct{ QueueURL, MessageBody string }) (any, error) {
	q, err := c.queueAt(in.QueueURL)
	if err != nil {
		return nil, err
	}
	m := c.send(q, in.MessageBody)
	return map[string]any{"MessageId": m.id, "MD5OfMessageBody": digest(m.body)}, nil
}

func digest(body string) string {
	sum := md5.Sum([]byte(body)) //nolint:gosec // SQS has it
	return hex.EncodeToString(sum[:])
}

type messageView struct {
	MessageID     string            `json:"MessageId"`
	ReceiptHandle string            `json:"ReceiptHandle"`
	Body          string            `json:"Body"`
	MD5OfBody     string            `json:"MD5OfBody"`
	Attributes    map[string]string `json:"Attributes"`
}

func receiveMessage(c *call, in *struct {
	QueueURL            string
	MaxNumberOfMessages int
	WaitTimeSeconds     int
	VisibilityTimeout   *int
},
) (any, error) {
	q, err := c.queueAt(in.QueueURL)
	if err != nil {
		return nil, err
	}
	if in.MaxNumberOfMessages > 10 || in.WaitTimeSeconds > 20 {
		return nil, fault("InvalidParameterValue", "Value for parameter MaxNumberOfMessages or WaitTimeSeconds is invalid.")
	}
	visibility := q.visibility
	if in.VisibilityTimeout != nil {
		visibility = time.Duration(*in.VisibilityTimeout) * time.Second
	}
	end := time.NewTimer(time.Duration(in.WaitTimeSeconds) * time.Second)
	defer end.Stop()
	for {
		views, next := c.receive(q, max(in.MaxNumberOfMessages, 1), visibility)
		if len(views) > 0 || in.WaitTimeSeconds == 0 || c.closed {
			return map[string]any{"Messages": views}, nil
		}
		more := q.more
		shown := time.NewTimer(next)
		c.mu.Unlock()
		over := false
		select {
		case <-more:
		case <-shown.C:
		case <-end.C:
			over = true
		case <-c.ctx.Done():
			over = true
		}
		shown.Stop()
		c.mu.Lock()
		if over {
			return map[string]any{"Messages": []any{}}, nil
		}
	}
}

// receive takes messages that are not hidden, and tells when the next one will be there.
func (c *call) receive(q *queue, most int, visibility time.Duration) (views []messageView, next time.Duration) {
	now := c.clock.now()
	next = time.Hour
	for _, m := range q.messages {
		if m.hidden.After(now) {
			next = min(next, m.hidden.Sub(now))
			continue
		}
		if len(views) == most {
			break
		}
		m.hidden, m.receipt = now.Add(visibility), newID()
		m.received++
		views = append(views, messageView{m.id, m.receipt, m.body, digest(m.body), map[string]string{"ApproximateReceiveCount": strconv.Itoa(m.received)}})
	}
	return views, next
}

// remove deletes a message that was received; an old receipt is no error.
func (q *queue) remove(receipt string) {
	before := len(q.messages)
	q.messages = slices.DeleteFunc(q.messages, func(m *message) bool { return m.receipt == receipt })
	q.deleted += before - len(q.messages)
}

func deleteMessage(c *call, in *struct{ QueueURL, ReceiptHandle string }) (any, error) {
	q, err := c.queueAt(in.QueueURL)
	if err != nil {
		return nil, err
	}
	q.remove(in.ReceiptHandle)
	return struct{}{}, nil
}

func deleteMessageBatch(c *call, in *struct {
	QueueURL string
	Entries  []struct{ ID, ReceiptHandle string }
},
) (any, error) {
	c.action = "sqs:DeleteMessage" // what a policy knows
	q, err := c.queueAt(in.QueueURL)
	if err != nil {
		return nil, err
	}
	if len(in.Entries) > 10 {
		return nil, fault("AWS.SimpleQueueService.TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10.")
	}
	done := []map[string]string{}
	for _, entry := range in.Entries {
		q.remove(entry.ReceiptHandle)
		done = append(done, map[string]string{"Id": entry.ID})
	}
	return map[string]any{"Successful": done, "Failed": []any{}}, nil
}

func changeMessageVisibility(c *call, in *struct {
	QueueURL, ReceiptHandle string
	VisibilityTimeout       int
},
) (any, error) {
	q, err := c.queueAt(in.QueueURL)
	if err != nil {
		return nil, err
	}
	for _, m := range q.messages {
		if m.receipt == in.ReceiptHandle {
			m.hidden = c.clock.now().Add(time.Duration(in.VisibilityTimeout) * time.Second)
			q.wake()
		}
	}
	return struct{}{}, nil
}

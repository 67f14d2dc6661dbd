package ecstest

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func TestQueue_hidesWhatWasReceived(t *testing.T) {
	a := open(t, Paper(nil))
	url, client := aws.String(a.AddQueue("q", time.Minute)), sqs.NewFromConfig(a.Config())
	receive := func(wait int32) []types.Message {
		t.Helper()
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: url, MaxNumberOfMessages: 10, WaitTimeSeconds: wait})
		if err != nil {
			t.Fatal(err)
		}
		return out.Messages
	}
	waiting := make(chan []types.Message, 1)
	go func() { waiting <- receive(20) }()
	a.Send("q", "one")
	first := <-waiting
	if len(first) != 1 || *first[0].Body != "one" {
		t.Fatalf("received %v", first)
	}
	if again := receive(0); len(again) != 0 {
		t.Errorf("received %v while it is hidden", again)
	}
	a.Advance(time.Minute)
	again := receive(0)
	if len(again) != 1 || again[0].Attributes["ApproximateReceiveCount"] != "2" {
		t.Fatalf("after its time received %v", again)
	}
	if _, err := client.DeleteMessage(t.Context(), &sqs.DeleteMessageInput{QueueUrl: url, ReceiptHandle: again[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	if left, deleted := a.Queued("q"); left != 0 || deleted != 1 {
		t.Errorf("left %d, deleted %d", left, deleted)
	}
	_, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(a.URL + "/1/none")})
	refused(t, err, "QueueDoesNotExist")
}

func TestEvents_tellEachChange(t *testing.T) {
	a := open(t, Paper(func(Task) Plan { return Plan{Exit: 5} }))
	url, client := a.AddQueue("q", time.Minute), sqs.NewFromConfig(a.Config())
	a.Tune(func(k *Knobs) { k.Events = Events{Queue: "q", Twice: true} })
	arn := a.run(t)
	var states []string
	for len(states) < 18 {
		out, err := client.ReceiveMessage(t.Context(), &sqs.ReceiveMessageInput{QueueUrl: aws.String(url), MaxNumberOfMessages: 10, WaitTimeSeconds: 20})
		if err != nil {
			t.Fatal(err)
		}
		if len(out.Messages) == 0 {
			t.Fatalf("no more events after %v", states)
		}
		for _, m := range out.Messages {
			var event struct {
				Source     string
				DetailType string `json:"detail-type"`
				Detail     struct {
					TaskARN    string
					LastStatus string
					CreatedAt  time.Time
					Containers []struct{ ExitCode *int }
				}
			}
			if err := json.Unmarshal([]byte(*m.Body), &event); err != nil {
				t.Fatal(err)
			}
			if event.Source != "aws.ecs" || event.DetailType != "ECS Task State Change" || event.Detail.TaskARN != arn || event.Detail.CreatedAt.IsZero() {
				t.Errorf("got event %s", *m.Body)
			}
			states = append(states, event.Detail.LastStatus)
			if event.Detail.LastStatus == "STOPPED" && *event.Detail.Containers[0].ExitCode != 5 {
				t.Errorf("got event %s, want exit code 5", *m.Body)
			}
		}
		if strings.Count(strings.Join(states, " "), "STOPPED") == 2 {
			break
		}
	}
	if n := len(states); n != 16 {
		t.Errorf("got %d events %v, want each of the 8 states twice", n, states)
	}
}

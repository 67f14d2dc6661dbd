package ecstest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-cmp/cmp"
)

func streamOf(arn string) string { return "weir/main/" + idOf(arn) }

// filter reads all pages.
func (a *account) filter(t *testing.T, in *cloudwatchlogs.FilterLogEventsInput) (lines []string, pages int) {
	t.Helper()
	in.LogGroupName = aws.String("/weir/p")
	for {
		out, err := a.logs.FilterLogEvents(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		pages++
		for _, event := range out.Events {
			lines = append(lines, *event.Message)
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return lines, pages
		}
	}
}

func TestLogs_areReadByStreamsAndTime(t *testing.T) {
	a := open(t, Paper(func(Task) Plan { return Plan{Runs: Forever, Output: []string{"hello", "", "\xff!"}} }))
	first, second := a.run(t), a.run(t)
	a.await(t, first, "RUNNING")
	a.await(t, second, "RUNNING")
	both := []string{streamOf(first), streamOf(second)}
	at := a.Now().Add(time.Minute)
	for i := range 5 {
		a.WriteAt([]string{first, second}[i%2], at.Add(time.Duration(i)*time.Millisecond), fmt.Sprint(i))
	}
	all, _ := a.filter(t, &cloudwatchlogs.FilterLogEventsInput{LogStreamNames: both})
	if diff := cmp.Diff([]string{"hello", "\uFFFD!", "hello", "\uFFFD!", "0", "1", "2", "3", "4"}, all); diff != "" {
		t.Errorf("all lines (-want +got):\n%s", diff)
	}
	since, pages := a.filter(t, &cloudwatchlogs.FilterLogEventsInput{LogStreamNames: both, StartTime: aws.Int64(at.UnixMilli() + 1), Limit: aws.Int32(2)})
	if diff := cmp.Diff([]string{"1", "2", "3", "4"}, since); diff != "" || pages != 2 {
		t.Errorf("lines since then, %d pages (-want +got):\n%s", pages, diff)
	}
	a.Tune(func(k *Knobs) { k.EmptyPages = true })
	if again, pages := a.filter(t, &cloudwatchlogs.FilterLogEventsInput{LogStreamNames: both[:1]}); len(again) != 5 || pages != 2 {
		t.Errorf("with an empty page first: %d pages, lines %q", pages, again)
	}
	_, err := a.logs.FilterLogEvents(t.Context(), &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String("/weir/p"), LogStreamNames: []string{"no"}})
	refused(t, err, "ResourceNotFoundException")
}

func TestLogs_areFollowedByToken(t *testing.T) {
	a := open(t, Paper(nil))
	arn := a.run(t)
	a.await(t, arn, "RUNNING")
	in := &cloudwatchlogs.GetLogEventsInput{
		LogGroupName: aws.String("/weir/p"), LogStreamName: aws.String(streamOf(arn)), StartFromHead: aws.Bool(true), Limit: aws.Int32(2),
	}
	read := func() (lines []string) {
		t.Helper()
		for {
			out, err := a.logs.GetLogEvents(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			for _, event := range out.Events {
				lines = append(lines, *event.Message)
			}
			same := in.NextToken != nil && *in.NextToken == *out.NextForwardToken
			if in.NextToken = out.NextForwardToken; same {
				return lines
			}
		}
	}
	a.Write(arn, "1", "2", "3")
	if got := strings.Join(read(), " "); got != "1 2 3" {
		t.Errorf("read %s", got)
	}
	a.Write(arn, "4")
	if got := strings.Join(read(), " "); got != "4" {
		t.Errorf("then read %s, want 4", got)
	}
	in.NextToken, in.StartTime = nil, aws.Int64(a.Now().UnixMilli()+1000)
	for i := range 3 {
		a.WriteAt(arn, a.Now().Add(time.Minute), fmt.Sprint("later ", i))
	}
	out, err := a.logs.GetLogEvents(t.Context(), in)
	if err != nil || len(out.Events) != 2 {
		t.Fatalf("from a time on: got %d events, %v, want 2", len(out.Events), err)
	}
	in.NextToken, in.StartTime = out.NextForwardToken, nil // the token alone has the place
	if got := strings.Join(read(), " "); got != "later 2" {
		t.Errorf("and on from there: read %s, want later 2", got)
	}
	a.Tune(func(k *Knobs) { k.Ingestion = time.Minute })
	a.Write(arn, "5")
	in.NextToken = nil
	if got := read(); slices.Contains(got, "5") {
		t.Errorf("read %q, want no 5 before it was ingested", got)
	}
	a.Advance(time.Minute)
	in.NextToken = nil // it comes before what was read last
	if got := read(); !slices.Contains(got, "5") {
		t.Errorf("a minute later read %q, want 5 among them", got)
	}
}

func TestLogs_longLineIsCut(t *testing.T) {
	a := open(t, Paper(nil))
	arn := a.run(t)
	a.await(t, arn, "RUNNING")
	a.Write(arn, strings.Repeat("x", longestEvent-1)+"é!")
	lines, _ := a.filter(t, &cloudwatchlogs.FilterLogEventsInput{LogStreamNames: []string{streamOf(arn)}})
	if len(lines) != 2 || len(lines[0]) != longestEvent-1 || lines[1] != "é!" {
		t.Errorf("got %d events, want the line in two, cut between two characters", len(lines))
	}
}

func TestLogs_withoutAGroupTheTaskDoesNotStart(t *testing.T) {
	a := open(t, Paper(nil))
	in := definitionInput("job")
	in.ContainerDefinitions[0].LogConfiguration.Options["awslogs-group"] = "nowhere"
	a.register(t, in)
	task := a.await(t, a.run(t), "STOPPED")
	if task.StopCode != types.TaskStopCodeTaskFailedToStart || !strings.HasPrefix(*task.StoppedReason, "ResourceInitializationError: ") {
		t.Errorf("got stop code %s, reason %s", task.StopCode, *task.StoppedReason)
	}
	in.ContainerDefinitions[0].LogConfiguration.Options["awslogs-create-group"] = "true"
	a.register(t, in)
	a.await(t, a.run(t), "RUNNING")
}

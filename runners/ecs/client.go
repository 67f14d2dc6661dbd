package ecs

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// ecsAPI is what is asked of ECS.
type ecsAPI interface {
	RunTask(context.Context, *ecs.RunTaskInput, ...func(*ecs.Options)) (*ecs.RunTaskOutput, error)
	StopTask(context.Context, *ecs.StopTaskInput, ...func(*ecs.Options)) (*ecs.StopTaskOutput, error)
	DescribeTasks(context.Context, *ecs.DescribeTasksInput, ...func(*ecs.Options)) (*ecs.DescribeTasksOutput, error)
	ListTasks(context.Context, *ecs.ListTasksInput, ...func(*ecs.Options)) (*ecs.ListTasksOutput, error)
	RegisterTaskDefinition(context.Context, *ecs.RegisterTaskDefinitionInput, ...func(*ecs.Options)) (*ecs.RegisterTaskDefinitionOutput, error)
	DeregisterTaskDefinition(context.Context, *ecs.DeregisterTaskDefinitionInput, ...func(*ecs.Options)) (*ecs.DeregisterTaskDefinitionOutput, error)
	DescribeTaskDefinition(context.Context, *ecs.DescribeTaskDefinitionInput, ...func(*ecs.Options)) (*ecs.DescribeTaskDefinitionOutput, error)
	ListTaskDefinitions(context.Context, *ecs.ListTaskDefinitionsInput, ...func(*ecs.Options)) (*ecs.ListTaskDefinitionsOutput, error)
}

// logsAPI is what is asked of CloudWatch Logs.
type logsAPI interface {
	FilterLogEvents(context.Context, *cloudwatchlogs.FilterLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.FilterLogEventsOutput, error)
	GetLogEvents(context.Context, *cloudwatchlogs.GetLogEventsInput, ...func(*cloudwatchlogs.Options)) (*cloudwatchlogs.GetLogEventsOutput, error)
}

// ec2API is what is asked of EC2.
type ec2API interface {
	DescribeVpcs(context.Context, *ec2.DescribeVpcsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcsOutput, error)
	DescribeSubnets(context.Context, *ec2.DescribeSubnetsInput, ...func(*ec2.Options)) (*ec2.DescribeSubnetsOutput, error)
}

// sqsAPI is what is asked of SQS.
type sqsAPI interface {
	ReceiveMessage(context.Context, *sqs.ReceiveMessageInput, ...func(*sqs.Options)) (*sqs.ReceiveMessageOutput, error)
	DeleteMessage(context.Context, *sqs.DeleteMessageInput, ...func(*sqs.Options)) (*sqs.DeleteMessageOutput, error)
	DeleteMessageBatch(context.Context, *sqs.DeleteMessageBatchInput, ...func(*sqs.Options)) (*sqs.DeleteMessageBatchOutput, error)
	ChangeMessageVisibility(context.Context, *sqs.ChangeMessageVisibilityInput, ...func(*sqs.Options)) (*sqs.ChangeMessageVisibilityOutput, error)
}

// clients are AWS's services in one region. Ask them by [ask], which keeps to their rates.
type clients struct {
	region   string
	ecs      ecsAPI
	logs     logsAPI
	ec2      ec2API
	sqs      sqsAPI
	throttle *throttle
	log      *slog.Logger
	close    func() // closes idle connections
}

// rateVariable scales AWS's default rates: above 1 where the account's quotas were raised, below where others need their part.
const rateVariable = "WEIR_ECS_RATE"

// connections is how many calls are under way at once. It bounds what answers hold in memory: a page of log events has up to 1 MB.
const connections = 32

// newClients finds region, credentials and endpoint as every AWS program does: environment, shared files, the machine's or the task's
// role. Credentials are asked for when the first call is made, and again when they run out.
func newClients(ctx context.Context, log *slog.Logger) (*clients, error) {
	scale, err := rateScale(os.Getenv(rateVariable))
	if err != nil {
		return nil, err
	}
	cfg, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxConnsPerHost, t.MaxIdleConnsPerHost = connections, connections
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		})),
		awsconfig.WithAppID("weir"),
	)
	if err != nil {
		return nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return nil, errNoRegion
	}
	buildable, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		return nil, fmt.Errorf("read the AWS configuration: its HTTP client is a %T", cfg.HTTPClient)
	}
	transport := buildable.GetTransport() // only now: AWS_CA_BUNDLE is added to a client of this type alone
	cfg.HTTPClient = &http.Client{
		Transport:     buffered{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a signed request is for one host
	}
	cfg.Credentials = credentials{cfg.Credentials}
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} } // not what finds the credentials; see throttle
	return &clients{
		region: cfg.Region, log: log, close: transport.CloseIdleConnections,
		ecs: ecs.NewFromConfig(cfg), logs: cloudwatchlogs.NewFromConfig(cfg), ec2: ec2.NewFromConfig(cfg), sqs: sqs.NewFromConfig(cfg),
		throttle: sharedThrottle(cfg.Region+" "+aws.ToString(cfg.BaseEndpoint), scale),
	}, nil
}

// credentials marks what goes wrong with them, which the SDK tells by text alone.
type credentials struct{ aws.CredentialsProvider }

// Retrieve implements [aws.CredentialsProvider].
func (c credentials) Retrieve(ctx context.Context) (aws.Credentials, error) {
	if c.CredentialsProvider == nil {
		return aws.Credentials{}, &credentialsError{errors.New("there are none")}
	}
	found, err := c.CredentialsProvider.Retrieve(ctx)
	if err != nil && ctx.Err() == nil {
		return found, &credentialsError{err}
	}
	return found, err
}

// credentialsError says that no credentials were found, or that those that were could not be renewed.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return "find AWS credentials: " + e.err.Error() }
func (e *credentialsError) Unwrap() error { return e.err }

var errNoRegion = errors.New("no AWS region is known: set AWS_REGION (such as eu-central-1) where the worker runs, or a region in the profile that AWS_PROFILE names")

func rateScale(s string) (float64, error) {
	if s == "" {
		return 1, nil
	}
	scale, err := strconv.ParseFloat(s, 64)
	if err != nil || !(scale >= 0.01 && scale <= 1000) {
		return 0, fmt.Errorf("%s is %q, want a number from 0.01 to 1000: 2 where AWS gave the account twice its default rates", rateVariable, clip(s))
	}
	return scale, nil
}

// buffered gives the requests of the SDK a body that net/http knows, so that headers and body leave together. Else an answer that
// comes early makes the SDK close the body under net/http, which then drops the connection, and an answered RunTask looks failed.
type buffered struct{ next http.RoundTripper }

// RoundTrip implements [http.RoundTripper].
func (b buffered) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return b.next.RoundTrip(req)
	}
	body, err := io.ReadAll(req.Body)
	if err := errors.Join(err, req.Body.Close()); err != nil {
		return nil, fmt.Errorf("read the request's body: %w", err)
	}
	req = req.Clone(req.Context())
	req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	req.Body, _ = req.GetBody()
	req.ContentLength = int64(len(body))
	return b.next.RoundTrip(req)
}

// callTime bounds one try of a call of that class.
func callTime(c class) time.Duration {
	if c == queue {
		return 40 * time.Second // a long poll is 20 s
	}
	return 30 * time.Second
}

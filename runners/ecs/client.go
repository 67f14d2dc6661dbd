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
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// An operation is one of the SDK's calls. The clients themselves are in no interface and no field: what is converted to an interface, the
// linker keeps with all its methods, and EC2's client has six hundred of them, which would double the size of this program.
type operation[In, Out, Opt any] = func(context.Context, *In, ...func(*Opt)) (*Out, error)

// ecsAPI is what is asked of ECS.
type ecsAPI struct {
	RunTask                  operation[ecs.RunTaskInput, ecs.RunTaskOutput, ecs.Options]
	StopTask                 operation[ecs.StopTaskInput, ecs.StopTaskOutput, ecs.Options]
	DescribeTasks            operation[ecs.DescribeTasksInput, ecs.DescribeTasksOutput, ecs.Options]
	ListTasks                operation[ecs.ListTasksInput, ecs.ListTasksOutput, ecs.Options]
	RegisterTaskDefinition   operation[ecs.RegisterTaskDefinitionInput, ecs.RegisterTaskDefinitionOutput, ecs.Options]
	DeregisterTaskDefinition operation[ecs.DeregisterTaskDefinitionInput, ecs.DeregisterTaskDefinitionOutput, ecs.Options]
	DescribeTaskDefinition   operation[ecs.DescribeTaskDefinitionInput, ecs.DescribeTaskDefinitionOutput, ecs.Options]
	ListTaskDefinitions      operation[ecs.ListTaskDefinitionsInput, ecs.ListTaskDefinitionsOutput, ecs.Options]
}

// logsAPI is what is asked of CloudWatch Logs.
type logsAPI struct {
	FilterLogEvents operation[cloudwatchlogs.FilterLogEventsInput, cloudwatchlogs.FilterLogEventsOutput, cloudwatchlogs.Options]
	GetLogEvents    operation[cloudwatchlogs.GetLogEventsInput, cloudwatchlogs.GetLogEventsOutput, cloudwatchlogs.Options]
}

// ec2API is what is asked of EC2.
type ec2API struct {
	DescribeVpcs    operation[ec2.DescribeVpcsInput, ec2.DescribeVpcsOutput, ec2.Options]
	DescribeSubnets operation[ec2.DescribeSubnetsInput, ec2.DescribeSubnetsOutput, ec2.Options]
}

// sqsAPI is what is asked of SQS.
type sqsAPI struct {
	ReceiveMessage     operation[sqs.ReceiveMessageInput, sqs.ReceiveMessageOutput, sqs.Options]
	DeleteMessageBatch operation[sqs.DeleteMessageBatchInput, sqs.DeleteMessageBatchOutput, sqs.Options]
}

// stsAPI is what is asked of STS.
type stsAPI struct {
	GetCallerIdentity operation[sts.GetCallerIdentityInput, sts.GetCallerIdentityOutput, sts.Options]
}

// clients are AWS's services in one region. Ask them by [ask], which keeps to their rates.
type clients struct {
	region   string
	ecs      ecsAPI
	logs     logsAPI
	ec2      ec2API
	sqs      sqsAPI
	sts      stsAPI
	throttle *throttle
	log      *slog.Logger
	close    func() // closes idle connections
}

func ecsOf(c *ecs.Client) ecsAPI {
	return ecsAPI{
		RunTask: c.RunTask, StopTask: c.StopTask, DescribeTasks: c.DescribeTasks, ListTasks: c.ListTasks,
		RegisterTaskDefinition: c.RegisterTaskDefinition, DeregisterTaskDefinition: c.DeregisterTaskDefinition,
		DescribeTaskDefinition: c.DescribeTaskDefinition, ListTaskDefinitions: c.ListTaskDefinitions,
	}
}

func logsOf(c *cloudwatchlogs.Client) logsAPI {
	return logsAPI{FilterLogEvents: c.FilterLogEvents, GetLogEvents: c.GetLogEvents}
}

func ec2Of(c *ec2.Client) ec2API {
	return ec2API{DescribeVpcs: c.DescribeVpcs, DescribeSubnets: c.DescribeSubnets}
}

func sqsOf(c *sqs.Client) sqsAPI {
	return sqsAPI{ReceiveMessage: c.ReceiveMessage, DeleteMessageBatch: c.DeleteMessageBatch}
}

func stsOf(c *sts.Client) stsAPI { return stsAPI{GetCallerIdentity: c.GetCallerIdentity} }

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
	cfg, transport, err := configure(ctx)
	if err != nil {
		return nil, err
	}
	c := clientsOf(cfg, sharedThrottle(cfg.Region+" "+aws.ToString(cfg.BaseEndpoint), scale), log)
	c.close = transport.CloseIdleConnections
	return c, nil
}

// configure reads what the environment says of AWS.
func configure(ctx context.Context) (aws.Config, *http.Transport, error) {
	cfg, err := awsconfig.LoadDefaultConfig(ctx,
		awsconfig.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxConnsPerHost, t.MaxIdleConnsPerHost = connections, connections
			t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
		})),
		awsconfig.WithAppID("weir"),
	)
	if none, ok := errors.AsType[awsconfig.SharedConfigProfileNotExistError](err); ok {
		return cfg, nil, fmt.Errorf("there is no AWS profile %q where this worker or server runs, in the files %s: set AWS_PROFILE to one that "+
			"aws configure list-profiles shows, or unset it", clip(none.Profile), strings.Join(none.Filename, ", "))
	}
	if err != nil {
		return cfg, nil, fmt.Errorf("read the AWS configuration: %w", err)
	}
	if cfg.Region == "" {
		return cfg, nil, errNoRegion
	}
	buildable, ok := cfg.HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		return cfg, nil, fmt.Errorf("read the AWS configuration: its HTTP client is a %T", cfg.HTTPClient)
	}
	transport := buildable.GetTransport() // only now: AWS_CA_BUNDLE is added to a client of this type alone
	cfg.HTTPClient = &http.Client{
		Transport:     buffered{transport},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, // a signed request is for one host
	}
	return cfg, transport, nil
}

// clientsOf are the services of a configuration.
func clientsOf(cfg aws.Config, t *throttle, log *slog.Logger) *clients {
	cfg.Credentials = credentials{cfg.Credentials}
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} } // not that of what finds the credentials; see throttle
	return &clients{
		region: cfg.Region, throttle: t, log: log, close: func() {},
		ecs: ecsOf(ecs.NewFromConfig(cfg)), logs: logsOf(cloudwatchlogs.NewFromConfig(cfg)), ec2: ec2Of(ec2.NewFromConfig(cfg)), sqs: sqsOf(sqs.NewFromConfig(cfg)),
		sts: stsOf(sts.NewFromConfig(cfg)),
	}
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

var errNoRegion = errors.New("no AWS region is known: set AWS_REGION (such as eu-central-1) where the worker or server runs, or a region in the profile that AWS_PROFILE names")

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

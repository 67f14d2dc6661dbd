package ecs

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/weir-run/weir/runners"
	"github.com/weir-run/weir/schemas"
)

// failed says what it means that AWS refused a call that was made to do what action says ("start the task"). That ctx has ended, and that
// the outcome is not known, can be told from it as before.
func (c *clients) failed(action string, j *Job, err error) error {
	say := func(format string, args ...any) error {
		return fmt.Errorf("%s: %s%w", action, fmt.Sprintf(format, args...), silent{err})
	}
	environment := func(format string, args ...any) error {
		return runners.Because(schemas.ReasonStartFailed, &unreadyError{say(format, args...)})
	}
	final := func(format string, args ...any) error {
		return runners.Permanent(schemas.ReasonStartFailed, say(format, args...))
	}
	words := awsWords(err)

	if e, ok := errors.AsType[*callError](err); ok && e.ended {
		return fmt.Errorf("%s: %w", action, err)
	}
	if _, ok := errors.AsType[*credentialsError](err); ok {
		return environment("there are no AWS credentials: set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, where the worker or server runs, or give its task or machine a role (%s)", words)
	}
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answer.HTTPStatusCode() == http.StatusForbidden {
			return final("AWS refuses it to the role of this worker or server: allow it what weir work-pool provision POOL --rights runner prints (%s)", words)
		}
		return fmt.Errorf("%s: %w", action, err)
	}
	switch code := api.ErrorCode(); code {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return environment("the AWS credentials have expired: log in again (aws sso login), or start the worker or server with new ones (%s)", words)
	case "UnrecognizedClientException", "InvalidClientTokenId", "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException", "AuthFailure", "NotAuthorized", "OptInRequired":
		return environment("AWS does not accept the credentials of this worker or server: check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, that region %s is enabled for the account, and the machine's clock (%s)", c.region, words)
	case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "UnauthorizedException":
		return final("the role of this worker or server may not %s: allow it what weir work-pool provision POOL --rights runner prints (%s)", deniedAction(api.ErrorMessage()), words)
	case "ClusterNotFoundException":
		return final("there is no cluster %s in %s: create it (aws ecs create-cluster --cluster-name %s), or name another in the job variable cluster (%s)", clip(j.cluster()), c.region, clip(j.cluster()), words)
	case "PlatformUnknownException":
		return final("Fargate has no platform version %s: leave platform_version out for the latest (%s)", clip(j.PlatformVersion), words)
	case "PlatformTaskDefinitionIncompatibilityException":
		return final("Fargate's platform version cannot run the task definition: leave platform_version out for the latest (%s)", words)
	case "BlockedException":
		return final("AWS has blocked the account: ask AWS Support (%s)", words)
	case "InvalidVpcID.NotFound":
		return final("there is no VPC %s in %s: name another in vpc_id, or subnets in network_configuration (%s)", clip(j.VPC), c.region, words)
	}
	for _, h := range hints {
		if h.pattern.MatchString(api.ErrorMessage()) {
			if h.capacity {
				return runners.Because(schemas.ReasonCapacity, say("%s (%s)", h.say, words))
			}
			return final("%s (%s)", h.say, words)
		}
	}
	return final("AWS refuses it: %s", words)
}

// hints say what to do about what ECS tells by words alone.
var hints = []struct {
	pattern  *regexp.Regexp
	say      string
	capacity bool
}{
	{roomForm, "ECS has no room for the task now", true},
	{regexp.MustCompile(`(?i)no container instances were found`), machineWords, true},
	{regexp.MustCompile(`(?i)capacity provider`), "the cluster does not have that capacity provider: add it (aws ecs put-cluster-capacity-providers), or name another in capacity", false},
	{regexp.MustCompile(`(?i)overrides`), "the run's command, variables or resources cannot be laid over the task definition", false},
	{regexp.MustCompile(`(?i)unable to assume`), roleWords + ", and that the role of this worker or server may pass it (iam:PassRole)", false},
	{regexp.MustCompile(`(?i)role`), "a role cannot be used: check execution_role_arn and task_role_arn, that ecs-tasks.amazonaws.com may assume them, and that the role of this worker or server may pass them (iam:PassRole)", false},
	{regexp.MustCompile(`(?i)subnet|security group|network configuration|networkConfiguration|vpc`), "the network cannot be used: check subnets and securityGroups in network_configuration, or vpc_id", false},
	{regexp.MustCompile(`(?i)task ?definition`), "the task definition is not there, or was deregistered: name another in task_definition_arn", false},
	{regexp.MustCompile(`(?i)cpu|memory`), "ECS does not have that cpu and memory", false},
}

// roomForm is how ECS says that it has no room.
var roomForm = regexp.MustCompile(`(?i)capacity is unavailable|reached the limit on the number of|insufficient capacity`)

// unreadyError says that AWS does not know the worker for who it is (any more). No run is to blame for that: they wait for whoever mends it.
type unreadyError struct{ err error }

func (e *unreadyError) Error() string { return e.err.Error() }
func (e *unreadyError) Unwrap() error { return e.err }

// worded is err in the words of [clients.failed], for those who want to know what it is and not what becomes of a run by it: it has no reason,
// and is not final.
func (c *clients) worded(action, cluster string, err error) error {
	return &wordedError{c.failed(action, &Job{Cluster: cluster}, err).Error(), err}
}

type wordedError struct {
	text string
	err  error
}

func (e *wordedError) Error() string { return e.text }
func (e *wordedError) Unwrap() error { return e.err }

// silent keeps an error's identity where its words are said otherwise.
type silent struct{ err error }

func (s silent) Error() string { return "" }
func (s silent) Unwrap() error { return s.err }

// awsWords are AWS's own, without the SDK's around them.
func awsWords(err error) string {
	words := err.Error()
	if e, ok := errors.AsType[*credentialsError](err); ok {
		words = e.err.Error()
	} else if api, ok := errors.AsType[smithy.APIError](err); ok {
		words = api.ErrorCode() + ": " + api.ErrorMessage()
	} else if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answer.HTTPStatusCode() > 0 {
		words = fmt.Sprintf("HTTP status %d", answer.HTTPStatusCode())
	} else if unsent, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		words = unsent.Err.Error()
	}
	if len(words) > maxWords {
		words = strings.ToValidUTF8(words[:maxWords], "") + "…"
	}
	return words
}

// maxWords is how many bytes of AWS's words are told.
const maxWords = 500

var deniedForm = regexp.MustCompile(`perform: ([a-z0-9-]+:[A-Za-z]+)( on resource: (\S+))?`)

// deniedAction is what IAM says was refused.
func deniedAction(message string) string {
	m := deniedForm.FindStringSubmatch(message)
	switch {
	case m == nil:
		return "do it"
	case m[3] != "":
		return m[1] + " on " + strings.TrimRight(m[3], ".,")
	}
	return m[1]
}

// isDenied tells whether the worker's role lacks a right.
func isDenied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (api.ErrorCode() == "AccessDeniedException" || api.ErrorCode() == "AccessDenied")
}

// isInactive tells whether ECS refused a task because its definition is not, or no longer, active.
func isInactive(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && inactiveForm.MatchString(api.ErrorMessage())
}

var inactiveForm = regexp.MustCompile(`(?i)task ?definition.*(inactive|not found|does not exist)`)

// conflicting are the tasks that ECS started for the same token with another request, and whether that is what err says.
func conflicting(err error) (arns []string, ok bool) {
	c, ok := errors.AsType[*types.ConflictException](err)
	if !ok {
		return nil, false
	}
	return c.ResourceIds, true
}

// notPlaced says what it means that ECS started nothing, and did not refuse the request either. The words are those of AWS's page "API
// failure reasons".
func notPlaced(j *Job, p placement, failures []types.Failure) error {
	var words []string
	capacity, attribute := len(failures) == 0, false
	for _, f := range failures {
		reason := deref(f.Reason)
		words = append(words, strings.Trim(reason+" "+deref(f.Detail), " "))
		for _, prefix := range []string{"RESOURCE:", "AGENT", "EMPTY CAPACITY PROVIDER", "NO ACTIVE INSTANCES", "LOCATION", "CAPACITY"} {
			capacity = capacity || strings.HasPrefix(reason, prefix)
		}
		capacity = capacity || roomForm.MatchString(reason+" "+deref(f.Detail))
		attribute = attribute || strings.HasPrefix(reason, "ATTRIBUTE")
	}
	text := strings.Join(words, "; ")
	if text == "" {
		text = "ECS says nothing of it"
	}
	switch {
	case capacity:
		return runners.Because(schemas.ReasonCapacity, fmt.Errorf("no room on %s in cluster %s: %s", p.name, clip(j.cluster()), clip(text)))
	case attribute:
		return refused("no machine of cluster %s has what the task needs: %s; check platform, and the placement constraints of the task definition", clip(j.cluster()), clip(text))
	}
	return runners.Because(schemas.ReasonStartFailed, fmt.Errorf("ECS did not start the task on %s in cluster %s: %s", p.name, clip(j.cluster()), clip(text)))
}

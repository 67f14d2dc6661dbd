package ecs

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"slices"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// A fault is what is to be done about an error.
type fault int

// The faults.
const (
	none     fault = iota
	busy           // AWS did nothing, and says to come again later
	away           // the call did not reach AWS
	broken         // nobody knows what AWS did
	definite       // trying again changes nothing
)

// busyCodes are AWS's words for too many calls.
var busyCodes = []string{
	"ThrottlingException", "Throttling", "ThrottledException", "RequestThrottled", "RequestThrottledException", "RequestLimitExceeded",
	"TooManyRequestsException", "BandwidthLimitExceeded", "SlowDown", "PriorRequestNotComplete",
}

// brokenCodes are AWS's words for a fault of its own.
var brokenCodes = []string{
	"ServerException", "InternalError", "InternalFailure", "InternalServiceError", "InternalServerError", "ServiceUnavailable",
	"ServiceUnavailableException", "RequestTimeout", "RequestTimeoutException",
}

func faultOf(err error) fault {
	if err == nil {
		return none
	}
	if _, ok := errors.AsType[*credentialsError](err); ok {
		return definite
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch {
		case slices.Contains(busyCodes, api.ErrorCode()):
			return busy
		case slices.Contains(brokenCodes, api.ErrorCode()):
			return broken
		}
	}
	if answer, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && answer.HTTPStatusCode() > 0 {
		switch status := answer.HTTPStatusCode(); {
		case status == http.StatusTooManyRequests:
			return busy
		case status >= 500, status < 300: // below 300: it was carried out, and the answer cannot be read
			return broken
		}
		return definite
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return definite
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return away
	}
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return broken
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return broken
	}
	return definite
}

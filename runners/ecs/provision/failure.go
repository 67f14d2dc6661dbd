package provision

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// explain makes a sentence of what AWS refused, with what to do. The SDK's own text is long, and says nothing of that.
func explain(err error) error {
	operation := ""
	if op, ok := errors.AsType[*smithy.OperationError](err); ok {
		operation = op.ServiceID + " " + op.OperationName
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		switch api.ErrorCode() {
		case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized":
			return fmt.Errorf("not allowed: %s (%s)", operation, api.ErrorMessage())
		case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
			return fmt.Errorf("the AWS credentials have run out: get new ones, such as by aws sso login (%s)", api.ErrorMessage())
		case "InvalidClientTokenId", "UnrecognizedClientException", "InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature":
			return fmt.Errorf("AWS does not know the credentials: check AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (%s)", api.ErrorMessage())
		}
		return fmt.Errorf("%s: %s (%s)", operation, api.ErrorMessage(), api.ErrorCode())
	}
	if response, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && response.HTTPStatusCode() == http.StatusForbidden {
		return fmt.Errorf("not allowed: %s", operation) // with a body that is not AWS's
	}
	if _, ok := errors.AsType[*smithyhttp.RequestSendError](err); ok {
		return fmt.Errorf("AWS cannot be reached: %w", innermost(err))
	}
	return err
}

// innermost is the last of a chain of errors, which says the most in the fewest words.
func innermost(err error) error {
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}

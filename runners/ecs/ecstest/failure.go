package ecstest

import (
	"fmt"
	"net/http"
)

// failure is an error that AWS answers with.
type failure struct {
	kind      string
	message   string
	status    int
	resources []string // resourceIds of a ConflictException
}

// Error implements error.
func (f *failure) Error() string { return f.kind + ": " + f.message }

func fault(kind, format string, args ...any) *failure {
	return &failure{kind: kind, message: fmt.Sprintf(format, args...), status: http.StatusBadRequest}
}

func invalid(format string, args ...any) *failure {
	return fault("InvalidParameterException", format, args...)
}

func client(format string, args ...any) *failure { return fault("ClientException", format, args...) }

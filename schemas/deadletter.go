package schemas

import "time"

// DeadLetter is a request that could not be accepted, as it came, with the reason: schemas/dead-letter.schema.json. In the
// stream of dead letters the request is a message still: its body is the body, the rest is headers (docs/wire.md).
type DeadLetter struct {
	ID         uint64            `json:"id"`      // sequence in the stream of dead letters
	Subject    string            `json:"subject"` // the request's
	Pool       string            `json:"pool"`    // these three are the subject's
	Queue      string            `json:"queue"`
	Deployment string            `json:"deployment"`
	Sequence   uint64            `json:"sequence"` // in the pool's stream
	Run        string            `json:"run,omitempty"`
	Reason     Reason            `json:"reason"`
	Message    string            `json:"message"` // why, in a sentence for people
	Time       time.Time         `json:"time"`
	Headers    map[string]string `json:"headers,omitempty"` // the request's own
	Body       string            `json:"body"`
	Size       int               `json:"size,omitempty"` // of the request's body in bytes, where only its beginning is kept
}

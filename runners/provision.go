package runners

import (
	"context"
	"encoding/json"
	"slices"
)

// A Provision prepares what a pool needs around it on its infrastructure and what is no single job's: a cluster, roles, a log group. It
// can be repeated: what is there already is told of and stays as it is.
type Provision func(ctx context.Context, p ProvisionRequest) (Infrastructure, error)

// ProvisionRequest says what is to be prepared.
type ProvisionRequest struct {
	Type      string                     // the pool type's name
	Pool      string                     // the pool's name, or empty
	Variables map[string]json.RawMessage // job variables that are decided: what they name is used, under that name
	Apply     bool                       // make what is missing; else only look
	Command   string                     // what was typed for this, without --apply and --rights: what to type next begins with it
}

// Infrastructure is what was found, or made.
type Infrastructure struct {
	Where     string                     `json:"where,omitempty"`   // for people, such as an account and a region
	Unseen    string                     `json:"unseen,omitempty"`  // why nothing could be looked at, and what to do; empty: it was
	Unknown   []string                   `json:"unknown,omitempty"` // words in names, job variables and rights that stand for what could not be found out
	Parts     []Part                     `json:"parts"`             // in the order in which they are made
	Variables map[string]json.RawMessage `json:"job_variables"`     // what a pool's base job template is to say of them
	Rights    map[string]json.RawMessage `json:"rights,omitempty"`  // policies by who needs them
	Next      []string                   `json:"next"`              // what is left to do, each with its command
}

// Part is one thing of an [Infrastructure].
type Part struct {
	Kind    string    `json:"kind"` // cluster, role, log group
	Name    string    `json:"name"`
	ID      string    `json:"id,omitempty"` // what the infrastructure calls it
	State   PartState `json:"state"`
	Message string    `json:"message,omitempty"` // what is to be known of it, or why it could not be looked at or made
	Next    string    `json:"next,omitempty"`    // the command that mends it
}

// PartState is how a [Part] was found, or what was done.
type PartState string

// The states of parts.
const (
	PartExists  PartState = "exists"
	PartMissing PartState = "missing"
	PartDiffers PartState = "differs" // it is there, and not as it has to be
	PartCreated PartState = "created"
	PartUpdated PartState = "updated"
	PartRefused PartState = "refused" // it may not be looked at, or not be made
	PartUnseen  PartState = "unseen"  // it was not looked at
)

// Missing counts the parts that are to be made, or changed.
func (i Infrastructure) Missing() (n int) {
	for _, p := range i.Parts {
		if p.State == PartMissing || p.State == PartDiffers {
			n++
		}
	}
	return n
}

// RefusedAll tells whether no part could be looked at, or be made.
func (i Infrastructure) RefusedAll() bool {
	return len(i.Parts) > 0 && !slices.ContainsFunc(i.Parts, func(p Part) bool { return p.State != PartRefused })
}

// Refused tells whether a part could not be looked at, or not be made.
func (i Infrastructure) Refused() bool {
	for _, p := range i.Parts {
		if p.State == PartRefused {
			return true
		}
	}
	return false
}

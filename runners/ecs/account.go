package ecs

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/weir-run/weir/runners"
)

// identity knows the AWS account that the worker's credentials are for. No right is needed to ask for it.
type identity struct {
	clients *clients
	turn    chan struct{} // held by the one who asks

	mu    sync.Mutex
	id    string    // 12 digits; empty: it is not known yet; under mu
	asked time.Time // under mu
}

// identityTime is how long an answer is taken for true: a profile may come to name another account.
const identityTime = time.Minute

func newIdentity(c *clients) *identity { return &identity{clients: c, turn: make(chan struct{}, 1)} }

// known is the account, or nothing as long as AWS has not told it.
func (i *identity) known() string {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.id
}

// account asks for it.
func (i *identity) account(ctx context.Context) (string, error) {
	select {
	case i.turn <- struct{}{}:
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
	defer func() { <-i.turn }()
	i.mu.Lock()
	id, age := i.id, time.Since(i.asked)
	i.mu.Unlock()
	if id != "" && age < identityTime {
		return id, nil
	}
	out, err := ask(ctx, i.clients, readIdentity, i.clients.sts.GetCallerIdentity, &sts.GetCallerIdentityInput{})
	if err == nil && deref(out.Account) == "" {
		err = errors.New("AWS does not say")
	}
	if err != nil {
		return "", i.clients.worded("find out which account the AWS credentials are for", "", err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.id, i.asked = *out.Account, time.Now()
	return i.id, nil
}

// learnTime bounds one question, for others wait with theirs.
const learnTime = 10 * time.Second

// learn asks until it is known: the place of a run is recorded with its account.
func (i *identity) learn(ctx context.Context) {
	for wait := firstWait; ; wait = min(2*wait, identityTime) {
		bounded, cancel := context.WithTimeout(ctx, learnTime)
		_, err := i.account(bounded)
		cancel()
		if err == nil || sleep(ctx, wait) != nil {
			return
		}
	}
}

// own is an error where a task is of another account than the worker's credentials are for, or that is not known: that they do not find it
// says nothing then.
func (i *identity) own(ctx context.Context, arn string) error {
	account, err := i.account(ctx)
	if err != nil {
		return err
	}
	if theirs := accountOf(arn); theirs != account {
		return fmt.Errorf("task %s is of account %s, and the credentials of this worker or server are for %s: give it those of a role in that account, or let one run "+
			"that has them", arn, theirs, account)
	}
	return nil
}

// accountOf is the account that an ARN names, or nothing.
func accountOf(arn string) string {
	if parts := splitARN(arn); parts != nil {
		return parts[4]
	}
	return ""
}

// elsewhere tells whether what is at that place can be found by others only. It asks, where that is not known by now.
func (r *runner) elsewhere(ctx context.Context, place string) (bool, error) {
	if _, account, _ := splitPlace(place); account != "" && r.identity.known() == "" {
		if _, err := r.identity.account(ctx); err != nil {
			return false, err
		}
	}
	return place != "" && !r.Reaches(place), nil
}

// errElsewhere is that a task cannot be found here.
func errElsewhere(place string) error {
	return fmt.Errorf("%w: it is at %s, which the credentials or region of this worker or server are not for", runners.ErrGone, place)
}

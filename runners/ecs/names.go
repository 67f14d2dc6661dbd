package ecs

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/weir-run/weir/runners"
)

// Tags of a task. A task is this system's and pool's by them; without this system's it is never touched, whatever else it looks like.
const (
	tagPrefix     = "run.weir."
	tagSystem     = tagPrefix + "system"     // identity of the NATS system
	tagPool       = tagPrefix + "pool"       // the work pool
	tagExecution  = tagPrefix + "execution"  // the execution's name: run and attempt
	tagRun        = tagPrefix + "run"        // for people
	tagAttempt    = tagPrefix + "attempt"    // for people
	tagDeployment = tagPrefix + "deployment" // for people, and for who pays
	tagQueue      = tagPrefix + "queue"      // for people
	tagWorker     = tagPrefix + "worker"     // for people: who started it; another may hold it by now
	tagName       = tagPrefix + "name"       // for people: the job variable name

	// What the one who finds the task has to know of its job, which he is not told.
	tagContainer    = tagPrefix + "container"     // the container that is the job; its exit code is the run's
	tagSilent       = tagPrefix + "silent"        // "true": the output is not stored
	tagDeregister   = tagPrefix + "deregister"    // "true": the task definition is deregistered once the end is recorded
	tagStartTimeout = tagPrefix + "start-timeout" // seconds from the task's creation until it has to run; absent: no limit
	tagContent      = tagPrefix + "content"       // of a task definition: what it says, in a hash
	tagPoll         = tagPrefix + "poll"          // seconds between two looks at it at most; absent: as [interval] has it
)

// startedBy is by what ECS finds an execution's tasks: it is searched for by the whole of it. Its first part tells a pool's tasks from
// all others without a look at their tags. 36 characters, as many as ECS once took.
func startedBy(system, pool, name string) string {
	return startedByPool(system, pool) + digest(system, pool, name)[:22]
}

// startedByWeir is what every task of Weir's was started by, whichever system's.
const startedByWeir = "weir-"

// startedByPool is what startedBy begins with, for every execution of that pool.
func startedByPool(system, pool string) string { return startedByWeir + digest(system, pool)[:8] + "-" }

// clientToken is the key by which ECS starts a task once: one system, pool, execution and try have one. try counts from 1, and becomes
// another number only when ECS has said that the one before started nothing.
func clientToken(system, pool, name string, try int) string {
	return digest(system, pool, name, strconv.Itoa(try))
}

// digest is SHA-256 over parts, none of which holds a zero byte, in hex: 64 characters.
func digest(parts ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(sum[:])
}

// taskTags are those of a run's task, whichever worker starts it but for its name. Weir's win over the job's own.
func taskTags(system string, s *runners.Spec, j *Job) []types.Tag {
	tags := map[string]string{}
	for _, t := range j.Request.input.Tags {
		tags[deref(t.Key)] = deref(t.Value)
	}
	for name, value := range j.Labels {
		tags[name] = deref(value)
	}
	maps.Copy(tags, map[string]string{
		tagSystem: system, tagPool: s.Pool, tagExecution: s.Name, tagRun: s.Run, tagAttempt: strconv.Itoa(s.Attempt),
		tagQueue: s.Queue, tagDeployment: s.Deployment, tagWorker: s.Worker,
	})
	if j.Name != "" {
		tags[tagName] = j.Name
	}
	return tagList(tags)
}

// tagList are tags in ECS's form, sorted by name.
func tagList(tags map[string]string) []types.Tag {
	list := make([]types.Tag, 0, len(tags))
	for _, name := range slices.Sorted(maps.Keys(tags)) {
		value := tags[name]
		list = append(list, types.Tag{Key: &name, Value: &value})
	}
	return list
}

// tagged returns the value of a tag, or nothing.
func tagged(tags []types.Tag, name string) string {
	for _, t := range tags {
		if deref(t.Key) == name {
			return deref(t.Value)
		}
	}
	return ""
}

package docker

import (
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/weir-run/weir/runners"
)

// Labels of a container. What is Weir's, and which Weir's, is told by them and the name together: a container without this system's
// label is never touched, whatever it is called, and neither is one of another name, which has the labels of an image that was made
// of a container of Weir's.
const (
	labelPrefix     = "run.weir."
	labelSystem     = labelPrefix + "system"     // identity of the NATS system
	labelPool       = labelPrefix + "pool"       // the work pool
	labelExecution  = labelPrefix + "execution"  // the execution's name: run and attempt
	labelRun        = labelPrefix + "run"        // for people
	labelAttempt    = labelPrefix + "attempt"    // for people
	labelQueue      = labelPrefix + "queue"      // for people
	labelDeployment = labelPrefix + "deployment" // whose containers that failed are counted together
	labelWorker     = labelPrefix + "worker"     // for people: who started it; another may hold it by now
	labelName       = labelPrefix + "name"       // for people: the job variable name
	labelImage      = labelPrefix + "image"      // for people: the image as the job names it; the container is made of its ID
	labelKeep       = labelPrefix + "keep"       // what becomes of the container once its end is recorded: see [keep]
	labelSilent     = labelPrefix + "silent"     // the output is not stored
	labelTombstone  = labelPrefix + "tombstone"  // on a container that only takes the place of another: see [runner.bury]
)

// keptSuffix ends the name of a container that is kept for people to look at: nobody finds it as an execution any more.
const keptSuffix = ".kept"

// containerName is the key of everything: one system, pool, run and attempt have one container, since an engine gives a name
// once. It is made of tokens, so that it fits what Docker takes as a name.
func (r *runner) containerName(execution string) string {
	return "weir-" + r.config.System + "." + r.config.Pool + "." + execution
}

// labels are those of a job's container. They win over the job's own.
func (r *runner) labels(s *runners.Spec, job *Job) map[string]string {
	labels := make(map[string]string, len(job.Labels)+12)
	for name, value := range job.Labels {
		labels[name] = value
	}
	for name, value := range map[string]string{
		labelSystem: r.config.System, labelPool: r.config.Pool, labelExecution: s.Name, labelRun: s.Run, labelAttempt: strconv.Itoa(s.Attempt),
		labelQueue: s.Queue, labelDeployment: s.Deployment, labelWorker: s.Worker, labelKeep: job.keep().String(),
		labelImage: job.Image, labelName: job.Name,
		labelSilent: "", labelTombstone: "", // a container has its image's labels but for those that it is given
	} {
		labels[name] = value
	}
	if outputOf(job, s.Output) == nil {
		labels[labelSilent] = "true"
	}
	return labels
}

// ours tells whether labels are those of a container of this system and pool.
func (r *runner) ours(labels map[string]string) bool {
	return labels[labelSystem] == r.config.System && labels[labelPool] == r.config.Pool
}

// owns tells whether a listed container is of this system and pool.
func (r *runner) owns(c *container.Summary) bool {
	name := "/" + r.containerName(c.Labels[labelExecution])
	return r.ours(c.Labels) && (slices.Contains(c.Names, name) || slices.Contains(c.Names, name+keptSuffix))
}

// filters choose the containers with this system's and pool's labels.
func (r *runner) filters() client.Filters {
	return make(client.Filters).Add("label", labelSystem+"="+r.config.System, labelPool+"="+r.config.Pool)
}

// keep says what becomes of a container once the final state is recorded.
type keep struct {
	always bool // it stays
	failed int  // so many containers of its deployment that failed stay, the last
}

func (k keep) String() string {
	if k.always {
		return "always"
	}
	return strconv.Itoa(k.failed)
}

func parseKeep(s string) keep {
	n, _ := strconv.Atoi(s)
	return keep{always: s == "always", failed: n}
}

// kept tells whether a container's name says that it is kept.
func kept(names []string) bool {
	for _, n := range names {
		if strings.HasSuffix(n, keptSuffix) {
			return true
		}
	}
	return false
}

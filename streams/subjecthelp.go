package streams

// A Subject is a kind of subject for people: what is published on it, and a nats command to try.
type Subject struct {
	Name  string `json:"name"` // <…> is one token: [A-Za-z0-9_-]{1,64}
	Means string `json:"means"`
	Try   string `json:"try"`
}

// Subjects lists the subjects that people publish to and subscribe to.
var Subjects = []Subject{
	{runPrefix + "<pool>.<queue>.<deployment>", "a request for a run", "nats pub -J " + RunSubject("development", "default", "my-flow") + " '{}'"},
	{schedulePrefix + "<pool>.<queue>.<deployment>.<name>", "a run due later, or again and again", "nats stream subjects " + poolStream("development")},
	{cancelPrefix + "<pool>.<run>", "a request to cancel a run", "nats pub -J " + cancelSubject("development", "development-1") + " why"},
	{runEventPrefix + "<pool>.<deployment>.<run>.<state>", "a run's states", "nats sub '" + RunEvents + "'"},
	{logPrefix + "<pool>.<deployment>.<run>", "a line of a job's output", "nats sub '" + logPrefix + ">'"},
	{deadPrefix + "<pool>.<queue>.<deployment>", "a request that could not be accepted", "nats stream view " + DeadStream},
	{workerPrefix + "<pool>.<worker>.drain", "asks a worker to drain", "nats micro ls"},
	{keySubject(RunsBucket, "<pool>.<deployment>.<run>"), "every run's last state", "nats kv watch " + RunsBucket},
	{keySubject(ConfigBucket, "pool.<name>"), "a work pool", "nats kv ls " + ConfigBucket},
	{keySubject(ConfigBucket, "deployment.<name>"), "a deployment", "nats kv get " + ConfigBucket + " deployment.my-flow"},
	{keySubject(WorkersBucket, "<pool>.<worker>"), "a live worker", "nats kv ls " + WorkersBucket},
	{keySubject(LocksBucket, "<hash>"), "what only one worker does at a time", "nats kv watch " + LocksBucket},
}

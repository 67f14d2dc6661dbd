package model

// Rules are what the protocol relies on. A test switches each off and expects the search to notice.
type Rules struct {
	CompareAndSet     bool // an append is stored only if its writer knows the run's last event
	Switch            bool // the supervisor kills an execution whose lease is over
	RefuseLateStart   bool // the supervisor starts nothing whose lease is over already
	StartsInOrder     bool // it serves what a killed worker has sent before it hears the next one of that name
	WatchOwner        bool // a run is taken over only if its owner's record has been the last for the hold, or the owner says it has none
	AnswerWhole       bool // an owner answers for what it is about to start and what its supervisor keeps, too
	OwnClock          bool // how long a record has been the last, the taker measures itself: a NATS node's clock may jump
	TakenBack         bool // a record that is missing says nothing, unless its owner took it back
	StopEmpty         bool // an owner takes its record back only when it has no execution left
	LeaseFromRecord   bool // a lease lasts no longer than the hold from the last confirmed record
	FirstLeaseToo     bool // so does the first one, of a claim
	FinalBeforeAck    bool // the last event of an attempt is stored before its request is acknowledged
	LeaseFromSending  bool // a confirmed record counts from when it was sent, not from when its answer came
	StaysOver         bool // a lease that is over is not renewed
	AckWhatIsOver     bool // a request whose run is over is acknowledged by whoever gets it
	MarkCarried       bool // a retrying event says so when its own request carries the run on, as after a take-over
	SchedulePerTry    bool // each attempt's ticket is scheduled under a subject of its own
	ReclaimHeld       bool // a worker that is started again goes on only with what the last event says is held
	LostCancelIsFinal bool // a cancelling run whose execution is gone is cancelled, not tried again
}

// Protocol has all of them.
func Protocol() Rules {
	return Rules{
		CompareAndSet: true, Switch: true, RefuseLateStart: true, StartsInOrder: true, WatchOwner: true, AnswerWhole: true,
		OwnClock: true, TakenBack: true, StopEmpty: true, LeaseFromRecord: true, FirstLeaseToo: true, LeaseFromSending: true,
		StaysOver: true, FinalBeforeAck: true, AckWhatIsOver: true, MarkCarried: true, SchedulePerTry: true, ReclaimHeld: true,
		LostCancelIsFinal: true,
	}
}

// Bounds say how much may happen. Within them the search leaves nothing out.
type Bounds struct {
	AckWait  uint8 // ticks that a delivery is out before NATS gives it to another, at most 15
	Hold     uint8 // ticks that a worker counts on a renewal and on a record, and another one waits: less than AckWait
	Attempts uint8 // of the run, at most 3
	Crashes  uint8 // of workers and supervisors together; a restart is always possible
	Early    uint8 // redeliveries without cause: a late negative acknowledgement, a NATS node whose clock jumps
	Failures bool  // jobs may fail, so that they are tried again
	Cancel   bool  // somebody cancels the run, at any time
}

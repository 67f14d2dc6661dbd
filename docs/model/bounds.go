package model

// Rules are what the protocol relies on. A test switches each off and expects the search to notice.
type Rules struct {
	CompareAndSet     bool // an append is stored only if its writer knows the run's last event
	Switch            bool // the supervisor kills an execution whose lease is over
	RefuseLateStart   bool // the supervisor starts nothing whose lease is over already
	RecordBound       bool // no lease, the first one included, outlasts Hold after the worker's last confirmed record
	AskOwner          bool // a run is taken over only if its owner's record has been the last for Hold, or the owner says that the execution does not live
	FinalBeforeAck    bool // the last event of an attempt is stored before its request is acknowledged
	LeaseFromSending  bool // a confirmed renewal counts from when it was sent, not from when its answer came
	AckWhatIsOver     bool // a request whose run is over is acknowledged by whoever gets it
	MarkCarried       bool // a retrying event says so when its own request carries the run on, as after a take-over
	SchedulePerTry    bool // each attempt's ticket is scheduled under a subject of its own
	ReclaimHeld       bool // a worker that is started again goes on only with what the last event says is held
	LostCancelIsFinal bool // a cancelling run whose execution is gone is cancelled, not tried again
}

// Protocol has all of them.
func Protocol() Rules {
	return Rules{
		CompareAndSet: true, Switch: true, RefuseLateStart: true, RecordBound: true, AskOwner: true, FinalBeforeAck: true,
		AckWhatIsOver: true, LeaseFromSending: true, MarkCarried: true, SchedulePerTry: true, ReclaimHeld: true, LostCancelIsFinal: true,
	}
}

// Bounds say how much may happen. Within them the search leaves nothing out.
type Bounds struct {
	AckWait  uint8 // ticks that a delivery is out before NATS gives it to another, at most 15
	Hold     uint8 // ticks that a worker and its supervisor count on a renewal: less than AckWait
	Attempts uint8 // of the run, at most 3
	Crashes  uint8 // of workers and supervisors together; a restart is always possible
	Early    uint8 // redeliveries without cause: a late negative acknowledgement, a NATS server that lost a renewal's time
	Failures bool  // jobs may fail, so that they are tried again
	Cancel   bool  // somebody cancels the run, at any time
}
